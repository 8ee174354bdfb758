//! TPC-B as the legacy application: the program `pgbench` as it is on PostgreSQL, the same transactions from here on SQLite. Not one of
//! them is refused while its tables move to another model, and both models agree.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use changeover::database::DatabaseConnection;

use super::support::number;
use crate::support::{Finished, Random, TestDatabase, changeover, full_length, program};

const CHANGE: &str = "branch-links";
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pgbench/change.toml");

#[test]
fn pgbench_does_not_notice_that_its_model_changes() {
    let Some(pgbench) = find_pgbench() else { return };
    let database = TestDatabase::postgres();
    run_pgbench(&pgbench, &database, &["-i", "-q", "-s", "1"]);
    database.connection().batch(include_str!("../../../examples/pgbench/schema.postgres.sql")).unwrap();
    start(&database);
    let seconds = full_length(60, 5).to_string();
    let standard = ["-n", "-c", "4", "-j", "2", "-T", &seconds];

    // While the new model is being filled: nothing waits that could deadlock, so nothing needs to be tried again.
    let told = thread::scope(|scope| {
        let running = scope.spawn(|| run_pgbench(&pgbench, &database, &standard));
        run(&database, &["backfill", CHANGE, "--batch-rows", "500"]).expect_code(0);
        run(&database, &["verify", CHANGE]).expect_code(0);
        running.join().unwrap()
    });
    assert_all_accepted("dualwrite", &told);
    agree(&database);

    // New code writes too. It holds new rows and waits for old ones, pgbench the other way round: deadlocks are tried again.
    to_live(&database);
    let mut retrying = standard.to_vec();
    retrying.extend(["--max-tries", "1000"]);
    let is_over = AtomicBool::new(false);
    let (told, written) = thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|seed| {
                scope.spawn({
                    let (database, is_over) = (&database, &is_over);
                    move || write_as_new_code(&mut database.connection(), seed, is_over)
                })
            })
            .collect();
        let running = scope.spawn(|| run_pgbench(&pgbench, &database, &retrying));
        run(&database, &["verify", CHANGE]).expect_code(0);
        let told = running.join().unwrap();
        is_over.store(true, Ordering::Relaxed);
        (told, writers.into_iter().map(|writer| writer.join().unwrap()).sum::<i64>())
    });
    assert_all_accepted("live", &told);
    eprintln!("new code meanwhile: {written} transactions");
    assert!(written > 10);
    agree(&database);
    assert_no_update_is_lost(&mut database.connection(), written);
}

#[test]
fn the_same_transactions_on_sqlite() {
    let database = TestDatabase::sqlite();
    let mut connection = database.connection();
    connection.batch(include_str!("../../../examples/pgbench/schema.sqlite.sql")).unwrap();
    connection
        .batch(
            "INSERT INTO pgbench_branches (bid, bbalance) VALUES (1, 0);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) INSERT INTO pgbench_tellers (tid, bid, tbalance) SELECT i, 1, 0 FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO pgbench_accounts (aid, bid, abalance, filler) SELECT i, 1, 0, '' FROM n",
        )
        .unwrap();
    start(&database);
    let count = full_length(4_000, 400);
    thread::scope(|scope| {
        let running: Vec<_> = (1..=4)
            .map(|seed| {
                let mut connection = database.connection();
                scope.spawn(move || (0..count).for_each(|_| tpc_b(&mut connection, &mut Random::new(seed))))
            })
            .collect();
        run(&database, &["backfill", CHANGE, "--batch-rows", "200"]).expect_code(0);
        running.into_iter().for_each(|running| running.join().unwrap());
    });
    agree(&database);
    to_live(&database);
    let is_over = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_as_new_code(&mut database.connection(), 9, &is_over));
        let mut random = Random::new(77);
        (0..count).for_each(|_| tpc_b(&mut connection, &mut random));
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    agree(&database);
    assert_no_update_is_lost(&mut connection, written);
}

/// The program, or a loud word that there is none; CI has one.
fn find_pgbench() -> Option<PathBuf> {
    let path = program("pgbench");
    let can_retry = Command::new(&path)
        .arg("--help")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).contains("--max-tries"));
    match can_retry {
        Ok(true) => Some(path),
        other => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "CI needs pgbench of PostgreSQL 15 or later: {other:?}"
            );
            eprintln!(
                "SKIPPED: there is no pgbench of PostgreSQL 15 or later ({other:?}); it comes with PostgreSQL's server or client packages"
            );
            None
        }
    }
}

fn run_pgbench(pgbench: &PathBuf, database: &TestDatabase, arguments: &[&str]) -> String {
    let output = Command::new(pgbench).args(arguments).arg(database.url()).stdin(Stdio::null()).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    told
}

/// No transaction failed, and there were some.
fn assert_all_accepted(stage: &str, told: &str) {
    let facts = ["transactions actually processed", "failed transactions", "retried", "latency average", "tps"];
    let lines: Vec<&str> = told.lines().filter(|line| facts.iter().any(|fact| line.contains(fact))).collect();
    eprintln!("pgbench at {stage}: {}", lines.join("; "));
    assert!(told.contains("number of failed transactions: 0 (0.000%)"), "{told}");
    let processed = told.split_once("actually processed: ").unwrap().1;
    assert!(processed.split_whitespace().next().unwrap().parse::<u64>().unwrap() > 50, "{told}");
}

fn start(database: &TestDatabase) {
    run(database, &["change", "check", FILE]).expect_code(0);
    run(database, &["change", "install", FILE]).expect_code(0);
    run(database, &["change", "stage", CHANGE, "dualwrite"]).expect_code(0);
}

fn to_live(database: &TestDatabase) {
    for stage in ["shadow", "live"] {
        run(database, &["change", "stage", CHANGE, stage, "--force", "--reason", "a test"]).expect_code(0);
    }
}

fn run(database: &TestDatabase, arguments: &[&str]) -> Finished {
    changeover().service(database).args(arguments).run()
}

/// Verify finds nothing, and nor does a comparison in other words than the change file's.
fn agree(database: &TestDatabase) {
    run(database, &["verify", CHANGE]).expect_code(0);
    let mut connection = database.connection();
    let old = "SELECT 'account' AS kind, aid AS id, abalance AS amount FROM pgbench_accounts UNION ALL
               SELECT 'teller', tid, tbalance FROM pgbench_tellers UNION ALL SELECT 'branch', bid, bbalance FROM pgbench_branches";
    let differing = |one: &str, other: &str| format!("SELECT count(*) FROM ({one} EXCEPT {other}) x");
    let (new, links) = (
        "SELECT kind, id, amount FROM balances",
        "SELECT account_id, branch_id FROM account_branches WHERE role = 'home'",
    );
    let homes = "SELECT aid, bid FROM pgbench_accounts";
    for (one, other) in [
        (format!("SELECT * FROM ({old}) o"), new),
        (new.to_owned(), &*format!("SELECT * FROM ({old}) o")),
        (homes.to_owned(), links),
        (links.to_owned(), homes),
    ] {
        assert_eq!(number(&mut connection, &differing(&one, other)), 0, "{one} EXCEPT {other}");
    }
}

/// Every delta in the history, and what new code added, is in the balances once.
fn assert_no_update_is_lost(connection: &mut DatabaseConnection, written: i64) {
    let total = number(connection, "SELECT coalesce(sum(delta), 0) FROM pgbench_history");
    for kind in ["branch", "teller", "account"] {
        let found = number(connection, &format!("SELECT sum(amount) FROM balances WHERE kind = '{kind}'"));
        // New code adds one to an account in each of its transactions, and to a teller.
        let added = if kind == "branch" { 0 } else { written };
        assert_eq!(found, total + added, "{kind}");
    }
}

/// pgbench's own script, "<builtin: TPC-B (sort of)>".
fn tpc_b(connection: &mut DatabaseConnection, random: &mut Random) {
    let (aid, tid) = (1 + random.below(5_000), 1 + random.below(10));
    let delta = random.below(10_001) as i64 - 5_000;
    commit(
        connection,
        &[
            format!("UPDATE pgbench_accounts SET abalance = abalance + {delta} WHERE aid = {aid}"),
            format!("UPDATE pgbench_tellers SET tbalance = tbalance + {delta} WHERE tid = {tid}"),
            format!("UPDATE pgbench_branches SET bbalance = bbalance + {delta} WHERE bid = 1"),
            format!(
                "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ({tid}, 1, {aid}, {delta}, CURRENT_TIMESTAMP)"
            ),
        ],
    );
}

/// Adds to a balance of an account and of a teller, moves the account's home and gives it another branch beside; returns how often.
fn write_as_new_code(connection: &mut DatabaseConnection, seed: u64, is_over: &AtomicBool) -> i64 {
    let mut random = Random::new(seed);
    let accounts = number(connection, "SELECT count(*) FROM pgbench_accounts").unsigned_abs();
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let (account, teller, branch) = (1 + random.below(accounts), 1 + random.below(10), 1 + random.below(5));
        commit(
            connection,
            &[
                format!("UPDATE balances SET amount = amount + 1 WHERE kind = 'account' AND id = {account}"),
                format!("UPDATE balances SET amount = amount + 1 WHERE kind = 'teller' AND id = {teller}"),
                format!(
                    "UPDATE account_branches SET branch_id = {branch} WHERE account_id = {account} AND role = 'home'"
                ),
                format!(
                    "INSERT INTO account_branches (account_id, branch_id) VALUES ({account}, {branch}) ON CONFLICT DO NOTHING"
                ),
            ],
        );
        count += 1;
    }
    count
}

/// One transaction, tried again for as long as the database asks for it.
fn commit(connection: &mut DatabaseConnection, statements: &[String]) {
    let is_retryable = |error: &changeover::database::DatabaseError| error.is_retryable();
    connection
        .in_transaction_with_retry(100, is_retryable, |connection| {
            statements.iter().try_for_each(|statement| connection.batch(statement))
        })
        .unwrap_or_else(|error| panic!("{error}\n{statements:#?}"));
}
