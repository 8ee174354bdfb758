//! `change check` on files that are right: what it says, prints and returns.

use changeover::change::ChangeFile;
use changeover::primitives::Dialect;
use changeover::translation::{Checked, check};

use crate::support::{TestDatabase, changeover, each_database};

pub const DESIGN: &str = include_str!("billing-allocation.toml");

/// The schema of the video-hosting example.
pub fn schema(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => include_str!("../../../examples/video-hosting/schema.postgres.sql"),
        Dialect::Sqlite => include_str!("../../../examples/video-hosting/schema.sqlite.sql"),
    }
}

pub fn checked(database: &TestDatabase, text: &str) -> Checked {
    let file = ChangeFile::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let url = database.url().parse().unwrap();
    check(&mut database.connection(), &url, &file).unwrap()
}

#[test]
fn the_example_of_the_design_is_clean() {
    each_database(|database| {
        database.connection().batch(schema(database.dialect())).unwrap();
        let checked = checked(&database, DESIGN);
        assert_eq!(checked.mistakes, []);
        // INSERT OR REPLACE, and a joined table of several that SQLite computes whole.
        let expected = if database.dialect() == Dialect::Sqlite { 2 } else { 0 };
        assert_eq!(checked.warnings.len(), expected, "{:#?}", checked.warnings);
        let reads: Vec<Vec<String>> = checked
            .blocks
            .iter()
            .map(|block| block.reads.keys().map(|table| table.replace("\"public\".", "").replace('"', "")).collect())
            .collect();
        assert_eq!(
            reads,
            [
                vec!["users"],
                vec!["accounts", "users"],
                vec!["accounts", "memberships", "video_accounts", "videos"],
                vec!["charges", "memberships", "video_accounts"],
                vec!["accounts", "memberships", "video_accounts", "videos"],
            ]
        );
    });
}

#[test]
fn both_examples_are_clean() {
    each_database(|database| {
        database.connection().batch(schema(database.dialect())).unwrap();
        let text = include_str!("../../../examples/video-hosting/change.toml");
        assert_eq!(checked(&database, text).mistakes, []);
    });
    each_database(|database| {
        let schema = match database.dialect() {
            Dialect::Postgres => include_str!("../../../examples/cloud-costs/schema.postgres.sql"),
            Dialect::Sqlite => include_str!("../../../examples/cloud-costs/schema.sqlite.sql"),
        };
        database.connection().batch(schema).unwrap();
        let text = include_str!("../../../examples/cloud-costs/change.toml");
        assert_eq!(checked(&database, text).mistakes, []);
    });
}

#[test]
fn checking_leaves_no_trace() {
    each_database(|database| {
        let mut connection = database.connection();
        connection.batch(schema(database.dialect())).unwrap();
        let objects = match database.dialect() {
            Dialect::Postgres => "SELECT count(*) AS n FROM pg_class",
            Dialect::Sqlite => "SELECT count(*) AS n FROM sqlite_master",
        };
        let before = connection.get_row(objects, &[]).unwrap();
        let bad =
            DESIGN.replace("FROM users u JOIN", "FROM users u; DELETE FROM users; COMMIT; SELECT 1 FROM users JOIN");
        assert!(!checked(&database, &bad).is_clean());
        assert!(checked(&database, DESIGN).is_clean());
        assert_eq!(connection.get_row(objects, &[]).unwrap(), before);
    });
}

#[test]
fn the_command_prints_places_and_returns_what_scripts_need() {
    each_database(|database| {
        database.connection().batch(schema(database.dialect())).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("good.toml"), DESIGN).unwrap();
        std::fs::write(
            directory.path().join("bad.toml"),
            DESIGN.replace("table = \"accounts\"", "table = \"acounts\""),
        )
        .unwrap();
        std::fs::write(directory.path().join("latin1.toml"), b"format = 1\nname = \"\xe4\"\n").unwrap();
        let run = |arguments: &[&str]| {
            changeover().app(&database).directory(directory.path()).args(["change", "check"]).args(arguments).run()
        };
        let good = run(&["good.toml"]);
        assert_eq!(good.code, 0, "{good}");
        assert!(good.stdout.contains("good.toml: no mistakes"), "{good}");
        let bad = run(&["bad.toml"]);
        assert_eq!(bad.code, 1, "{bad}");
        let line = "bad.toml:29: mistake: f2 (memberships): `follows` names the table `acounts`, which does not exist\n    \
                    write `accounts` if that is meant";
        assert!(bad.stdout.contains(line), "{bad}");
        let install =
            changeover().app(&database).directory(directory.path()).args(["change", "install", "bad.toml"]).run();
        assert!(install.code == 2 && install.stderr.contains("the table `acounts`"), "{install}");
        let document: serde_json::Value = serde_json::from_str(&run(&["bad.toml", "--json"]).stdout).unwrap();
        assert_eq!(document["clean"], false);
        assert_eq!(document["mistakes"][0]["line"], 29);
        let latin1 = run(&["latin1.toml"]);
        assert!(
            latin1.code == 1 && latin1.stdout.contains("latin1.toml:2: mistake: the file is not UTF-8"),
            "{latin1}"
        );
        assert_eq!(run(&["missing.toml"]).code, 2);
        let nowhere = changeover().env("CHANGEOVER_APP_DATABASE_URL", "sqlite:no/such.db").directory(directory.path());
        assert_eq!(nowhere.args(["change", "check", "good.toml"]).run().code, 2);
    });
}
