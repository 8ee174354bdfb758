//! Command lines that nobody meant to write.

use changeover::cli::Cli;
use clap::{CommandFactory, Parser};
use proptest::prelude::*;

use crate::support::changeover;

/// Every command, subcommand and option that there is.
fn known_words() -> Vec<String> {
    let mut words = Vec::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        words.push(command.get_name().to_owned());
        words.extend(command.get_opts().filter_map(|option| option.get_long()).map(|long| format!("--{long}")));
        commands.extend(command.get_subcommands().cloned());
    }
    words.sort();
    words.dedup();
    words
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(known_words()),
        1 => prop::sample::select(vec![
            "", "-", "--", "-1", "9223372036854775808", "sqlite:", "postgres://", "postgres://u:p@h/d", "2026-13", "2026-11",
            "billing-allocation", "Billing Allocation", "../../etc/passwd", "a'b\"c", "\u{202e}", "NaN", "[]", "{}", "null",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,30}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_command_line_is_understood_or_refused_in_words(words in prop::collection::vec(word(), 0..7)) {
        let words: Vec<String> = std::iter::once(String::from("changeover")).chain(words).collect();
        if let Err(error) = Cli::try_parse_from(&words) {
            prop_assert!(!error.to_string().trim().is_empty());
        }
    }
}

#[test]
fn a_wrong_command_line_ends_with_exit_code_2_and_a_hint() {
    let wrong: [&[&str]; 8] = [
        &[],
        &["frobnicate"],
        &["serv"],
        &["serve", "--database-url", "mysql://x"],
        &["serve", "--database-url"],
        &["change", "check"],
        &["demo", "load", "--charges", "0"],
        &["demo", "load", "--charges", "-5"],
    ];
    for arguments in wrong {
        let finished = changeover().args(arguments).run();
        assert_eq!(finished.code, 2, "{arguments:?}\n{finished}");
        assert_eq!(finished.stdout, "", "{arguments:?}: errors go to stderr");
        assert!(finished.stderr.contains("--help") || finished.stderr.contains("Usage:"), "{arguments:?}\n{finished}");
    }
}

#[test]
fn a_database_that_cannot_be_had_ends_with_exit_code_2_and_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let missing = format!("sqlite:{}", directory.path().join("none").join("app.db").display());
    let text = directory.path().join("text.db");
    std::fs::write(&text, "this is no database, whatever its name says; it is longer than a header").unwrap();
    let text = format!("sqlite:{}", text.display());
    // Nothing listens on port 1 of the loopback address.
    for url in [missing.as_str(), text.as_str(), "postgres://nobody:s3cret@127.0.0.1:1/none"] {
        let finished = changeover().args(["demo", "load", "--database-url", url]).run();
        assert_eq!(finished.code, 2, "{url}\n{finished}");
        assert!(!finished.stderr.contains("s3cret"), "a password is shown\n{finished}");
        assert!(!finished.stderr.contains("panicked"), "{finished}");
        assert!(finished.stderr.starts_with("error: "), "{finished}");
    }
}
