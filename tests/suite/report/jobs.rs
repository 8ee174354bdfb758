//! A report over HTTP is a job: done once whoever dies, by one server of several, and given up when somebody says so.

use std::time::{Duration, Instant};

use changeover::primitives::{ChangeName, Dialect};
use changeover::store::jobs::{self, Job, JobState};
use changeover::store::{PageRequest, Store, reports};
use serde_json::{Value, json};

use super::commands::{CHANGE, NAME, command};
use crate::examples::support::load_video_hosting;
use crate::support::{Server, TestDatabase, each_database};

const REPORTS: &str = "/api/v1/changes/billing-allocation/reports";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The example, with a query of charges that counts to the number in the table `brake` each time it is asked.
fn installed_with_brake(database: &TestDatabase) {
    let mut connection = database.connection();
    load_video_hosting(&mut connection, 300, 41);
    connection.batch("CREATE TABLE brake (n BIGINT NOT NULL); INSERT INTO brake VALUES (1)").unwrap();
    let text = std::fs::read_to_string(CHANGE).unwrap();
    let query = "amount_minor AS amount FROM charges\"\nold ";
    assert!(text.contains(query));
    let braked = "amount_minor AS amount FROM charges WHERE (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                  WHERE i < (SELECT n FROM brake)) SELECT count(*) FROM n) > 0\"\nold ";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("change.toml");
    std::fs::write(&path, text.replace(query, braked)).unwrap();
    let run = |arguments: &[&str]| drop(command(database).args(arguments).run().expect_code(0));
    run(&["change", "install", path.to_str().unwrap()]);
    run(&["change", "stage", NAME, "dualwrite"]);
    run(&["backfill", NAME]);
}

fn brake(database: &TestDatabase, on: bool) {
    let n = match (on, database.dialect()) {
        (false, _) => 1,
        (true, Dialect::Sqlite) => 4_000_000,
        (true, Dialect::Postgres) => 5_000_000,
    };
    database.connection().batch(&format!("UPDATE brake SET n = {n}")).unwrap();
}

/// A server that is taken for dead soon.
fn server(database: &TestDatabase) -> Server {
    Server::start_with(database, |command| command.args(["--lease-seconds", "2"]))
}

/// Asks for a report; the job's id.
fn ask(server: &Server, token: &str, body: &Value) -> String {
    let answer = server.send_as(token, "POST", REPORTS, &JSON, Some(body.to_string().as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
    serde_json::from_str::<Value>(&answer.body).unwrap()["id"].as_str().unwrap().to_owned()
}

fn wait_for(store: &Store, id: &str, holds: impl Fn(&Job) -> bool) -> Job {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let job = store.read(|conn| jobs::get(conn, id)).unwrap();
        if holds(&job) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job:?}");
        std::thread::yield_now();
    }
}

fn stored(store: &Store) -> Vec<reports::Report> {
    let change = ChangeName::new(NAME).unwrap();
    store.read(|conn| reports::list(conn, &change, &PageRequest::first())).unwrap().items
}

#[test]
fn a_report_whose_server_is_killed_is_finished_once_by_another_with_the_same_bytes() {
    each_database(|database| {
        installed_with_brake(&database);
        let store = Store::open(database.database()).unwrap();
        let as_of = "2025-06-01T06:00:00Z";
        let first = server(&database);
        let token = first.admin_token();
        brake(&database, true);
        let id = ask(&first, &token, &json!({ "as_of": as_of }));
        wait_for(&store, &id, |job| job.state == JobState::Running);
        let second = server(&database);
        drop(first);
        brake(&database, false);
        let job = wait_for(&store, &id, |job| job.state.is_ended());
        assert_eq!((job.state, job.attempts, job.error.as_deref()), (JobState::Done, 2, None), "{job:?}");
        let found = stored(&store);
        assert_eq!(found.len(), 1, "it is stored once");
        assert_eq!(json!(found[0].sha256), job.result.as_ref().unwrap()["sha256"]);
        assert_eq!(found[0].id, job.arguments["report"].as_str().unwrap(), "under the id that was told at first");

        let again = command(&database).args(["--json", "report", "run", NAME, "--as-of", as_of]).run().expect_code(0);
        assert_eq!(again.json()["sha256"], json!(found[0].sha256), "the same bytes as one that nobody interrupted");
        drop(second);
    });
}

#[test]
fn two_servers_never_run_the_same_report_and_only_one_of_a_change_runs_at_a_time() {
    each_database(|database| {
        installed_with_brake(&database);
        let store = Store::open(database.database()).unwrap();
        let (first, second) = (Server::start(&database), Server::start(&database));
        let token = first.admin_token();
        let mut asked = Vec::new();
        for number in 0..6 {
            let server = if number % 2 == 0 { &first } else { &second };
            let id = ask(server, &token, &json!({ "periods": ["2026-11"] }));
            let beside = if number % 2 == 0 { &second } else { &first };
            let other = beside.send_as(&token, "POST", REPORTS, &JSON, Some(b"{}"));
            // Either the first is done already, or the second is told of it.
            if other.status == 202 {
                let other: Value = serde_json::from_str(&other.body).unwrap();
                asked.push(other["id"].as_str().unwrap().to_owned());
            } else {
                assert!(other.status == 409 && other.body.contains(&id), "{other:?}");
            }
            asked.push(id);
            for id in &asked {
                let job = wait_for(&store, id, |job| job.state.is_ended());
                assert_eq!((job.state, job.attempts), (JobState::Done, 1), "{job:?}");
            }
        }
        let found = stored(&store);
        assert_eq!(found.len(), asked.len(), "one report each");
        let sql = "SELECT count(*) AS n FROM svc_changeover_audit WHERE action = 'report.run'";
        let audited = database.connection().get_row(sql, &[]).unwrap().integer("n").unwrap();
        assert_eq!(usize::try_from(audited).unwrap(), asked.len());
    });
}

#[test]
fn a_report_that_is_cancelled_stores_nothing_and_the_next_one_may_come() {
    each_database(|database| {
        installed_with_brake(&database);
        let store = Store::open(database.database()).unwrap();
        let server = server(&database);
        let token = server.admin_token();
        brake(&database, true);
        let id = ask(&server, &token, &json!({}));
        wait_for(&store, &id, |job| job.state == JobState::Running);
        let cancel = format!("/api/v1/jobs/{id}/cancel");
        assert_eq!(server.send_as(&token, "POST", &cancel, &JSON, Some(b"{}")).status, 200);
        brake(&database, false);
        let job = wait_for(&store, &id, |job| job.state.is_ended());
        assert_eq!((job.state, stored(&store).len()), (JobState::Cancelled, 0), "{job:?}");
        let next = ask(&server, &token, &json!({ "since": null }));
        let next = wait_for(&store, &next, |job| job.state.is_ended());
        assert_eq!((next.state, stored(&store).len()), (JobState::Done, 1), "{next:?}");
    });
}
