//! What real providers need of the two endpoints, beyond the evaluation itself.

use serde_json::{Value, json};

use super::host::{Reply, TOKEN, TestServer, snapshot};

fn server() -> TestServer {
    TestServer::start(snapshot(
        3,
        &[
            json!({"key": "a.b", "type": "boolean", "variants": {"on": true}, "default_variant": "on", "off_variant": "on"}),
            json!({"key": "float", "type": "float", "variants": {"ten": 10}, "default_variant": "ten", "off_variant": "ten"}),
            json!({"key": "staff-only", "type": "integer", "variants": {"many": 10, "none": 0}, "default_variant": "none",
                   "off_variant": "none", "rules": [{"cohort": "staff", "serve": {"variant": "many"}}]}),
        ],
        &[("staff", &["7"])],
    ))
}

fn assert_error(reply: &Reply, status: u16, key: Option<&str>, code: &str) {
    assert_eq!((reply.status, reply.header("content-type")), (status, "application/json"), "{}", reply.text);
    assert_eq!((reply.json["key"].as_str(), reply.json["errorCode"].as_str()), (key, Some(code)), "{}", reply.text);
    assert!(!reply.json["errorDetails"].as_str().unwrap().is_empty());
}

#[test]
fn a_success_has_all_that_providers_ask_for() {
    let reply = server().post("/ofrep/v1/evaluate/flags/float", "");
    assert_eq!(reply.status, 200);
    let expected = r#"{"key":"float","value":10.0,"variant":"ten","reason":"STATIC","metadata":{"flagVersion":3,"configVersion":3}}"#;
    assert_eq!(reply.text, expected);
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("access-control-expose-headers"), "ETag, Retry-After");
}

#[test]
fn a_context_is_needed_only_where_a_rule_asks_for_it() {
    let server = server();
    for body in ["", "{}", "null", r#"{"context":null}"#, r#"{"context":{}}"#, r#"{"context":{"targetingKey":""}}"#] {
        assert_eq!(server.post("/ofrep/v1/evaluate/flags/a.b", body).status, 200, "{body}");
        let reply = server.post("/ofrep/v1/evaluate/flags/staff-only", body);
        assert_error(&reply, 400, Some("staff-only"), "TARGETING_KEY_MISSING");
        let bulk = server.post("/ofrep/v1/evaluate/flags", body);
        assert_eq!(bulk.status, 200);
        let items = bulk.json["flags"].as_array().unwrap();
        assert_eq!((items.len(), &items[2]["errorCode"]), (3, &json!("TARGETING_KEY_MISSING")));
    }
    for key in [json!(7), json!("7"), json!(7.0)] {
        let body = json!({"context": {"targetingKey": key}}).to_string();
        assert_eq!(server.post("/ofrep/v1/evaluate/flags/staff-only", body).json["value"], json!(10));
    }
}

#[test]
fn whatever_is_no_request_is_a_400_in_the_shape_of_the_protocol() {
    let server = server();
    let too_large = format!(r#"{{"context":{{"targetingKey":"{}"}}}}"#, "x".repeat(1 << 20));
    let deep = format!(r#"{{"context":{{"a":{}1{}}}}}"#, "[".repeat(500), "]".repeat(500));
    for (body, code) in [
        ("{", "PARSE_ERROR"),
        ("[]", "PARSE_ERROR"),
        ("targetingKey=7", "PARSE_ERROR"),
        (r#"{"context":{"targetingKey":"\ud800"}}"#, "PARSE_ERROR"),
        (r#"{"context":{"n":1e999}}"#, "PARSE_ERROR"),
        (deep.as_str(), "PARSE_ERROR"),
        (too_large.as_str(), "PARSE_ERROR"),
        (r#"{"context":[]}"#, "INVALID_CONTEXT"),
        (r#"{"context":{"targetingKey":{}}}"#, "INVALID_CONTEXT"),
        (r#"{"context":{"targetingKey":true}}"#, "INVALID_CONTEXT"),
        (r#"{"context":{"targetingKey":1e300}}"#, "INVALID_CONTEXT"),
    ] {
        assert_error(&server.post("/ofrep/v1/evaluate/flags/a.b", body), 400, Some("a.b"), code);
        assert_error(&server.post("/ofrep/v1/evaluate/flags", body), 400, None, code);
    }
    assert_error(&server.post("/ofrep/v1/evaluate/flags/a.b", b"\xff\xfe"), 400, Some("a.b"), "PARSE_ERROR");
}

#[test]
fn keys_are_decoded_once_and_a_slash_after_bulk_is_fine() {
    let server = server();
    assert_eq!(server.post("/ofrep/v1/evaluate/flags/a%2Eb", "").status, 200);
    assert_eq!(server.post("/ofrep/v1/evaluate/flags/", "").json["flags"].as_array().unwrap().len(), 3);
    for (path, key) in [
        ("missing", "missing"),
        ("A.B", "A.B"),
        ("a%252Eb", "a%2Eb"),
        ("a%2Fb", "a/b"),
        ("a/b", "a/b"),
        ("a.b/", "a.b/"),
        ("%ff", "%ff"),
        ("%22%00", "\"\0"),
    ] {
        let reply = server.post(&format!("/ofrep/v1/evaluate/flags/{path}"), "");
        assert_error(&reply, 404, Some(key), "FLAG_NOT_FOUND");
    }
}

#[test]
fn a_token_comes_as_bearer_or_as_api_key() {
    let server = server();
    let path = "/ofrep/v1/evaluate/flags/a.b";
    let status = |headers: &[(&str, &str)]| server.send("POST", path, headers, b"").status;
    assert_eq!(status(&[("authorization", &format!("Bearer {TOKEN}"))]), 200);
    assert_eq!(status(&[("x-api-key", TOKEN)]), 200);
    for headers in [vec![], vec![("authorization", "Bearer wrong")], vec![("x-api-key", "wrong")]] {
        let reply = server.send("POST", path, &headers, b"");
        assert_error(&reply, 401, None, "GENERAL");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
    }
    let busy = server.send("POST", path, &[("x-api-key", "busy")], b"");
    assert_eq!((busy.status, busy.header("retry-after")), (429, "1"));
    assert_eq!(server.evaluations(), 2);
}

#[test]
fn browsers_are_let_in_without_a_token_for_the_preflight_only() {
    let server = server();
    for path in ["/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/a.b"] {
        let headers = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
        let reply = server.send("OPTIONS", path, &headers, b"");
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, "*"));
        assert_eq!(reply.header("access-control-allow-methods"), "POST, OPTIONS");
        assert!(reply.header("access-control-allow-headers").contains("If-None-Match"));
        let get = server.send("GET", path, &[("x-api-key", TOKEN)], b"");
        assert_eq!((get.status, get.header("allow")), (405, "POST, OPTIONS"));
    }
}

#[test]
fn a_changes_flag_is_answered_by_routing() {
    let sides = json!({"key": "billing", "type": "string", "change": "billing-allocation",
                       "variants": {"old": "o", "new": "n"}, "default_variant": "old", "off_variant": "old",
                       "rules": [{"cohort": "even", "serve": {"variant": "new"}}]});
    let server = TestServer::start(snapshot(1, &[sides], &[("even", &["0"])]));
    let variant = |user: u32| {
        let body = json!({"context": {"targetingKey": user.to_string()}});
        let single = server.post("/ofrep/v1/evaluate/flags/billing", body.to_string()).json;
        let bulk = server.bulk("", "", &body);
        assert_eq!(bulk.json["flags"][0], single);
        (single["variant"].clone(), bulk.header("etag").to_owned())
    };
    assert_eq!((variant(7).0, variant(8).0), (json!("old"), json!("new")));
    assert_eq!(variant(8).1, variant(8).1);
    let failed = server.post("/ofrep/v1/evaluate/flags/billing", "");
    assert_error(&failed, 500, Some("billing"), "GENERAL");
    assert_eq!(failed.json["errorDetails"], Value::from("no such user"));
}
