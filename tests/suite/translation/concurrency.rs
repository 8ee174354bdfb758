//! Eight old and four new writers, each a process of its own, while everything else goes on too: backfills, verifies, a server, stage
//! moves. Afterwards both models agree, no orphan is left, and every writer's journal holds.

use std::time::{Duration, Instant};

use super::writers::{Crowd, Rows};
use crate::support::{Finished, Server, TestDatabase, changeover, full_length};

const CHANGE: &str = "billing-allocation";
const CHANGE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/video-hosting/change.toml");

#[test]
fn twelve_writers_on_sixty_hot_rows_leave_no_drift() {
    twelve_writers(Rows::HOT, Isolation::ReadCommitted);
}

#[test]
fn twelve_writers_on_twenty_thousand_rows_leave_no_drift() {
    twelve_writers(Rows::MANY, Isolation::ReadCommitted);
}

/// A transaction above READ COMMITTED decides by a snapshot that may be older than the locks it waits for. So beside others it may miss
/// what they did; nothing is lost, verify finds it, and a repair mends it.
#[test]
fn what_isolated_transactions_miss_is_found_and_mended() {
    twelve_writers(Rows::MANY, Isolation::Mixed);
}

#[derive(Clone, Copy, PartialEq)]
enum Isolation {
    ReadCommitted,
    /// A third of all transactions are SERIALIZABLE.
    Mixed,
}

fn twelve_writers(rows: Rows, isolation: Isolation) {
    let database = TestDatabase::postgres();
    rows.load(&mut database.connection());
    run(&database, &["change", "install", CHANGE_FILE]).expect_code(0);
    run(&database, &["change", "stage", CHANGE, "dualwrite"]).expect_code(0);
    run(&database, &["backfill", CHANGE]).expect_code(0);
    for stage in ["shadow", "live"] {
        move_to(&database, stage);
    }
    let server = Server::start(&database);
    let mut crowd = Crowd::new();
    crowd.start(database.url(), (8, 4), rows, 1, isolation == Isolation::Mixed);
    let seconds = full_length(60, 8);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut done = Vec::new();
    while Instant::now() < until {
        let turn = done.len();
        done.push(disturb(&database, turn, isolation));
    }
    assert_eq!(crowd.running().len(), 12, "a writer has ended");
    let books = crowd.stop();
    drop(server);
    if isolation == Isolation::Mixed {
        let drift = run(&database, &["--json", "verify", CHANGE]).json()["drift"].clone();
        eprintln!("{drift} rows differ before the repair");
        run(&database, &["repair", CHANGE]).expect_code(0);
    }
    heal(&database);
    run(&database, &["verify", CHANGE]).expect_code(0);
    super::fixture::assert_no_orphans(&mut database.connection(), &|| format!("{done:?}"));
    let numbers = books.assert_kept(&mut database.connection());
    eprintln!(
        "{rows:?}: {} transactions in {seconds} s, {} retried ({:.2} %); meanwhile {done:?}",
        numbers.committed,
        numbers.retries,
        numbers.retried_percent()
    );
    assert!(numbers.committed > 100, "the writers hardly wrote: {numbers:?}");
}

/// One of the things that people and servers do meanwhile, in turn.
fn disturb(database: &TestDatabase, turn: usize, isolation: Isolation) -> &'static str {
    match turn % 4 {
        1 => {
            run(database, &["backfill", CHANGE, "--restart"]).expect_code(0);
            "backfill"
        }
        2 => {
            // What is being written is no drift.
            let verified = run(database, &["verify", CHANGE]);
            if isolation == Isolation::ReadCommitted && verified.code != 0 {
                // But what met a deadlock at `shadow` waits in the queue.
                heal(database);
                run(database, &["verify", CHANGE]).expect_code(0);
            }
            "verify"
        }
        3 => {
            run(database, &["change", "pause", CHANGE, "--reason", "a test"]).expect_code(0);
            // 1: both models were written meanwhile, and one of them had to give way.
            let resumed = run(database, &["change", "resume", CHANGE]);
            assert!(resumed.code <= 1, "{resumed}");
            "pause and resume"
        }
        _ => {
            move_to(database, "shadow");
            move_to(database, "live");
            "to shadow and back"
        }
    }
}

/// Empties the queue, as the server's worker would.
fn heal(database: &TestDatabase) {
    let mut tries = (0..20).map(|_| run(database, &["change", "pending", CHANGE, "--retry"]));
    let last = tries.find(|tried| tried.code != 1);
    last.expect("keys stay in the queue").expect_code(0);
}

/// Past the gates that ask for reports.
fn move_to(database: &TestDatabase, stage: &str) {
    run(database, &["change", "stage", CHANGE, stage, "--force", "--reason", "a test"]).expect_code(0);
}

fn run(database: &TestDatabase, arguments: &[&str]) -> Finished {
    changeover().service(database).args(arguments).run()
}
