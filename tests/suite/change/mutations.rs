//! Whatever happens to a change file on its way: no panic, and every mistake has a place.

use changeover::change::{ChangeFile, Mistake};
use changeover::primitives::Dialect;
use changeover::sql::rewrite::{parameters, replace_parameter, replace_table};
use proptest::prelude::*;

use super::check::{DESIGN, checked, schema};
use crate::support::TestDatabase;

#[derive(Debug, Clone)]
enum Mutation {
    DeleteLine(usize),
    DuplicateLine(usize),
    SwapLines(usize, usize),
    Cut(usize, usize),
    Insert(usize, String),
    Truncate(usize),
    Repeat(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let garbage = prop_oneof![
        any::<String>(),
        "[\\[\\]{}\"'=,.;:$-]{1,12}",
        Just(String::from("\"\"\"")),
        Just(String::from("\u{0}")),
        Just(String::from("🦀é\u{202e}")),
        Just(String::from("; DROP TABLE users; --")),
        Just(String::from("(((((((((((((((((((((((((((((((((((((((((((")),
    ];
    prop_oneof![
        any::<usize>().prop_map(Mutation::DeleteLine),
        any::<usize>().prop_map(Mutation::DuplicateLine),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
        (any::<usize>(), 0..200_usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (any::<usize>(), garbage).prop_map(|(at, text)| Mutation::Insert(at, text)),
        any::<usize>().prop_map(Mutation::Truncate),
        (2..6_usize).prop_map(Mutation::Repeat),
    ]
}

fn boundary(text: &str, at: usize) -> usize {
    (0..=at % (text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn mutated(text: &str, mutation: &Mutation) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let count = lines.len().max(1);
    match mutation {
        Mutation::DeleteLine(at) if !lines.is_empty() => drop(lines.remove(at % count)),
        Mutation::DuplicateLine(at) if !lines.is_empty() => lines.insert(at % count, lines[at % count]),
        Mutation::SwapLines(a, b) if !lines.is_empty() => lines.swap(a % count, b % count),
        Mutation::Cut(at, length) => {
            let start = boundary(text, *at);
            let end =
                (start..=(start + length).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(start);
            return format!("{}{}", &text[..start], &text[end..]);
        }
        Mutation::Insert(at, garbage) => {
            let at = boundary(text, *at);
            return format!("{}{garbage}{}", &text[..at], &text[at..]);
        }
        Mutation::Truncate(at) => return text[..boundary(text, *at)].to_owned(),
        Mutation::Repeat(times) => return text.repeat(*times),
        _ => {}
    }
    lines.join("\n")
}

fn assert_located(mistakes: &[Mistake], text: &str) {
    let lines = text.lines().count().max(1) + 1;
    for mistake in mistakes {
        assert!((1..=lines).contains(&mistake.line), "{mistake:?} of {lines}");
        assert!(!mistake.what.is_empty() && !mistake.remedy.is_empty(), "{mistake:?}");
        assert!(!mistake.to_string().chars().any(char::is_control), "{mistake:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn a_damaged_file_is_read_or_every_mistake_has_a_place(mutations in prop::collection::vec(mutation(), 1..6)) {
        let text = mutations.iter().fold(DESIGN.to_owned(), |text, mutation| mutated(&text, mutation));
        if let Err(mistakes) = ChangeFile::parse(&text) {
            prop_assert!(!mistakes.is_empty());
            assert_located(&mistakes, &text);
        }
    }

    #[test]
    fn any_text_is_read_or_every_mistake_has_a_place(text in any::<String>()) {
        if let Err(mistakes) = ChangeFile::parse(&text) {
            prop_assert!(!mistakes.is_empty());
            assert_located(&mistakes, &text);
        }
    }

    #[test]
    fn any_sql_can_be_offered_for_rewriting(sql in "(?s)[ -~é🦀\n]{0,60}|(SELECT|FROM|changed|JOIN|\\(|\\)|'|\"|--|/\\*|:p|,| |\\$\\$|x|\\*){0,20}") {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            let _ = replace_table(&sql, "changed", "SELECT 1", dialect);
        }
        let there_and_back = replace_parameter(&replace_parameter(&sql, ":p", ":qqq"), ":qqq", ":p");
        if !sql.contains(":qqq") {
            prop_assert_eq!(there_and_back, sql.clone());
        }
        for parameter in parameters(&sql) {
            prop_assert!(sql[parameter.offset..].starts_with(&parameter.name));
        }
    }
}

#[test]
fn a_huge_or_deep_file_is_refused_in_time() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        "[[forward]]\n".repeat(20_000),
        format!("{DESIGN}\n# {}", "x".repeat(2_000_000)),
        format!("x{} = 1", ".y".repeat(50_000)),
    ] {
        let mistakes = ChangeFile::parse(&text).unwrap_err();
        assert!(!mistakes.is_empty() && mistakes.len() <= 100);
        assert_located(&mistakes, &text);
    }
}

/// Damage that the parser lets through reaches the databases: there too it is a mistake with a place, never an error.
#[test]
fn damaged_sql_is_a_located_mistake_on_both_databases() {
    let databases = [TestDatabase::sqlite(), TestDatabase::postgres()];
    for database in &databases {
        database.connection().batch(schema(database.dialect())).unwrap();
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(60)
    });
    runner
        .run(&prop::collection::vec(mutation(), 1..3), |mutations| {
            let text = mutations.iter().fold(DESIGN.to_owned(), |text, mutation| mutated(&text, mutation));
            if ChangeFile::parse(&text).is_ok() {
                for database in &databases {
                    let found = checked(database, &text);
                    assert_located(&found.mistakes, &text);
                    assert_located(&found.warnings, &text);
                }
            }
            Ok(())
        })
        .unwrap();
}
