//! Observations on both databases: counted once, compared under rules, kept as samples, from several servers at once.

use changeover::observations::{Observation, Rule, read_batch};
use changeover::primitives::ChangeName;
use changeover::store::observations::{Posted, Subject, last_hours, post, samples, series, summary};
use changeover::store::{Origin, Store, observation_rules};
use serde_json::{Value, json};

use super::commands::{NAME, command, installed, report};
use crate::examples::support::load_video_hosting;
use crate::support::{Server, TestDatabase, changeover, each_database};

const ORIGIN: Origin<'static> = Origin { actor: "ada", reason: "" };

fn batch(all: &[Value]) -> Vec<(usize, Observation)> {
    read_batch(&json!(all).to_string()).unwrap().into_iter().map(Result::unwrap).collect()
}

fn store(database: &TestDatabase) -> (Store, Subject) {
    (Store::open(database.database()).unwrap(), Subject::change(&ChangeName::new("billing").unwrap()))
}

fn pair(id: &str, old: Value, new: Value) -> Value {
    json!({ "id": id, "operation": "invoice", "sample_rate": 0.5,
        "old": { "value": old, "duration_us": 100 }, "new": { "value": new, "duration_us": 200 } })
}

#[test]
fn a_batch_that_comes_twice_counts_once() {
    each_database(|database| {
        let (store, subject) = store(&database);
        let failed = json!({ "id": "c", "operation": "invoice", "old": { "value": 1 }, "new": { "error": "Timeout" } });
        let all = batch(&[pair("a", json!(1), json!(1)), pair("b", json!({ "x": 1 }), json!({ "x": 2 })), failed]);
        let posted = post(&store, &subject, &all).unwrap();
        let wanted = Posted { accepted: 3, compared: 3, mismatches: 2, errors_new: 1, ..Posted::default() };
        assert_eq!(posted, wanted);
        assert_eq!(post(&store, &subject, &all).unwrap(), Posted { repeated: 3, ..Posted::default() });

        let found = store.read(|conn| summary(conn, &subject, last_hours(1))).unwrap();
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.compared, one.mismatches, one.errors_old, one.errors_new, one.calls), (3, 2, 0, 1, 5));
        assert_eq!((one.latency_old.count, one.samples), (2, 2));
        assert!((100..=112).contains(&one.latency_old.p50_us.unwrap()), "{one:?}");
        assert!((200..=225).contains(&one.latency_new.p99_us.unwrap()), "{one:?}");
        assert_eq!(store.read(|conn| series(conn, &subject, last_hours(1))).unwrap()[0].summary.compared, 3);
        let kept = store.read(|conn| samples(conn, &subject, Some("invoice"), 10)).unwrap();
        let paths: Vec<&str> = kept.iter().map(|one| one.path.as_str()).collect();
        assert!(paths.contains(&"/x") && paths.contains(&"error"), "{paths:?}");
    });
}

#[test]
fn rules_ignore_until_they_expire_and_hide_what_samples_show() {
    each_database(|database| {
        let (store, subject) = store(&database);
        let rule = |rule: Value| serde_json::from_value::<Rule>(rule).unwrap();
        let ignore =
            json!({ "path": "/at", "kind": "ignore", "owner": "ada", "reason": "clocks", "expires": "2999-01-01" });
        let redact = json!({ "path": "/card", "kind": "redact", "owner": "ada", "reason": "secret" });
        let id = store.write(|conn| {
            observation_rules::create(conn, &subject, &rule(redact.clone()), ORIGIN)?;
            observation_rules::create(conn, &subject, &rule(ignore.clone()), ORIGIN)
        });
        let id = id.unwrap().id;
        let ignored = pair("a", json!({ "at": 1, "card": "4111" }), json!({ "at": 2, "card": "4111" }));
        let differs = pair("b", json!({ "n": 1, "card": "4111" }), json!({ "n": 2, "card": "4111" }));
        let posted = post(&store, &subject, &batch(&[ignored, differs])).unwrap();
        assert_eq!((posted.ignored, posted.mismatches), (1, 1));
        let kept = store.read(|conn| samples(conn, &subject, None, 10)).unwrap();
        let text = kept[0].data.to_string();
        assert!(!text.contains("4111") && text.contains("(hidden)"), "{text}");

        let stale = store.write(|conn| observation_rules::remove(conn, &subject, (&id, Some(7)), ORIGIN));
        assert!(stale.unwrap_err().to_string().contains("it is at version 1"));
        store.write(|conn| observation_rules::remove(conn, &subject, (&id, Some(1)), ORIGIN)).unwrap();
        let again = pair("c", json!({ "at": 1 }), json!({ "at": 2 }));
        assert_eq!(post(&store, &subject, &batch(&[again])).unwrap().mismatches, 1);
    });
}

#[test]
fn servers_count_the_same_ids_once_between_them_and_samples_stay_bounded() {
    each_database(|database| {
        let (store, subject) = store(&database);
        let all: Vec<Value> = (0..60).map(|n| pair(&format!("o{n}"), json!(n), json!(n + 1))).collect();
        let posted: Vec<Posted> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| post(&store, &subject, &batch(&all)).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(posted.iter().map(|one| one.accepted).sum::<u64>(), 60);
        let found = store.read(|conn| summary(conn, &subject, last_hours(1))).unwrap();
        assert_eq!((found[0].compared, found[0].mismatches, found[0].samples), (60, 60, 20));
    });
}

const FLAG: &str = r#"{"key":"f","type":"boolean","enabled":true,"variants":{"on":true,"off":false},"default_variant":"off","off_variant":"off","rules":[]}"#;

#[test]
fn over_http_applications_post_viewers_read_and_bad_lines_are_told() {
    each_database(|database| {
        let server = Server::start(&database);
        let token = |role: &str| {
            let issued = changeover().service(&database).args(["--json", "token", "create", role, "--role", role]);
            issued.run().expect_code(0).json()["secret"].as_str().unwrap().to_owned()
        };
        let (application, viewer) = (token("evaluate"), token("viewer"));
        let json = [("content-type", "application/json")];
        let all = "/api/v1/flags/f/observations";
        let lines =
            b"{\"operation\":\"a\",\"old\":{\"value\":1},\"new\":{\"value\":1.0}}\n{\"operation\":\"a\",\"nw\":{}}\n";
        assert_eq!(server.send("POST", all, &json, Some(lines)).status, 404, "there is no such flag yet");
        assert_eq!(server.send("POST", "/api/v1/flags", &json, Some(FLAG.as_bytes())).status, 201);

        let posted = server.send_as(&application, "POST", all, &json, Some(lines));
        let body: Value = serde_json::from_str(&posted.body).unwrap();
        assert_eq!(
            (posted.status, &body["accepted"], &body["refused"][0]["line"]),
            (200, &json!(1), &json!(2)),
            "{body}"
        );
        assert_eq!(server.send_as(&application, "GET", all, &[], None).status, 403);
        let read: Value = serde_json::from_str(&server.send_as(&viewer, "GET", all, &[], None).body).unwrap();
        assert_eq!((&read["items"][0]["name"], &read["items"][0]["compared"]), (&json!("a"), &json!(1)), "{read}");

        let rules = "/api/v1/flags/f/observation-rules";
        let endless = json!({ "path": "", "kind": "ignore", "owner": "ada", "reason": "x" }).to_string();
        assert_eq!(server.send("POST", rules, &json, Some(endless.as_bytes())).status, 422);
        let rule =
            json!({ "path": "", "kind": "absolute", "value": "0.01", "owner": "ada", "reason": "x" }).to_string();
        assert_eq!(server.send_as(&viewer, "POST", rules, &json, Some(rule.as_bytes())).status, 403);
        let made = server.send("POST", rules, &json, Some(rule.as_bytes()));
        assert_eq!((made.status, made.header("etag")), (201, Some("\"1\"")), "{}", made.body);
        let place = made.header("location").unwrap().to_owned();
        assert_eq!(server.send("DELETE", &place, &[("if-match", "\"4\"")], None).status, 412);
        assert_eq!(server.send("DELETE", &place, &[("if-match", "\"1\"")], None).status, 204);
        let metrics = server.send("GET", "/metrics", &[], None).body;
        assert!(
            metrics.contains("changeover_observations_total{outcome=\"compared\",subject=\"flag/f\"} 1"),
            "{metrics}"
        );
    });
}

/// What was observed is in every form of the report, and the same as-of gives the same bytes whatever comes afterwards.
#[test]
fn a_report_tells_what_applications_observed_and_tells_it_again() {
    each_database(|database| {
        load_video_hosting(&mut database.connection(), 300, 81);
        installed(&database);
        let (store, subject) = (store(&database).0, Subject::change(&ChangeName::new(NAME).unwrap()));
        let (now, hours) = (jiff::Timestamp::now(), |n: i64| jiff::SignedDuration::from_hours(n));
        let at = |n: i64, id: &str, new: i64| {
            let mut one = pair(id, json!(1), json!(new));
            one["at"] = json!((now - hours(n)).to_string());
            one
        };
        post(&store, &subject, &batch(&[at(2, "a", 1), at(2, "b", 2), at(3, "c", 1)])).unwrap();
        let as_of = (now - jiff::SignedDuration::from_secs(5)).to_string();
        let arguments = [NAME, "--as-of", as_of.as_str()];
        let first = report(&database, &arguments, 0);
        let observed = &first["data"]["observations"];
        assert_eq!(observed.as_array().unwrap().len(), 1, "{observed}");
        assert_eq!(
            (&observed[0]["operation"], &observed[0]["compared"], &observed[0]["mismatches"]),
            (&json!("invoice"), &json!(3), &json!(1))
        );
        assert_eq!((&observed[0]["latency_old"]["count"], &observed[0]["calls"]), (&json!(3), &json!(6)));
        assert!(observed[0].get("samples").is_none(), "newer samples take the place of older ones");
        let schema: Value = serde_json::from_str(changeover::report::SCHEMA).unwrap();
        assert_eq!(super::schema::faults(&schema, &first), Vec::<String>::new());

        // Many more of the same place push the sample out of what is kept; those of the running hour are the next report's.
        let flood: Vec<Value> = (0..60).map(|n| pair(&format!("n{n}"), json!(1), json!(2))).collect();
        post(&store, &subject, &batch(&flood)).unwrap();
        let again = report(&database, &arguments, 0);
        assert_eq!(again["sha256"], first["sha256"]);

        let id = first["id"].as_str().unwrap();
        let show =
            |more: &[&str]| command(&database).args(["report", "show", id]).args(more).run().expect_code(0).stdout;
        let text = show(&[]);
        assert!(text.contains("What applications observed") && text.contains("33.3 %"), "{text}");
        let page = show(&["--format", "html"]);
        assert!(page.contains("id=\"observed\"") && page.contains(">invoice<"), "{page}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("set");
        show(&["--format", "csv", "--out", path.to_str().unwrap()]);
        let rows = std::fs::read_to_string(path.join("observations.csv")).unwrap();
        assert!(rows.lines().nth(1).unwrap().starts_with("invoice,3,1,0,0,0,6,3,"), "{rows}");
    });
}
