//! Change files that are damaged in every way an editor, a merge or a disk can damage them.

use changeover::change::{ChangeFile, Mistake};
use proptest::prelude::*;

use crate::support::changeover;

const EXAMPLES: [&str; 2] = [
    include_str!("../../../examples/video-hosting/change.toml"),
    include_str!("../../../examples/cloud-costs/change.toml"),
];

/// Something that is done to the text of a change file.
#[derive(Debug, Clone)]
enum Damage {
    CutAt(usize),
    RemoveLine(usize),
    DuplicateLine(usize),
    SwapLines(usize, usize),
    Insert(usize, String),
    Overwrite(usize, String),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = 0usize..200;
    let text = prop_oneof![
        Just(String::from("\"\"\"")),
        Just(String::from("[[forward]]\n")),
        Just(String::from("[forward.follows]\n")),
        Just(String::from("[allocation]\n")),
        Just(String::from(" = 1\n")),
        Just(String::from("\u{0}\u{feff}\u{202e}")),
        Just(String::from("99999999999999999999999999")),
        Just(String::from("'; DROP TABLE users; --")),
        Just(String::from("[[[[[[[[[[[[[[[[")),
        "\\PC{0,40}",
    ];
    prop_oneof![
        (0usize..8000).prop_map(Damage::CutAt),
        place.clone().prop_map(Damage::RemoveLine),
        place.clone().prop_map(Damage::DuplicateLine),
        (place.clone(), place).prop_map(|(one, other)| Damage::SwapLines(one, other)),
        (0usize..8000, text.clone()).prop_map(|(at, text)| Damage::Insert(at, text)),
        (0usize..8000, text).prop_map(|(at, text)| Damage::Overwrite(at, text)),
    ]
}

fn damaged(text: &str, damages: &[Damage]) -> String {
    let mut text = text.to_owned();
    for damage in damages {
        text = match damage {
            Damage::CutAt(at) => text[..boundary(&text, *at)].to_owned(),
            Damage::Insert(at, more) => {
                let at = boundary(&text, *at);
                format!("{}{more}{}", &text[..at], &text[at..])
            }
            Damage::Overwrite(at, more) => {
                let at = boundary(&text, *at);
                let end = boundary(&text, at + more.len());
                format!("{}{more}{}", &text[..at], &text[end..])
            }
            Damage::RemoveLine(_) | Damage::DuplicateLine(_) | Damage::SwapLines(..) => with_lines(&text, damage),
        };
    }
    text
}

fn with_lines(text: &str, damage: &Damage) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if !lines.is_empty() {
        let count = lines.len();
        let within = |at: usize| at % count;
        match *damage {
            Damage::RemoveLine(at) => drop(lines.remove(within(at))),
            Damage::DuplicateLine(at) => lines.insert(within(at), lines[within(at)]),
            Damage::SwapLines(one, other) => lines.swap(within(one), within(other)),
            _ => {}
        }
    }
    lines.join("\n")
}

fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Every mistake says where, what and what next.
fn assert_located(text: &str, mistakes: &[Mistake]) {
    assert!(!mistakes.is_empty(), "refused without a reason");
    let lines = text.lines().count().max(1);
    for mistake in mistakes {
        assert!((1..=lines + 1).contains(&mistake.line), "line {} of {lines}: {mistake}", mistake.line);
        assert!(!mistake.what.trim().is_empty() && !mistake.remedy.trim().is_empty(), "{mistake:?}");
        assert!(!mistake.to_string().contains('\n'), "more than one line: {mistake:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_change_file_is_read_or_refused_with_its_lines(
        example in 0usize..2,
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let text = damaged(EXAMPLES[example], &damages);
        if let Err(mistakes) = ChangeFile::parse(&text) {
            assert_located(&text, &mistakes);
        }
    }

    #[test]
    fn any_text_is_refused_with_its_lines(text in "(?s).{0,300}") {
        match ChangeFile::parse(&text) {
            Ok(_) => prop_assert!(false, "taken: {text}"),
            Err(mistakes) => assert_located(&text, &mistakes),
        }
    }
}

#[test]
fn the_examples_are_taken() {
    for example in EXAMPLES {
        ChangeFile::parse(example).unwrap();
    }
}

#[test]
fn a_change_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let binary = at("binary.toml", &[0xff, 0xfe, 0x00, 0x80, 0x0a]);
    let empty = at("empty.toml", b"");
    let missing = directory.path().join("missing.toml");
    let database = directory.path().join("app.db");
    std::fs::write(&database, b"").unwrap();
    for path in [&binary, &empty, &missing, &directory.path().to_path_buf()] {
        let finished = changeover()
            .args(["change", "check"])
            .arg(path)
            .arg("--app-database-url")
            .arg(format!("sqlite:{}", database.display()))
            .run();
        assert!(finished.code == 1 || finished.code == 2, "{finished}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(said.contains(&*name) && !said.contains("panicked"), "{} is not named\n{finished}", path.display());
    }
}
