//! README's quick start, run as it stands, from the first command to the last.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{TestDatabase, each_database, free_port};

const README: &str = include_str!("../../README.md");

#[test]
fn the_quick_start_works_as_it_stands() {
    each_database(|database: TestDatabase| {
        let directory = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        symlink(root.join("examples"), directory.path().join("examples")).unwrap();
        let script = quick_start()
            .replace("sqlite:videos.db", database.url())
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", free_port()))
            .replace("--charges 20000", "--charges 2000");
        assert!(
            script.contains(database.url()) && script.contains("--charges 2000\u{20}"),
            "README has changed: {script}"
        );
        let binaries = Path::new(env!("CARGO_BIN_EXE_changeover")).parent().unwrap();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-x", "-c", &script])
            .current_dir(directory.path())
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "README's quick start fails:\n{stdout}\n{stderr}");
        assert!(stdout.contains("No drift."), "{stdout}");
        assert!(stdout.contains(r#""variant":"new""#), "user 2 is an early bird:\n{stdout}");
        let page = std::fs::read_to_string(directory.path().join("report.html")).unwrap();
        assert!(page.contains("<svg"), "the report has no chart");
    });
}

/// The shell blocks below the heading, one after the other.
fn quick_start() -> String {
    let (_, section) = README.split_once("## Quick start").expect("README has a quick start");
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    blocks.collect::<Vec<_>>().join("\n")
}
