//! Gates of background workers over HTTP: who may what, what is refused and how.

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::{Api, Call, Reply};
use crate::support::each_database;

fn send(api: &Api, role: Role, method: &str, path: &str, body: &Value) -> Reply {
    let (text, headers) = (body.to_string(), [("Content-Type", "application/json")]);
    let body = if body.is_null() { &[] } else { text.as_bytes() };
    api.send(&Call { method, path: &format!("/api/v1{path}"), token: Some(api.token(role)), headers: &headers, body })
}

#[track_caller]
fn told(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.json()["code"].as_str()), (status, Some(code)), "{:?}", reply.json());
}

#[test]
fn workers_ask_and_take_leases_admins_switch_viewers_look() {
    each_database(|database| {
        let api = Api::without_jobs(&database);
        let because = json!({ "reason": "an outage" });
        for role in [Role::Evaluate, Role::Write, Role::Viewer] {
            for (method, path, body) in [
                ("PUT", "/gates/mail", json!({})),
                ("DELETE", "/gates/mail", Value::Null),
                ("POST", "/gates/mail/pause", because.clone()),
                ("POST", "/gates/mail/resume", because.clone()),
                ("POST", "/all-gates/pause", because.clone()),
                ("POST", "/all-gates/resume", because.clone()),
            ] {
                told(&send(&api, role, method, path, &body), 403, "forbidden");
            }
        }
        told(&send(&api, Role::Evaluate, "GET", "/gates/mail", &Value::Null), 404, "gate_not_found");
        let made =
            send(&api, Role::Admin, "PUT", "/gates/mail", &json!({ "single_instance": true, "lease_seconds": 60 }));
        assert_eq!((made.status.as_u16(), made.location.as_deref()), (201, Some("/api/v1/gates/mail")));
        told(&send(&api, Role::Evaluate, "GET", "/gates", &Value::Null), 403, "forbidden");
        let listed = send(&api, Role::Viewer, "GET", "/gates", &Value::Null).json();
        assert_eq!(listed["items"][0]["details"]["settings"]["lease_seconds"], 60, "{listed}");

        let asked = send(&api, Role::Evaluate, "GET", "/gates/mail", &Value::Null).json();
        assert_eq!((&asked["answer"], &asked["ask_again_seconds"]), (&json!("run"), &json!(10)));
        assert!(asked.get("details").is_none(), "what people wrote is not for workers: {asked}");
        let lease = send(&api, Role::Evaluate, "POST", "/gates/mail/lease", &json!({ "holder": "a" }));
        assert_eq!((lease.status.as_u16(), &lease.json()["lease_seconds"]), (201, &json!(60)), "{:?}", lease.json());
        let shown = send(&api, Role::Viewer, "GET", "/gates/mail", &Value::Null).json();
        let held = &shown["details"]["lease"];
        assert_eq!((&held["holder"], &held["held"], &held["stopping"]), (&json!("a"), &json!(true), &json!(false)));
    });
}

#[test]
fn what_is_refused_is_refused_by_name() {
    each_database(|database| {
        let api = Api::without_jobs(&database);
        let admin = |method: &str, path: &str, body: Value| send(&api, Role::Admin, method, path, &body);
        told(&admin("PUT", "/gates/-x", json!({})), 400, "invalid_path");
        told(&admin("PUT", "/gates/mail", json!({ "lease_seconds": 1 })), 422, "invalid_value");
        told(&admin("PUT", "/gates/mail", json!({ "order": -1 })), 422, "invalid_value");
        told(&admin("PUT", "/gates/mail", json!({ "lease": 1 })), 400, "invalid_json");
        assert_eq!(admin("PUT", "/gates/mail", json!({})).status.as_u16(), 201);
        told(&admin("POST", "/gates/mail/pause", json!({ "reason": " " })), 422, "invalid_value");
        told(&admin("POST", "/gates/mail/pause", json!({})), 400, "invalid_json");
        told(&admin("POST", "/gates/mail/resume", json!({ "reason": "x", "after_seconds": -1 })), 422, "invalid_value");
        told(&admin("POST", "/gates/gone/pause", json!({ "reason": "x" })), 404, "gate_not_found");
        told(&admin("POST", "/gates/mail/lease", json!({ "holder": "a" })), 409, "refused");
        told(&admin("POST", "/gates/mail/lease", json!({ "holder": "" })), 422, "invalid_value");
        let claim = json!({ "holder": "a", "fencing_token": 1 });
        told(&admin("POST", "/gates/mail/lease/heartbeat", claim.clone()), 409, "lease_lost");
        told(&admin("POST", "/gates/mail/lease/release", claim), 409, "lease_lost");
        let headers = [("Content-Type", "application/json"), ("If-Match", "\"7\"")];
        let (path, token) = ("/api/v1/gates/mail", Some(api.token(Role::Admin)));
        told(&api.send(&Call { method: "PUT", path, token, headers: &headers, body: b"{}" }), 412, "stale");
        assert_eq!(admin("DELETE", "/gates/mail?reason=gone", Value::Null).status.as_u16(), 204);
        told(&admin("GET", "/gates/mail", Value::Null), 404, "gate_not_found");
    });
}

#[test]
fn a_pause_is_told_and_numbers_say_so() {
    each_database(|database| {
        let api = Api::without_jobs(&database);
        send(&api, Role::Admin, "PUT", "/gates/mail", &json!({ "single_instance": true }));
        let lease = send(&api, Role::Evaluate, "POST", "/gates/mail/lease", &json!({ "holder": "a" })).json();
        let claim = json!({ "holder": "a", "fencing_token": lease["fencing_token"] });
        let paused = send(&api, Role::Admin, "POST", "/gates/mail/pause", &json!({ "reason": "an outage" })).json();
        assert_eq!((&paused["answer"], &paused["details"]["reason"]), (&json!("pause"), &json!("an outage")));
        told(&send(&api, Role::Evaluate, "POST", "/gates/mail/lease/heartbeat", &claim), 409, "gate_paused");
        assert_eq!(send(&api, Role::Evaluate, "POST", "/gates/mail/lease/release", &claim).status.as_u16(), 204);
        let resumed =
            send(&api, Role::Admin, "POST", "/gates/mail/resume", &json!({ "reason": "over", "after_seconds": 7200 }));
        let resumed = resumed.json();
        assert_eq!((&resumed["state"], &resumed["ask_again_seconds"]), (&json!("waiting"), &json!(10)), "{resumed}");
        told(&send(&api, Role::Evaluate, "POST", "/gates/mail/lease", &json!({ "holder": "b" })), 409, "gate_paused");
        let metrics = api.admin("GET", "/metrics", "");
        let metrics = String::from_utf8(metrics.body).unwrap();
        for outcome in ["acquired", "stopped", "released", "paused"] {
            let line = format!("changeover_worker_lease_answers_total{{outcome=\"{outcome}\"}} 1");
            assert!(metrics.contains(&line), "{line}\n{metrics}");
        }
    });
}
