//! A request as the caller sends it, held against the catalogue: every table, column and value, with everything that is wrong.

use sha2::{Digest, Sha256};

use serde_json::value::RawValue;

use super::base64::hexadecimal;
use super::fault::{Fault, Refusal, WriteError};
use super::json::{self, Json, JsonError, Object, step};
use super::kind::Parameter;
use super::operation::read_operation;
use super::tables::WriteModel;

/// Operations of one request, rows of all of its operations, and faults that are told, at most.
pub const OPERATIONS_MAX: usize = 200;
pub const ROWS_MAX: usize = 1_000;
const FAULTS_MAX: usize = 50;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Insert,
    Update,
    Upsert,
    Delete,
}

impl Action {
    pub const ALL: [Self; 4] = [Self::Insert, Self::Update, Self::Upsert, Self::Delete];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }
}

/// A request that fits the catalogue.
#[derive(Debug, Clone)]
pub struct Request {
    pub operations: Vec<Operation>,
    /// Do everything, answer, and roll back.
    pub dry_run: bool,
    /// SHA-256 of the body's canonical text: the same for bodies that say the same.
    pub hash: String,
}

/// Rows of one table that are written in one way.
#[derive(Debug, Clone)]
pub struct Operation {
    pub action: Action,
    /// Index into [`WriteModel::tables`].
    pub table: usize,
    pub rows: Vec<RowWrite>,
}

/// One row to be written. Columns are indexes into the table's.
#[derive(Debug, Clone, Default)]
pub struct RowWrite {
    /// Where it stands in the body.
    pub pointer: String,
    /// What names the row: all columns of one key. Empty for an insert.
    pub key: Vec<Cell>,
    /// What the row is to hold. Empty for a delete.
    pub set: Vec<Cell>,
    /// What it must hold now.
    pub expected: Vec<Cell>,
}

/// A column and its value.
#[derive(Debug, Clone)]
pub struct Cell {
    pub column: usize,
    pub value: Given,
}

/// A value, or where it will come from.
#[derive(Debug, Clone)]
pub enum Given {
    Parameter(Parameter),
    /// The value of a column of a row that an earlier operation stores.
    Stored {
        operation: usize,
        row: usize,
        column: usize,
    },
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// [`WriteError::Json`] for what is no JSON, otherwise everything that does not fit the catalogue, each with its place.
    pub fn parse(body: &str, model: &WriteModel) -> Result<Self, WriteError> {
        let raw: &RawValue = serde_json::from_str(body).map_err(JsonError::Syntax)?;
        let hash = hexadecimal(&Sha256::digest(json::canonical(raw)?.as_bytes()));
        let Json::Object(object) = json::read(raw)? else {
            return Err(WriteError::said(Refusal::Invalid, "the body is no object: write {\"operations\": [ … ]}"));
        };
        let mut reading = Reading { model, faults: Vec::new(), rows: 0, read: Vec::new() };
        let dry_run = reading.top(&object)?;
        let items = reading.items(&object)?;
        for (number, item) in items.into_iter().enumerate() {
            let operation = read_operation(&mut reading, number, item);
            reading.read.push(operation);
        }
        reading.finish(dry_run, hash)
    }
}

/// A request while it is being read.
pub(super) struct Reading<'m> {
    pub(super) model: &'m WriteModel,
    faults: Vec<Fault>,
    rows: usize,
    /// `None` for an operation that has faults.
    pub(super) read: Vec<Option<Operation>>,
}

impl Reading<'_> {
    pub(super) fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    pub(super) fn fault_count(&self) -> usize {
        self.faults.len()
    }

    /// Members beside `operations`.
    fn top(&mut self, object: &Object<'_>) -> Result<bool, WriteError> {
        let mut dry_run = false;
        for (key, value) in &object.0 {
            match (key.as_str(), json::read(value)?) {
                ("operations", _) => {}
                ("dry_run", Json::Boolean(truth)) => dry_run = truth,
                ("dry_run", other) => {
                    let detail = format!("`dry_run` is true or false, not {}", other.noun());
                    self.fault(Fault { pointer: step(key), detail, ..Fault::default() });
                }
                (other, _) => {
                    let shown: String = other.chars().take(60).collect();
                    let detail = format!("`{shown}` is unknown here: a body has `operations` and `dry_run`");
                    self.fault(Fault { pointer: step(key), detail, ..Fault::default() });
                }
            }
        }
        Ok(dry_run)
    }

    fn items<'a>(&mut self, object: &Object<'a>) -> Result<Vec<&'a RawValue>, WriteError> {
        let Some(raw) = object.find("operations") else {
            self.fault(Fault { detail: String::from("`operations` is missing"), ..Fault::default() });
            return Ok(Vec::new());
        };
        let detail = match json::read(raw)? {
            Json::Array(items) if items.len() > OPERATIONS_MAX => {
                return Err(WriteError::said(
                    Refusal::TooLarge,
                    format!(
                        "{} operations are too many: send at most {OPERATIONS_MAX} in one transaction",
                        items.len()
                    ),
                ));
            }
            Json::Array(items) if !items.is_empty() => return Ok(items),
            Json::Array(_) => String::from("`operations` is empty: there is nothing to write"),
            other => format!("`operations` is an array, not {}", other.noun()),
        };
        self.fault(Fault { pointer: String::from("/operations"), detail, ..Fault::default() });
        Ok(Vec::new())
    }

    /// Counts rows; false once there are too many, so that reading ends.
    pub(super) fn count_rows(&mut self, rows: usize) -> bool {
        self.rows = self.rows.saturating_add(rows);
        self.rows <= ROWS_MAX
    }

    fn finish(self, dry_run: bool, hash: String) -> Result<Request, WriteError> {
        if self.rows > ROWS_MAX {
            return Err(WriteError::said(
                Refusal::TooLarge,
                format!("{} rows are too many: send at most {ROWS_MAX} in one transaction", self.rows),
            ));
        }
        if !self.faults.is_empty() {
            return Err(WriteError::Refused { refusal: Refusal::Invalid, faults: self.faults });
        }
        Ok(Request { operations: self.read.into_iter().flatten().collect(), dry_run, hash })
    }
}
