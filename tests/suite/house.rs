//! The rules of the house that a machine can hold: arrows between modules, what pure modules may know, sizes, first
//! lines, and that README's commands are real. Each rule is also shown a text that breaks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use changeover::cli::Cli;
use clap::Parser;

/// Modules from the top of the house to its ground; those of one floor do not know each other.
const FLOORS: [&[&str]; 9] = [
    &["cli"],
    &["console"],
    &["http", "jobs"],
    &["report", "routing"],
    &["translation"],
    &["store"],
    &["database", "conformance"],
    &["sql", "change", "allocation", "flags", "observations", "worker_gates", "edge"],
    &["primitives"],
];

/// Arrows within a floor that are allowed all the same.
const ALLOWED_ASIDE: [(&str, &str); 1] = [("sql", "change")];

const PURE: [&str; 8] = ["observations", "worker_gates", "edge", "flags", "change", "sql", "allocation", "primitives"];

/// What a pure module's code never names: I/O, frameworks, the clock.
const IMPURE: [&str; 16] = [
    "diesel",
    "rusqlite",
    "actix_web",
    "tokio",
    "clap",
    "indicatif",
    "tracing",
    "reqwest",
    "ureq",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "SystemTime",
    "Timestamp::now",
    "Instant::now",
];

/// Stands for somebody else's application: it knows a driver and its old tables, and nothing of ours.
const OLD_CODE: &str = "src/cli/demo/old_code/";

const CODE_LINES_MAX: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a directory of the repository with one of the endings, in order.
fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(below)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// `src/flags/bucket.rs` → `flags`; `lib.rs` and `main.rs` belong to no module.
fn module_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (name != "lib" && name != "main").then_some(name)
}

/// The lines before the unit tests, without comments; texts in quotes stay.
fn code(text: &str) -> String {
    let before_tests = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = before_tests.lines().map(|line| {
        let line = line.trim_end();
        if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The modules named after `crate::`, in braces too.
fn modules_named(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => drop(named.insert(after.chars().take_while(|c| is_word(*c)).collect())),
            Some(list) => {
                let (mut depth, mut name, mut is_first) = (0usize, String::new(), true);
                for character in list.chars() {
                    match character {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            named.insert(std::mem::take(&mut name));
                            is_first = true;
                        }
                        _ if depth == 0 && is_first && is_word(character) => name.push(character),
                        _ if depth == 0 && !character.is_whitespace() => is_first = false,
                        _ => {}
                    }
                }
                named.insert(name);
            }
        }
    }
    named.remove("");
    named
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Every arrow of a file that runs upwards or aside.
fn forbidden_arrows(path: &str, text: &str) -> Vec<String> {
    let Some(from) = module_of(path) else { return Vec::new() };
    let Some(floor) = floor_of(from) else { return vec![format!("{path}: the house has no module `{from}`")] };
    let code = code(text);
    let mut wrong: Vec<String> = Vec::new();
    for to in modules_named(&code) {
        let Some(below) = floor_of(&to) else { continue };
        let is_allowed = to == from || below > floor || ALLOWED_ASIDE.contains(&(from, to.as_str()));
        if !is_allowed {
            wrong.push(format!(
                "{path}: `{from}` must not use `{to}`: arrows run downwards only (DESIGN.md, the house)"
            ));
        }
    }
    let way_out = if path.ends_with("/mod.rs") { "super::" } else { "super::super::" };
    let is_direct = |line: &&str| !line.starts_with(' ') && line.contains(way_out) && path.matches('/').count() == 2;
    for line in code.lines().filter(is_direct) {
        wrong.push(format!("{path}: `{line}` leaves its module; write `crate::…`, so that arrows can be read"));
    }
    wrong
}

/// Names that the code of a file must not know.
fn forbidden_names(path: &str, text: &str) -> Vec<String> {
    let Some(module) = module_of(path) else { return Vec::new() };
    let mut names: Vec<&str> = Vec::new();
    if path.starts_with(OLD_CODE) {
        names.extend([
            "crate::database",
            "crate::store",
            "crate::translation",
            "crate::sql",
            "crate::change",
            "crate::routing",
        ]);
    }
    if PURE.contains(&module) {
        names.extend(IMPURE);
    } else if !["database", "store"].contains(&module) && !path.starts_with(OLD_CODE) {
        names.push("diesel");
    }
    if module != "cli" {
        names.push("anyhow");
    }
    let code = code(text);
    let is_named = |name: &&str| {
        code.match_indices(*name).any(|(at, _)| {
            let before = code.get(..at).and_then(|text| text.chars().next_back());
            let after = code.get(at + name.len()..).unwrap_or_default();
            !before.is_some_and(is_word) && (name.contains("::") || after.starts_with("::"))
        })
    };
    names.into_iter().filter(is_named).map(|name| format!("{path}: `{module}` must not know `{name}`")).collect()
}

fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_run_downwards_only() {
    let sources = files("src", ".rs");
    assert!(sources.len() > 20, "the sources were not found");
    let of = |path: &PathBuf| forbidden_arrows(&relative(path), &fs::read_to_string(path).unwrap());
    assert_none(sources.iter().flat_map(of).collect());
}

#[test]
fn an_arrow_upwards_is_found() {
    let wrong = |path, text| forbidden_arrows(path, text).len();
    assert_eq!(wrong("src/flags/bucket.rs", "use crate::primitives::FlagKey;\n"), 0);
    assert_eq!(wrong("src/flags/bucket.rs", "use crate::store::Store;\n"), 1);
    assert_eq!(wrong("src/flags/bucket.rs", "fn f() { crate::change::parse() }\n"), 1);
    assert_eq!(wrong("src/sql/names.rs", "use crate::change::Direction;\n"), 0);
    assert_eq!(wrong("src/http/mod.rs", "use crate::{database::{Database, Row}, jobs, flags::Flag};\n"), 1);
    assert_eq!(wrong("src/jobs/mod.rs", "use super::http;\n"), 1);
    assert_eq!(wrong("src/jobs/lease.rs", "use super::super::cli;\n"), 1);
    assert_eq!(wrong("src/jobs/lease.rs", "// crate::http reads this\n#[cfg(test)]\nmod tests {}\n"), 0);
    assert_eq!(wrong("src/console/page.rs", "use crate::http::AppState;\n"), 0);
    assert_eq!(wrong("src/http/routes.rs", "use crate::console;\n"), 1);
    assert_eq!(wrong("src/utils/mod.rs", ""), 1);
}

#[test]
fn pure_modules_know_no_io_and_no_clock() {
    let of = |path: &PathBuf| forbidden_names(&relative(path), &fs::read_to_string(path).unwrap());
    assert_none(files("src", ".rs").iter().flat_map(of).collect());
}

#[test]
fn io_in_a_pure_module_is_found() {
    let wrong = |path, text| forbidden_names(path, text).len();
    assert_eq!(wrong("src/flags/evaluate.rs", "use diesel::prelude::*;\nlet now = jiff::Timestamp::now();\n"), 2);
    assert_eq!(wrong("src/flags/evaluate.rs", "let is_undiesel = 1; // diesel::x\n"), 0);
    assert_eq!(wrong("src/http/routes.rs", "use diesel::prelude::*;\nuse anyhow::Context;\n"), 2);
    assert_eq!(wrong("src/store/flags.rs", "use diesel::prelude::*;\n"), 0);
    assert_eq!(wrong("src/cli/demo/old_code/mod.rs", "use diesel::prelude::*;\nuse crate::database::Row;\n"), 1);
    assert_eq!(wrong("src/change/file.rs", "#[cfg(test)]\n\n#[cfg(test)]\nmod tests { use std::fs; }\n"), 0);
}

#[test]
fn every_file_says_first_what_it_owns() {
    let mut silent = Vec::new();
    for path in ["src", "tests", "benches", "examples", "clients"].iter().flat_map(|below| files(below, ".rs")) {
        if !fs::read_to_string(&path).unwrap().starts_with("//! ") {
            silent.push(format!("{}: begin with `//!`: what the file owns, what it never does", relative(&path)));
        }
    }
    assert_none(silent);
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for path in ["src", "benches", "examples", "clients"].iter().flat_map(|below| files(below, ".rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().lines().count();
        if lines > CODE_LINES_MAX {
            long.push(format!(
                "{}: {lines} lines without tests; a file is one idea, at most {CODE_LINES_MAX}",
                relative(&path)
            ));
        }
    }
    assert_none(long);
}

/// Every file that git knows or would add, as long as it is text.
fn texts() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files of the repository");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let texts = names.lines().filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)));
    texts.collect()
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    // Put together here, so that this file does not name them either.
    let places = ["work", "root", "home", "Users"].map(|place| format!("/{place}/"));
    let texts = texts();
    assert!(texts.len() > 20, "git listed too few files");
    let mut named = Vec::new();
    for (name, text) in &texts {
        for (number, line) in text.lines().enumerate() {
            let is_named = |place: &&String| {
                line.match_indices(place.as_str()).any(|(at, _)| {
                    let before = line.get(..at).and_then(|text| text.chars().next_back());
                    !before.is_some_and(|c| is_word(c) || "./}>-".contains(c))
                })
            };
            if let Some(place) = places.iter().find(is_named) {
                named.push(format!("{name}:{}: names {place}…, a place of one machine", number + 1));
            }
        }
    }
    assert_none(named);
}

/// The commands in the shell blocks of a page: lines that begin with `changeover` or `cargo run … --`.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_shell = false;
    let page = page.replace("\\\n", " ");
    for line in page.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            is_shell = ["```sh", "```bash", "```console"].contains(&line);
        } else if is_shell {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let line = line.split(" | ").next().unwrap_or_default().split(" # ").next().unwrap_or_default();
            if let Some(rest) = line.strip_prefix("cargo run --release -- ") {
                found.push(format!("changeover {rest}"));
            } else if line.starts_with("changeover ") {
                found.push(line.to_owned());
            }
        }
    }
    found
}

/// A command line as words: spaces part them, quotes hold them together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_open) = (Vec::new(), String::new(), None, false);
    for character in line.chars() {
        match quote {
            Some(end) if character == end => quote = None,
            Some(_) => word.push(character),
            None if character == '\'' || character == '"' => (quote, is_open) = (Some(character), true),
            None if character.is_whitespace() => {
                if is_open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_open = false;
            }
            None => word.push(character),
        }
    }
    if is_open || !word.is_empty() {
        words.push(word);
    }
    let end = words.iter().position(|word| [">", "2>", "&", "&&", ";", "<", "<<END"].contains(&word.as_str()));
    words.truncate(end.unwrap_or(words.len()));
    words
}

#[test]
fn commands_on_our_pages_are_real() {
    let mut wrong = Vec::new();
    for (name, text) in texts().iter().filter(|(name, _)| name.ends_with(".md")) {
        for command in commands(text) {
            if let Err(error) = Cli::try_parse_from(words(&command.replace("$PERIOD", "2026-11"))) {
                use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
                if ![DisplayHelp, DisplayVersion].contains(&error.kind()) {
                    wrong.push(format!("{name}: `{command}`\n{error}"));
                }
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let page = "```sh\n$ cargo run --release -- frobnicate 'a b' | jq . # so\n```\n```json\nchangeover no\n```\n";
    assert_eq!(commands(page), ["changeover frobnicate 'a b'"]);
    assert_eq!(words("changeover x 'a b' --y=\"\" > file"), ["changeover", "x", "a b", "--y="]);
    assert!(Cli::try_parse_from(words("changeover frobnicate")).is_err());
}
