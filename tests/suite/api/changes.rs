//! A change from its file to a signed report and back, all of it over HTTP.

use std::time::{Duration, Instant};

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::{Api, Call};
use crate::support::{changeover, each_database};

const FILE: &str = include_str!("../../../examples/video-hosting/change.toml");
const CHANGE: &str = "/api/v1/changes/billing-allocation";
const FLAG: &str = r#"{"key":"billing-allocation","type":"string","change":"billing-allocation","variants":{"old":"old","new":"new"},"default_variant":"old","off_variant":"old","rules":[{"cohort":"first","serve":{"variant":"new"}}]}"#;

fn sent(api: &Api, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let token = Some(api.token(Role::Admin));
    let headers = [("Content-Type", "application/json")];
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let reply = api.send(&Call { method, path, token, headers: &headers, body: text.as_bytes() });
    (reply.status.as_u16(), reply.json())
}

/// Sends what must succeed.
fn done(api: &Api, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = sent(api, method, path, body);
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

fn wait_until_filled(api: &Api) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = done(api, "GET", CHANGE, &Value::Null);
        let blocks = status["backfill"].as_array().cloned().unwrap_or_default();
        if blocks.len() == 4 && blocks.iter().all(|block| block["finished"] == true) {
            return;
        }
        assert!(Instant::now() < deadline, "the backfill did not end: {status}");
        std::thread::yield_now();
    }
}

/// A report as a page, as single CSV files, and as an archive of them that another program opens.
fn assert_every_form(api: &Api, report: &str) {
    let got = |path: &str| {
        let token = Some(api.token(Role::Viewer));
        api.send(&Call { method: "GET", path, token, headers: &[], body: b"" })
    };
    let page = got(&format!("{report}?format=html"));
    assert!(page.body.starts_with(b"<!DOCTYPE html>") && page.kind.starts_with("text/html"), "{}", page.kind);
    let manifest = got(&format!("{report}/csv/manifest.json")).json();
    assert_eq!(manifest["report_sha256"], got(report).json()["sha256"]);
    for file in manifest["files"].as_array().unwrap() {
        let reply = got(&format!("{report}/csv/{}", file["name"].as_str().unwrap()));
        assert!(reply.kind.starts_with("text/csv"), "{}", reply.kind);
        assert_eq!(u64::try_from(reply.body.len()).unwrap(), file["bytes"], "{}", file["name"]);
        assert_eq!(changeover::store::sha256(std::str::from_utf8(&reply.body).unwrap()), file["sha256"]);
    }
    assert_eq!(got(&format!("{report}/csv/other.csv")).status.as_u16(), 404);

    let archive = got(&format!("{report}?format=csv"));
    assert_eq!(archive.kind, "application/zip");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("set.zip");
    std::fs::write(&path, archive.body).unwrap();
    let unpack = ["-m", "zipfile", "-e", path.to_str().unwrap(), directory.path().to_str().unwrap()];
    assert!(std::process::Command::new("python3").args(unpack).status().unwrap().success());
    let checked = changeover::report::check_csv_directory(directory.path()).unwrap();
    assert_eq!(checked.faults, Vec::<String>::new());
    assert_eq!(checked.manifest.report_sha256, manifest["report_sha256"]);
}

#[test]
fn a_change_goes_live_over_http_and_comes_back() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let api = Api::new(&database);
        let (status, answer) =
            sent(&api, "POST", "/api/v1/changes", &json!({ "file": FILE.replace("charges c JOIN", "chargse c JOIN") }));
        assert_eq!((status, answer["code"].as_str()), (422, Some("invalid_change_file")), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("`chargse`"), "{answer}");
        assert_eq!(done(&api, "POST", "/api/v1/changes", &json!({ "file": FILE }))["stage"], "off");
        assert_eq!(sent(&api, "POST", "/api/v1/changes", &json!({ "file": FILE })).0, 409);

        assert_eq!(sent(&api, "POST", &format!("{CHANGE}/backfill"), &Value::Null).0, 409, "nothing translates yet");
        let stage = format!("{CHANGE}/stage");
        done(&api, "PUT", &stage, &json!({ "to": "dualwrite" }));
        assert_eq!(sent(&api, "PUT", &stage, &json!({ "to": "shadow" })).0, 409, "the backfill is missing");
        done(&api, "POST", &format!("{CHANGE}/backfill"), &Value::Null);
        wait_until_filled(&api);
        let verify = done(&api, "POST", &format!("{CHANGE}/verify"), &Value::Null);
        let verify = super::jobs::ended(&api, verify["url"].as_str().unwrap());
        assert_eq!((&verify["state"], &verify["result"]["drift"]), (&json!("done"), &json!(0)), "{verify}");
        done(&api, "PUT", &stage, &json!({ "to": "shadow" }));

        done(&api, "POST", "/api/v1/cohorts", &json!({ "name": "first" }));
        let upload = Call {
            method: "PUT",
            path: "/api/v1/cohorts/first/ids",
            token: Some(api.token(Role::Admin)),
            headers: &[("Content-Type", "text/plain")],
            body: b"1\n",
        };
        assert_eq!(api.send(&upload).status.as_u16(), 200);
        done(&api, "POST", "/api/v1/flags", &serde_json::from_str(FLAG).unwrap());
        assert_eq!(sent(&api, "PUT", &stage, &json!({ "to": "live" })).0, 409, "no report is signed");
        let job = done(&api, "POST", &format!("{CHANGE}/reports"), &json!({}));
        let job = super::jobs::ended(&api, job["url"].as_str().unwrap());
        assert_eq!((&job["state"], &job["result"]["clean"]), (&json!("done"), &json!(true)), "{job}");
        let id = job["result"]["report"].as_str().unwrap_or_else(|| panic!("{job}"));
        assert_every_form(&api, &format!("{CHANGE}/reports/{id}"));
        done(&api, "POST", &format!("{CHANGE}/reports/{id}/signatures"), &json!({ "role": "finance" }));
        let untried = sent(&api, "PUT", &stage, &json!({ "to": "live" }));
        assert!(untried.0 == 409 && untried.1["detail"].as_str().unwrap().contains("laws"), "{untried:?}");
        assert_eq!(done(&api, "GET", &format!("{CHANGE}/laws"), &Value::Null)["last"], Value::Null);
        let laws = done(&api, "POST", &format!("{CHANGE}/laws"), &json!({ "sample": 10, "seed": 1 }));
        assert_eq!(laws["held"], true, "{laws}");
        let gates = done(&api, "GET", &format!("{CHANGE}/gates"), &Value::Null);
        assert_eq!((&gates["next"], &gates["hold"]), (&json!("live"), &json!(true)), "{gates}");
        done(&api, "PUT", &stage, &json!({ "to": "live" }));
        let job = done(&api, "POST", &format!("{CHANGE}/assignments"), &json!({ "period": "2026-11" }));
        let job = super::jobs::ended(&api, job["url"].as_str().unwrap());
        assert_eq!((&job["state"], &job["result"]["assigned_new"]), (&json!("done"), &json!(1)), "{job}");
        let quarter = sent(&api, "POST", &format!("{CHANGE}/assignments"), &json!({ "period": "2026-Q4" }));
        assert!(quarter.0 == 422 && quarter.1["detail"].as_str().unwrap().contains("write a month"), "{quarter:?}");
        let counts = done(&api, "GET", &format!("{CHANGE}/assignments/counts"), &Value::Null);
        assert_eq!(counts["periods"], json!([{ "period": "2026-11", "old": 5, "new": 1 }]));
        assert_eq!(job["result"]["groups"], 6);

        let evaluated = |user: u32| {
            done(
                &api,
                "POST",
                "/ofrep/v1/evaluate/flags/billing-allocation",
                &json!({ "context": { "targetingKey": user.to_string() } }),
            )
        };
        assert_eq!((&evaluated(1)["value"], &evaluated(3)["value"]), (&json!("new"), &json!("old")));
        let flag = "/api/v1/flags/billing-allocation";
        let told = done(
            &api,
            "POST",
            &format!("{flag}/explain"),
            &json!({ "context": { "targetingKey": "1" }, "period": "2026-11" }),
        );
        assert_eq!(
            (&told["variant"], &told["routing"]["recorded"][0]["actor"]),
            (&json!("new"), &json!("admin")),
            "{told}"
        );
        assert_eq!(told["routing"]["rules"]["variant"], "new");
        let killed = done(&api, "POST", &format!("{flag}/preview"), &json!({ "enabled": false, "groups": true }));
        assert_eq!((&killed["unit"], &killed["moving"]), (&json!("group"), &json!(1)), "{killed}");
        assert_eq!(killed["change"]["widened"][0]["groups"], 1, "{killed}");
        assert_eq!(sent(&api, "DELETE", CHANGE, &Value::Null).0, 409, "it is live");
        let close = |wish: &Value| sent(&api, "POST", &format!("{CHANGE}/close"), wish);
        let (status, preview) = close(&json!({ "before": "2026-11", "preview": true }));
        assert_eq!(
            (status, &preview["open_before"], &preview["preview"]),
            (200, &json!(""), &json!(true)),
            "{preview}"
        );
        assert_eq!(close(&json!({ "before": "2026-Q4" })).0, 422);
        assert_eq!(done(&api, "GET", CHANGE, &Value::Null)["open_period"], "", "a preview closes nothing");
        assert_eq!(close(&json!({ "before": "2026-11", "reason": "billed" })).1["closes"], preview["closes"]);
        assert_eq!(done(&api, "GET", CHANGE, &Value::Null)["open_period"], "2026-11");
        assert_eq!(close(&json!({ "before": "2026-10" })).0, 409, "what is closed stays closed");
        let back = done(&api, "PUT", &stage, &json!({ "to": "shadow", "reason": "a second look" }));
        assert_eq!(back["released"], 1, "{back}");
        for to in ["dualwrite", "off"] {
            done(&api, "PUT", &stage, &json!({ "to": to }));
        }
        assert_eq!(sent(&api, "DELETE", CHANGE, &Value::Null).0, 409, "who was billed how is recorded");
        done(&api, "DELETE", &format!("{CHANGE}?discard_assignments=true"), &Value::Null);
        assert_eq!(sent(&api, "GET", CHANGE, &Value::Null).0, 404);
    });
}

#[test]
fn every_file_that_a_change_has_had_is_kept_and_can_be_put_back() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let api = Api::new(&database);
        let other = FILE.replacen("title  = \"", "title  = \"Once more: ", 1);
        assert_ne!(other, FILE);
        done(&api, "POST", "/api/v1/changes", &json!({ "file": FILE }));
        done(&api, "PUT", CHANGE, &json!({ "file": other }));
        let files = done(&api, "GET", &format!("{CHANGE}/history"), &Value::Null);
        let files = files["items"].as_array().unwrap();
        let told: Vec<(&Value, &Value)> = files.iter().map(|file| (&file["action"], &file["actor"])).collect();
        assert_eq!(told, [(&json!("update"), &json!("admin")), (&json!("install"), &json!("admin"))]);
        assert_eq!((&files[0]["file"], &files[1]["file"]), (&json!(other), &json!(FILE)));
        done(&api, "PUT", CHANGE, &json!({ "file": files[1]["file"] }));
        let run = |arguments: &[&str]| {
            changeover().service(&database).app(&database).args(["change", "history"]).args(arguments).run()
        };
        let listed = run(&["--json"]).expect_code(0).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 3);
        let number = listed["items"][1]["number"].to_string();
        assert_eq!(run(&["--file", &number]).expect_code(0).stdout.trim_end(), other.trim_end());
        run(&["--file", "99"]).expect_code(2);
        let status = changeover().service(&database).app(&database).args(["change", "status"]).run().expect_code(0);
        assert!(!status.stdout.contains("group_of_user"), "the files are not in the way: {status}");
    });
}
