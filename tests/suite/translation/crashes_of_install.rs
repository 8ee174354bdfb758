//! `change install`, `stage` and `uninstall` are killed at random moments: each has happened, or it has not; never a part of it.

use changeover::database::{DatabaseConnection, Dialect};

use super::crashes::kill_in_time;
use super::lifecycle::objects;
use crate::support::{Random, TestDatabase, changeover, each_database, full_length};

const CHANGE: &str = "billing-allocation";
const CHANGE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/video-hosting/change.toml");

#[test]
fn a_killed_install_stage_or_uninstall_has_happened_or_not() {
    each_database(|database| {
        drop(super::loaded(&database));
        // The service's own tables come with the first command; afterwards nothing but the change comes and goes.
        run(&database, &["flag", "list"]);
        let before = own_objects(&database);
        run(&database, &["change", "install", CHANGE_FILE]);
        let installed = own_objects(&database);
        run(&database, &["change", "stage", CHANGE, "dualwrite"]);
        let dualwrite = own_objects(&database);
        run(&database, &["change", "stage", CHANGE, "off"]);
        run(&database, &["change", "uninstall", CHANGE]);
        assert_eq!(own_objects(&database), before);

        let mut random = Random::new(7);
        let mut happened = [0, 0, 0];
        for user in 1..=full_length(60, 8) {
            kill_in_time(&database, &mut random, &["change", "install", CHANGE_FILE], "");
            if settle(&database, &before, &installed) {
                happened[0] += 1;
            } else {
                run(&database, &["change", "install", CHANGE_FILE]);
            }
            kill_in_time(&database, &mut random, &["change", "stage", CHANGE, "dualwrite"], "");
            if settle(&database, &installed, &dualwrite) {
                happened[1] += 1;
            }
            let is_on = stage(&database) == "dualwrite";
            // Whether old writes are translated is what the stage says.
            let mut connection = database.connection();
            let id = 5_000 + user;
            connection.batch(&format!("INSERT INTO users (id, name) VALUES ({id}, 'x')")).unwrap();
            assert_eq!(count(&mut connection, &format!("accounts WHERE owner_id = {id}")) == 1, is_on);
            drop(connection);
            if is_on {
                run(&database, &["change", "stage", CHANGE, "off"]);
            }
            kill_in_time(&database, &mut random, &["change", "uninstall", CHANGE], "");
            if settle(&database, &installed, &before) {
                happened[2] += 1;
            } else {
                run(&database, &["change", "uninstall", CHANGE]);
            }
            assert_eq!(own_objects(&database), before);
        }
        eprintln!(
            "{}: before they were killed had happened: {happened:?} installs, moves, uninstalls",
            database.dialect()
        );
    });
}

/// True if the database is as it is `after`, false if it is as it was `before`; anything else fails.
fn settle(database: &TestDatabase, before: &[String], after: &[String]) -> bool {
    if database.dialect() == Dialect::Postgres {
        let mut connection = database.connection();
        let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'";
        // A killed client's last statement goes on until PostgreSQL notices.
        while connection.get_row(sql, &[]).unwrap().integer("n").unwrap() > 0 {}
    }
    let found = own_objects(database);
    // Moves to another stage leave the same objects on PostgreSQL.
    if before == after {
        return stage(database) == "dualwrite";
    }
    assert!(found == before || found == after, "half of it: {:#?}", difference(&found, before, after));
    found == after
}

fn difference<'a>(found: &'a [String], before: &'a [String], after: &'a [String]) -> Vec<&'a String> {
    let missing = after.iter().filter(|object| !found.contains(object));
    missing.chain(found.iter().filter(|object| !before.contains(object))).collect()
}

/// Everything but the rows of other tables; the text of what a stage changes is not among it on PostgreSQL.
fn own_objects(database: &TestDatabase) -> Vec<String> {
    objects(&mut database.connection())
}

fn stage(database: &TestDatabase) -> String {
    let changes = run(database, &["--json", "change", "list"]);
    changes[0]["stage"].as_str().unwrap().to_owned()
}

fn run(database: &TestDatabase, arguments: &[&str]) -> serde_json::Value {
    let finished = changeover().service(database).args(arguments).run().expect_code(0);
    if arguments[0] == "--json" { finished.json() } else { serde_json::Value::Null }
}

fn count(connection: &mut DatabaseConnection, table: &str) -> i64 {
    connection.get_row(&format!("SELECT count(*) AS n FROM {table}"), &[]).unwrap().integer("n").unwrap()
}
