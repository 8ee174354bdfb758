//! A closed period keeps what its charges were allocated to: whatever moves afterwards is told, and nothing else.

use changeover::database::{DatabaseConnection, Dialect};
use serde_json::Value;

use super::commands::{NAME, command, installed, report};
use crate::examples::support::{load_video_hosting, number};
use crate::support::{Random, TestDatabase, each_database, full_length};

const OPEN: &str = "2026-11";

/// The example at `shadow`, with every month before November closed, in the application too.
fn closed(database: &TestDatabase, seed: u64) -> DatabaseConnection {
    let mut connection = database.connection();
    load_video_hosting(&mut connection, 400, seed);
    installed(database);
    let run = |arguments: &[&str]| drop(command(database).args(arguments).run().expect_code(0));
    run(&["verify", NAME]);
    run(&["change", "stage", NAME, "shadow"]);
    run(&["change", "close", NAME, "--before", OPEN, "--reason", "billed"]);
    connection.batch(&format!("UPDATE periods SET closed = true WHERE period < '{OPEN}'")).unwrap();
    connection
}

fn exceptions(report: &Value) -> Vec<(String, String)> {
    let lines = report["data"]["exceptions"].as_array().unwrap();
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let mut found: Vec<(String, String)> =
        lines.iter().map(|line| (text(line, "class"), text(line, "charge_id"))).collect();
    found.sort();
    found
}

/// A charge of October that is divided over several payers and that nothing reverses.
fn divided(connection: &mut DatabaseConnection) -> i64 {
    let sql = "SELECT max(id) FROM (SELECT c.id FROM charges c JOIN charge_allocations a ON a.charge_id = c.id
               WHERE c.period = '2026-10' AND c.reverses_id IS NULL
                 AND NOT EXISTS (SELECT 1 FROM charges r WHERE r.reverses_id = c.id)
               GROUP BY c.id HAVING count(*) > 1) d";
    number(connection, sql)
}

#[test]
fn nothing_has_moved_until_something_moves_behind_the_triggers_back() {
    each_database(|database| {
        let mut connection = closed(&database, 21);
        let clean = report(&database, &[NAME], 0);
        assert_eq!(exceptions(&clean), []);

        let id = divided(&mut connection);
        // The sum stays, and so do the payers: one unit goes from one of them to another.
        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor + CASE WHEN payer_id =
                   (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id}) THEN 1 ELSE -1 END
                 WHERE charge_id = {id} AND payer_id IN (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id}
                   UNION SELECT max(payer_id) FROM charge_allocations WHERE charge_id = {id})"
            ))
            .unwrap();
        let found = exceptions(&report(&database, &[NAME, "--period", "2026-10"], 1));
        assert_eq!(found, [(String::from("frozen_changed"), id.to_string())]);
        report(&database, &[NAME, "--period", OPEN], 0);
    });
}

#[test]
fn a_charge_that_is_gone_and_one_that_came_late_are_told() {
    each_database(|database| {
        let mut connection = closed(&database, 22);
        let id = divided(&mut connection);
        connection.batch(&format!("DELETE FROM charges WHERE id = {id}")).unwrap();
        let found = exceptions(&report(&database, &[NAME], 1));
        assert_eq!(found, [(String::from("frozen_changed"), id.to_string())], "its allocation went with it");

        let late = number(&mut connection, "SELECT max(id) + 1 FROM charges");
        let video = number(&mut connection, "SELECT max(id) FROM videos");
        connection
            .batch(&format!(
                "INSERT INTO charges (id, user_id, video_id, period, amount_minor, currency)
                 SELECT {late}, user_id, id, '2026-10', 700, 'EUR' FROM videos WHERE id = {video}"
            ))
            .unwrap();
        let found = exceptions(&report(&database, &[NAME], 1));
        let told = |id: i64| (String::from("frozen_changed"), id.to_string());
        let mut wanted = vec![told(id), told(late)];
        wanted.sort();
        assert_eq!(found, wanted);
    });
}

#[test]
fn whoever_closes_nothing_records_nothing_and_uninstall_leaves_nothing() {
    each_database(|database| {
        let mut connection = closed(&database, 23);
        let table = changeover::sql::names::own(database.dialect(), "closed_allocation");
        let before = number(&mut connection, &format!("SELECT count(*) FROM {table}"));
        assert!(before > 0);
        let run = |arguments: &[&str], code| drop(command(&database).args(arguments).run().expect_code(code));
        run(&["change", "close", NAME, "--before", OPEN], 0);
        assert_eq!(
            number(&mut connection, &format!("SELECT count(*) FROM {table}")),
            before,
            "closing twice is closing once"
        );
        run(&["change", "close", NAME, "--before", "2026-10"], 2);
        run(&["change", "stage", NAME, "dualwrite"], 0);
        run(&["change", "stage", NAME, "off"], 0);
        run(&["change", "uninstall", NAME], 0);
    });
}

#[test]
fn closing_says_what_it_closes_and_waits_for_keys_and_pauses() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 60, 24);
        installed(&database);
        let close = |more: &[&str], code| {
            command(&database).args(["change", "close", NAME, "--before", OPEN]).args(more).run().expect_code(code)
        };
        let table = changeover::sql::names::own(database.dialect(), "closed_allocation");
        let recorded = || number(&mut database.connection(), &format!("SELECT count(*) FROM {table}"));
        let preview = close(&["--dry-run", "--json"], 0).json();
        let told: i64 =
            preview["closes"].as_array().unwrap().iter().map(|line| line["charges"].as_i64().unwrap()).sum();
        let sql = format!("SELECT count(*) FROM charges WHERE period < '{OPEN}'");
        assert_eq!((told, &preview["preview"]), (number(&mut connection, &sql), &Value::Bool(true)), "{preview}");
        assert_eq!(recorded(), 0, "a dry run writes nothing");
        let shown = close(&["--dry-run"], 0).stdout;
        assert!(shown.contains("periods before 2026-11 would be closed") && shown.contains("2026-10"), "{shown}");

        command(&database).args(["change", "pause", NAME, "--reason", "a look"]).run().expect_code(0);
        assert!(close(&[], 2).stderr.contains("has been paused since"));
        command(&database).args(["change", "resume", NAME]).run().expect_code(0);
        let pending = changeover::sql::names::own(database.dialect(), "pending");
        connection
            .batch(&format!(
                "INSERT INTO {pending} (change, block, key, error, sqlstate, attempts, first_at, last_at, next_at)
                 VALUES ('{NAME}', 'f1', '[1]', 'x', '', 1, 1, 1, 1)"
            ))
            .unwrap();
        let refused = close(&["--dry-run"], 2).stderr;
        assert!(
            refused.contains("1 keys of change `billing-allocation` wait") && refused.contains("change pending"),
            "{refused}"
        );
        connection.batch(&format!("DELETE FROM {pending}")).unwrap();
        assert_eq!(recorded(), 0);
        let closed = close(&["--reason", "billed", "--json"], 0).json();
        assert_eq!((&closed["closes"], &closed["preview"]), (&preview["closes"], &Value::Bool(false)));
        assert!(recorded() > 0);
        let again = close(&[], 0).stdout;
        assert!(again.contains("No charge is in them that was not closed before"), "{again}");
    });
}

/// It is killed at random moments: each time it has happened, or it has not; never a part of it.
#[test]
fn a_killed_closing_has_happened_or_not() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 400, 25);
        installed(&database);
        let own = |table: &str| changeover::sql::names::own(database.dialect(), table);
        let forget = format!(
            "DELETE FROM {}; DELETE FROM {}; UPDATE {} SET open_period = ''",
            own("closed_allocation"),
            own("closed_period"),
            own("change")
        );
        let state = format!(
            "SELECT (SELECT count(*) FROM {}) * 1000000 + (SELECT count(*) FROM {}) * 10 + (SELECT count(*) FROM {} WHERE open_period = '{OPEN}')",
            own("closed_allocation"),
            own("closed_period"),
            own("change")
        );
        let close = || command(&database).args(["change", "close", NAME, "--before", OPEN]);
        close().run().expect_code(0);
        let whole = number(&mut connection, &state);
        assert!(whole > 1_000_000 && whole % 10 == 1, "{whole}");
        let (mut random, mut happened) = (Random::new(26), 0);
        for _ in 0..full_length(60, 8) {
            connection.batch(&forget).unwrap();
            let mut process = close().spawn();
            // The moment itself is what is random here: no event stands for it.
            std::thread::sleep(std::time::Duration::from_micros(random.below(120_000)));
            drop(process.kill());
            drop(process.wait());
            wait_for_others(&database);
            let found = number(&mut connection, &state);
            assert!(found == 0 || found == whole, "half of it: {found} of {whole}");
            happened += i64::from(found == whole);
            close().run().expect_code(0);
            assert_eq!(number(&mut connection, &state), whole, "again, to the end");
        }
        eprintln!("{}: {happened} closings had happened before they were killed", database.dialect());
    });
}

/// A killed client's last statement goes on until PostgreSQL notices.
fn wait_for_others(database: &TestDatabase) {
    if database.dialect() == Dialect::Postgres {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
                   AND backend_type = 'client backend' AND state <> 'idle'";
        while number(&mut database.connection(), sql) > 0 {}
    }
}
