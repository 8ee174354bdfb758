//! The commands in docs/writes.md, run as they stand.

use std::path::Path;
use std::process::{Command, Stdio};

use changeover::change::Stage;
use serde_json::json;

use super::Shop;
use crate::support::{changeover, each_database};

const PAGE: &str = include_str!("../../../../docs/writes.md");

#[test]
fn the_commands_of_the_page_work_as_they_stand() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::Live);
        let blocks = PAGE.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
        let script = blocks.collect::<Vec<_>>().join("\n");
        let binaries = Path::new(env!("CARGO_BIN_EXE_changeover")).parent().unwrap();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("PATH", format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default()))
            .env("URL", shop.server.url())
            .env("TOKEN", shop.server.admin_token())
            .env("CHANGEOVER_DATABASE_URL", shop.installed.database.url())
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "docs/writes.md fails:\n{stdout}\n{stderr}");
        let replayed =
            stdout.lines().filter(|line| line.to_lowercase().starts_with("idempotency-replayed: true")).count();
        assert_eq!(replayed, 1, "{stdout}");
        assert_eq!(shop.number("SELECT count(*) AS n FROM users WHERE name = 'Grace'"), 1);
        assert_eq!(shop.number("SELECT count(*) AS n FROM users WHERE name = 'Hopper'"), 1);
        assert_eq!(shop.number("SELECT count(*) AS n FROM videos WHERE title IN ('First', 'Second', 'Renamed')"), 3);
        shop.assert_agrees(&json!("docs/writes.md"));
    });
}

#[test]
fn the_command_refuses_as_the_api_does() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::DualWrite);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("operations.json");
        std::fs::write(&file, r#"{"operations":[{"insert":"users","rows":[{"name":1},{"nmae":"x"}]}]}"#).unwrap();
        let path = file.display().to_string();
        let run = |more: &[&str]| {
            changeover()
                .service(&shop.installed.database)
                .args(["write", "--file", &path])
                .args(more.iter().copied())
                .run()
        };
        let finished = run(&["--json"]);
        assert_eq!(finished.code, 2, "{finished}");
        assert!(
            finished.stdout.contains("\"invalid_write\"") && finished.stdout.contains("/operations/0/rows/1/nmae"),
            "{finished}"
        );
        let finished = run(&[]);
        assert!(finished.code == 2 && finished.stderr.contains("no column `nmae`"), "{finished}");
        std::fs::write(&file, r#"{"operations":[{"insert":"users","row":{"name":"Cli"}}]}"#).unwrap();
        let finished = run(&["--dry-run"]);
        assert!(finished.code == 0 && finished.stdout.contains("rolled back"), "{finished}");
        for _ in 0..2 {
            let finished = run(&["--idempotency-key", "k"]);
            assert!(finished.code == 0 && finished.stdout.contains("block f1"), "{finished}");
        }
        assert_eq!(shop.number("SELECT count(*) AS n FROM users WHERE name = 'Cli'"), 1);
        shop.assert_agrees(&json!("command line"));
    });
}
