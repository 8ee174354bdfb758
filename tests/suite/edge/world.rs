//! The small billing database, live, behind a real server whose edge is set.

use std::process::Command;

use changeover::primitives::Instant;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::routing::fixture::Fixture;
use crate::support::{Answer, Server, TestDatabase};

pub const EDGE: &str = "/api/v1/changes/billing-allocation/edge";
pub const ASK: &str = "/edge/billing-allocation";
const SECRET: &[u8] = b"a-secret-of-thirty-two-bytes-or-more";

pub struct World {
    pub fixture: Fixture,
    pub server: Server,
    pub token: String,
    key_file: tempfile::NamedTempFile,
}

impl World {
    /// User 11 is in the cohort `pilot`, for which the flag serves `new`; `ann` and `root` are staff, nothing is set for the edge yet.
    pub fn new(database: TestDatabase) -> Self {
        Self::with(database, |command| command)
    }

    pub fn with(database: TestDatabase, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let fixture = Fixture::with_data(database);
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), SECRET).unwrap();
        let server = Server::start_with(&fixture.database, |command| {
            command.env("CHANGEOVER_EDGE_KEYS", format!("shop=hs256:{}", key.path().display()));
            prepare(command)
        });
        let token = server.admin_token();
        let world = Self { fixture, server, token, key_file: key };
        for (cohort, ids) in [("pilot", "11\n"), ("staff", "ann\nroot\n11\n"), ("admins", "root\n")] {
            world.write("POST", "/api/v1/cohorts", &json!({ "name": cohort }));
            world.ids("POST", cohort, ids);
        }
        let rules = json!([{ "cohort": "pilot", "serve": { "variant": "new" } }]);
        world.write("POST", "/api/v1/flags", &flag("billing-allocation", &rules, true));
        world
    }

    /// Another server on the same database.
    pub fn restart(&mut self, prepare: impl FnOnce(&mut Command) -> &mut Command) {
        let key = self.key_file.path().display().to_string();
        self.server = Server::start_with(&self.fixture.database, |command| {
            command.env("CHANGEOVER_EDGE_KEYS", format!("shop=hs256:{key}"));
            prepare(command)
        });
    }

    /// As they are used in most tests: by a token, else by a cookie that proves nothing.
    pub fn settings() -> Value {
        json!({
            "subject": [
                { "jwt": { "key": "shop", "audience": "shop" }, "cookie": "session" },
                { "cookie": "user" }
            ],
            "upstreams": { "old": "legacy", "new": "next", "others": ["beta"] },
            "choice": { "cohort": "staff", "header": "X-Upstream", "cookie": "upstream" },
            "pass": { "cohort": "admins", "claim": { "name": "role", "value": "operator" } }
        })
    }

    pub fn set(&self, settings: &Value) {
        self.write("PUT", &format!("{EDGE}?reason=test"), settings);
    }

    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.server.send_as(&self.token, method, path, &headers, Some(body.to_string().as_bytes()))
    }

    pub fn write(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.call(method, path, body);
        assert!(matches!(answer.status, 200 | 201), "{method} {path}: {answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    pub fn ids(&self, method: &str, cohort: &str, ids: &str) {
        let path = format!("/api/v1/cohorts/{cohort}/ids");
        let headers = [("content-type", "text/plain")];
        let answer = self.server.send_as(&self.token, method, &path, &headers, Some(ids.as_bytes()));
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// What a proxy with a token is told.
    pub fn ask(&self, headers: &[(&str, &str)]) -> Answer {
        self.ask_at("GET", ASK, headers)
    }

    pub fn ask_at(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("x-changeover-token", self.token.as_str())];
        all.extend(headers);
        self.server.send_as("the-visitors-own", method, path, &all, None)
    }

    /// `side upstream because` of a visitor with cookies.
    pub fn told(&self, cookies: &str) -> String {
        told(&self.ask(&[("cookie", cookies)]))
    }
}

/// `side upstream because`, or the status if it is no 200.
pub fn told(answer: &Answer) -> String {
    if answer.status != 200 {
        return answer.status.to_string();
    }
    let header = |name| answer.header(name).unwrap_or("-").to_owned();
    format!("{} {} {}", header("x-changeover-side"), header("x-changeover-upstream"), header("x-changeover-because"))
}

/// A flag with the variants `old` and `new`; everybody else is on `old`.
pub fn flag(key: &str, rules: &Value, is_of_change: bool) -> Value {
    let mut flag = json!({
        "key": key, "type": "string", "variants": { "old": "old", "new": "new" },
        "default_variant": "old", "off_variant": "old", "rules": rules,
    });
    if is_of_change {
        flag["change"] = json!("billing-allocation");
    }
    flag
}

/// A cookie with a token for `user`, good for a minute, with more claims.
pub fn session(user: &str, more: &Value) -> String {
    let now_s = Instant::from(jiff::Timestamp::now()).as_micros() / 1_000_000;
    let mut claims = json!({ "sub": user, "aud": "shop", "exp": now_s + 60 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    format!("session={}", encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap())
}
