//! What is about a change, against the real server: observations, sides, allocations, writes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{FakeServer, Proxy, RealServer, Told, eventually};
use crate::{Client, Kind, Operation, Order, Side, Stage, minted};

const CHANGE: &str = "billing-allocation";

#[derive(Debug)]
struct Broken;

fn summary(server: &RealServer, subject: &str, name: &str) -> Value {
    let found = server.request("GET", &format!("/api/v1/{subject}/observations"), &Value::Null);
    found["items"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn what_a_migrator_observes_is_counted() {
    let server = RealServer::start_with_change();
    server.serve("ledger-stage", "shadow");
    let client = Client::new(server.url(), &server.admin_token).unwrap();
    let ledger = client.migrator::<Value>("ledger-stage").change(CHANGE).name("ledger");
    let total = |total: f64| move || Ok::<_, Broken>(json!({"total": total}));
    assert_eq!(ledger.stage("7"), Stage::Shadow);
    assert_eq!(ledger.read("7", total(12.5), total(12.5)).unwrap(), json!({"total": 12.5}));
    assert_eq!(ledger.read("7", total(12.5), total(13.0)).unwrap(), json!({"total": 12.5}));
    assert_eq!(ledger.write("7", || Ok("written"), || Err(Broken)).unwrap(), "written");
    assert!(client.flush(Duration::from_secs(10)));
    let subject = format!("changes/{CHANGE}");
    let reads = summary(&server, &subject, "ledger:read");
    assert_eq!((&reads["compared"], &reads["mismatches"]), (&json!(2), &json!(1)));
    let writes = summary(&server, &subject, "ledger:write");
    assert_eq!((&writes["errors_old"], &writes["errors_new"]), (&json!(0), &json!(1)));
    // What the server refuses is counted.
    let nothing = client.migrator::<i64>("conformance-nothing").default_stage(Stage::Shadow);
    nothing.read("7", || Ok::<_, Broken>(1), || Ok(1)).unwrap();
    assert!(client.flush(Duration::from_secs(10)));
    assert_eq!((client.stats().sent, client.stats().refused), (3, 1));
}

#[test]
fn observations_wait_while_the_server_is_away_and_are_counted_once() {
    let server = RealServer::start();
    server.serve("stage", "live");
    let client = Client::builder().url(server.url()).token(&server.admin_token).observations_max(30).build().unwrap();
    let migrator = client.migrator::<i64>("stage").order(Order::Concurrent);
    let read = || migrator.read("7", || Ok::<_, Broken>(1), || Ok(1)).unwrap();
    assert_eq!(read(), 1);
    assert!(client.flush(Duration::from_secs(10)));
    server.kill();
    for _ in 0..50 {
        assert_eq!(read(), 1);
    }
    assert!(!client.flush(Duration::from_millis(300)));
    assert_eq!((client.stats().pending, client.stats().dropped), (30, 20));
    server.start_again();
    eventually("all are sent", || client.flush(Duration::from_secs(1)));
    assert_eq!((client.stats().sent, client.stats().refused), (31, 0));
    assert_eq!(summary(&server, "flags/stage", "stage:read")["compared"], json!(31));
}

#[test]
fn the_last_known_stage_is_kept_on_disk() {
    let server = RealServer::start();
    server.serve("phase", "shadow");
    let directory = super::support::Directory::new();
    let client = || {
        Client::builder()
            .url(server.url())
            .token(&server.admin_token)
            .state_path(directory.file("state.json"))
            .build()
            .unwrap()
    };
    assert_eq!(client().migrator::<i64>("phase").stage("1"), Stage::Shadow);
    server.kill();
    let away = client();
    assert_eq!(away.migrator::<i64>("phase").stage("a newcomer"), Stage::Shadow);
    assert_eq!(away.migrator::<i64>("another").stage("a newcomer"), Stage::Off);
}

#[test]
fn sides_are_asked_recorded_and_kept() {
    let server = RealServer::start_with_change();
    let client = Client::new(server.url(), &server.admin_token).unwrap();
    let sides = client.sides(CHANGE);
    assert_eq!(sides.of(7).unwrap(), Side::Old);
    let users: Vec<String> = (1..=1200).map(|number: u32| number.to_string()).collect();
    let answers: Vec<_> =
        sides.clone().period("2030-01").without_recording().of_many(&users).map(|answer| answer.unwrap()).collect();
    assert_eq!(answers.iter().map(|answer| answer.user.clone()).collect::<Vec<_>>(), users);
    assert!(answers.iter().all(|answer| matches!(answer.side, Ok(Side::Old))));
    assert_eq!(sides.period("2030-13").of(7).unwrap_err().kind(), Kind::Invalid);
    let missing = client.sides("no-such-change").of(7).unwrap_err();
    assert_eq!((missing.kind(), missing.code()), (Kind::NotFound, Some("change_not_found")));
    assert_eq!(client.sides("no-such-change").of_or(7, Side::New), Side::New);
    let found = client.allocation_of(CHANGE, 5).unwrap();
    assert_eq!((found.charge_id.as_str(), found.side), ("5", Side::Old));
    assert!(!found.parts.is_empty());
    assert_eq!(client.allocation_of(CHANGE, 999_999).unwrap_err().code(), Some("charge_not_found"));
}

#[test]
fn a_side_of_a_server_that_is_away() {
    let line = r#"{"line":1,"user":"7","side":"new","group":"1","because":"recorded"}"#;
    let server = FakeServer::start(move |_| Told::Answer(200, Vec::new(), format!("{line}\n")));
    let mut builder = Client::builder().url(server.url()).token("co_x").side_max_age(Duration::ZERO).events(false);
    builder.sleep = std::sync::Arc::new(|_| {});
    let client = builder.build().unwrap();
    let sides = client.sides(CHANGE);
    assert_eq!(sides.of(7).unwrap(), Side::New);
    assert_eq!((sides.of(7).unwrap(), server.seen().len()), (Side::New, 2));
    server.close();
    assert_eq!(sides.of(7).unwrap(), Side::New);
    assert_eq!(sides.of_or(8, Side::Old), Side::Old);
    assert_eq!(sides.of(8).unwrap_err().kind(), Kind::Connection);
}

#[test]
fn a_write_reaches_both_models_once() {
    let server = RealServer::start_with_change();
    let client = Client::new(server.url(), &server.admin_token).unwrap();
    let writes = client.writes(CHANGE);
    let video = |title: &str| json!({"user_id": minted(0, "id"), "title": title});
    let operations = [
        Operation::insert("users", json!({"name": "Ada", "company": "Ada Ltd"})),
        Operation::insert_all("videos", [video("First"), video("Second")]),
    ];
    let keyed = writes.clone().idempotency_key("rust-0001");
    let (first, again) = (keyed.run(&operations).unwrap(), keyed.run(&operations).unwrap());
    assert_eq!((first.is_replayed, again.is_replayed, &again.operations), (false, true, &first.operations));
    assert_eq!(first.operations[1]["rows"].as_array().unwrap().len(), 2);
    assert!(!first.translated.is_empty());
    let user = &first.operations[0]["rows"][0]["id"];
    let rename =
        |to: &str| Operation::update("users", json!({"id": user}), json!({"name": to})).only_if(json!({"name": "Ada"}));
    writes.run(&[rename("Ada L.")]).unwrap();
    let failure = |operation: Operation| writes.run(&[operation]).unwrap_err();
    let told = failure(rename("X"));
    assert_eq!((told.kind(), told.code()), (Kind::PreconditionFailed, Some("row_differs")));
    let told = failure(Operation::insert("users", json!({"nome": "Ada"})));
    assert_eq!((told.code(), &told.faults()[0]["operation"]), (Some("invalid_write"), &json!(0)));
    let told = failure(Operation::insert("users", json!({"id": user, "name": "Ada", "company": "B"})));
    assert_eq!((told.kind(), told.code()), (Kind::Conflict, Some("unique_violation")));
    assert_eq!(failure(Operation::delete("users", json!({"id": 999_999}))).kind(), Kind::NotFound);
    writes.run(&[Operation::upsert("users", json!({"id": user, "name": "Ada", "company": "C"})).by(&["id"])]).unwrap();
    assert!(writes.schema().unwrap().get("tables").is_some());

    let evaluating = Client::new(server.url(), server.token("evaluate")).unwrap();
    let refused = evaluating.writes(CHANGE).run(&[Operation::insert("users", json!({"name": "A", "company": "B"}))]);
    assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden);

    // A write whose answer is lost is done once.
    let is_lost = AtomicBool::new(true);
    let proxy = Proxy::start(&server.address, move || is_lost.swap(false, Ordering::AcqRel));
    let client = Client::builder()
        .url(format!("http://{}", proxy.address))
        .token(&server.admin_token)
        .events(false)
        .build()
        .unwrap();
    let result =
        client.writes(CHANGE).run(&[Operation::insert("users", json!({"name": "once", "company": "O"}))]).unwrap();
    assert!(result.is_replayed);
}

#[test]
fn a_client_that_is_dropped_sends_what_waits() {
    let posted = std::sync::Arc::new(Mutex::new(String::new()));
    let seen = std::sync::Arc::clone(&posted);
    let server = FakeServer::start(move |request| {
        if request.path.ends_with("/observations") {
            seen.lock().unwrap().push_str(&request.body);
        }
        Told::json(&json!({"flags": []}))
    });
    let client = Client::builder().url(server.url()).token("co_x").events(false).build().unwrap();
    let migrator = client.migrator::<i64>("f").default_stage(Stage::Shadow);
    migrator.read("1", || Ok::<_, Broken>(1), || Ok(2)).unwrap();
    drop(client);
    assert!(posted.lock().unwrap().is_empty());
    drop(migrator);
    assert!(posted.lock().unwrap().contains("f:read"));
}
