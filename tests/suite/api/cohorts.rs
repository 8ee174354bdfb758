//! Cohorts over HTTP: uploads of every form, staging, single ids, generations, export.

use std::io::Write;

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::{Api, Call, Reply, dump};
use crate::support::each_database;

fn send(api: &Api, (method, path): (&str, &str), headers: &[(&str, &str)], body: &[u8]) -> Reply {
    api.send(&Call { method, path, token: Some(api.token(Role::Admin)), headers, body })
}

fn upload(api: &Api, call: (&str, &str), body: &str) -> Value {
    let reply = send(api, call, &[("Content-Type", "text/plain")], body.as_bytes());
    assert!(reply.status.is_success(), "{call:?} {reply:?}");
    reply.json()
}

fn get(api: &Api, path: &str) -> Value {
    let reply = send(api, ("GET", path), &[], b"");
    assert_eq!(reply.status, 200, "{path} {reply:?}");
    reply.json()
}

fn status(api: &Api, call: (&str, &str)) -> u16 {
    send(api, call, &[("Content-Type", "text/plain")], b"x").status.as_u16()
}

fn with_cohort(database: &crate::support::TestDatabase) -> Api {
    let api = Api::without_jobs(database);
    assert_eq!(api.admin("POST", "/api/v1/cohorts", r#"{"name":"c"}"#).status, 201);
    api
}

#[test]
fn an_import_of_an_export_changes_nothing() {
    each_database(|database| {
        let api = with_cohort(&database);
        let ids: String =
            (0..6_000).map(|n| format!("{}\n", n * 7)).chain(["a,\"b\"\n".into(), "id\n".into()]).collect();
        let first = upload(&api, ("PUT", "/api/v1/cohorts/c/ids"), &ids);
        assert_eq!((first["read"].as_u64(), first["added"].as_u64()), (Some(6_002), Some(6_002)));
        for (format, kind) in [("lines", "text/plain"), ("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
            let export = send(&api, ("GET", &format!("/api/v1/cohorts/c/ids?format={format}")), &[], b"");
            assert!(export.kind.starts_with(kind), "{export:?}");
            let accepted = send(&api, ("GET", "/api/v1/cohorts/c/ids"), &[("Accept", kind)], b"");
            assert_eq!(export.body, accepted.body, "{format}");
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&export.body).unwrap();
            let packed = packed.finish().unwrap();
            for (headers, body) in [
                (vec![("Content-Type", kind)], &export.body),
                (vec![("Content-Type", kind), ("Content-Encoding", "gzip")], &packed),
            ] {
                let again = send(&api, ("PUT", "/api/v1/cohorts/c/ids"), &headers, body).json();
                assert_eq!(again["sha256"], first["sha256"], "{format} {again}");
                let counts = [&again["added"], &again["removed"], &again["rejected"], &again["duplicates"]];
                assert_eq!(counts, [0, 0, 0, 0], "{format} {again}");
            }
            let cut = &packed[..packed.len() / 2];
            let headers = [("Content-Type", kind), ("Content-Encoding", "gzip")];
            let refused = send(&api, ("PUT", "/api/v1/cohorts/c/ids"), &headers, cut);
            assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (400, &json!("invalid_upload")));
        }
        assert_eq!(get(&api, "/api/v1/cohorts/c")["ids"], 6_002);
    });
}

#[test]
fn an_upload_is_staged_looked_at_and_activated_or_dropped() {
    each_database(|database| {
        let api = with_cohort(&database);
        upload(&api, ("PUT", "/api/v1/cohorts/c/ids"), "a\nb\nc\n");
        let before = get(&api, "/api/v1/cohorts/c");
        let dry = upload(&api, ("PUT", "/api/v1/cohorts/c/ids?dry_run=true"), "b\nc\nd\n\u{1}\n");
        assert_eq!(dry["comparison"], json!({"added": 1, "removed": 1, "come": ["d"], "go": ["a"]}));
        assert_eq!((&dry["ids"], &dry["rejected"]), (&json!(3), &json!(1)));
        let staged = upload(&api, ("PUT", "/api/v1/cohorts/c/ids?stage=true&reason=new%20list"), "b\nc\nd\n");
        let other = upload(&api, ("POST", "/api/v1/cohorts/c/removals?stage=true"), "a\n");
        assert_eq!(get(&api, "/api/v1/cohorts/c"), before, "nothing is served of it");
        assert_eq!(get(&api, "/api/v1/cohorts/c/staged")["items"].as_array().unwrap().len(), 2);
        let path = format!("/api/v1/cohorts/c/staged/{}", staged["staged"].as_str().unwrap());
        let preview = get(&api, &path);
        assert_eq!(preview["comparison"], dry["comparison"]);
        assert_eq!((&preview["reason"], &preview["actor"]), (&json!("new list"), &json!("admin")));
        let done = upload(&api, ("POST", &format!("{path}/activation?reason=looks%20right")), "");
        assert_eq!((&done["added"], &done["removed"], &done["read"]), (&json!(1), &json!(1), &json!(3)));
        assert_eq!(status(&api, ("GET", &path)), 404, "it is gone");
        let path = format!("/api/v1/cohorts/c/staged/{}", other["staged"].as_str().unwrap());
        let stale = send(&api, ("POST", &format!("{path}/activation")), &[], b"");
        assert_eq!((stale.status.as_u16(), &stale.json()["current_version"]), (412, &done["generation"]));
        assert_eq!(get(&api, &path)["comparison"]["removed"], 0, "a is gone already");
        assert_eq!(status(&api, ("DELETE", &path)), 204);
        assert_eq!(status(&api, ("POST", &format!("{path}/activation?even_if_changed=true"))), 404);
        let page = get(&api, "/api/v1/cohorts/c/ids");
        assert_eq!(page["items"], json!(["b", "c", "d"]));
    });
}

#[test]
fn generations_are_listed_compared_read_and_restored() {
    each_database(|database| {
        let api = with_cohort(&database);
        let first = upload(&api, ("PUT", "/api/v1/cohorts/c/ids"), "a\nb\nc\n");
        let second = upload(&api, ("PUT", "/api/v1/cohorts/c/ids/x%2Fy%20%C3%A9?reason=one"), "");
        assert_eq!((&second["ids"], &second["added"]), (&json!(4), &json!(1)));
        assert_eq!(get(&api, "/api/v1/cohorts/c/ids/x%2Fy%20%C3%A9")["member"], true);
        let again = upload(&api, ("PUT", "/api/v1/cohorts/c/ids/x%2Fy%20%C3%A9"), "");
        assert_eq!(again["added"], 0);
        let third = send(&api, ("DELETE", "/api/v1/cohorts/c/ids/b"), &[], b"").json();
        assert_eq!(third["removed"], 1);
        let (from, to) = (&first["generation"], &third["generation"]);
        let diff = get(&api, &format!("/api/v1/cohorts/c/generations/{to}/diff?since={from}"));
        assert_eq!(diff, json!({"added": 1, "removed": 1, "come": ["x/y é"], "go": ["b"]}));
        let then = get(&api, &format!("/api/v1/cohorts/c/ids?generation={from}"));
        assert_eq!(then["items"], json!(["a", "b", "c"]));
        let export = send(&api, ("GET", &format!("/api/v1/cohorts/c/ids?generation={from}&format=lines")), &[], b"");
        assert_eq!(export.body, b"a\nb\nc\n");
        let path = format!("/api/v1/cohorts/c/generations/{from}/restoration?reason=back");
        let seen = format!("\"{from}\"");
        assert_eq!(send(&api, ("POST", &path), &[("If-Match", seen.as_str())], b"").status, 412);
        let restored = send(&api, ("POST", &path), &[], b"").json();
        assert_eq!(restored["ids"], 3);
        let history = get(&api, "/api/v1/cohorts/c/generations");
        let actions: Vec<&str> =
            history["items"].as_array().unwrap().iter().map(|found| found["action"].as_str().unwrap()).collect();
        assert_eq!(
            actions,
            ["cohort.restore", "cohort.remove", "cohort.add", "cohort.add", "cohort.replace", "cohort.create"]
        );
        let checked = get(&api, &format!("/api/v1/cohorts/c/generations/{}", restored["generation"]));
        assert_eq!(checked["sha256"], first["sha256"]);
        assert_eq!(status(&api, ("GET", "/api/v1/cohorts/c/generations/1000")), 404);
    });
}

#[test]
fn conditions_are_checked_kept_and_served() {
    each_database(|database| {
        let api = with_cohort(&database);
        let clause = r#"[[{"attribute":"plan","operator":"equals","value":"pro"}]]"#;
        let wrong = r#"{"conditions":[[{"attribute":"plan","operator":"resembles","value":"pro"}]]}"#;
        assert_eq!(api.admin("PUT", "/api/v1/cohorts/c", wrong).status, 422);
        let described = api.admin("PUT", "/api/v1/cohorts/c", &format!(r#"{{"conditions":{clause}}}"#));
        assert_eq!(described.status, 200, "{described:?}");
        assert_eq!(described.json()["conditions"][0][0]["attribute"], "plan");
        upload(&api, ("POST", "/api/v1/cohorts/c/ids"), "listed\n");
        let flag = r#"{"key":"f","type":"boolean","enabled":true,"variants":{"on":true,"off":false},"default_variant":"off","off_variant":"off","rules":[{"cohort":"c","serve":{"variant":"on"}}]}"#;
        assert_eq!(api.admin("POST", "/api/v1/flags", flag).status, 201);
        for (context, value) in [
            (r#"{"targetingKey":"listed"}"#, true),
            (r#"{"targetingKey":"x","plan":"pro"}"#, true),
            (r#"{"targetingKey":"x","plan":"free"}"#, false),
            (r#"{"targetingKey":"x"}"#, false),
        ] {
            let body = format!(r#"{{"context":{context}}}"#);
            let answer = api.admin("POST", "/ofrep/v1/evaluate/flags/f", &body).json();
            assert_eq!(answer["value"], value, "{context} {answer}");
        }
        let kept = api.admin("PUT", "/api/v1/cohorts/c", r#"{"description":"pros"}"#).json();
        assert_eq!((&kept["conditions"][0][0]["value"], &kept["ids"]), (&json!("pro"), &json!(1)));
    });
}

#[test]
fn what_is_refused_changes_nothing() {
    each_database(|database| {
        let api = with_cohort(&database);
        upload(&api, ("PUT", "/api/v1/cohorts/c/ids"), "a\nb\n");
        let before = dump(&mut database.connection());
        let text = [("Content-Type", "text/plain")];
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);
        let cases: [Case<'_>; 9] = [
            ("/api/v1/cohorts/c/ids", &text, b"", 400),
            ("/api/v1/cohorts/c/ids", &text, b"\n \r\n", 400),
            ("/api/v1/cohorts/c/ids", &text, b"\xff\n\x00\n", 400),
            ("/api/v1/cohorts/c/ids?max_rejected=0", &text, b"c\n\x00\n", 400),
            ("/api/v1/cohorts/c/ids", &[("Content-Type", "text/csv")], b"c\n\"d\ne\n", 400),
            ("/api/v1/cohorts/c/ids", &[("Content-Type", "image/png")], b"c\n", 415),
            ("/api/v1/cohorts/c/ids", &[("Content-Encoding", "br")], b"c\n", 415),
            ("/api/v1/cohorts/none/ids", &text, b"c\n", 404),
            ("/api/v1/cohorts/c/ids?unknown=1", &text, b"c\n", 400),
        ];
        for (path, headers, body, status) in cases {
            let reply = send(&api, ("PUT", path), headers, body);
            assert_eq!(reply.status.as_u16(), status, "{path} {headers:?} {reply:?}");
            assert_eq!(dump(&mut database.connection()), before, "{path}");
        }
        let told = send(&api, ("PUT", "/api/v1/cohorts/c/ids?max_rejected=1"), &text, b"c\n\x00\n\x01\n").json();
        assert!(told["detail"].as_str().unwrap().contains("2 lines are not ids"), "{told}");
    });
}

#[test]
fn of_two_uploads_at_once_each_is_whole() {
    each_database(|database| {
        let api = with_cohort(&database);
        let sets: Vec<String> = (0..4).map(|set| (0..5_000).map(|n| format!("{set}-{n}\n")).collect()).collect();
        let address = crate::support::Server::start(&database);
        std::thread::scope(|scope| {
            for set in &sets {
                let address = &address;
                let token = api.token(Role::Admin);
                scope.spawn(move || {
                    let headers = [("content-type", "text/plain")];
                    let path = "/api/v1/cohorts/c/ids";
                    let answer = address.send_as(token, "PUT", path, &headers, Some(set.as_bytes()));
                    assert_eq!(answer.status, 200, "{answer:?}");
                });
            }
        });
        let export = send(&api, ("GET", "/api/v1/cohorts/c/ids?format=lines"), &[], b"");
        let found = String::from_utf8(export.body).unwrap();
        let set = found.split('-').next().unwrap().to_owned();
        assert_eq!(found.lines().count(), 5_000);
        assert!(found.lines().all(|id| id.starts_with(&format!("{set}-"))), "all of one upload");
    });
}
