//! What a person types, and what comes back.

use crate::support::{changeover, each_database, redactions};

const FLAG: &str = r#"{"key":"new-player","type":"boolean","variants":{"on":true,"off":false},"default_variant":"off","off_variant":"off","rules":[{"cohort":"beta","serve":{"variant":"on"}}]}"#;

#[test]
fn flags_and_cohorts_by_hand() {
    each_database(|database| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("beta.csv"), "id,name\n42,Ada\n\"7\",Bob\n42,again\n\"two\nlines\"\n")
            .unwrap();
        let mut story = String::new();
        let commands = [
            ("cohort create beta --description testers", ""),
            ("cohort import beta beta.csv --replace", ""),
            ("cohort add beta 1 2 2", ""),
            ("cohort has beta 7", ""),
            ("cohort has beta 8", ""),
            ("flag create - --reason try", FLAG),
            ("flag create -", FLAG),
            ("flag create -", "{\"key\":\"x\"}"),
            ("flag evaluate new-player --targeting-key 42", ""),
            ("flag kill new-player --reason flickers", ""),
            ("flag evaluate new-player --targeting-key 42", ""),
            ("cohort delete beta", ""),
            ("flag delete new-player", ""),
            ("cohort delete beta", ""),
            ("flag get new-player", ""),
            ("audit verify", ""),
        ];
        for (line, input) in commands {
            let run =
                changeover().service(&database).directory(directory.path()).args(line.split(' ')).input(input).run();
            story.push_str(&format!("$ changeover {line}\n{run}\n\n"));
        }
        redactions::settings().bind(|| insta::assert_snapshot!("flags_and_cohorts_by_hand", story));
    });
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    each_database(|database| {
        let run = |line: &str| changeover().service(&database).arg("--json").args(line.split(' ')).run();
        let issued = run("token create shop --role evaluate --expires 30d").expect_code(0).json();
        assert_eq!(issued["role"], "evaluate");
        assert!(issued["secret"].as_str().unwrap().starts_with("co_"));
        let id = issued["id"].as_str().unwrap();
        let listed = run("token list").expect_code(0);
        assert!(!listed.stdout.contains(issued["secret"].as_str().unwrap()), "{listed}");
        assert_eq!(listed.json()["items"][0]["id"], id);
        assert!(run(&format!("token revoke {id}")).expect_code(0).json()["revoked_at"].is_string());
        run("token revoke nonsense").expect_code(2);
        run("token create shop --role king").expect_code(2);
        run("token create shop --role admin --expires 2001-01-01T00:00:00Z").expect_code(2);
        let audit = run("audit list --limit 1").expect_code(0).json();
        assert_eq!(audit["items"][0]["action"], "token.revoke");
    });
}
