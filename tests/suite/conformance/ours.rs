//! The real binary asks the real server.

use serde_json::{Value, json};

use crate::support::{Finished, Server, TestDatabase, changeover, each_database};

fn evaluate_token(server: &Server) -> String {
    let body = br#"{"name": "a provider", "role": "evaluate"}"#;
    let answer = server.send("POST", "/api/v1/tokens", &[("content-type", "application/json")], Some(body));
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    answer["secret"].as_str().unwrap().to_owned()
}

fn conformance(server: &Server, more: &[&str]) -> Finished {
    let command = changeover().args(["conformance", "--url", server.url()]).args(more);
    command.env("CHANGEOVER_CONFORMANCE_ADMIN_TOKEN", server.admin_token()).run()
}

/// Checks by their verdict.
fn with_verdict<'r>(report: &'r Value, verdict: &str) -> Vec<&'r str> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["verdict"] == json!(verdict)).map(|check| check["id"].as_str().unwrap()).collect()
}

#[test]
fn this_server_passes_every_check() {
    each_database(|database| {
        let server = Server::start(&database);
        let token = evaluate_token(&server);
        let finished = conformance(&server, &["--setup", "--teardown", "--token", &token, "--json"]).expect_code(0);
        let report = finished.json();
        assert_eq!(with_verdict(&report, "failed"), Vec::<&str>::new(), "{finished}");
        assert_eq!(with_verdict(&report, "not_offered"), Vec::<&str>::new(), "{finished}");
        assert!(with_verdict(&report, "passed").len() > 80);
        let flags = server.send("GET", "/api/v1/flags", &[], None);
        assert!(!flags.body.contains("conformance-"), "--teardown leaves nothing: {}", flags.body);
    });
}

#[test]
fn a_rate_limit_is_met_and_waited_for() {
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, |command| {
        command.args(["--rate-limit-per-second", "200", "--rate-limit-burst", "200"])
    });
    let token = evaluate_token(&server);
    let finished = conformance(&server, &["--setup", "--token", &token, "--burst", "5000", "--json"]).expect_code(0);
    let passed = finished.json();
    let passed = with_verdict(&passed, "passed");
    assert!(passed.contains(&"limit.retry-after") && passed.contains(&"limit.seconds"), "{finished}");
}

#[test]
fn what_cannot_be_checked_is_said() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database);
    let token = evaluate_token(&server);
    let told = |arguments: &[&str], words: &str| {
        let finished = conformance(&server, arguments).expect_code(2);
        assert!(finished.stderr.contains(words), "{finished}");
    };
    told(&["--token", &token], "has none of the flags");
    told(&[], "refuses the token (401)");
    told(&["--token", &token, "--setup", "--admin-token", &token], "did not create the flag conformance-boolean");
    let silent = changeover().args(["conformance", "--url", "http://127.0.0.1:1"]).run().expect_code(2);
    assert!(silent.stderr.contains("does not answer"), "{silent}");
    let elsewhere = format!("{}/elsewhere", server.url());
    let elsewhere = changeover().args(["conformance", "--url", &elsewhere, "--token", &token]).run().expect_code(2);
    assert!(elsewhere.stderr.contains("does not seem to speak OFREP"), "{elsewhere}");
    changeover().args(["conformance", "--url", "localhost:1"]).run().expect_code(2);
}

#[test]
fn the_flags_can_be_given_to_other_servers() {
    let printed = |form| changeover().args(["conformance", "--print-flags", form]).run().expect_code(0).json();
    let ours = printed("json");
    let flagd = printed("flagd");
    assert_eq!(ours.as_array().unwrap().len(), flagd["flags"].as_object().unwrap().len());
    for flag in ours.as_array().unwrap() {
        let flag: changeover::flags::Flag = serde_json::from_value(flag.clone()).unwrap();
        assert_eq!(flagd["flags"][flag.key().as_str()]["defaultVariant"], json!(flag.default_variant()));
    }
}
