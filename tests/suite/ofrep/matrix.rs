//! The entity tag against the answer: whatever changes an answer changes its tag, and an answer that is the same keeps it.

use std::collections::HashMap;

use changeover::flags::Snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::host::{Reply, TestServer, snapshot};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A flag of each kind: by cohort, clause, rollout and schedule, and one that a change's flag decides.
fn configuration(version: i64, staff: &[&str]) -> Snapshot {
    let flag = |key: &str, rules: Value| {
        json!({"key": key, "type": "string", "variants": {"old": "o", "new": "n"}, "default_variant": "old",
               "off_variant": "old", "rules": rules})
    };
    let mut sides = flag("billing", json!([]));
    sides["change"] = json!("billing-allocation");
    let halves =
        json!([{"variant": "new", "from": 0, "to": 50_000}, {"variant": "old", "from": 50_000, "to": 100_000}]);
    let pro = json!([{"attribute": "plan", "operator": "equals", "value": "pro"}]);
    let schedule =
        json!([{"from": "1970-01-02T00:00:00Z", "variant": "new"}, {"from": "1970-01-03T00:00:00Z", "variant": "old"}]);
    let flags = [
        sides,
        flag("by-clause", json!([{"clauses": pro, "serve": {"variant": "new"}}])),
        flag("by-cohort", json!([{"cohort": "staff", "serve": {"variant": "new"}}])),
        flag("by-rollout", json!([{"serve": {"rollout": {"ranges": halves}}}])),
        flag("by-time", json!([{"serve": {"schedule": schedule}}])),
    ];
    snapshot(version, &flags, &[("staff", staff)])
}

fn ask(server: &TestServer, tag: &str, context: &Value) -> Reply {
    server.bulk("", tag, &json!({"context": context}))
}

/// The tag of an answer, which must be 200 although the caller has `before`.
fn next_tag(server: &TestServer, before: &str, context: &Value, what: &str) -> String {
    let reply = ask(server, before, context);
    assert_eq!(reply.status, 200, "{what}");
    let tag = reply.header("etag").to_owned();
    assert_ne!(tag, before, "{what}");
    let again = ask(server, &tag, context);
    assert_eq!((again.status, again.header("etag")), (304, tag.as_str()), "{what}");
    tag
}

#[test]
fn whatever_changes_an_answer_changes_its_tag() {
    let server = TestServer::start(configuration(1, &["7"]));
    let context = json!({"targetingKey": "7", "plan": "free"});
    let mut tag = next_tag(&server, "", &context, "the first");
    server.swap(configuration(2, &["7"]));
    tag = next_tag(&server, &tag, &context, "another version");
    server.swap(configuration(2, &[]));
    tag = next_tag(&server, &tag, &context, "another cohort under the same version, as after a restored backup");
    for (micros, what) in [(DAY, "a scheduled instant"), (2 * DAY, "the next one")] {
        server.host.set_now(micros - 1);
        assert_eq!(ask(&server, &tag, &context).status, 304, "just before {what}");
        server.host.set_now(micros);
        tag = next_tag(&server, &tag, &context, what);
    }
    server.host.set_stale_since(5);
    let fresh = tag.clone();
    tag = next_tag(&server, &tag, &context, "the database is away");
    server.host.set_stale_since(0);
    assert_eq!(ask(&server, &tag, &context).status, 200, "what was stale does not pass for fresh");
    assert_eq!(ask(&server, &fresh, &context).status, 304, "the database is back, and nothing had changed");
    tag = fresh;
    for offer in [r#"[{"type":"sse","url":"a"}]"#, r#"[{"type":"sse","url":"b"}]"#] {
        server.host.offer.store(std::sync::Arc::new(offer.to_owned()));
        tag = next_tag(&server, &tag, &context, "another stream is offered");
    }
    for other in [
        json!({"targetingKey": "8", "plan": "free"}),
        json!({"targetingKey": "8", "plan": "pro"}),
        json!({"targetingKey": "8", "plan": ["pro"]}),
        json!({"targetingKey": "8"}),
        json!({}),
    ] {
        tag = next_tag(&server, &tag, &other, &other.to_string());
    }
}

#[test]
fn an_answer_from_memory_says_so() {
    let server = TestServer::start(configuration(1, &["7"]));
    server.host.set_stale_since(DAY);
    let all = ask(&server, "", &json!({"targetingKey": "7"})).json;
    let expected = json!({"configVersion": 1, "stale": true, "confirmedAt": "1970-01-02T00:00:00Z"});
    assert_eq!(all["metadata"], expected);
    let one = server.post("/ofrep/v1/evaluate/flags/by-cohort", json!({"context": {"targetingKey": "7"}}).to_string());
    assert_eq!(one.json["metadata"]["stale"], json!(true));
    assert_eq!(one.json["metadata"]["confirmedAt"], json!("1970-01-02T00:00:00Z"));
    assert_eq!(all["flags"][2], one.json);
    let failed = server.post("/ofrep/v1/evaluate/flags/by-cohort", "");
    assert_eq!((failed.status, &failed.json["metadata"]["stale"]), (400, &json!(true)));
}

#[test]
fn metadata_says_what_decided() {
    let on = |key: &str, more: Value| {
        let mut flag = json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false},
                              "default_variant": "off", "off_variant": "off"});
        flag.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        flag
    };
    let everybody = json!([{"variant": "on", "from": 0, "to": 100_000}]);
    let never = json!([{"attribute": "plan", "operator": "equals", "value": "pro"}]);
    let server = TestServer::start(snapshot(
        4,
        &[
            on("child", json!({"prerequisites": [{"flag": "parent", "variants": ["on"]}]})),
            on("parent", json!({})),
            on(
                "split",
                json!({"rules": [{"clauses": never, "serve": {"variant": "on"}}, {"serve": {"rollout": {"ranges": everybody}}}]}),
            ),
        ],
        &[],
    ));
    let metadata = |key: &str| {
        server.post(&format!("/ofrep/v1/evaluate/flags/{key}"), r#"{"context":{"targetingKey":"7"}}"#).json["metadata"]
            .clone()
    };
    assert_eq!(metadata("child"), json!({"flagVersion": 4, "configVersion": 4, "prerequisite": "parent"}));
    assert_eq!(metadata("parent"), json!({"flagVersion": 4, "configVersion": 4}));
    let split = metadata("split");
    assert_eq!(split["rule"], json!(1));
    assert!(split["bucket"].as_u64().unwrap() < 100_000);
    // Only what OFREP's schema allows.
    assert!(
        split.as_object().unwrap().values().all(|value| value.is_number() || value.is_string() || value.is_boolean())
    );
}

#[test]
fn a_caller_who_was_told_of_an_instant_is_not_answered_from_before_it() {
    let server = TestServer::start(configuration(1, &["7"]));
    let context = json!({"context": {"targetingKey": "7"}});
    let tag = server.bulk("", "", &context).header("etag").to_owned();
    assert_eq!(server.bulk("?flagConfigEtag=1.0", &tag, &context).status, 304);
    assert_eq!(server.bulk("?flagConfigEtag=1.1", &tag, &context).status, 503, "its clock has not come to it");
    server.host.set_now(DAY);
    let reply = server.bulk("?flagConfigEtag=1.1", &tag, &context);
    assert_eq!((reply.status, &reply.json["flags"][4]["value"]), (200, &json!("n")));
    assert_eq!(
        server.bulk("?flagConfigEtag=1.1-00000000", reply.header("etag"), &context).status,
        200,
        "another history"
    );
}

/// Everything that comes back may be read by a page of any origin.
#[test]
fn a_page_of_any_origin_may_read_every_answer() {
    let server = TestServer::start(configuration(1, &["7"]));
    let tag = server.bulk("", "", &json!({})).header("etag").to_owned();
    let large = "x".repeat(2 << 20);
    let key = ("x-api-key", super::host::TOKEN);
    let one = "/ofrep/v1/evaluate/flags/by-time";
    let all = "/ofrep/v1/evaluate/flags";
    for (method, path, headers, body, status) in [
        ("POST", one, vec![key], "", 200),
        ("POST", all, vec![key, ("if-none-match", tag.as_str())], "{}", 304),
        ("POST", one, vec![key], "{", 400),
        ("POST", all, vec![key], large.as_str(), 400),
        ("POST", one, vec![], "", 401),
        ("POST", one, vec![("x-api-key", "wrong")], "", 401),
        ("POST", "/ofrep/v1/evaluate/flags/none", vec![key], "", 404),
        ("POST", "/ofrep/v1/evaluate/", vec![key], "", 404),
        ("POST", "/ofrep/v1/configuration", vec![key], "", 404),
        ("GET", all, vec![key], "", 405),
        ("PUT", one, vec![key], "", 405),
        ("POST", "/ofrep/v1/events", vec![key], "", 405),
        ("POST", one, vec![("x-api-key", "busy")], "", 429),
        ("POST", "/ofrep/v1/evaluate/flags/billing", vec![key], "", 500),
        ("POST", "/ofrep/v1/evaluate/flags?flagConfigEtag=2", vec![key], "", 503),
        ("GET", "/ofrep/v1/events", vec![], "", 401),
        ("OPTIONS", one, vec![], "", 204),
        ("OPTIONS", all, vec![], "", 204),
        ("OPTIONS", "/ofrep/v1/events", vec![], "", 204),
    ] {
        let reply = server.send(method, path, &headers, body.as_bytes());
        let told = format!("{method} {path} {headers:?}");
        assert_eq!(reply.status, status, "{told}: {}", reply.text);
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{told}");
        assert_eq!(reply.header("access-control-expose-headers"), "ETag, Retry-After", "{told}");
        assert_eq!(reply.header("access-control-allow-credentials"), "", "{told}");
        if status >= 400 {
            assert_eq!(reply.header("content-type"), "application/json", "{told}");
            assert!(
                reply.json["errorCode"].is_string() && reply.json["errorDetails"].is_string(),
                "{told}: {}",
                reply.text
            );
        }
        if status == 204 {
            let allowed = reply.header("access-control-allow-headers");
            for header in ["Authorization", "X-API-Key", "Content-Type", "If-None-Match", "Last-Event-ID"] {
                assert!(allowed.contains(header), "{told}: {allowed}");
            }
        }
    }
}

fn any_context() -> impl Strategy<Value = Value> {
    let key = prop::option::of(prop::sample::select(vec![json!("7"), json!(7), json!("8"), json!(""), json!("abc")]));
    let plan = prop::option::of(prop::sample::select(vec![
        json!("pro"),
        json!("free"),
        json!(null),
        json!(["pro"]),
        json!(1),
    ]));
    (key, plan).prop_map(|(key, plan)| {
        let mut context = serde_json::Map::new();
        context.extend(key.map(|key| (String::from("targetingKey"), key)));
        context.extend(plan.map(|plan| (String::from("plan"), plan)));
        Value::Object(context)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One server's life: with every step the tags that have been given out still name the answers that they were given out for.
    #[test]
    fn a_tag_never_names_two_answers_and_bulk_equals_single(
        steps in prop::collection::vec((any_context(), 1_i64..4, 0_i64..3, any::<bool>(), any::<bool>()), 1..24),
    ) {
        let server = TestServer::start(configuration(1, &["7"]));
        let mut answers: HashMap<String, String> = HashMap::new();
        for (context, version, day, is_stale, has_staff) in steps {
            server.swap(configuration(version, if has_staff { &["7"] } else { &[] }));
            server.host.set_now(day * DAY);
            server.host.set_stale_since(i64::from(is_stale) * 5);
            let all = ask(&server, "", &context);
            prop_assert_eq!(all.status, 200);
            let tag = all.header("etag").to_owned();
            let before = answers.entry(tag.clone()).or_insert_with(|| all.text.clone());
            prop_assert_eq!(&*before, &all.text, "{}", tag);
            prop_assert_eq!(ask(&server, &tag, &context).status, 304);
            for item in all.json["flags"].as_array().unwrap() {
                let path = format!("/ofrep/v1/evaluate/flags/{}", item["key"].as_str().unwrap());
                let one = server.post(&path, json!({"context": context}).to_string());
                prop_assert_eq!(item, &one.json);
            }
        }
    }
}
