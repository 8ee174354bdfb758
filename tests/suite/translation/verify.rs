//! Verify and repair: passes that go on where they were, rows that no range would hold, keys that cannot be computed, and traffic
//! that must raise no alarm.

use std::sync::atomic::{AtomicBool, Ordering};

use changeover::change::{ChangeFile, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::translation::{BlockDrift, DriftClass, Pass, VerifyOptions, own, verify};

use super::faults::behind_its_back;
use super::fixture::{deed, install_file, installed};
use crate::support::{TestDatabase, changeover, each_database};

const SMALL: VerifyOptions = VerifyOptions { range_keys: 2, samples_max: 50 };

/// A target whose key may be NULL, and which anybody may write.
const NOTES: &str = r#"
format = 1
name = "notes"
title = "Notes"

[[forward]]
into = "new_notes"
from = "notes"
key = "note_id"
identity = ["note_id"]
owns = "number >= 0"
query = "SELECT id AS note_id, CAST(body AS integer) AS number FROM notes"
"#;

fn notes(database: &TestDatabase, rows: i64) -> (DatabaseConnection, changeover::sql::model::ChangeModel) {
    let mut connection = database.connection();
    connection
        .batch(
            "CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL);
             CREATE TABLE new_notes (note_id BIGINT UNIQUE, number INTEGER)",
        )
        .unwrap();
    let numbers = (1..=rows).map(|id| format!("({}, '{id}')", id * 10)).collect::<Vec<_>>().join(", ");
    connection.batch(&format!("INSERT INTO notes VALUES {numbers}")).unwrap();
    let model = install_file(&mut connection, &ChangeFile::parse(NOTES).unwrap(), Stage::DualWrite);
    (connection, model)
}

fn total(blocks: &[BlockDrift]) -> (u64, u64, u64) {
    let sum = |count: fn(&BlockDrift) -> u64| blocks.iter().map(count).sum();
    (sum(|block| block.missing), sum(|block| block.extra), sum(|block| block.different))
}

#[test]
fn a_stopped_verify_goes_on_with_what_it_had_found() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        behind_its_back(
            &installed,
            &[
                "DELETE FROM charge_allocations WHERE charge_id = 4",
                "UPDATE accounts SET name = 'x' WHERE owner_id = 1",
            ],
        );
        let mut connection = installed.connection();
        let pass = Pass { options: SMALL, ..Pass::new(&installed.model) };
        let whole = pass.verify(&mut connection, &mut |_, _, _| true).unwrap();
        assert_eq!((whole.finished, whole.resumed), (true, None));
        assert_eq!(total(&whole.blocks), (1, 0, 1));

        let first = pass.verify(&mut connection, &mut |_, _, _| false).unwrap();
        assert!(!first.finished);
        // What was found before the stop is put right meanwhile: the part that is gone on with still tells of it.
        behind_its_back(&installed, &["UPDATE accounts SET name = 'Ünïcode GmbH' WHERE owner_id = 1"]);
        let mut ranges = 0;
        let second = pass
            .verify(&mut connection, &mut |_, _, _| {
                ranges += 1;
                true
            })
            .unwrap();
        assert!(second.resumed.is_some() && second.finished);
        assert_eq!(total(&second.blocks), (1, 0, 1), "{second:#?}");
        assert_eq!(second.blocks[0].samples.len(), 1, "with both images: {second:#?}");
        assert_eq!(second.blocks[0].keys, 6);
        let anew = Pass { restart: true, ..pass.clone() }.verify(&mut connection, &mut |_, _, _| true).unwrap();
        assert_eq!((anew.resumed, total(&anew.blocks)), (None, (1, 0, 0)));
        assert!(ranges > 0);
    });
}

#[test]
fn a_verify_that_another_overtakes_stops() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        let mut connection = installed.connection();
        let mut other = installed.connection();
        let pass = Pass { options: SMALL, restart: true, ..Pass::new(&installed.model) };
        let mut is_first = true;
        let outcome = pass.verify(&mut connection, &mut |_, _, _| {
            if std::mem::take(&mut is_first) {
                assert!(!pass.verify(&mut other, &mut |_, _, _| false).unwrap().finished);
            }
            true
        });
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("another verify of change `billing-allocation` has begun meanwhile"), "{error}");
    });
}

#[test]
fn rows_that_no_driving_row_stands_for_are_found_wherever_they_are() {
    each_database(|database| {
        let (mut connection, model) = notes(&database, 20);
        // Not in any gap only: below the first key, between keys, a thousand after the last, and without a key.
        let orphans: Vec<String> = [-5, 3, 15].into_iter().chain(1_000..2_000).map(|id| format!("({id}, 0)")).collect();
        connection
            .batch(&format!("INSERT INTO new_notes VALUES {}, (NULL, 1), (NULL, 2), (NULL, -1)", orphans.join(", ")))
            .unwrap();
        let options = VerifyOptions { range_keys: 7, samples_max: 5_000 };
        let found = verify(&mut connection, &model, options, &mut |_, _| {}).unwrap();
        assert_eq!(total(&found), (0, 1_005, 0));
        assert_eq!(found[0].keys, 20);
        let keyless = found[0].samples.iter().filter(|row| row.key == "NULL");
        assert_eq!(keyless.map(|row| row.actual.as_ref().unwrap()["number"].as_i64().unwrap()).sum::<i64>(), 3);

        let pass = Pass { options, ..Pass::new(&model) };
        let done = pass.repair(&mut connection, false, deed(), &mut |_, _, _| true).unwrap();
        assert_eq!((done.found.drift(), done.found.repaired), (1_005, 1_005));
        assert_eq!(total(&done.left), (0, 0, 0));
        let rows = connection.get_row("SELECT count(*) AS n FROM new_notes", &[]).unwrap().integer("n").unwrap();
        assert_eq!(rows, 21, "what the driving rows stand for is still there, and what the block does not own");
    });
}

#[test]
fn a_key_that_cannot_be_computed_is_told_and_hides_no_other_on_postgres() {
    // SQLite's casts never fail.
    let database = TestDatabase::postgres();
    let (mut connection, model) = notes(&database, 50);
    connection
        .batch(
            "SET session_replication_role = replica; UPDATE notes SET body = 'seven' WHERE id = 70;
             UPDATE new_notes SET number = 0 WHERE note_id = 300; DELETE FROM new_notes WHERE note_id = 310;
             SET session_replication_role = origin",
        )
        .unwrap();
    let pass = Pass { options: VerifyOptions { range_keys: 20, samples_max: 10 }, ..Pass::new(&model) };
    let found = pass.verify(&mut connection, &mut |_, _, _| true).unwrap();
    assert_eq!(total(&found.blocks), (1, 0, 2), "{found:#?}");
    let failing = found.blocks[0].samples.iter().find(|row| row.key == "70").unwrap();
    assert!(failing.error.as_ref().unwrap().contains("seven"), "{failing:?}");
    let done = pass.repair(&mut connection, false, deed(), &mut |_, _, _| true).unwrap();
    assert_eq!(total(&done.left), (0, 0, 1), "the others are put right: {done:#?}");
    connection.batch("UPDATE notes SET body = '7' WHERE id = 70").unwrap();
    let done = pass.repair(&mut connection, true, deed(), &mut |_, _, _| true).unwrap();
    assert_eq!(total(&done.left), (0, 0, 0));
}

#[test]
fn a_repair_goes_on_where_it_was_and_stands_in_the_history() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        behind_its_back(
            &installed,
            &["DELETE FROM memberships WHERE user_id IN (5, 6)", "DELETE FROM charge_allocations"],
        );
        let mut connection = installed.connection();
        let pass = Pass { options: SMALL, ..Pass::new(&installed.model) };
        let mut ranges = 0;
        let stopped = pass
            .repair(&mut connection, false, deed(), &mut |_, _, _| {
                ranges += 1;
                ranges < 5
            })
            .unwrap();
        assert!(!stopped.found.finished);
        let done = pass.repair(&mut connection, false, deed(), &mut |_, _, _| true).unwrap();
        assert!(done.found.finished && done.found.resumed.is_some());
        assert_eq!(total(&done.left), (0, 0, 0), "{done:#?}");
        assert_eq!(done.found.drift(), done.found.repaired);
        installed.assert_agrees(false, &|| format!("{done:#?}"));
        let history = own::history(&mut connection, &installed.model.name).unwrap();
        let entry = history.iter().rev().find(|entry| entry.action == "repair").unwrap();
        let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
        let sample = &detail["samples"][0];
        assert!(sample["expected"].is_object() && sample["block"].is_string(), "{detail}");
        assert_eq!(sample["class"], DriftClass::Missing.as_str(), "{detail}");
    });
}

#[test]
fn the_command_looks_at_some_keys_or_blocks_and_repairs_only_on_demand() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        behind_its_back(&installed, &["UPDATE charge_allocations SET currency = 'USD' WHERE charge_id IN (3, 4)"]);
        let run = |arguments: &[&str], code: i32| {
            let command = changeover().service(&installed.database).arg("--json").args(arguments).run();
            command.expect_code(code).json()
        };
        assert_eq!(run(&["verify", "--block", "f1"], 0)["blocks"].as_array().unwrap().len(), 1);
        assert_eq!(run(&["verify", "--block", "f4", "--keys", "1", "3"], 1)["drift"], 1);
        assert_eq!(run(&["verify", "--block", "f4", "--keys", "1", "99"], 0)["drift"], 0);
        assert_eq!(run(&["verify", "--rate", "100000"], 1)["drift"], 2);
        assert_eq!(run(&["verify", "--sample", "100"], 1)["drift"], 2);
        changeover().service(&installed.database).args(["verify", "--block", "f9"]).run().expect_code(2);
        assert_eq!(run(&["repair", "--dry-run"], 1)["drift"], 2);
        assert_eq!(run(&["repair", "--found", "--dry-run"], 1)["drift"], 2);
        let done = run(&["repair", "--found"], 0);
        assert_eq!((&done["repaired_rows"], &done["drift"]), (&2.into(), &0.into()), "{done}");
        assert_eq!(run(&["verify"], 0)["drift"], 0);
    });
}

/// Writers change every table that blocks read while verify looks again and again; for a minute on each database with
/// `CHANGEOVER_TEST_FULL=1`.
#[test]
fn live_traffic_raises_no_alarm() {
    each_database(|database| {
        let installed = installed(database, Stage::Live);
        let is_full = std::env::var("CHANGEOVER_TEST_FULL").is_ok_and(|value| value == "1");
        let seconds = if is_full { 60 } else { 4 };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
        let stop = AtomicBool::new(false);
        let mut looks = 0;
        std::thread::scope(|scope| {
            for writer in 0..3u64 {
                let (installed, stop) = (&installed, &stop);
                scope.spawn(move || write(installed, writer, stop));
            }
            let mut connection = installed.connection();
            while std::time::Instant::now() < until {
                let options = VerifyOptions { range_keys: 1 + looks % 5, samples_max: 10 };
                let found = verify(&mut connection, &installed.model, options, &mut |_, _| {}).unwrap();
                let drift: u64 = found.iter().map(BlockDrift::drift).sum();
                if drift > 0 {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{}: {found:#?}", installed.database.dialect());
                }
                looks += 1;
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(looks > 1, "{looks}");
        eprintln!("{}: {looks} verifies in {seconds} s beside three writers, no alarm", installed.database.dialect());
    });
}

fn write(installed: &super::fixture::Installed, writer: u64, stop: &AtomicBool) {
    let mut connection = installed.connection();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = 10_000 * (writer + 1) + n;
        let statement = match n % 5 {
            0 => format!("UPDATE charges SET amount_minor = {n} WHERE id = {}", 1 + n % 4),
            1 => format!(
                "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES ({id}, 1, 1, '2026-11', 'EUR', {n})"
            ),
            2 => format!("UPDATE videos SET user_id = {} WHERE id = {}", 1 + n % 6, 1 + (n + writer) % 6),
            3 => format!("UPDATE users SET company = 'c{n}' WHERE id = {}", 1 + n % 6),
            _ => format!("DELETE FROM charges WHERE id = {}", id - 3),
        };
        // Deadlocks, and a busy SQLite file, are the writer's to retry; this one goes on to something else.
        if let Err(error) = connection.batch(&statement) {
            assert!(error.is_retryable(), "{statement}: {error}");
        }
        if connection.dialect() == Dialect::Sqlite {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}
