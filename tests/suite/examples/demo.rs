//! `changeover demo` as a person runs it.

use changeover::primitives::Dialect;

use super::support::focus_sample;
use crate::support::{Finished, TestDatabase, changeover, each_database};

#[test]
fn the_demo_holds_on_both_databases() {
    each_database(|database| {
        let directory = tempfile::tempdir().unwrap();
        let finished = demo(&database, &directory, &["--charges", "2000"]).expect_code(0);
        let shown = finished.json();
        assert_eq!(shown["held"], true, "{finished}");
        assert_eq!(shown["drift"]["rows"], 0);
        assert_eq!(shown["report"]["clean"], true);
        assert_eq!(shown["report"]["exceptions"], 0);
        assert!(shown["old_code"]["rows_while_live"].as_u64().unwrap() >= 1, "{finished}");
        assert_eq!(shown["groups"]["moved_back"], 3);
        assert!(shown["groups"]["new"].as_u64().unwrap() > 0 && shown["groups"]["old"].as_u64().unwrap() > 0);
        let totals = shown["totals"].as_array().unwrap();
        assert_eq!(totals.len(), 16, "four months, four currencies");
        for total in totals {
            assert_eq!(total["charged"], total["effective"], "{total}");
            assert_eq!(total["charged"], total["new"], "{total}");
        }
        assert!(totals.iter().any(|total| total["on_new"] != "0" && total["on_new"] != "0.00"), "{finished}");
        let page = std::fs::read_to_string(directory.path().join(shown["report"]["file"].as_str().unwrap())).unwrap();
        assert!(page.contains("</html>"));
    });
}

#[test]
fn the_demo_holds_on_the_real_charges() {
    let Some(sample) = focus_sample() else { return };
    let sample = sample.canonicalize().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let database = TestDatabase::postgres();
    let arguments = ["--example", "cloud-costs", "--data", sample.to_str().unwrap()];
    let shown = demo(&database, &directory, &arguments).expect_code(0).json();
    assert_eq!(shown["held"], true, "{shown:#}");
    assert_eq!(shown["loaded"]["charges"], 1_000);
}

#[test]
fn a_database_in_use_is_refused_with_a_way_out() {
    each_database(|database| {
        database.connection().batch("CREATE TABLE mine (id BIGINT PRIMARY KEY)").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["demo", "--no-serve", "--database-url", database.url()];
        let finished = changeover().args(arguments).directory(directory.path()).run().expect_code(2);
        assert!(finished.stderr.contains("is not empty"), "{finished}");
        let remedy = match database.dialect() {
            Dialect::Postgres => "createdb changeover_demo",
            Dialect::Sqlite => "leave --database-url out",
        };
        assert!(finished.stderr.contains(remedy), "{finished}");
    });
}

/// Runs the demo in an empty directory: in the given database, or on SQLite in the file that it chooses itself.
fn demo(database: &TestDatabase, directory: &tempfile::TempDir, arguments: &[&str]) -> Finished {
    let mut command = changeover().directory(directory.path()).args(["demo", "--no-serve", "--json"]).args(arguments);
    if database.dialect() == Dialect::Postgres {
        command = command.args(["--database-url", database.url()]);
    }
    // A URL from the environment names somebody's real database: the demo leaves it alone.
    command.env("CHANGEOVER_DATABASE_URL", "sqlite:must-not-be-made.db").run()
}
