//! Flags as an admin works with them over HTTP: rollouts, previews, history.

mod explain;
mod history;
mod previews;
mod rollouts;
mod stale;

use serde_json::{Value, json};

use super::{Api, Call, Reply};
use changeover::store::tokens::Role;

/// A flag with the variants `old` (the default), `new` and `odd`, without rules.
pub fn flag(key: &str) -> Value {
    json!({
        "key": key, "type": "string", "variants": { "old": "o", "new": "n", "odd": "x" },
        "default_variant": "old", "off_variant": "old", "rules": [],
    })
}

impl Api {
    /// Creates a flag as an admin.
    #[track_caller]
    pub fn create_flag(&self, flag: &Value) {
        let reply = self.admin("POST", "/api/v1/flags", &flag.to_string());
        assert_eq!(reply.status, 201, "{}", reply.json());
    }

    /// Sends JSON as an admin who has seen a version.
    pub fn admin_seen(&self, method: &str, path: &str, seen: &str, body: &Value) -> Reply {
        let headers = [("Content-Type", "application/json"), ("If-Match", seen)];
        let body = body.to_string();
        self.send(&Call {
            method,
            path,
            token: Some(self.token(Role::Admin)),
            headers: &headers,
            body: body.as_bytes(),
        })
    }

    /// Sends JSON as an admin and returns the answer, which must be 200.
    #[track_caller]
    pub fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.admin(method, path, &if body.is_null() { String::new() } else { body.to_string() });
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.json());
        reply.json()
    }

    /// The variants that these subjects get.
    pub fn variants(&self, key: &str, subjects: &[String]) -> Vec<String> {
        let path = format!("/ofrep/v1/evaluate/flags/{key}");
        let bodies: Vec<String> =
            subjects.iter().map(|id| json!({ "context": { "targetingKey": id } }).to_string()).collect();
        let headers = [("Content-Type", "application/json")];
        let token = Some(self.token(Role::Evaluate));
        let calls: Vec<Call<'_>> = bodies
            .iter()
            .map(|body| Call { method: "POST", path: &path, token, headers: &headers, body: body.as_bytes() })
            .collect();
        let variant = |reply: Reply| reply.json()["variant"].as_str().unwrap_or("(failed)").to_owned();
        self.send_all(&calls).into_iter().map(variant).collect()
    }
}
