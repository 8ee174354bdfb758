//! A change reaches every server; versions never go back on any; a request that names a version is answered from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use changeover::primitives::Dialect;
use serde_json::Value;

use super::fixture::{Fleet, evaluated, flag, user, wait_until};
use crate::support::{TestDatabase, each_database, full_length};

/// PostgreSQL takes any number of servers; an SQLite file those of one machine.
fn servers_on(database: &TestDatabase) -> usize {
    if database.dialect() == Dialect::Postgres { 4 } else { 2 }
}

#[test]
fn every_change_is_served_by_every_server_and_versions_only_grow() {
    each_database(|database| {
        let fleet = Fleet::start(&database, servers_on(&database));
        let count = fleet.servers.len();
        fleet.write(0, "POST", "/api/v1/flags", &flag("moving", "a"));
        let done = AtomicBool::new(false);
        let mut latencies: Vec<Duration> = Vec::new();
        thread::scope(|scope| {
            for nth in 0..count {
                let (fleet, done) = (&fleet, &done);
                scope.spawn(move || watch_that_versions_grow(fleet, nth, done));
            }
            for change in 0..usize::try_from(full_length(200, 40)).unwrap() {
                let variant = ["a", "b", "c"][change % 3];
                let version = fleet.write(change % count, "PUT", "/api/v1/flags/moving", &flag("moving", variant));
                let written = Instant::now();
                for nth in 0..count {
                    wait_until("the change arrives", || fleet.readiness(nth)["version"].as_i64() >= Some(version));
                    latencies.push(written.elapsed());
                    let path = "/ofrep/v1/evaluate/flags/moving";
                    assert_eq!(evaluated(&fleet.ask(nth, "POST", path, &[], &user("7"))), Value::from(variant));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        latencies.sort();
        let at = |part: usize| latencies[latencies.len() * part / 100];
        eprintln!(
            "{} servers on {}: a change is served after {:?} (median), {:?} (99th percentile)",
            count,
            database.dialect(),
            at(50),
            at(99)
        );
    });
}

fn watch_that_versions_grow(fleet: &Fleet, nth: usize, done: &AtomicBool) {
    let mut newest = -1;
    while !done.load(Ordering::Relaxed) {
        let version = fleet.readiness(nth)["version"].as_i64().unwrap();
        assert!(version >= newest, "server {nth} went back from {newest} to {version}");
        newest = version;
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_request_that_names_a_version_is_answered_from_it() {
    each_database(|database| {
        let fleet = Fleet::start(&database, 2);
        fleet.write(0, "POST", "/api/v1/flags", &flag("told", "a"));
        for change in 1..=30 {
            let variant = ["a", "b", "c"][change % 3];
            let version = fleet.write(0, "PUT", "/api/v1/flags/told", &flag("told", variant)).to_string();
            let headers = [("changeover-version", version.as_str())];
            let answer = fleet.ask(1, "POST", "/ofrep/v1/evaluate/flags/told", &headers, &user("7"));
            assert_eq!(evaluated(&answer), Value::from(variant), "{answer:?}");
            let path = format!("/ofrep/v1/evaluate/flags/told?min_version={version}");
            assert_eq!(evaluated(&fleet.ask(1, "POST", &path, &[], &user("7"))), Value::from(variant));
            let path = format!("/api/v1/flags?limit=1&min_version={version}");
            let answer = fleet.ask(1, "GET", &path, &[], &Value::Null);
            assert_eq!(answer.status, 200, "the parameter is no concern of the handler: {answer:?}");
        }
    });
}

#[test]
fn a_version_that_does_not_come_is_503_and_what_is_no_version_400() {
    let database = TestDatabase::sqlite();
    let fleet = Fleet::start(&database, 1);
    fleet.write(0, "POST", "/api/v1/flags", &flag("told", "a"));
    let future = [("changeover-version", "1000000")];
    let answer = fleet.ask(0, "GET", "/api/v1/flags", &future, &Value::Null);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(answer.body.contains("version_not_reached"), "{answer:?}");
    let answer = fleet.ask(0, "POST", "/ofrep/v1/evaluate/flags/told", &future, &user("7"));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(answer.body.contains("errorCode") && answer.content_type.starts_with("application/json"), "{answer:?}");
    for (path, headers) in
        [("/api/v1/flags?min_version=soon", &[][..]), ("/api/v1/flags", &[("changeover-version", "soon")][..])]
    {
        assert_eq!(fleet.ask(0, "GET", path, headers, &Value::Null).status, 400, "{path}");
    }
    let answer = fleet.servers[0].send_as("wrong", "GET", "/api/v1/flags", &future, None);
    assert_eq!(answer.status, 401, "who has no token is not waited for");
}
