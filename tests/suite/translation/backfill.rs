//! Backfills: several workers on parts that are cut by the keys there are, whatever these are; killed, stopped and gone on with; held back;
//! and never a touched row of the old model.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use changeover::change::{ChangeFile, Direction, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::sql::model::ChangeModel;
use changeover::translation::{
    BackfillOptions, Filled, TranslationError, VerifyOptions, backfill_progress, backfill_with, estimate_backfill,
    install, pending, resolve, verify_block,
};

use super::fixture::{deed, step};
use crate::support::{Random, TestDatabase, changeover, each_database};

/// A block for each kind of key; the last one's query makes rows of some keys only, and two for others.
const CHANGE: &str = r#"
format = 1
name   = "keys"
title  = "Keys of every kind"
[[forward]]
into = "new_numbers"
from = "numbers"
key  = "id"
columns = { id = "id", v = "v" }
[[forward]]
into = "new_names"
from = "names"
key  = "name"
columns = { name = "name", v = "v" }
[[forward]]
into = "new_uuids"
from = "uuids"
key  = "id"
columns = { id = "id", v = "v" }
[[forward]]
into = "new_pairs"
from = "pairs"
key  = ["a", "b"]
identity = ["a", "b", "part"]
query = "SELECT p.a, p.b, s.part, p.v FROM pairs p JOIN parts s ON s.part <= p.v % 3"
constant = ["parts"]
"#;

const ROWS: u32 = 3_000;

fn schema(dialect: Dialect) -> String {
    let uuid = if dialect == Dialect::Postgres { "uuid" } else { "TEXT" };
    let table =
        |name: &str, columns: &str| format!("CREATE TABLE {name} ({columns}); CREATE TABLE new_{name} ({columns});");
    [
        table("numbers", "id BIGINT NOT NULL PRIMARY KEY, v BIGINT"),
        table("names", "name TEXT NOT NULL PRIMARY KEY, v BIGINT"),
        table("uuids", &format!("id {uuid} NOT NULL PRIMARY KEY, v BIGINT")),
        String::from("CREATE TABLE pairs (a BIGINT NOT NULL, b TEXT NOT NULL, v BIGINT NOT NULL, PRIMARY KEY (a, b));"),
        String::from("CREATE TABLE new_pairs (a BIGINT NOT NULL, b TEXT NOT NULL, part BIGINT NOT NULL, v BIGINT NOT NULL, PRIMARY KEY (a, b, part));"),
        String::from("CREATE TABLE parts (part BIGINT NOT NULL PRIMARY KEY); INSERT INTO parts VALUES (0), (1), (2);"),
    ]
    .concat()
}

const OLD_TABLES: [&str; 4] = ["numbers", "names", "uuids", "pairs"];

/// Numbers in clusters far apart, from the smallest there is to the largest; names in several scripts; pairs of which many share the
/// first part.
fn load(connection: &mut DatabaseConnection) {
    let mut random = Random::new(7);
    let words = ["a", "Ä", "ß", "'quoted'", "\"", "[1]", "日本", "\u{1F980}", " ", "zz\n"];
    let mut sql = [String::new(), String::new(), String::new(), String::new()];
    for number in 0..i64::from(ROWS) {
        let id = match number % 5 {
            0 => i64::MIN + number,
            1 => i64::MAX - number,
            _ => number * number,
        };
        let word = words[random.index(words.len())].replace('\'', "''");
        let hex = format!("{:016x}{:016x}", random.below(u64::MAX), random.below(u64::MAX));
        let uuid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        let comma = if number == 0 { "" } else { "," };
        sql[0].push_str(&format!(
            "{comma}({id},{})",
            if number % 7 == 0 { "NULL".to_owned() } else { number.to_string() }
        ));
        sql[1].push_str(&format!("{comma}('{word}{number}',{number})"));
        sql[2].push_str(&format!("{comma}('{uuid}',{number})"));
        sql[3].push_str(&format!("{comma}({},'{word}{number}',{number})", number % 3));
    }
    for (table, rows) in OLD_TABLES.iter().zip(sql) {
        connection.batch(&format!("INSERT INTO {table} VALUES {rows}")).unwrap();
    }
    if connection.dialect() == Dialect::Postgres {
        connection.batch("ANALYZE").unwrap();
    }
}

fn installed(database: &TestDatabase) -> ChangeModel {
    installed_as(database, CHANGE)
}

fn installed_as(database: &TestDatabase, text: &str) -> ChangeModel {
    let mut connection = database.connection();
    connection.batch(&schema(database.dialect())).unwrap();
    load(&mut connection);
    let file = ChangeFile::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let model = resolve(&mut connection, &file).unwrap();
    install(&mut connection, &model, &file, deed()).unwrap();
    step(&mut connection, &model, Stage::DualWrite);
    model
}

fn workers(workers: usize, batch_rows: usize) -> BackfillOptions {
    BackfillOptions { workers, batch_rows: Some(batch_rows), ..BackfillOptions::default() }
}

fn fill(database: &TestDatabase, model: &ChangeModel, options: &BackfillOptions) -> Filled {
    backfill_with(&database.database(), model, options, &mut |_| true).unwrap()
}

fn assert_filled(database: &TestDatabase, model: &ChangeModel) {
    let mut connection = database.connection();
    for block in model.blocks_of(Direction::Forward) {
        let found = verify_block(&mut connection, block, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert_eq!((found.drift(), found.keys), (0, u64::from(ROWS)), "{found:#?}");
    }
    let states = backfill_progress(&mut connection, &model.name).unwrap();
    assert!(states.iter().all(|state| state.finished && state.keys_done == i64::from(ROWS)), "{states:#?}");
    let left = connection.get_row(&format!("SELECT count(*) AS n FROM {}", ranges(database)), &[]).unwrap();
    assert_eq!(left.integer("n").unwrap(), 0, "what is finished is tidied up");
}

fn ranges(database: &TestDatabase) -> &'static str {
    match database.dialect() {
        Dialect::Postgres => "changeover.backfill_range",
        Dialect::Sqlite => "changeover_backfill_range",
    }
}

/// Every old row with where and by whom it was written, and how large its table is; its maps of free space and of what all see are left
/// out, because a vacuum in the background makes them whenever it likes.
fn old_rows(database: &TestDatabase) -> Vec<String> {
    let mut connection = database.connection();
    let mut lines = Vec::new();
    for table in OLD_TABLES {
        let columns = match database.dialect() {
            Dialect::Postgres => "t.xmin::text AS x, t.ctid::text AS c, t::text AS row",
            Dialect::Sqlite => "t.rowid AS r, t.*",
        };
        let rows = connection.query(&format!("SELECT {columns} FROM {table} t ORDER BY 1, 2"), &[]).unwrap();
        lines.extend(rows.iter().map(|row| format!("{table} {row:?}")));
        if database.dialect() == Dialect::Postgres {
            let sql = format!("SELECT pg_relation_size('{table}') AS n, pg_indexes_size('{table}') AS i");
            lines.push(format!("{table} {:?}", connection.get_row(&sql, &[]).unwrap()));
        }
    }
    lines
}

#[test]
fn workers_fill_keys_of_every_kind_and_touch_no_old_row() {
    each_database(|database| {
        let model = installed(&database);
        let before = old_rows(&database);
        let mut seen = Vec::new();
        let filled = backfill_with(&database.database(), &model, &workers(3, 100), &mut |step| {
            assert!(step.keys_done <= step.keys_total && step.throttled.is_none(), "{step:?}");
            seen.push(step.block.id.to_string());
            true
        })
        .unwrap();
        assert!(filled.finished && filled.keys == u64::from(ROWS) * 4, "{filled:#?}");
        assert_eq!(filled.wal_bytes.is_some_and(|bytes| bytes > 0), database.dialect() == Dialect::Postgres);
        assert!(seen.is_sorted(), "blocks are filled one after the other");
        assert_filled(&database, &model);
        assert_eq!(old_rows(&database), before);
    });
}

#[test]
fn a_second_backfill_writes_nothing() {
    each_database(|database| {
        let model = installed(&database);
        fill(&database, &model, &workers(2, 500));
        let rows = |database: &TestDatabase| {
            let system = if database.dialect() == Dialect::Postgres { "xmin::text AS x, ctid::text AS c," } else { "" };
            format!(
                "{:?}",
                database
                    .connection()
                    .query(&format!("SELECT {system} id, v FROM new_numbers ORDER BY id"), &[])
                    .unwrap()
            )
        };
        let before = rows(&database);
        let again = fill(&database, &model, &workers(2, 500));
        assert_eq!(again.keys, u64::from(ROWS) * 4, "all keys are compared");
        assert_eq!(rows(&database), before, "rows that are right are left alone");
        let rest = BackfillOptions { only_rest: true, ..workers(2, 500) };
        assert_eq!(fill(&database, &model, &rest).keys, 0);
    });
}

#[test]
fn a_stopped_backfill_goes_on_with_more_workers() {
    each_database(|database| {
        let model = installed(&database);
        let mut batches = 0;
        let stopped = backfill_with(&database.database(), &model, &workers(1, 100), &mut |_| {
            batches += 1;
            batches < 4
        });
        let stopped = stopped.unwrap();
        assert!(!stopped.finished && stopped.keys == 400, "{stopped:#?}");
        let done = &backfill_progress(&mut database.connection(), &model.name).unwrap()[0];
        assert_eq!((done.keys_done, done.finished), (400, false));
        let filled = fill(&database, &model, &workers(4, 100));
        assert_eq!(filled.keys, u64::from(ROWS) * 4 - 400, "what was done is not done again");
        assert_filled(&database, &model);
    });
}

#[test]
fn two_processes_share_the_work() {
    let database = TestDatabase::postgres();
    let model = installed(&database);
    let keys: u64 = thread::scope(|scope| {
        let fillers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| fill(&database, &model, &BackfillOptions { only_rest: true, ..workers(2, 50) })))
            .collect();
        fillers.into_iter().map(|filler| filler.join().unwrap().keys).sum()
    });
    assert_eq!(keys, u64::from(ROWS) * 4, "no key twice");
    assert_filled(&database, &model);
}

/// Inserts, updates, moves and deletes rows of few keys, until it is over.
fn write_hot_rows(database: &TestDatabase, seed: u64, is_over: &AtomicBool) -> u64 {
    let (mut connection, mut random) = (database.connection(), Random::new(seed));
    let mut written = 0;
    while !is_over.load(Ordering::Relaxed) || written < 50 {
        let (id, other, v) = (random.below(60), random.below(60), random.below(1_000));
        let sql = match random.below(4) {
            0 => format!("INSERT INTO numbers VALUES ({id}, {v}) ON CONFLICT (id) DO UPDATE SET v = excluded.v + 1"),
            1 => format!("UPDATE numbers SET v = {v} WHERE id IN ({id}, {other})"),
            2 => format!(
                "UPDATE numbers SET id = {other} WHERE id = {id} AND NOT EXISTS (SELECT 1 FROM numbers WHERE id = {other})"
            ),
            _ => format!("DELETE FROM numbers WHERE id = {id}"),
        };
        match connection.batch(&sql) {
            Ok(()) => written += 1,
            Err(error) => assert!(error.is_retryable() || error.is_unique_violation(), "{sql}: {error}"),
        }
    }
    written
}

#[test]
fn rows_that_are_inserted_without_a_look_hold_against_writers() {
    let database = TestDatabase::postgres();
    let model = installed(&database);
    let only = BackfillOptions { restart: true, block: Some(String::from("f1")), ..workers(2, 7) };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|seed| {
                let (database, is_over) = (&database, &is_over);
                scope.spawn(move || write_hot_rows(database, seed, is_over))
            })
            .collect();
        // Keys far from one another are in parts of their own; only those that are written are wanted here.
        database.connection().batch("DELETE FROM numbers WHERE id < 0 OR id > 100").unwrap();
        for round in 0..30 {
            let emptied = if round % 2 == 0 { "true" } else { "id % 3 = 0" };
            drop(database.connection().batch(&format!("DELETE FROM new_numbers WHERE {emptied}")));
            fill(&database, &model, &only);
        }
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            assert!(writer.join().unwrap() >= 50);
        }
    });
    let block = model.blocks_of(Direction::Forward).next().unwrap();
    let found = verify_block(&mut database.connection(), block, VerifyOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!(found.drift(), 0, "{found:#?}");
}

#[test]
fn killed_workers_leave_their_parts_to_the_next() {
    let database = TestDatabase::postgres();
    let model = installed(&database);
    let mut random = Random::new(3);
    let mut killed = 0;
    for _ in 0..6 {
        let arguments = ["backfill", "--workers", "3", "--batch-rows", "5"];
        let mut backfill = changeover().service(&database).args(arguments).spawn();
        // The moment itself is what is random here: no event stands for it.
        thread::sleep(Duration::from_millis(60 + random.below(200)));
        killed += u32::from(backfill.try_wait().unwrap().is_none());
        backfill.kill().unwrap();
        backfill.wait().unwrap();
    }
    assert!(killed > 0, "every backfill had ended before it was killed: nothing was tested");
    fill(&database, &model, &workers(3, 500));
    assert_filled(&database, &model);
}

#[test]
fn it_waits_for_a_row_that_somebody_holds_and_lets_others_pass() {
    let database = TestDatabase::postgres();
    let model = installed(&database);
    let waited = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut holder = database.connection();
        holder.batch("BEGIN; UPDATE numbers SET v = -1 WHERE id = 4").unwrap();
        let (model, database, waited) = (&model, &database, &waited);
        let filling = scope.spawn(move || {
            backfill_with(&database.database(), model, &workers(1, 10_000), &mut |step| {
                if step.throttled.as_ref().is_some_and(|why| why.contains("other transactions")) {
                    waited.store(true, Ordering::Relaxed);
                }
                true
            })
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        while !waited.load(Ordering::Relaxed) {
            assert!(Instant::now() < deadline && !filling.is_finished(), "it did not wait");
            thread::yield_now();
        }
        // What else the batch would lock is free meanwhile.
        database.connection().batch("SET lock_timeout = '30s'; UPDATE numbers SET v = -1 WHERE id = 9").unwrap();
        holder.batch("COMMIT").unwrap();
        assert!(filling.join().unwrap().unwrap().finished);
    });
    assert_filled(&database, &model);
}

#[test]
fn it_waits_while_others_are_busy() {
    let database = TestDatabase::postgres();
    let model = installed(&database);
    let options = BackfillOptions { active_backends_max: Some(0), ..workers(1, 1_000) };
    let told = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut connection = database.connection();
            connection.batch("SET application_name = 'an application'").unwrap();
            while !told.load(Ordering::Relaxed) {
                connection.batch("SELECT pg_sleep(0.5)").unwrap();
            }
        });
        let mut first = None;
        let filled = backfill_with(&database.database(), &model, &options, &mut |step| {
            first = first.clone().or_else(|| step.throttled.clone());
            if step.throttled.is_some() {
                told.store(true, Ordering::Relaxed);
            }
            true
        });
        told.store(true, Ordering::Relaxed);
        busy.join().unwrap();
        assert!(filled.unwrap().finished);
        if let Some(first) = first {
            assert!(first.contains("backends are active, 0 at most (--max-active-backends)"), "{first}");
        }
    });
    assert_filled(&database, &model);
}

#[test]
fn a_rate_is_kept() {
    each_database(|database| {
        let model = installed(&database);
        let options = BackfillOptions {
            rows_per_second: Some(1_000),
            block: Some(String::from("f1")),
            ..BackfillOptions::default()
        };
        let began = Instant::now();
        let mut batches = 0;
        let filled = backfill_with(&database.database(), &model, &options, &mut |_| {
            batches += 1;
            began.elapsed() < Duration::from_secs(1)
        });
        let (keys, seconds) = (filled.unwrap().keys, began.elapsed().as_secs_f64());
        assert!(keys as f64 <= 1_000.0 * seconds + 500.0, "{keys} keys in {seconds} s");
    });
}

#[test]
fn a_row_that_cannot_be_translated_is_queued_and_all_others_are_filled() {
    each_database(|database| {
        let text = CHANGE.replacen("v = \"v\"", "v = \"100 / (v - 20)\"", 1);
        // A division by zero is NULL on SQLite, which the target refuses.
        let model = {
            let mut connection = database.connection();
            connection
                .batch(&schema(database.dialect()).replace(
                    "new_numbers (id BIGINT NOT NULL PRIMARY KEY, v BIGINT)",
                    "new_numbers (id BIGINT NOT NULL PRIMARY KEY, v BIGINT NOT NULL)",
                ))
                .unwrap();
            connection.batch("INSERT INTO numbers SELECT 1, 1 UNION ALL SELECT 2, 20 UNION ALL SELECT 3, 3 UNION ALL SELECT 4, 20 UNION ALL SELECT 5, 5").unwrap();
            let file = ChangeFile::parse(&text).unwrap();
            let model = resolve(&mut connection, &file).unwrap();
            install(&mut connection, &model, &file, deed()).unwrap();
            step(&mut connection, &model, Stage::DualWrite);
            model
        };
        let filled = fill(&database, &model, &BackfillOptions::default());
        assert!(filled.finished, "{filled:#?}");
        let mut connection = database.connection();
        assert_eq!(pending::count(&mut connection, &model.name).unwrap(), 2);
        let rows = connection.query("SELECT id FROM new_numbers ORDER BY id", &[]).unwrap();
        assert_eq!(rows.iter().map(|row| row.integer("id").unwrap()).collect::<Vec<_>>(), [1, 3, 5]);
    });
}

#[test]
fn blocks_are_filled_in_order_and_only_forward() {
    each_database(|database| {
        let model = installed(&database);
        let only = |block: &str| BackfillOptions { block: Some(block.to_owned()), ..workers(1, 5_000) };
        let run = |options: &BackfillOptions| backfill_with(&database.database(), &model, options, &mut |_| true);
        let refused = run(&only("f2")).unwrap_err().to_string();
        assert!(refused.contains("what f1 (new_numbers) writes, which is not filled yet"), "{refused}");
        assert!(matches!(run(&only("f9")), Err(TranslationError::NoBlock(_))));
        assert_eq!(run(&only("f1")).unwrap().keys, u64::from(ROWS));
        assert_eq!(run(&only("f2")).unwrap().keys, u64::from(ROWS));
        let restarted = BackfillOptions { restart: true, ..only("f1") };
        assert_eq!(run(&restarted).unwrap().keys, u64::from(ROWS));
        let states = backfill_progress(&mut database.connection(), &model.name).unwrap();
        assert_eq!(states.len(), 1, "what reads f1 has to be filled again: {states:#?}");
    });
}

#[test]
fn an_estimate_writes_nothing() {
    each_database(|database| {
        let model = installed(&database);
        let estimates = estimate_backfill(&mut database.connection(), &model).unwrap();
        assert_eq!(estimates.len(), 4);
        for estimate in estimates {
            assert_eq!((estimate.keys, estimate.sample_keys), (u64::from(ROWS), 1_000), "{estimate:?}");
            assert!(estimate.seconds.is_some_and(|seconds| seconds > 0.0) && estimate.bytes.is_some());
        }
        for table in OLD_TABLES {
            let count = database.connection().get_row(&format!("SELECT count(*) AS n FROM new_{table}"), &[]).unwrap();
            assert_eq!(count.integer("n").unwrap(), 0);
        }
    });
}

#[test]
fn the_command_tells_lines_and_is_interrupted_after_a_batch() {
    each_database(|database| {
        let model = installed(&database);
        let estimate = changeover().service(&database).args(["backfill", "--estimate", "--json"]).run().expect_code(0);
        assert_eq!(estimate.json()["blocks"].as_array().unwrap().len(), 4, "{estimate}");
        let arguments = ["backfill", "--json", "--rows-per-second", "100"];
        let mut command = changeover().service(&database).args(arguments).into_command();
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let process = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while backfill_progress(&mut database.connection(), &model.name).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "it did not begin");
            thread::yield_now();
        }
        let kill = std::process::Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["finished"], false);
        let lines = String::from_utf8(output.stderr).unwrap();
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((&first["block"], &first["keys_total"]), (&"f1".into(), &ROWS.into()));
        let filled = changeover().service(&database).args(["backfill", "--workers", "2"]).run().expect_code(0);
        assert!(filled.stdout.contains("filled") && filled.stdout.contains("Next: changeover verify keys"), "{filled}");
        assert_filled(&database, &model);
    });
}
