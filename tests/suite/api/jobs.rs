//! Jobs: asked for over HTTP, done once by one of any number of servers, taken over from a dead one, cancelled.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use changeover::change::Stage;
use changeover::jobs::{Leases, Outcome, Run, Runner, Surroundings, Work, WorkError};
use changeover::store::jobs::{self, JobFilter, JobKind, JobProgress, JobState, NewJob};
use changeover::store::{PageRequest, Store};
use changeover::translation::backfill_progress;
use serde_json::{Value, json};

use super::Api;
use crate::support::{Server, TestDatabase, each_database};
use crate::translation::{file, install_file, loaded};

const BACKFILL: &str = "/api/v1/changes/billing-allocation/backfill";

/// The example with some data, installed and translating.
fn dualwrite(database: &TestDatabase) {
    install_file(&mut loaded(database), &file(), Stage::DualWrite);
}

pub fn ended(api: &Api, url: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let job = api.admin("GET", url, "").json();
        if !["queued", "running"].contains(&job["state"].as_str().unwrap_or_else(|| panic!("{job}"))) {
            return job;
        }
        assert!(Instant::now() < deadline, "the job did not end: {job}");
        std::thread::yield_now();
    }
}

#[test]
fn a_backfill_is_a_job_that_tells_how_it_went() {
    each_database(|database| {
        dualwrite(&database);
        let api = Api::new(&database);
        let reply = api.admin("POST", BACKFILL, "");
        assert_eq!(reply.status.as_u16(), 202, "{:?}", reply.json());
        let url = reply.location.clone().unwrap();
        assert_eq!(reply.json()["url"], url.as_str());
        let job = ended(&api, &url);
        assert_eq!((&job["state"], &job["kind"]), (&json!("done"), &json!("backfill")), "{job}");
        assert_eq!(job["result"]["keys"], 24, "{job}");
        assert_eq!((&job["attempts"], &job["actor"]), (&json!(1), &json!("admin")));
        assert!(job["finished_at"].is_string() && job["started_at"].is_string());
        let found = api.admin("GET", "/api/v1/jobs?change=billing-allocation&state=done", "").json();
        assert_eq!(found["items"][0], job);
        assert_eq!(api.admin("GET", "/api/v1/jobs?state=failed", "").json()["items"], json!([]));
        assert_eq!(api.admin("GET", "/api/v1/jobs?state=gone", "").status.as_u16(), 400);
        assert_eq!(api.admin("POST", &format!("{url}/cancel"), "").status.as_u16(), 409, "it is done");
        let missing = api.admin("GET", "/api/v1/jobs/0", "");
        assert_eq!((missing.status.as_u16(), missing.json()["code"].as_str()), (404, Some("job_not_found")));
    });
}

#[test]
fn one_backfill_of_a_change_at_a_time_and_a_queued_one_is_cancelled_at_once() {
    each_database(|database| {
        dualwrite(&database);
        let api = Api::without_jobs(&database);
        let first = api.admin("POST", BACKFILL, "");
        let url = first.location.unwrap();
        let second = api.admin("POST", BACKFILL, "");
        assert_eq!(second.status.as_u16(), 409);
        assert!(second.json()["detail"].as_str().unwrap().contains(&url), "{:?}", second.json());
        for _ in 0..2 {
            let cancelled = api.admin("POST", &format!("{url}/cancel"), "");
            assert_eq!((cancelled.status.as_u16(), &cancelled.json()["state"]), (200, &json!("cancelled")));
        }
        assert_eq!(api.admin("POST", BACKFILL, "").status.as_u16(), 202, "and the next may come");
    });
}

fn create(store: &Store, change: &str) -> String {
    let change = change.parse().unwrap();
    let new = NewJob { kind: JobKind::Verify, change: &change, arguments: json!({}), actor: "test" };
    store.write(|conn| jobs::create(conn, &new)).unwrap().id
}

fn runner(database: &TestDatabase, ttl: Duration, work: Work) -> Runner {
    let store = Store::open(database.database()).unwrap();
    let leases = Leases::start(store.clone(), ttl).unwrap();
    let surroundings = Surroundings { store, app: database.database(), reports: database.database() };
    Runner::start(leases, surroundings, vec![(JobKind::Verify, work)]).unwrap()
}

fn wait_until(store: &Store, state: JobState, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let filter = JobFilter { state: Some(state), change: None };
    loop {
        let found = store.read(|conn| jobs::list(conn, filter, &PageRequest::first())).unwrap().items;
        if found.len() == count {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::yield_now();
    }
}

/// Leaves a row for each run.
fn leaves_a_row(surroundings: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let sql = "INSERT INTO runs (job) VALUES ($1)";
    surroundings.app.connection()?.execute(sql, &[run.job().id.as_str().into()])?;
    Ok(Outcome::Done(json!({ "change": run.job().change })))
}

#[test]
fn no_job_is_done_twice_by_several_servers() {
    each_database(|database| {
        let store = Store::open(database.database()).unwrap();
        database.connection().batch("CREATE TABLE runs (job TEXT NOT NULL)").unwrap();
        for number in 0..30 {
            create(&store, &format!("change-{number}"));
        }
        let servers: Vec<_> = (0..3).map(|_| runner(&database, Leases::TTL, leaves_a_row)).collect();
        wait_until(&store, JobState::Done, 30);
        drop(servers);
        let sql = "SELECT count(*) AS runs, count(DISTINCT job) AS jobs FROM runs";
        let row = database.connection().get_row(sql, &[]).unwrap();
        assert_eq!((row.integer("runs").unwrap(), row.integer("jobs").unwrap()), (30, 30));
    });
}

fn goes_on_until_told(_: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let mut done = run.job().progress.done;
    while run.tell(&JobProgress { done, step: String::from("waiting"), ..JobProgress::default() }) {
        done += 1;
        std::thread::yield_now();
    }
    Ok(Outcome::Stopped)
}

#[test]
fn a_running_job_is_cancelled_or_goes_on_elsewhere_when_its_server_stops() {
    each_database(|database| {
        let store = Store::open(database.database()).unwrap();
        let id = create(&store, "a-change");
        let first = runner(&database, Leases::TTL, goes_on_until_told);
        wait_until(&store, JobState::Running, 1);
        drop(first);
        let job = store.read(|conn| jobs::get(conn, &id)).unwrap();
        assert_eq!((job.state, job.attempts, job.error), (JobState::Queued, 0, None), "a stop is no failure");
        let second = runner(&database, Leases::TTL, goes_on_until_told);
        let deadline = Instant::now() + Duration::from_secs(60);
        while store.read(|conn| jobs::get(conn, &id)).unwrap().progress.done == 0 {
            assert!(Instant::now() < deadline, "it tells nothing");
            std::thread::yield_now();
        }
        let origin = changeover::store::Origin { actor: "ada", reason: "enough" };
        store.write(|conn| jobs::cancel(conn, &id, origin)).unwrap();
        wait_until(&store, JobState::Cancelled, 1);
        drop(second);
        let job = store.read(|conn| jobs::get(conn, &id)).unwrap();
        assert!(job.progress.done >= 1 && job.progress.step == "waiting", "{job:?}");
    });
}

fn fails_twice(_: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    match (run.job().change.as_str(), TRIES.fetch_add(1, Ordering::Relaxed)) {
        ("panics", _) => panic!("on purpose"),
        ("refuses", _) => Err(WorkError::Lasting("the block is gone".into())),
        _ if run.job().attempts < 2 => Err(WorkError::Passing("the database is away".into())),
        _ => Ok(Outcome::Done(Value::Null)),
    }
}

#[test]
fn what_passes_is_tried_again_and_what_lasts_is_told() {
    each_database(|database| {
        let store = Store::open(database.database()).unwrap();
        let ids = ["passes", "refuses", "panics"].map(|change| create(&store, change));
        let _server = runner(&database, Leases::TTL, fails_twice);
        wait_until(&store, JobState::Failed, 2);
        wait_until(&store, JobState::Done, 1);
        let told = ids.map(|id| store.read(|conn| jobs::get(conn, &id)).unwrap());
        assert_eq!((told[0].state, told[0].attempts, told[0].error.as_deref()), (JobState::Done, 2, None));
        assert_eq!(told[1].error.as_deref(), Some("the block is gone"));
        assert_eq!(told[2].error.as_deref(), Some("the work panicked: on purpose"));
    });
}

/// A backfill of 24 keys, four in a second.
fn slow_backfill(server: &Server) -> String {
    let body = br#"{"rows_per_second": 4, "batch_rows": 1, "workers": 2, "restart": true}"#;
    let headers = [("content-type", "application/json")];
    let answer = server.send("POST", BACKFILL, &headers, Some(body));
    assert_eq!(answer.status, 202, "{answer:?}");
    serde_json::from_str::<Value>(&answer.body).unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_job_whose_server_was_killed_goes_on_at_another() {
    each_database(|database| {
        dualwrite(&database);
        let store = Store::open(database.database()).unwrap();
        let start = || Server::start_with(&database, |command| command.args(["--lease-seconds", "2"]));
        let first = start();
        let id = slow_backfill(&first);
        let job = || store.read(|conn| jobs::get(conn, &id)).unwrap();
        let wait_for = |what: &str, holds: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while !holds() {
                assert!(Instant::now() < deadline, "{what}: {:?}", job());
                std::thread::yield_now();
            }
        };
        wait_for("it began", &|| job().progress.done >= 2);
        let second = start();
        drop(first);
        let done_by_first = backfill_progress(&mut database.connection(), &"billing-allocation".parse().unwrap());
        let done_by_first: i64 = done_by_first.unwrap().iter().map(|state| state.keys_done).sum();
        wait_for("it was taken over", &|| job().attempts == 2);
        wait_for("it ended", &|| job().state.is_ended());
        let job = job();
        assert_eq!((job.state, job.error.as_deref()), (JobState::Done, None), "{job:?}");
        let keys = job.result.unwrap()["keys"].as_i64().unwrap();
        assert_eq!(keys + done_by_first, 24, "nothing is done twice, nothing is left out");
        drop(second);
    });
}
