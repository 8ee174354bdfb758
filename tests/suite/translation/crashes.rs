//! Everything is killed at random moments while old and new code write: the server, backfills, verifies, repairs, stage moves, writers,
//! PostgreSQL itself. After each recovery both models agree, and what was committed is there.

use std::process::Command;
use std::thread;
use std::time::Duration;

use changeover::database::{DatabaseConnection, Dialect};

use super::writers::{Crowd, Rows};
use crate::support::{CrashingCluster, Finished, Random, Server, TestDatabase, changeover, full_length};

const CHANGE: &str = "billing-allocation";
const CHANGE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/video-hosting/change.toml");
const ROWS: Rows = Rows { users: 60, videos: 90, charges: 400 };

#[test]
fn postgresql_recovers_whatever_is_killed() {
    let cluster = CrashingCluster::start();
    let database = TestDatabase::on(&cluster);
    rounds(&database, Some(&cluster), (4, 2), full_length(100, 8));
}

#[test]
fn sqlite_recovers_whatever_is_killed() {
    rounds(&TestDatabase::sqlite(), None, (2, 0), full_length(100, 6));
}

fn rounds(database: &TestDatabase, cluster: Option<&CrashingCluster>, writers: (i64, i64), rounds: u64) {
    ROWS.load(&mut database.connection());
    run(database, &["change", "install", CHANGE_FILE]).expect_code(0);
    run(database, &["change", "stage", CHANGE, "dualwrite"]).expect_code(0);
    run(database, &["backfill", CHANGE]).expect_code(0);
    move_to(database, "shadow");
    move_to(database, "live");
    let mut crowd = Crowd::new();
    crowd.start(database.url(), writers, ROWS, 3, false);
    let mut server = Some(Server::start(database));
    let mut random = Random::new(11);
    let mut told = Vec::new();
    for round in 1..=rounds {
        let victim = match (random.below(8), cluster) {
            (0, _) => {
                drop(server.take());
                server = Some(Server::start(database));
                "server"
            }
            (1, _) => kill_in_time(
                database,
                &mut random,
                &["backfill", CHANGE, "--restart", "--batch-rows", "20"],
                "backfill",
            ),
            (2, _) => kill_in_time(database, &mut random, &["verify", CHANGE, "--range-keys", "20"], "verify"),
            (3, _) => {
                let victim = kill_in_time(database, &mut random, &["change", "stage", CHANGE, "shadow"], "stage move");
                back_to_live(database, &mut random);
                victim
            }
            (4, Some(cluster)) => {
                moment(&mut random);
                cluster.crash_and_recover();
                "PostgreSQL"
            }
            (5, Some(_)) => {
                moment(&mut random);
                kill_a_backend(database);
                "one of PostgreSQL's processes"
            }
            _ => {
                let running = crowd.running();
                let victim = running[random.index(running.len())];
                moment(&mut random);
                crowd.kill(victim);
                let replacement = if (victim as i64) < writers.0 || writers.1 == 0 { (1, 0) } else { (0, 1) };
                crowd.start(database.url(), replacement, ROWS, round, false);
                "writer"
            }
        };
        told.push(victim);
        // Under load: what is being written is no drift. SQLite's one lock is not handed out in turn, so on a busy machine ten seconds of
        // waiting may not be enough: then one asks again, as a person would.
        loop {
            let verified = run(database, &["verify", CHANGE]);
            if !(verified.code == 2 && verified.stderr.contains("database is locked")) {
                verified.expect_code(0);
                break;
            }
        }
        assert_eq!(crowd.running().len() as i64, writers.0 + writers.1, "a writer has ended: {told:?}");
    }
    drop(server);
    let books = crowd.stop();
    // What was interrupted goes on where it was, and there is nothing left of it.
    run(database, &["backfill", CHANGE]).expect_code(0);
    run(database, &["verify", CHANGE]).expect_code(0);
    let mut connection = database.connection();
    super::fixture::assert_no_orphans(&mut connection, &|| format!("{told:?}"));
    let numbers = books.assert_kept(&mut connection);
    eprintln!("{}: {rounds} rounds, {numbers:?}: {told:?}", database.dialect());
    assert!(numbers.committed > 50, "the writers hardly wrote: {numbers:?}");
    assert_nothing_left(&mut connection);
}

/// Moves on to `live`, killed once more on the way.
fn back_to_live(database: &TestDatabase, random: &mut Random) {
    if stage(database) == "shadow" {
        let arguments = ["change", "stage", CHANGE, "live", "--force", "--reason", "a test"];
        kill_in_time(database, random, &arguments, "stage move");
    }
    wait_for_backends(database);
    if stage(database) == "shadow" {
        move_to(database, "live");
    }
}

fn stage(database: &TestDatabase) -> String {
    wait_for_backends(database);
    let changes = run(database, &["--json", "change", "list"]).expect_code(0).json();
    changes[0]["stage"].as_str().unwrap().to_owned()
}

/// A killed client's last statement may still be running: it ends when PostgreSQL notices.
pub(super) fn wait_for_backends(database: &TestDatabase) {
    if database.dialect() == Dialect::Sqlite {
        return;
    }
    let mut connection = database.connection();
    // Writers hold nothing for long, so whoever waits for the change's row or its tables' locks gets them.
    let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() AND state <> 'idle'
               AND (query ILIKE '%CREATE OR REPLACE FUNCTION%' OR query ILIKE '%LOCK TABLE%' OR query ILIKE '%TRIGGER%')";
    while connection.get_row(sql, &[]).unwrap().integer("n").unwrap() > 0 {
        thread::yield_now();
    }
}

/// The moment itself is what is random here: no event stands for it.
fn moment(random: &mut Random) {
    thread::sleep(Duration::from_micros(random.below(200_000)));
}

pub(super) fn kill_in_time<'a>(
    database: &TestDatabase,
    random: &mut Random,
    arguments: &[&str],
    what: &'a str,
) -> &'a str {
    let mut process = changeover().service(database).args(arguments).spawn();
    moment(random);
    drop(process.kill());
    drop(process.wait());
    what
}

/// SIGKILL of the server process of some writer: PostgreSQL ends all others and recovers.
fn kill_a_backend(database: &TestDatabase) {
    let mut connection = database.connection();
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
    let pid = connection.get_row(sql, &[]).unwrap().integer("pid").unwrap();
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    drop(connection);
    // The recovery is over when somebody is let in again, after the postmaster has turned everybody out.
    let url = database.url().parse().unwrap();
    loop {
        let Ok(mut connection) = DatabaseConnection::open(&url) else { continue };
        let alive = format!("SELECT count(*) AS n FROM pg_stat_activity WHERE pid = {pid}");
        if connection.get_row(&alive, &[]).is_ok_and(|row| row.integer("n").unwrap() == 0) {
            return;
        }
    }
}

/// Nothing pending, nothing half done in Changeover's own tables, no translation mode left behind.
fn assert_nothing_left(connection: &mut DatabaseConnection) {
    let pending = match connection.dialect() {
        Dialect::Postgres => "SELECT count(*) AS n FROM changeover.pending",
        Dialect::Sqlite => {
            "SELECT (SELECT count(*) FROM changeover_pending) + (SELECT count(*) FROM changeover_billing_allocation_control WHERE mode <> 0) AS n"
        }
    };
    assert_eq!(connection.get_row(pending, &[]).unwrap().integer("n").unwrap(), 0);
}

fn move_to(database: &TestDatabase, stage: &str) {
    run(database, &["change", "stage", CHANGE, stage, "--force", "--reason", "a test"]).expect_code(0);
}

fn run(database: &TestDatabase, arguments: &[&str]) -> Finished {
    changeover().service(database).args(arguments).run()
}
