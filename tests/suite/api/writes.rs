//! Writes over HTTP against the real server, on both databases.

mod documented;
mod errors;
mod exactness;
mod keys;
mod sides;

use changeover::change::Stage;
use serde_json::{Value, json};

use crate::support::{Answer, Server, TestDatabase};
use crate::translation::fixture::{Installed, installed};

const PATH: &str = "/api/v1/changes/billing-allocation/writes";

/// The video-hosting example at a stage, with a server on it.
struct Shop {
    installed: Installed,
    server: Server,
}

impl Shop {
    fn at(database: TestDatabase, stage: Stage) -> Self {
        let installed = installed(database, stage);
        let server = Server::start(&installed.database);
        Self { installed, server }
    }

    fn send(&self, key: Option<&str>, body: &str) -> Answer {
        post(&self.server, PATH, key, body)
    }

    /// Sends operations; status and answer.
    fn write(&self, operations: Value) -> (u16, Value) {
        let answer = self.send(None, &json!({ "operations": operations }).to_string());
        (answer.status, serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}")))
    }

    /// Sends operations that must be taken; both models agree afterwards.
    fn written(&self, operations: Value) -> Value {
        let (status, answer) = self.write(operations);
        assert_eq!(status, 200, "{answer}\n{}", self.server.output());
        self.assert_agrees(&answer);
        answer
    }

    /// Sends operations that must be refused; the problem, whose code is checked.
    fn refused(&self, operations: Value, status: u16, code: &str) -> Value {
        let before = self.dump();
        let (found, problem) = self.write(operations);
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(before, self.dump(), "refused and written all the same: {problem}");
        problem
    }

    fn assert_agrees(&self, story: &Value) {
        self.installed.assert_agrees(self.installed.stage >= Stage::Live, &|| story.to_string());
    }

    fn number(&self, sql: &str) -> i64 {
        self.installed.connection().get_row(sql, &[]).unwrap().integer("n").unwrap()
    }

    /// Every row of both models.
    fn dump(&self) -> Vec<String> {
        let mut connection = self.installed.connection();
        let tables = ["users", "videos", "charges", "accounts", "memberships", "video_accounts", "charge_allocations"];
        let mut rows: Vec<String> = tables
            .iter()
            .flat_map(|table| connection.query(&format!("SELECT * FROM {table}"), &[]).unwrap())
            .map(|row| format!("{row:?}"))
            .collect();
        rows.sort();
        rows
    }
}

fn post(server: &Server, path: &str, key: Option<&str>, body: &str) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    server.send("POST", path, &headers, Some(body.as_bytes()))
}

/// What one block made of the write: its keys.
fn translated<'a>(answer: &'a Value, block: &str) -> &'a [Value] {
    let found = answer["translated"].as_array().unwrap().iter().find(|found| found["block"] == block);
    found.map_or(&[], |found| found["keys"].as_array().unwrap())
}
