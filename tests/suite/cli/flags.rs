//! Rolling out, previewing, explaining and undoing on the command line, told as what is typed and what comes back.

use crate::support::{changeover, each_database, redactions};

const FLAG: &str = r#"{"key":"new-player","type":"string","description":"The player of 2027","variants":{"old":"o","new":"n"},"default_variant":"old","off_variant":"old","rules":[{"description":"who asked for it","cohort":"beta","clauses":[{"attribute":"plan","operator":"in","values":["pro","team"]}],"serve":{"variant":"new"}}]}"#;

/// Runs the commands one after the other and returns the story.
fn told(database: &crate::support::TestDatabase, commands: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    std::fs::write(directory.path().join("users.txt"), ids.join("\n")).unwrap();
    std::fs::write(directory.path().join("users.ndjson"), "1\n{\"targetingKey\":\"42\",\"plan\":\"pro\"}\nnonsense\n")
        .unwrap();
    std::fs::write(directory.path().join("flag.json"), FLAG.replace("\"pro\",\"team\"", "\"pro\"")).unwrap();
    let mut story = String::new();
    for (line, input) in commands {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        let run = changeover().service(database).directory(directory.path()).args(&words).input(*input).run();
        story.push_str(&format!("$ changeover {line}\n{run}\n\n"));
    }
    story
}

#[test]
fn a_flag_is_rolled_out_previewed_and_undone_by_hand() {
    each_database(|database| {
        let story = told(
            &database,
            &[
                ("cohort create beta", ""),
                ("cohort add beta 7 42", ""),
                ("flag create - --reason try_it", FLAG),
                ("flag rollout new-player --variant new --percent 12.5 --rule 1 --preview --file users.txt", ""),
                ("flag rollout new-player --variant new --percent 12.5 --rule 1 --reason first_wave", ""),
                ("flag rollout new-player --variant new --percent +5 --preview", ""),
                ("flag rollout new-player --variant new --percent +5 --if-version 3", ""),
                ("flag rollout new-player --variant new --percent +5 --if-version 4", ""),
                ("flag rollout new-player --variant new --percent 12.34567", ""),
                ("flag show new-player", ""),
                ("flag replace flag.json --preview --file users.ndjson", ""),
                ("flag kill new-player --preview --cohort beta", ""),
                ("flag disable new-player --reason it_flickers", ""),
                ("flag history new-player --json", ""),
                ("flag diff new-player --from 3 --to 5", ""),
                ("flag diff new-player", ""),
                ("flag restore new-player --to 4 --preview --file users.txt", ""),
                ("flag restore new-player --to 4 --reason as_before", ""),
                ("flag restore new-player --to 99", ""),
                ("flag delete new-player --if-version 1", ""),
                ("flag delete new-player", ""),
                ("flag restore new-player --to 6", ""),
                ("audit list --subject flag/ --limit 2 --json", ""),
                ("audit list --action flag.remove --since 1d --json", ""),
                ("audit verify", ""),
            ],
        );
        redactions::settings()
            .bind(|| insta::assert_snapshot!("a_flag_is_rolled_out_previewed_and_undone_by_hand", story));
    });
}

#[test]
fn an_evaluation_is_explained_so_that_it_can_be_read_out() {
    each_database(|database| {
        let story = told(
            &database,
            &[
                ("cohort create beta", ""),
                ("cohort add beta 7 42", ""),
                ("flag create -", FLAG),
                ("flag rollout new-player --variant new --percent 10 --rule 1", ""),
                ("flag explain new-player --user 42 --context {\"plan\":\"pro\"}", ""),
                ("flag explain new-player --user 42 --context {\"plan\":7}", ""),
                ("flag explain new-player --user 9", ""),
                ("flag explain new-player", ""),
                ("flag kill new-player", ""),
                ("flag explain new-player --user 42", ""),
                ("flag explain new-player --user 42 --context {\"plan\":\"pro\"} --as-of 3", ""),
                ("flag explain new-player --user 42 --as-of 1", ""),
                ("flag explain new-player --user 42 --as-of 99", ""),
                ("flag list --stale --days 0 --json", ""),
                ("flag list --cohort beta --json", ""),
            ],
        );
        redactions::settings()
            .bind(|| insta::assert_snapshot!("an_evaluation_is_explained_so_that_it_can_be_read_out", story));
    });
}
