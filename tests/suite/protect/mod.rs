//! What a flag's protection asks of whoever writes it: over HTTP and on the command line, on both databases.

mod audit;
mod exposure;
mod limits;
mod proposals;
mod reasons;

use serde_json::{Value, json};

use crate::api::{Api, Call, Reply};
use crate::support::TestDatabase;

/// Several admins of one service.
pub struct People {
    api: Api,
    tokens: Vec<(&'static str, String)>,
}

impl People {
    pub fn new(database: &TestDatabase) -> Self {
        let api = Api::without_jobs(database);
        let token = |name: &'static str| {
            let made = api.admin("POST", "/api/v1/tokens", &json!({"name": name, "role": "admin"}).to_string()).json();
            (name, made["secret"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned())
        };
        let tokens = vec![token("ada"), token("grace"), token("edsger")];
        Self { api, tokens }
    }

    /// Makes somebody's second token.
    pub fn token(&mut self, who: &'static str, name: &str) {
        let made = self.api.admin("POST", "/api/v1/tokens", &json!({"name": name, "role": "admin"}).to_string()).json();
        self.tokens.push((who, made["secret"].as_str().unwrap().to_owned()));
    }

    pub fn send(&self, who: &str, method: &str, path: &str, body: &Value) -> Reply {
        let token = self.tokens.iter().find(|(name, _)| *name == who).map(|(_, token)| token.as_str());
        let kind = if body.is_string() { "text/plain" } else { "application/json" };
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let body = if body.is_null() { "" } else { text.as_str() };
        let headers = [("Content-Type", kind)];
        self.api.send(&Call { method, path, token, headers: &headers, body: body.as_bytes() })
    }

    /// Sends, and expects this status.
    #[track_caller]
    pub fn expect(&self, status: u16, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.send(who, method, path, body);
        assert_eq!(reply.status.as_u16(), status, "{who} {method} {path}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// Sends, and expects this problem.
    #[track_caller]
    pub fn refused(&self, code: &str, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let problem = self.send(who, method, path, body).json();
        assert_eq!(problem["code"], code, "{who} {method} {path}: {problem}");
        problem
    }

    pub fn version(&self, key: &str) -> i64 {
        self.expect(200, "ada", "GET", &format!("/api/v1/flags/{key}"), &Value::Null)["version"].as_i64().unwrap()
    }
}

/// A flag with a rollout of `new` to so many buckets.
pub fn flag(key: &str, new: u32, protection: Value) -> Value {
    let ranges: Vec<Value> = [("new", 0, new), ("old", new, 100_000)]
        .into_iter()
        .filter(|(_, from, to)| from < to)
        .map(|(variant, from, to)| json!({"variant": variant, "from": from, "to": to}))
        .collect();
    json!({"key": key, "type": "string", "variants": {"old": "o", "new": "n"}, "default_variant": "old", "off_variant": "old",
           "rules": [{"serve": {"rollout": {"seed": "s", "ranges": ranges}}}], "protection": protection})
}
