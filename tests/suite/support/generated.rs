//! Files that are generated and kept in the tree: a test makes each anew and fails on any difference.

use std::fs;
use std::path::Path;

/// Compares the file at `path` (from the root of the repository) with what its generator makes now.
/// `CHANGEOVER_UPDATE=1 cargo test` writes the file instead.
#[track_caller]
pub fn assert_generated(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var("CHANGEOVER_UPDATE").is_ok_and(|value| value == "1") {
        fs::create_dir_all(file.parent().expect("a generated file is in a directory")).expect("its directory");
        fs::write(&file, expected).expect("the generated file is written");
        return;
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found != expected {
        let different = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
        let line = different.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
        panic!(
            "{path} is not what its generator makes; they differ from line {}:\n  in the tree: {}\n  generated:   {}\n\
             remedy: CHANGEOVER_UPDATE=1 cargo test, then read the difference and commit it",
            line + 1,
            found.lines().nth(line).unwrap_or("(ends)"),
            expected.lines().nth(line).unwrap_or("(ends)"),
        );
    }
}
