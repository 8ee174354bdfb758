//! Explanations over the API: who may, what is refused, and what a report makes of their number and their last day.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::commands::{NAME, installed, report};
use crate::examples::support::{load_video_hosting, number};
use crate::support::{Answer, Server, TestDatabase, changeover, each_database};

const PATH: &str = "/api/v1/changes/billing-allocation/explanations";

struct Client<'a> {
    server: &'a Server,
    token: String,
}

impl Client<'_> {
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (Answer, Value) {
        let body = body.to_string();
        let headers = [&[("content-type", "application/json")], headers].concat();
        let body = if method == "GET" || method == "DELETE" { None } else { Some(body.as_bytes()) };
        let answer = self.server.send_as(&self.token, method, path, &headers, body);
        let json = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        (answer, json)
    }
}

/// A token, made before the server starts: it knows it from its first moment on.
fn token(database: &TestDatabase, role: &str) -> String {
    let issued = changeover().service(database).args(["--json", "token", "create", role, "--role", role]);
    issued.run().expect_code(0).json()["secret"].as_str().unwrap().to_owned()
}

fn wording(more: Value) -> Value {
    let mut wording = json!({
        "class": "not_conserved", "reason_code": "rounding-2019", "text": "booked by hand", "owner": "Ada",
        "expires": "2099-12-31", "max_count": 2,
    });
    wording.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    wording
}

#[test]
fn explanations_over_http_are_worded_counted_and_withdrawn() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 51);
        installed(&database);
        let top = number(&mut connection, "SELECT max(charge_id) FROM charge_allocations WHERE amount_minor > 0");
        // Three charges whose parts are one unit too much.
        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE (charge_id, payer_id) IN (
                   SELECT charge_id, min(payer_id) FROM charge_allocations WHERE amount_minor > 0 AND charge_id <= {top}
                   GROUP BY charge_id ORDER BY charge_id DESC LIMIT 3)"
            ))
            .unwrap();
        assert_eq!(report(&database, &[NAME], 1)["data"]["unexplained_total"], 3);

        let tokens = ["admin", "viewer", "evaluate"].map(|role| token(&database, role));
        let server = Server::start(&database);
        let [admin, viewer, application] = tokens.map(|token| Client { server: &server, token });
        assert_eq!(viewer.send("POST", PATH, &[], &wording(json!({}))).0.status, 403);
        assert_eq!(application.send("GET", PATH, &[], &Value::Null).0.status, 403);
        let nowhere = PATH.replace(NAME, "nowhere");
        assert_eq!(admin.send("POST", &nowhere, &[], &wording(json!({}))).0.status, 404);

        for bad in [
            json!({ "class": "same_payer" }),
            json!({ "expires": "2020-01-01" }),
            json!({ "max_count": 0 }),
            json!({ "reason_code": "Not A Code" }),
            json!({ "text": "  " }),
            json!({ "owner": "x".repeat(201) }),
        ] {
            let (answer, problem) = admin.send("POST", PATH, &[], &wording(bad.clone()));
            assert_eq!((answer.status, &problem["code"]), (422, &json!("invalid_value")), "{bad} {problem}");
        }
        for bad in [json!({ "class": "no_such" }), json!({ "max_count": -1 }), json!({ "unknown": 1 })] {
            let (answer, problem) = admin.send("POST", PATH, &[], &wording(bad.clone()));
            assert!([400, 422].contains(&answer.status), "{bad} {problem}");
        }

        let (created, body) = admin.send("POST", &format!("{PATH}?reason=audit"), &[], &wording(json!({})));
        assert_eq!((created.status, &body["version"]), (201, &json!(1)), "{body}");
        let one = created.header("location").unwrap().to_owned();
        let etag = created.header("etag").unwrap().to_owned();
        let two = report(&database, &[NAME], 1);
        assert_eq!(two["data"]["unexplained_total"], 1, "it may cover two of three");
        assert_eq!(two["data"]["explained"][0]["state"], "exceeded");

        let wider = wording(json!({ "max_count": 3 }));
        assert_eq!(admin.send("PUT", &one, &[("if-match", "\"7\"")], &wider).0.status, 412);
        let (replaced, body) = admin.send("PUT", &one, &[("if-match", &etag)], &wider);
        assert_eq!((replaced.status, &body["version"]), (200, &json!(2)), "{body}");
        report(&database, &[NAME], 0);

        assert_eq!(viewer.send("DELETE", &one, &[], &Value::Null).0.status, 403);
        assert_eq!(
            admin.send("DELETE", &one, &[("if-match", &etag)], &Value::Null).0.status,
            412,
            "it is at version 2"
        );
        assert_eq!(admin.send("DELETE", &format!("{one}?reason=mended"), &[], &Value::Null).0.status, 204);
        assert_eq!(admin.send("DELETE", &one, &[], &Value::Null).0.status, 404, "it is withdrawn");
        assert_eq!(admin.send("PUT", &one, &[], &wider).0.status, 404);
        assert_eq!(report(&database, &[NAME], 1)["data"]["unexplained_total"], 3);

        let told = format!("changeover_report_unexplained{{change=\"{NAME}\"}} 3");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !viewer.send("GET", "/metrics", &[], &Value::Null).0.body.contains(&told) {
            assert!(Instant::now() < deadline, "the newest report leaves three");
            std::thread::yield_now();
        }

        let (shown, body) = viewer.send("GET", &one, &[], &Value::Null);
        assert!(shown.status == 200 && body["withdrawn_at"].is_string(), "it stays readable: {body}");
        let (_, history) = viewer.send("GET", &format!("{one}/history"), &[], &Value::Null);
        let versions: Vec<&Value> = history["items"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
        assert_eq!(versions, [&json!("audit"), &json!(""), &json!("mended")], "{history}");
        let (_, listed) = viewer.send("GET", PATH, &[], &Value::Null);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(viewer.send("GET", &format!("{PATH}/nothing"), &[], &Value::Null).0.status, 404);
    });
}

#[test]
fn an_explanation_covers_nothing_after_its_last_day_and_there_is_a_most_of_them() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 52);
        installed(&database);
        connection
            .batch(
                "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE (charge_id, payer_id) IN (
                   SELECT charge_id, min(payer_id) FROM charge_allocations WHERE amount_minor > 0
                   GROUP BY charge_id ORDER BY charge_id DESC LIMIT 1)",
            )
            .unwrap();
        let token = token(&database, "admin");
        let server = Server::start(&database);
        let admin = Client { server: &server, token };
        let (_, created) = admin.send("POST", PATH, &[], &wording(json!({})));
        report(&database, &[NAME], 0);
        // Time passes: the day lies behind.
        let id = created["id"].as_str().unwrap();
        connection
            .batch(&format!(
                "UPDATE svc_changeover_explanations SET data = replace(data, '2099-12-31', '2026-01-31') WHERE id = '{id}'"
            ))
            .unwrap();
        let late = report(&database, &[NAME], 1);
        assert_eq!(
            (&late["data"]["explained"][0]["state"], &late["data"]["unexplained_total"]),
            (&json!("expired"), &json!(1))
        );

        let rows: Vec<String> =
            (0..500).map(|n| format!("('z{n:03}', '{NAME}', 1, '{}', 0, '', 0, '')", wording(json!({})))).collect();
        connection
            .batch(&format!(
                "INSERT INTO svc_changeover_explanations (id, change_name, version, data, created_at, created_by, updated_at, updated_by) VALUES {}",
                rows.join(", ")
            ))
            .unwrap();
        let (refused, problem) = admin.send("POST", PATH, &[], &wording(json!({})));
        assert_eq!(refused.status, 409, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("withdraw some first"), "{problem}");
    });
}
