//! Writes over HTTP, for code that does not reach the application's database: both models in one transaction, once.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::{Map, Value, json};

use crate::calls::{ATTEMPTS, Calls, parsed};
use crate::client::Client;
use crate::error::Error;
use crate::http::{Answer, Request};
use crate::random::uuid;
use crate::url::quoted;

/// One step of a write. Rows are JSON objects: `json!({"name": "Ada"})`, or a struct of yours.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Operation(Map<String, Value>);

impl Operation {
    fn new(verb: &str, table: &str) -> Self {
        Self(Map::from_iter([(verb.to_owned(), json!(table))]))
    }

    fn and(mut self, name: &str, value: impl Serialize) -> Self {
        // What is no JSON is no row: the server says which operation that is.
        self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    /// Inserts a row; columns that are left out get their defaults.
    pub fn insert(table: &str, row: impl Serialize) -> Self {
        Self::new("insert", table).and("row", row)
    }

    /// Inserts rows.
    pub fn insert_all<R: Serialize>(table: &str, rows: impl IntoIterator<Item = R>) -> Self {
        Self::new("insert", table).and("rows", rows.into_iter().collect::<Vec<_>>())
    }

    /// Inserts a row, or updates the one with the same key.
    pub fn upsert(table: &str, row: impl Serialize) -> Self {
        Self::new("upsert", table).and("row", row)
    }

    /// Inserts rows, or updates those with the same keys.
    pub fn upsert_all<R: Serialize>(table: &str, rows: impl IntoIterator<Item = R>) -> Self {
        Self::new("upsert", table).and("rows", rows.into_iter().collect::<Vec<_>>())
    }

    /// Updates one row: sets columns where columns have values.
    pub fn update(table: &str, condition: impl Serialize, set: impl Serialize) -> Self {
        Self::new("update", table).and("where", condition).and("set", set)
    }

    /// Deletes one row.
    pub fn delete(table: &str, condition: impl Serialize) -> Self {
        Self::new("delete", table).and("where", condition)
    }

    /// The columns by which an upsert tells rows apart.
    pub fn by(self, columns: &[&str]) -> Self {
        self.and("by", columns)
    }

    /// Only if the row's columns hold this ([`Kind::PreconditionFailed`](crate::Kind::PreconditionFailed) otherwise).
    pub fn only_if(self, columns: impl Serialize) -> Self {
        self.and("if", columns)
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// As a value: what an earlier operation of the same write stored in a column, such as a minted id. Operations are counted from 0; of one
/// with many rows it is the first row's.
pub fn minted(operation: usize, column: &str) -> Value {
    minted_in_row(operation, 0, column)
}

/// The same of another row, counted from 0.
pub fn minted_in_row(operation: usize, row: usize, column: &str) -> Value {
    json!({"operation": operation, "row": row, "column": column})
}

/// What a write did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WriteResult {
    /// Each operation's rows as they were stored.
    pub operations: Vec<Value>,
    /// For each block that the rows drive or feed: the keys whose target rows changed.
    pub translated: Vec<Value>,
    /// Keys whose translation failed and that wait for the worker.
    pub pending: Vec<Value>,
    /// It had been done before, under the same idempotency key; this is the answer of then.
    pub is_replayed: bool,
    /// The key under which it is done once.
    pub idempotency_key: String,
}

/// Writes on the tables of a change. Made by [`Client::writes`] or [`AsyncClient::writes`](crate::AsyncClient::writes).
#[derive(Clone)]
#[must_use]
pub struct Writes<C = Client> {
    pub(crate) client: C,
    path: Arc<str>,
    is_dry_run: bool,
    idempotency_key: Option<String>,
}

impl<C> Writes<C> {
    pub(crate) fn new(client: C, change: &str) -> Self {
        let path = format!("/api/v1/changes/{}/writes", quoted(change)).into();
        Self { client, path, is_dry_run: false, idempotency_key: None }
    }

    /// Does everything and undoes it: the answer is what would have been.
    pub fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    /// A key of your own: whatever is run with it again within 24 hours is done once. Without it each run gets one.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn run_with(&self, calls: &Calls, operations: &[Operation]) -> Result<WriteResult, Error> {
        let key = self.idempotency_key.clone().unwrap_or_else(uuid);
        let mut body = json!({"operations": operations});
        if let (true, Value::Object(body)) = (self.is_dry_run, &mut body) {
            body.insert("dry_run".into(), json!(true));
        }
        let body = body.to_string();
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key.as_str())];
        let answer =
            calls.send(&Request { headers: &headers, ..Request::post(&self.path, body.as_bytes()) }, ATTEMPTS)?;
        result(&answer, key.clone())
    }

    pub(crate) fn schema_with(&self, calls: &Calls) -> Result<Value, Error> {
        calls.json(&Request::get(&self.path), ATTEMPTS)
    }
}

impl<C> std::fmt::Debug for Writes<C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writes").field("path", &self.path).finish_non_exhaustive()
    }
}

fn result(answer: &Answer, idempotency_key: String) -> Result<WriteResult, Error> {
    let Value::Object(mut body) = parsed(answer)? else {
        return Err(Error::unexpected(answer.status, "the answer is no object"));
    };
    let mut list = |name: &str| match body.remove(name) {
        Some(Value::Array(found)) => found,
        _ => Vec::new(),
    };
    Ok(WriteResult {
        operations: list("operations"),
        translated: list("translated"),
        pending: list("pending"),
        is_replayed: answer.header("idempotency-replayed") == Some("true"),
        idempotency_key,
    })
}

impl Writes<Client> {
    /// Does all operations, in order, or none.
    ///
    /// However often it is sent, it is done once: an idempotency key is made unless one is given. After an error of the kinds `Timeout`,
    /// `Connection` and `Unavailable` it is unknown whether it was done: run it again with the same key.
    pub fn run(&self, operations: &[Operation]) -> Result<WriteResult, Error> {
        self.run_with(&self.client.inner().calls, operations)
    }

    /// The tables that may be written now, their keys, and each row as a JSON Schema.
    pub fn schema(&self) -> Result<Value, Error> {
        self.schema_with(&self.client.inner().calls)
    }
}

impl Client {
    /// Writes on the tables of a change. Needs the role `write`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), changeover_client::Error> {
    /// # let client = changeover_client::Client::from_env().unwrap();
    /// use changeover_client::{Operation, minted};
    /// use serde_json::json;
    ///
    /// client.writes("billing-allocation").run(&[
    ///     Operation::insert("users", json!({"name": "Ada", "company": "Ada Ltd"})),
    ///     Operation::insert("videos", json!({"user_id": minted(0, "id"), "title": "First"})),
    /// ])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn writes(&self, change: &str) -> Writes {
        Writes::new(self.clone(), change)
    }
}
