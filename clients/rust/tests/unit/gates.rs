//! The worker helper against the real server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{FakeServer, RealServer, Told, eventually};
use crate::{Client, Gate, Kind};

fn server() -> (RealServer, Client) {
    let server = RealServer::start();
    let client = Client::builder().url(server.url()).token(server.token("evaluate")).events(false).build().unwrap();
    (server, client)
}

fn create(server: &RealServer, worker: &str, settings: &Value) {
    server.request("PUT", &format!("/api/v1/gates/{worker}"), settings);
}

#[test]
fn what_work_returns_is_returned_and_the_lease_is_given_back() {
    let (server, client) = server();
    create(&server, "once", &json!({"single_instance": true}));
    let token = || client.gate("once").run(|lease| lease.fencing_token().unwrap()).unwrap().unwrap();
    assert!(token() < token());
    let panicked = std::panic::catch_unwind(|| client.gate("once").run(|_| panic!("the work fails")).map(drop));
    assert!(panicked.is_err());
    // It was given back all the same, or this would wait.
    assert!(token() > 0);
    create(&server, "many", &json!({}));
    let found = client.gate("many").run(|lease| (lease.fencing_token(), lease.is_allowed())).unwrap();
    assert_eq!(found, Some((None, true)));
    let wrong = Client::builder().url(server.url()).token("co_wrong").events(false).build().unwrap();
    assert_eq!(wrong.gate("once").run(|_| ()).unwrap_err().kind(), Kind::Unauthenticated);
}

#[test]
fn one_instance_runs_and_the_next_one_follows() {
    let (server, client) = server();
    create(&server, "single", &json!({"single_instance": true, "lease_seconds": 2}));
    let (at_work, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                Gate::hasty(&client, "single")
                    .run(|lease| {
                        most.fetch_max(at_work.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                        // Longer than the lease: a heartbeat keeps it.
                        let is_allowed = lease.wait(Duration::from_millis(2300));
                        at_work.fetch_sub(1, Ordering::AcqRel);
                        if is_allowed {
                            done.lock().unwrap().push(lease.fencing_token().unwrap());
                        }
                    })
                    .unwrap();
            });
        }
    });
    let done = done.into_inner().unwrap();
    assert_eq!((done.len(), most.load(Ordering::Acquire)), (2, 1));
    assert!(done[0] < done[1]);
}

#[test]
fn a_pause_ends_it_and_a_resume_begins_anew() {
    let (server, client) = server();
    create(&server, "paused", &json!({"single_instance": true, "lease_seconds": 2}));
    let gate = Gate::hasty(&client, "paused");
    let (begun, ended) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let switch = |to: &str| server.request("POST", &format!("/api/v1/gates/paused/{to}"), &json!({"reason": "a test"}));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            gate.run(|lease| {
                begun.lock().unwrap().push(lease.fencing_token().unwrap());
                while lease.wait(Duration::from_millis(50)) {}
                ended.fetch_add(1, Ordering::AcqRel);
            })
        });
        eventually("the work begins", || begun.lock().unwrap().len() == 1);
        switch("pause");
        eventually("the work ends", || ended.load(Ordering::Acquire) == 1);
        switch("resume");
        eventually("the work begins anew", || begun.lock().unwrap().len() == 2);
        gate.stop();
        assert_eq!(run.join().unwrap().unwrap(), None);
    });
    let begun = begun.into_inner().unwrap();
    assert!(begun[0] < begun[1]);
}

#[test]
fn a_gate_that_is_not_there_is_waited_for() {
    let (server, client) = server();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| Gate::hasty(&client, "later").run(|lease| lease.is_allowed()));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!run.is_finished());
        create(&server, "later", &json!({}));
        assert_eq!(run.join().unwrap().unwrap(), Some(true));
    });
}

#[test]
fn a_server_that_is_away_ends_the_lease_in_time() {
    let (server, client) = server();
    create(&server, "w", &json!({"single_instance": true, "lease_seconds": 2}));
    let gate = client.gate("w");
    let took = Mutex::new(None);
    let result = gate.run(|lease| {
        server.kill();
        let began = Instant::now();
        while lease.wait(Duration::from_millis(50)) {}
        *took.lock().unwrap() = Some(began.elapsed());
        gate.stop();
    });
    assert_eq!(result.unwrap(), None);
    assert!(took.into_inner().unwrap().unwrap() < Duration::from_secs(2));
}

#[test]
fn a_lease_counts_from_before_it_was_asked_for() {
    let fake = FakeServer::start(|request| {
        if request.method == "GET" {
            return Told::json(
                &json!({"worker": "w", "answer": "run", "ask_again_seconds": 10, "single_instance": true}),
            );
        }
        if request.path.ends_with("/lease") {
            std::thread::sleep(Duration::from_millis(600));
            return Told::json(&json!({"fencing_token": 7, "lease_seconds": 1, "heartbeat_after_seconds": 30}));
        }
        Told::Answer(204, Vec::new(), String::new())
    });
    let client = Client::builder().url(fake.url()).token("co_x").events(false).build().unwrap();
    let gate = client.gate("w");
    let result = gate.run(|lease| {
        let began = Instant::now();
        assert!(!lease.wait(Duration::from_secs(1)));
        gate.stop();
        began.elapsed()
    });
    assert_eq!(result.unwrap(), None);
}
