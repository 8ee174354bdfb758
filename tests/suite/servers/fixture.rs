//! Real servers on one database, and a client that may ask any of them.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Server, TestDatabase};

/// How long anything may take that must happen at all.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Servers, each with a snapshot file of its own.
pub struct Fleet {
    pub servers: Vec<Server>,
    pub token: String,
    directory: TempDir,
}

impl Fleet {
    pub fn start(database: &TestDatabase, count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let servers: Vec<Server> = (0..count).map(|nth| start(database, &file_in(directory.path(), nth))).collect();
        let token = servers[0].admin_token();
        Self { servers, token, directory }
    }

    /// The snapshot file of a server.
    pub fn file(&self, nth: usize) -> PathBuf {
        file_in(self.directory.path(), nth)
    }

    pub fn ask(&self, nth: usize, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        send(&self.servers[nth], &self.token, method, path, headers, body)
    }

    /// Writes through a server and returns the version that its answer names.
    pub fn write(&self, nth: usize, method: &str, path: &str, body: &Value) -> i64 {
        let answer = self.ask(nth, method, path, &[], body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        version_of(&answer)
    }

    pub fn readiness(&self, nth: usize) -> Value {
        readiness(&self.servers[nth])
    }

    /// Waits until what `/readyz` says of every server is as wanted.
    pub fn wait_until(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) {
        for nth in 0..self.servers.len() {
            wait_until(what, || is_wanted(&self.readiness(nth)));
        }
    }
}

fn file_in(directory: &Path, nth: usize) -> PathBuf {
    directory.join(format!("server-{nth}.snapshot"))
}

/// A server with this snapshot file.
pub fn start(database: &TestDatabase, file: &Path) -> Server {
    Server::start_with(database, |command| command.arg("--snapshot-file").arg(file))
}

pub fn send(server: &Server, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let text = body.to_string();
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/json"));
    server.send_as(token, method, path, &headers, (!body.is_null()).then_some(text.as_bytes()))
}

pub fn readiness(server: &Server) -> Value {
    serde_json::from_str(&server.send_as("none", "GET", "/readyz", &[], None).body).unwrap()
}

pub fn version_of(answer: &Answer) -> i64 {
    answer.header("changeover-version").unwrap_or_else(|| panic!("no version: {answer:?}")).parse().unwrap()
}

#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A boolean flag that serves one variant to everybody.
pub fn flag(key: &str, variant: &str) -> Value {
    json!({"key": key, "type": "string", "variants": {"a": "a", "b": "b", "c": "c"}, "default_variant": variant, "off_variant": "a"})
}

/// What a server serves of a flag to a user.
pub fn evaluated(answer: &Answer) -> Value {
    serde_json::from_str::<Value>(&answer.body).unwrap()["value"].clone()
}

pub fn user(id: &str) -> Value {
    json!({"context": {"targetingKey": id}})
}
