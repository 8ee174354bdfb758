//! The database goes away for a while: no evaluation is lost, staleness is said, and all goes on by itself when it is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fixture::{Fleet, evaluated, flag, readiness, send, start, user, version_of, wait_until};
use crate::support::{CrashingCluster, Server, TestDatabase, changeover, full_length};

#[test]
fn killing_the_database_loses_no_evaluation() {
    let cluster = CrashingCluster::start();
    let database = TestDatabase::on(&cluster);
    let fleet = Fleet::start(&database, 4);
    fleet.write(0, "POST", "/api/v1/flags", &flag("steady", "b"));
    fleet.wait_until("the flag is everywhere", |ready| ready["version"] == 1);
    let load = Load::default();
    thread::scope(|scope| {
        for server in &fleet.servers {
            scope.spawn(|| load.run(server, &fleet.token));
        }
        let crashed = Instant::now();
        cluster.crash();
        fleet.wait_until("staleness is said", |ready| ready["status"] == "stale" && ready["stale_seconds"].is_u64());
        for nth in 0..fleet.servers.len() {
            assert_writes_fail_clearly(&fleet, nth);
        }
        thread::sleep(Duration::from_secs(full_length(30, 0)).saturating_sub(crashed.elapsed()));
        cluster.recover();
        fleet.wait_until("all goes on by itself", |ready| ready["status"] == "ready");
        let mut version = 0;
        wait_until("a write succeeds", || {
            let answer = fleet.ask(3, "PUT", "/api/v1/flags/steady", &[], &flag("steady", "c"));
            version = if answer.status == 200 { version_of(&answer) } else { 0 };
            answer.status == 200
        });
        fleet.wait_until("the write is seen by all", |ready| ready["version"].as_i64() >= Some(version));
        load.done.store(true, Ordering::Relaxed);
    });
    let (served, failed) = (load.served.load(Ordering::Relaxed), load.failed.load(Ordering::Relaxed));
    eprintln!("{served} evaluations while the database was away and came back, {failed} failed");
    assert!(failed == 0 && served > 100, "{failed} of {served}");
    for server in &fleet.servers {
        let answer = send(server, &fleet.token, "POST", "/ofrep/v1/evaluate/flags/steady", &[], &user("7"));
        assert_eq!(evaluated(&answer), Value::from("c"));
    }
}

fn assert_writes_fail_clearly(fleet: &Fleet, nth: usize) {
    let answer = fleet.ask(nth, "PUT", "/api/v1/flags/steady", &[], &flag("steady", "a"));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(answer.body.contains("database_unavailable") && answer.body.contains("Nothing was written"), "{answer:?}");
    let answer = fleet.ask(nth, "POST", "/ofrep/v1/evaluate/flags/steady", &[], &user("7"));
    assert!(answer.status == 200 && answer.body.contains(r#""stale":true"#), "{answer:?}");
    assert_eq!(fleet.ask(nth, "GET", "/healthz", &[], &Value::Null).status, 200);
    let metrics = fleet.ask(nth, "GET", "/metrics", &[], &Value::Null).body;
    assert!(metrics.contains("\nchangeover_stale 1\n"), "{metrics}");
}

/// Evaluates without a pause until it is done.
#[derive(Default)]
struct Load {
    done: AtomicBool,
    served: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    fn run(&self, server: &Server, token: &str) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        while !self.done.load(Ordering::Relaxed) {
            let request = agent
                .post(server.at("/ofrep/v1/evaluate/flags/steady"))
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json");
            let is_served = request.send(r#"{"context":{"targetingKey":"7"}}"#).is_ok_and(|mut answer| {
                let body = answer.body_mut().read_to_string().unwrap_or_default();
                answer.status() == 200 && (body.contains(r#""value":"b""#) || body.contains(r#""value":"c""#))
            });
            let counter = if is_served { &self.served } else { &self.failed };
            counter.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_server_started_while_the_database_is_away_serves_from_its_snapshot_and_takes_the_database_when_it_is_back() {
    let cluster = CrashingCluster::start();
    let database = TestDatabase::on(&cluster);
    let (file, token) = {
        let fleet = Fleet::start(&database, 1);
        fleet.write(0, "POST", "/api/v1/flags", &flag("steady", "b"));
        wait_until("it is saved", || fleet.file(0).exists());
        let kept = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        wait_until("the newest version is saved", || {
            std::fs::copy(fleet.file(0), &kept).is_ok()
                && String::from_utf8_lossy(&std::fs::read(&kept).unwrap()).contains("steady")
        });
        (kept, fleet.token.clone())
    };
    cluster.crash();
    let server = start(&database, &file);
    let answer = send(&server, &token, "POST", "/ofrep/v1/evaluate/flags/steady", &[], &user("7"));
    assert_eq!((answer.status, evaluated(&answer)), (200, Value::from("b")), "{answer:?}");
    assert!(server.output().contains("evaluated from the snapshot file"), "{}", server.output());
    wait_until("staleness is said", || readiness(&server)["status"] == "stale");
    assert_eq!(send(&server, &token, "PUT", "/api/v1/flags/steady", &[], &flag("steady", "a")).status, 503);
    cluster.recover();
    wait_until("it takes the database", || readiness(&server)["status"] == "ready");
    wait_until("it writes", || {
        send(&server, &token, "PUT", "/api/v1/flags/steady", &[], &flag("steady", "c")).status == 200
    });
    let answer = send(&server, &token, "POST", "/ofrep/v1/evaluate/flags/steady", &[], &user("7"));
    assert_eq!(evaluated(&answer), Value::from("c"));
}

#[test]
fn without_database_and_snapshot_there_is_no_start_and_the_message_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let url = "postgres://nobody@127.0.0.1:1/nothing";
    let file = directory.path().join("no.snapshot");
    let serve = |file: &std::path::Path| {
        let command = changeover().env("CHANGEOVER_DATABASE_URL", url).args(["serve", "--bind", "127.0.0.1:0"]);
        command.arg("--snapshot-file").arg(file).run().expect_code(2)
    };
    let run = serve(&file);
    assert!(run.stderr.contains("nothing can be served") && run.stderr.contains("no.snapshot"), "{run}");
    std::fs::write(&file, "something else").unwrap();
    let run = serve(&file);
    assert!(run.stderr.contains("is not a snapshot file of ours"), "{run}");
}

#[test]
fn a_listener_that_is_cut_off_hears_again() {
    let database = TestDatabase::postgres();
    let fleet = Fleet::start(&database, 1);
    fleet.write(0, "POST", "/api/v1/flags", &flag("heard", "a"));
    let heard = || {
        let metrics = fleet.ask(0, "GET", "/metrics", &[], &Value::Null).body;
        let line = metrics.lines().find(|line| line.starts_with("changeover_notifications_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    wait_until("it is told", || heard() > 0);
    for _ in 0..3 {
        let cut = "SELECT count(pg_terminate_backend(pid)) AS count FROM pg_stat_activity
                   WHERE query LIKE 'LISTEN%' AND datname = current_database()";
        assert!(database.connection().get_row(cut, &[]).unwrap().integer("count").unwrap() > 0);
        let before = heard();
        wait_until("it is told again", || {
            fleet.write(0, "PUT", "/api/v1/flags/heard", &flag("heard", "b"));
            heard() > before
        });
    }
}
