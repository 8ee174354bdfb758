//! An admin's day, told as requests and answers.

use changeover::store::tokens::Role;

use super::{Api, Call};
use crate::support::{each_database, redactions};

const FLAG: &str = r#"{"key":"new-player","type":"boolean","variants":{"on":true,"off":false},"default_variant":"off","off_variant":"off","rules":[{"cohort":"beta","serve":{"variant":"on"}}]}"#;

const JSON: &str = "application/json";
const LINES: &str = "text/plain";

#[test]
fn a_cohort_is_uploaded_a_flag_serves_it_and_is_killed() {
    let lines = [
        ("POST", "/api/v1/cohorts", JSON, "", r#"{"name":"beta","description":"who asked for it"}"#),
        ("PUT", "/api/v1/cohorts/beta/ids?reason=first%20wave", LINES, "", "42\n  ada \n42\n\na\tb\n"),
        ("GET", "/api/v1/cohorts/beta/ids/ada", JSON, "", ""),
        ("POST", "/api/v1/flags?reason=try%20it", JSON, "", FLAG),
        ("POST", "/ofrep/v1/evaluate/flags/new-player", JSON, "", r#"{"context":{"targetingKey":"ada"}}"#),
        ("DELETE", "/api/v1/cohorts/beta", JSON, "", ""),
        ("POST", "/api/v1/cohorts/beta/removals", LINES, "", "ada"),
        ("POST", "/ofrep/v1/evaluate/flags/new-player", JSON, "", r#"{"context":{"targetingKey":"ada"}}"#),
        ("PUT", "/api/v1/flags/new-player/enabled", JSON, "", r#"{"enabled":false,"reason":"it flickers"}"#),
        ("POST", "/ofrep/v1/evaluate/flags/new-player", JSON, "", r#"{"context":{"targetingKey":42}}"#),
        ("PUT", "/api/v1/flags/new-player", JSON, "\"3\"", FLAG),
        ("PUT", "/api/v1/flags/new-player", JSON, "\"5\"", FLAG),
        ("DELETE", "/api/v1/flags/new-player", JSON, "\"6\"", ""),
        ("GET", "/api/v1/flags/new-player/history?limit=2", JSON, "", ""),
        ("DELETE", "/api/v1/cohorts/beta", JSON, "", ""),
        ("GET", "/api/v1/audit?limit=3", JSON, "", ""),
        ("GET", "/api/v1/audit/verification", JSON, "", ""),
    ];
    each_database(|database| {
        let api = Api::new(&database);
        let mut story = String::new();
        for (method, path, kind, seen, body) in lines {
            let headers = [("Content-Type", kind), ("If-Match", seen)];
            let headers = if seen.is_empty() { &headers[..1] } else { &headers[..] };
            let token = Some(api.token(Role::Admin));
            let reply = api.send(&Call { method, path, token, headers, body: body.as_bytes() });
            let etag = reply.etag.as_deref().map_or(String::new(), |etag| format!(" ETag: {etag}"));
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            story.push_str(&format!("{method} {path}\n  {}{etag} {body}\n", reply.status.as_u16()));
        }
        redactions::settings().bind(|| insta::assert_snapshot!("an_admins_day", story));
    });
}

#[test]
fn each_role_may_do_what_it_may_and_no_more() {
    each_database(|database| {
        let api = Api::new(&database);
        let status = |token: Option<&str>, method: &str, path: &str, body: &str| {
            let headers = [("Content-Type", JSON)];
            api.send(&Call { method, path, token, headers: &headers, body: body.as_bytes() }).status.as_u16()
        };
        let create = r#"{"name":"c"}"#;
        for (role, evaluate, read, write) in [
            (Role::Evaluate, 404, 403, 403),
            (Role::Write, 404, 403, 403),
            (Role::Viewer, 404, 200, 403),
            (Role::Admin, 404, 200, 201),
        ] {
            let token = Some(api.token(role));
            assert_eq!(status(token, "POST", "/ofrep/v1/evaluate/flags/none", "{}"), evaluate, "{role}");
            assert_eq!(status(token, "GET", "/api/v1/flags", ""), read, "{role}");
            assert_eq!(status(token, "POST", "/api/v1/cohorts", create), write, "{role}");
        }
        for token in [None, Some("co_x_y"), Some("")] {
            for (method, path) in [
                ("POST", "/ofrep/v1/evaluate/flags/none"),
                ("GET", "/api/v1/flags"),
                ("POST", "/api/v1/cohorts"),
                ("GET", "/api/v1/tokens"),
                ("GET", "/api/v1/audit"),
                ("GET", "/api/v1/changes"),
            ] {
                assert_eq!(status(token, method, path, "{}"), 401, "{method} {path}");
            }
        }
        for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"] {
            assert_eq!(status(None, "GET", path, ""), 200, "{path}");
        }
    });
}

#[test]
fn metrics_label_only_flags_that_exist() {
    each_database(|database| {
        let api = Api::new(&database);
        api.admin(
            "POST",
            "/api/v1/flags",
            &FLAG.replace("\"rules\":[{\"cohort\":\"beta\",\"serve\":{\"variant\":\"on\"}}]", "\"rules\":[]"),
        );
        for key in ["new-player", "invented-1", "invented-2"] {
            api.admin("POST", &format!("/ofrep/v1/evaluate/flags/{key}"), "{}");
        }
        let text = String::from_utf8(api.admin("GET", "/metrics", "").body).unwrap();
        assert!(text.contains(r#"changeover_evaluations_total{flag="new-player",variant="off"} 1"#), "{text}");
        assert!(!text.contains("invented"), "{text}");
    });
}
