//! Write skew, step by step: two open transactions, each of which rests on rows that the other one is changing. Without translation's
//! locks both commit and the models drift apart; with them the second waits for the first, sees what it did, and nothing drifts.

use std::sync::mpsc::channel;
use std::thread;

use changeover::change::Stage;
use changeover::database::DatabaseConnection;

use super::fixture::{Installed, installed};
use crate::support::TestDatabase;

/// The old path gives a video to user 2, who is a member of its account and so leaves it there …
const GIVE: &str = "UPDATE videos SET user_id = 2 WHERE id = 1";
/// … while the new path ends that membership, whereupon the owner stands for the account's videos of user 2.
const LEAVE: &str = "DELETE FROM memberships WHERE user_id = 2 AND role = 'member'";
/// A charge is divided over an account's members …
const CHARGE: &str = "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (100, 1, 1, '2026-11', 'EUR', 1000)";
/// … while another one joins.
const JOIN: &str = "INSERT INTO memberships (account_id, user_id, role, weight) SELECT id, 3, 'member', 1 FROM accounts WHERE owner_id = 1";
/// A charge moves from a video to another …
const MOVE: &str = "UPDATE charges SET video_id = 1 WHERE id = 4";
/// … while that one moves to another account.
const GIVE_AWAY: &str =
    "UPDATE video_accounts SET account_id = (SELECT id FROM accounts WHERE owner_id = 5) WHERE video_id = 1";

const SKEWS: [(&str, &str); 6] =
    [(GIVE, LEAVE), (LEAVE, GIVE), (CHARGE, JOIN), (JOIN, CHARGE), (MOVE, GIVE_AWAY), (GIVE_AWAY, MOVE)];

#[test]
fn without_locks_two_writers_miss_one_another() {
    for (first, second) in SKEWS {
        let installed = installed(TestDatabase::postgres(), Stage::Live);
        take_locks_away(&installed);
        // It may wait for a row, but then it has looked already.
        run(&installed, first, second);
        assert!(
            drift(&installed) > 0,
            "no drift although nothing was locked, so this test shows nothing: {first} | {second}"
        );
    }
}

#[test]
fn with_locks_the_second_writer_waits_and_sees_the_first() {
    for (first, second) in SKEWS {
        let installed = installed(TestDatabase::postgres(), Stage::Live);
        let story = run(&installed, first, second);
        assert!(story.second_waited, "the second should have waited: {first} | {second}");
        installed.assert_agrees(true, &|| format!("{first} | {second}"));
    }
}

#[test]
fn a_writer_that_is_rolled_back_leaves_no_mark_on_the_one_that_waited() {
    for (first, second) in SKEWS {
        let installed = installed(TestDatabase::postgres(), Stage::Live);
        let story = run_and_end_with(&installed, first, second, "ROLLBACK");
        assert!(story.second_waited, "the second should have waited: {first} | {second}");
        installed.assert_agrees(true, &|| format!("{first}, rolled back | {second}"));
    }
}

struct Story {
    second_waited: bool,
}

fn run(installed: &Installed, first: &str, second: &str) -> Story {
    run_and_end_with(installed, first, second, "COMMIT")
}

/// One transaction writes and stays open; another writes and commits, or waits until the first has ended.
fn run_and_end_with(installed: &Installed, first: &str, second: &str, end: &str) -> Story {
    let mut one = installed.connection();
    one.batch("BEGIN").unwrap();
    one.batch(first).unwrap();
    let mut other = installed.connection();
    let other_id = other.get_row("SELECT pg_backend_pid() AS id", &[]).unwrap().integer("id").unwrap();
    thread::scope(|scope| {
        let (sender, ended) = channel();
        scope.spawn(move || {
            other.batch(&format!("BEGIN; {second}; COMMIT")).unwrap();
            sender.send(()).unwrap();
        });
        let mut looker = installed.connection();
        let second_waited = loop {
            if ended.try_recv().is_ok() {
                break false;
            }
            if is_blocked(&mut looker, other_id) {
                break true;
            }
        };
        one.batch(end).unwrap();
        if second_waited {
            ended.recv().expect("the second goes on once the first has ended");
        }
        Story { second_waited }
    })
}

fn is_blocked(looker: &mut DatabaseConnection, backend: i64) -> bool {
    let sql = format!("SELECT cardinality(pg_blocking_pids({backend})) > 0 AS blocked");
    looker.get_row(&sql, &[]).unwrap().boolean("blocked").unwrap()
}

fn drift(installed: &Installed) -> u64 {
    installed.drift(true).iter().map(|block| block.drift()).sum()
}

/// Writes every function anew, its advisory locks replaced by nothing.
fn take_locks_away(installed: &Installed) {
    let mut connection = installed.connection();
    connection.batch("CREATE FUNCTION no_lock(integer, integer) RETURNS void LANGUAGE sql AS ''").unwrap();
    let sql = "SELECT pg_get_functiondef(p.oid) AS text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
               WHERE n.nspname = 'changeover' AND p.prosrc LIKE '%pg_advisory_xact_lock%'";
    let functions = connection.query(sql, &[]).unwrap();
    assert!(!functions.is_empty(), "no function locks anything");
    for function in functions {
        let text = function.text("text").unwrap();
        let text = text.replace("pg_advisory_xact_lock_shared(", "public.no_lock(");
        connection.batch(&text.replace("pg_advisory_xact_lock(", "public.no_lock(")).unwrap();
    }
}
