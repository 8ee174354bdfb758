//! Every version is kept, told apart, and can be made the flag again.

use serde_json::{Value, json};

use super::flag;
use crate::api::Api;
use crate::support::each_database;

/// The text of a flag as the store keeps it at a version.
fn stored(api: &Api, version: i64) -> Value {
    api.ok("GET", &format!("/api/v1/flags/f/history/{version}"), &Value::Null)["flag"].clone()
}

#[test]
fn a_restored_version_is_the_same_to_the_last_byte() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        let first = api.ok("GET", "/api/v1/flags/f", &Value::Null)["version"].as_i64().unwrap();
        let mut texts = vec![(first, stored(&api, first).to_string())];
        for percent in [10, 40, 5] {
            let body = json!({ "variant": "new", "percent": percent });
            let version = api.ok("PUT", "/api/v1/flags/f/rollouts/0", &body)["version"].as_i64().unwrap();
            texts.push((version, stored(&api, version).to_string()));
        }
        api.ok("PUT", "/api/v1/flags/f/enabled", &json!({ "enabled": false, "reason": "stop" }));
        for (version, text) in texts.iter().rev() {
            let path = format!("/api/v1/flags/f/history/{version}/restoration?reason=back");
            let restored = api.ok("POST", &path, &Value::Null);
            assert_eq!(restored["flag"].to_string(), *text);
            let raw =
                database.connection().query("SELECT data FROM svc_changeover_flags WHERE key = 'f'", &[]).unwrap();
            let then = format!("SELECT data FROM svc_changeover_flag_versions WHERE key = 'f' AND version = {version}");
            let then = database.connection().query(&then, &[]).unwrap();
            assert_eq!(raw[0].text("data").unwrap(), then[0].text("data").unwrap());
        }
        assert_eq!(api.admin("DELETE", "/api/v1/flags/f", "").status, 204);
        let path = format!("/api/v1/flags/f/history/{}/restoration", texts[2].0);
        assert_eq!(api.ok("POST", &path, &Value::Null)["flag"].to_string(), texts[2].1);
        let audit = api.ok("GET", "/api/v1/audit?subject=flag/f&limit=1", &Value::Null);
        assert_eq!(
            (&audit["items"][0]["action"], &audit["items"][0]["detail"]["restored"]),
            (&json!("flag.restore"), &json!(texts[2].0))
        );
    });
}

#[test]
fn a_restoration_that_cannot_be_is_refused() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        let first = api.ok("GET", "/api/v1/flags/f", &Value::Null)["version"].as_i64().unwrap();
        let path = format!("/api/v1/flags/f/history/{first}/restoration");
        api.ok("PUT", "/api/v1/flags/f/rollouts/0", &json!({ "variant": "new", "percent": 1 }));
        let stale = api.admin_seen("POST", &path, &format!("\"{first}\""), &json!({}));
        assert_eq!(stale.status, 412, "{}", stale.json());
        assert_eq!(api.admin("POST", "/api/v1/flags/f/history/999/restoration", "").status, 404);
        assert_eq!(api.admin("POST", "/api/v1/flags/none/history/1/restoration", "").status, 404);
        api.admin("DELETE", "/api/v1/flags/f", "");
        let history = api.ok("GET", "/api/v1/flags/f/history", &Value::Null);
        let removal = history["items"][0]["version"].as_i64().unwrap();
        let reply = api.admin("POST", &format!("/api/v1/flags/f/history/{removal}/restoration"), "");
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (409, &json!("refused")));
    });
}

#[test]
fn versions_are_told_apart() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        api.ok("PUT", "/api/v1/flags/f/rollouts/0", &json!({ "variant": "new", "percent": 1 }));
        api.ok("PUT", "/api/v1/flags/f/rollouts/0", &json!({ "variant": "new", "percent": 3 }));
        api.ok("PUT", "/api/v1/flags/f/enabled", &json!({ "enabled": false }));
        let history = api.ok("GET", "/api/v1/flags/f/history?limit=3", &Value::Null);
        let items = history["items"].as_array().unwrap();
        assert_eq!(items[0]["changes"], json!([{ "at": "/enabled", "before": true, "after": false }]));
        assert_eq!(items[1]["changes"][0]["at"], "/rules/0/serve/rollout/ranges");
        assert_eq!(items[2]["changes"][0]["at"], "/rules/0", "the last of a page is held against the one before it");
        let first = api.ok(
            "GET",
            &format!("/api/v1/flags/f/history?after={}", history["next"].as_str().unwrap()),
            &Value::Null,
        );
        assert_eq!(first["items"][0]["changes"][0]["at"], "", "a new flag differs as a whole");
        let newest = api.ok("GET", "/api/v1/flags/f/diff", &Value::Null);
        assert_eq!(newest["changes"], items[0]["changes"]);
        let (from, to) = (&items[2]["version"], &items[0]["version"]);
        let diff = api.ok("GET", &format!("/api/v1/flags/f/diff?from={from}&to={to}"), &Value::Null);
        assert_eq!(diff["changes"].as_array().unwrap().len(), 2);
        assert_eq!(api.admin("GET", "/api/v1/flags/none/diff", "").status, 404);
        assert_eq!(api.admin("GET", "/api/v1/flags/f/diff?from=99", "").status, 404);
    });
}
