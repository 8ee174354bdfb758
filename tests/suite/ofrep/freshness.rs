//! When a bulk answer may be left out, and when it must not.

use std::thread;

use changeover::flags::Snapshot;
use serde_json::{Value, json};

use super::host::{TestServer, snapshot};

fn version(number: i64, staff: &[&str]) -> Snapshot {
    let flag = json!({"key": "staff-only", "type": "boolean", "variants": {"on": true, "no": false}, "default_variant": "no",
                      "off_variant": "no", "rules": [{"cohort": "staff", "serve": {"variant": "on"}}]});
    snapshot(number, &[flag], &[("staff", staff)])
}

fn context(plan: &str) -> Value {
    json!({"context": {"targetingKey": "7", "account": {"plan": plan}}})
}

#[test]
fn what_the_caller_has_is_not_evaluated_again() {
    let server = TestServer::start(version(1, &["7"]));
    let first = server.bulk("", "", &context("free"));
    let tag = first.header("etag").to_owned();
    assert_eq!((first.status, server.evaluations()), (200, 1));
    for header in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), String::from("*")] {
        let reply = server.bulk("", &header, &context("free"));
        assert_eq!((reply.status, reply.text.as_str(), reply.header("etag")), (304, "", tag.as_str()), "{header}");
        assert_eq!(reply.header("access-control-expose-headers"), "ETag, Retry-After");
    }
    assert_eq!(server.evaluations(), 0);
    assert_eq!(server.bulk("", "\"x\"", &context("free")).status, 200);
}

#[test]
fn the_tag_changes_with_the_context_the_cohort_and_the_version() {
    let server = TestServer::start(version(1, &["7"]));
    let tag = server.bulk("", "", &context("free")).header("etag").to_owned();
    assert_eq!(server.bulk("", &tag, &context("pro")).status, 200, "the same user with another attribute");
    server.swap(version(2, &[]));
    let reply = server.bulk("", &tag, &context("free"));
    assert_eq!((reply.status, &reply.json["flags"][0]["value"]), (200, &json!(false)));
    assert_eq!(reply.json["metadata"]["configVersion"], json!(2));
}

#[test]
fn a_caller_who_knows_of_a_newer_version_waits_for_it() {
    let server = TestServer::start(version(1, &["7"]));
    let tag = server.bulk("", "", &context("free")).header("etag").to_owned();
    for query in ["?flagConfigEtag=2", "?flagConfigLastModified=2", "?flagConfigLastModified=1970-01-01T00:00:02Z"] {
        server.swap(version(1, &["7"]));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| server.bulk(query, &tag, &context("free")));
            server.swap(version(2, &[]));
            let reply = waiting.join().unwrap();
            assert_eq!((reply.status, &reply.json["flags"][0]["value"]), (200, &json!(false)), "{query}");
        });
    }
}

#[test]
fn nobody_is_answered_from_behind_what_he_was_told_of() {
    let server = TestServer::start(version(5, &["7"]));
    let tag = server.bulk("", "", &context("free")).header("etag").to_owned();
    for (query, status) in [
        ("?flagConfigEtag=5", 304),
        ("?flagConfigEtag=4", 304),
        ("?flagConfigEtag=%225%22", 304),
        ("?flagConfigLastModified=5", 304),
        ("?flagConfigEtag=", 304),
        ("?flagConfigEtag=not-one-of-ours", 200),
    ] {
        assert_eq!(server.bulk(query, &tag, &context("free")).status, status, "{query}");
    }
    let behind = server.bulk("?flagConfigEtag=6", &tag, &context("free"));
    assert_eq!((behind.status, behind.header("retry-after")), (503, "1"));
    assert_eq!(behind.json["errorCode"], json!("GENERAL"));
}
