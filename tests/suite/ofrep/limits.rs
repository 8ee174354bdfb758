//! How often a client may ask, on the real server.

use serde_json::{Value, json};

use crate::support::{Answer, Server, each_database};

const FLAG: &str = "/ofrep/v1/evaluate/flags/missing";

fn start(arguments: &'static [&'static str], test: impl Fn(Server)) {
    each_database(|database| test(Server::start_with(&database, |command| command.args(arguments))));
}

fn ask(server: &Server, method: &str, path: &str, token: &str) -> Answer {
    server.send_as(token, method, path, &[("content-type", "application/json")], Some(b"{}"))
}

/// Asks until the answer is 429, which it must be at the latest after `most` answers.
fn ask_until_limited(server: &Server, path: &str, token: &str, most: usize) -> Answer {
    let mut answers = (0..=most).map(|_| ask(server, "POST", path, token));
    answers.find(|answer| answer.status == 429).unwrap_or_else(|| panic!("no 429 after {most} answers"))
}

#[test]
fn a_token_that_asks_too_often_is_told_when_to_come_back() {
    start(&["--rate-limit-per-second", "1", "--rate-limit-burst", "20"], |server| {
        let token = server.admin_token();
        let made = server.send("POST", "/api/v1/tokens", &[("content-type", "application/json")], Some(&other()));
        let other: Value = serde_json::from_str(&made.body).unwrap();
        let limited = ask_until_limited(&server, FLAG, &token, 200);
        let seconds: u64 = limited.header("retry-after").unwrap().parse().unwrap();
        assert_eq!((seconds, limited.content_type.as_str()), (1, "application/json"));
        assert_eq!(limited.header("access-control-allow-origin"), Some("*"));
        assert_eq!(limited.header("access-control-expose-headers"), Some("ETag, Retry-After"));
        let body: Value = serde_json::from_str(&limited.body).unwrap();
        assert_eq!(body["errorCode"], json!("GENERAL"), "{body}");
        let problem = ask_until_limited(&server, "/api/v1/flags", &token, 200);
        assert_eq!(problem.content_type, "application/problem+json");
        assert_eq!(problem.header("retry-after"), Some("1"));
        assert!(problem.body.contains(r#""code":"rate_limited""#), "{}", problem.body);
        let unlimited = ask(&server, "POST", FLAG, other["secret"].as_str().unwrap_or_default());
        assert_eq!(unlimited.status, 404, "another token has its own count: {}", unlimited.body);
    });
}

fn other() -> Vec<u8> {
    json!({"name": "other", "role": "evaluate"}).to_string().into_bytes()
}

#[test]
fn wrong_tokens_are_told_to_slow_down_and_right_ones_are_not() {
    start(&["--auth-failures-per-second", "1", "--auth-failures-burst", "5"], |server| {
        let first = ask(&server, "POST", FLAG, "co_wrong");
        assert_eq!(first.status, 401);
        let limited = ask_until_limited(&server, FLAG, "co_wrong", 50);
        assert_eq!(limited.header("retry-after"), Some("1"));
        for _ in 0..20 {
            assert_eq!(ask(&server, "POST", FLAG, &server.admin_token()).status, 404);
        }
    });
}

#[test]
fn without_a_setting_no_token_is_limited() {
    start(&[], |server| {
        let token = server.admin_token();
        assert!((0..300).all(|_| ask(&server, "POST", FLAG, &token).status == 404));
    });
}
