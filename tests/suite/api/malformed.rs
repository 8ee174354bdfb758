//! Whatever a client sends: never a 5xx, every refusal a problem with a code of the table, and a refused write leaves no trace.

use std::cell::RefCell;

use changeover::http::problem::Code;
use changeover::store::tokens::Role;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Api, Call, Reply, dump};
use crate::support::each_database;

const FLAG: &str = r#"{"key":"a","type":"boolean","variants":{"on":true,"off":false},"default_variant":"off","off_variant":"off","rules":[{"cohort":"c","serve":{"variant":"on"}}]}"#;

#[derive(Debug, Clone)]
struct Wild {
    method: String,
    path: String,
    header: (String, String),
    kind: String,
    body: Vec<u8>,
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a"),
        Just("c"),
        Just("-x"),
        Just("%00"),
        Just("%ff"),
        Just("%2e%2e"),
        Just("ids"),
        Just("2026-13"),
        Just("2026-11"),
        Just("a%20b"),
        Just(""),
        Just("%F0%9F%92%A9"),
        Just("enabled"),
        Just("history"),
        Just("00"),
        Just("%"),
        Just("a'--"),
    ]
    .prop_map(str::to_owned)
    .boxed()
    .prop_union("[a-z0-9%'\"._-]{0,140}".prop_map(|text| text.replace('"', "")).boxed())
}

fn path() -> impl Strategy<Value = String> {
    let s = segment;
    let place = prop_oneof![
        Just("/api/v1/flags".to_owned()),
        s().prop_map(|a| format!("/api/v1/flags/{a}")),
        s().prop_map(|a| format!("/api/v1/flags/{a}/enabled")),
        s().prop_map(|a| format!("/api/v1/flags/{a}/history")),
        Just("/api/v1/cohorts".to_owned()),
        s().prop_map(|a| format!("/api/v1/cohorts/{a}")),
        s().prop_map(|a| format!("/api/v1/cohorts/{a}/ids")),
        s().prop_map(|a| format!("/api/v1/cohorts/{a}/removals")),
        (s(), s()).prop_map(|(a, b)| format!("/api/v1/cohorts/{a}/ids/{b}")),
        Just("/api/v1/tokens".to_owned()),
        s().prop_map(|a| format!("/api/v1/tokens/{a}")),
        Just("/api/v1/audit".to_owned()),
        Just("/api/v1/changes".to_owned()),
        (s(), prop_oneof![Just("stage"), Just("verify"), Just("assignments"), Just("reports")])
            .prop_map(|(a, b)| format!("/api/v1/changes/{a}/{b}")),
        (s(), s(), s()).prop_map(|(a, b, c)| format!("/api/v1/changes/{a}/assignments/{b}/{c}")),
        (s(), s()).prop_map(|(a, b)| format!("/api/v1/changes/{a}/reports/{b}")),
        (s(), s()).prop_map(|(a, b)| format!("/{a}/{b}")),
    ];
    let query = prop_oneof![
        Just(String::new()),
        (
            prop_oneof![
                Just("limit"),
                Just("after"),
                Just("reason"),
                Just("subject"),
                Just("period"),
                Just("nonsense")
            ],
            s()
        )
            .prop_map(|(name, value)| format!("?{name}={value}")),
    ];
    (place, query).prop_map(|(place, query)| place + &query)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (0..FLAG.len(), any::<u8>()).prop_map(|(at, byte)| {
        let mut bytes = FLAG.as_bytes().to_vec();
        bytes[at] = byte;
        bytes
    });
    let texts = prop_oneof![
        Just(FLAG),
        Just(""),
        Just("{}"),
        Just("null"),
        Just("[]"),
        Just("{"),
        Just("\"x\""),
        Just("1e999"),
        Just(r#"{"name":"c"}"#),
        Just(r#"{"name":"z","description":"a\u0000b"}"#),
        Just(r#"{"enabled":"no"}"#),
        Just(r#"{"enabled":false,"reason":"\u0000"}"#),
        Just(r#"{"name":"t","role":"king"}"#),
        Just(r#"{"name":"t\u0000","role":"admin"}"#),
        Just(r#"{"name":"t","role":"viewer","expires_at":"never"}"#),
        Just(r#"{"to":"live","force":true}"#),
        Just(r#"{"to":"moon"}"#),
        Just(r#"{"period":"2026-99"}"#),
        Just(r#"{"periods":["2026-11"]}"#),
        Just(r#"{"side":"new","reason":"x"}"#),
        Just("a\nb\nc"),
        Just("\u{0}\n\u{1}"),
    ]
    .prop_map(|text| text.as_bytes().to_vec());
    let deep = (1usize..3_000).prop_map(|depth| "[".repeat(depth).into_bytes());
    prop_oneof![mutated, texts, prop::collection::vec(any::<u8>(), 0..200), deep]
}

fn wild() -> impl Strategy<Value = Wild> {
    let method = prop_oneof![
        Just("GET"),
        Just("HEAD"),
        Just("POST"),
        Just("PUT"),
        Just("PATCH"),
        Just("DELETE"),
        Just("OPTIONS"),
        Just("BREW")
    ];
    let kind = prop_oneof![
        3 => Just("application/json"), 1 => Just("text/plain"), 1 => Just("text/csv"), 1 => Just("application/x-ndjson"), 1 => Just("image/png"), 1 => Just(";")
    ];
    let header = prop_oneof![
        Just(("X-Nothing", "1")),
        Just(("If-Match", "12")),
        Just(("If-Match", "\"0\"")),
        Just(("If-Match", "*")),
        Just(("If-Match", "\"99999999999999999999\"")),
        Just(("X-API-Key", "co_x")),
    ];
    (method, path(), header, kind, body()).prop_map(|(method, path, (name, value), kind, body)| Wild {
        method: method.to_owned(),
        path,
        header: (name.to_owned(), value.to_owned()),
        kind: kind.to_owned(),
        body,
    })
}

#[test]
fn malformed_requests_are_4xx_and_leave_no_trace() {
    each_database(|database| {
        let api = Api::new(&database);
        assert_eq!(api.admin("POST", "/api/v1/cohorts", r#"{"name":"c"}"#).status, 201);
        assert_eq!(api.admin("POST", "/api/v1/flags", FLAG).status, 201);
        let admin = api.token(Role::Admin).to_owned();
        let connection = RefCell::new(database.connection());
        let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
        runner
            .run(&wild(), |wild| {
                let headers = [("Content-Type", wild.kind.as_str()), (wild.header.0.as_str(), wild.header.1.as_str())];
                let call = Call {
                    method: &wild.method,
                    path: &wild.path,
                    token: Some(&admin),
                    headers: &headers,
                    body: &wild.body,
                };
                let before = dump(&mut connection.borrow_mut());
                for reply in api.send_all(&[call]) {
                    check(&wild, &reply)?;
                    if !reply.status.is_success() {
                        prop_assert_eq!(&before, &dump(&mut connection.borrow_mut()), "{:?} left a trace", wild);
                    }
                }
                Ok(())
            })
            .unwrap();
    });
}

fn check(wild: &Wild, reply: &Reply) -> Result<(), TestCaseError> {
    prop_assert!(reply.status.as_u16() < 500, "{wild:?} → {reply:?}");
    if reply.status.is_client_error() && wild.method != "HEAD" {
        prop_assert_eq!(&reply.kind, "application/problem+json", "{:?} → {:?}", wild, reply);
        let problem = reply.json();
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        let known = Code::ALL.iter().find(|known| known.as_str() == code);
        prop_assert_eq!(known.map(|code| code.status()), Some(reply.status), "{:?} → {}", wild, problem);
        prop_assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
    Ok(())
}

#[test]
fn bodies_that_are_too_large_are_413() {
    each_database(|database| {
        let api = Api::new(&database);
        let reply = api.admin("POST", "/api/v1/flags", &format!("\"{}\"", "x".repeat(1 << 20)));
        assert_eq!((reply.status.as_u16(), reply.json()["code"].as_str()), (413, Some("too_large")));
    });
}
