//! Several servers on one database: a lease had from one holds at all, and nothing is forgotten when servers die.

use serde_json::{Value, json};

use crate::support::{Answer, Server, each_database};

fn send(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let text = body.to_string();
    let headers = [("content-type", "application/json")];
    server.send_as(token, method, &format!("/api/v1{path}"), &headers, (!body.is_null()).then_some(text.as_bytes()))
}

#[track_caller]
fn told(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap_or(Value::Null)
}

#[test]
fn a_lease_holds_at_every_server_and_outlives_them() {
    each_database(|database| {
        let first = Server::start_with(&database, |command| command.arg("--no-snapshot-file"));
        let token = first.admin_token();
        let second = Server::start_with(&database, |command| command.arg("--no-snapshot-file"));
        let gate = json!({ "single_instance": true, "lease_seconds": 600, "order": 1, "delay_seconds": 600 });
        told(&send(&first, &token, "PUT", "/gates/mail", &gate), 201);
        told(&send(&second, &token, "PUT", "/gates/web", &json!({})), 201);

        let lease = told(&send(&first, &token, "POST", "/gates/mail/lease", &json!({ "holder": "a" })), 201);
        let refused = send(&second, &token, "POST", "/gates/mail/lease", &json!({ "holder": "b" }));
        assert_eq!(told(&refused, 409)["code"], "lease_held");
        assert!(refused.header("retry-after").is_some());
        let claim = json!({ "holder": "a", "fencing_token": lease["fencing_token"] });
        let renewed = told(&send(&second, &token, "POST", "/gates/mail/lease/heartbeat", &claim), 200);
        assert_eq!(renewed["fencing_token"], lease["fencing_token"]);

        told(&send(&second, &token, "POST", "/all-gates/pause", &json!({ "reason": "an outage" })), 200);
        let stopped = send(&first, &token, "POST", "/gates/mail/lease/heartbeat", &claim);
        assert_eq!(told(&stopped, 409)["code"], "gate_paused");
        let resumed = told(&send(&first, &token, "POST", "/all-gates/resume", &json!({ "reason": "over" })), 200);
        assert_eq!((&resumed["items"][0]["worker"], &resumed["items"][1]["worker"]), (&json!("web"), &json!("mail")));
        let turn = &resumed["items"][1]["resumes_at"];

        // The server that was told to bring them back dies; another one knows all of it.
        drop(first);
        drop(second);
        let third = Server::start_with(&database, |command| command.arg("--no-snapshot-file"));
        let web = told(&send(&third, &token, "GET", "/gates/web", &Value::Null), 200);
        let mail = told(&send(&third, &token, "GET", "/gates/mail", &Value::Null), 200);
        assert_eq!(
            (&web["answer"], &mail["answer"], &mail["state"]),
            (&json!("run"), &json!("pause"), &json!("waiting"))
        );
        assert_eq!(&mail["resumes_at"], turn);
        let waits = send(&third, &token, "POST", "/gates/mail/lease", &json!({ "holder": "b" }));
        assert_eq!(told(&waits, 409)["code"], "gate_paused");
        told(&send(&third, &token, "POST", "/gates/mail/resume", &json!({ "reason": "now" })), 200);
        let still = send(&third, &token, "POST", "/gates/mail/lease", &json!({ "holder": "b" }));
        assert_eq!(told(&still, 409)["code"], "lease_held");
        let lost = send(&third, &token, "POST", "/gates/mail/lease/heartbeat", &claim);
        assert_eq!(told(&lost, 409)["code"], "lease_lost");
        told(&send(&third, &token, "POST", "/gates/mail/lease/release", &claim), 204);
        let next = told(&send(&third, &token, "POST", "/gates/mail/lease", &json!({ "holder": "b" })), 201);
        assert!(next["fencing_token"].as_i64() > lease["fencing_token"].as_i64());
        let late = send(&third, &token, "POST", "/gates/mail/lease/heartbeat", &claim);
        assert_eq!(told(&late, 409)["code"], "lease_lost");
        told(&send(&third, &token, "POST", "/gates/mail/lease/release", &claim), 409);
    });
}
