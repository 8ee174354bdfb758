//! Observations on both databases: counted once, compared under rules, kept as samples, from several servers at once.

use changeover::observations::{Observation, Rule, read_batch};
use changeover::primitives::{ChangeName, FlagKey};
use changeover::store::observations::{Posted, Subject, last_hours, post, samples, series, summary};
use changeover::store::{Origin, Store, observation_rules};
use serde_json::{Value, json};

use crate::support::{Server, TestDatabase, each_database};

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

#[test]
fn over_http_bad_lines_are_told_and_unknown_flags_are_404() {
    each_database(|database| {
        let server = Server::start(&database);
        let unknown = server.send("POST", "/api/v1/flags/nobody/observations", &[], Some(b"{\"operation\":\"a\"}"));
        assert_eq!(unknown.status, 404, "{}", unknown.body);
        let subject = Subject::flag(&FlagKey::new("nobody").unwrap());
        assert_eq!(subject.as_str(), "flag/nobody");
        let rule = json!({ "path": "", "kind": "ignore", "owner": "ada", "reason": "x" }).to_string();
        let answer = server.send(
            "POST",
            "/api/v1/flags/nobody/observation-rules",
            &[("content-type", "application/json")],
            Some(rule.as_bytes()),
        );
        assert_eq!(answer.status, 404, "{}", answer.body);
    });
}
