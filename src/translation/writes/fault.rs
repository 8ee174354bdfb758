//! What is wrong with a write, with its place: which operation, which row, which column.

use serde::Serialize;

use super::json::JsonError;
use crate::database::DatabaseError;
use crate::translation::TranslationError;

/// One thing that is wrong. Operations and rows are counted from 0, as in the JSON pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// Where in the body (RFC 6901); empty if it is no one place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The constraint that refused the write, where the database names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// The block whose translation failed or would leave the models apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// What is wrong and what to do about it.
    pub detail: String,
}

/// Why a write was not made. Each has a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The body does not fit the catalogue.
    Invalid,
    TooLarge,
    /// The change's stage, or a pause, does not allow it now.
    Stage,
    RowNotFound,
    /// A row is not what `if` says.
    RowDiffers,
    Unique,
    ForeignKey,
    Constraint,
    /// The database, or a trigger of the application, refused it for another reason.
    Database,
    /// The write itself is fine, but translating it failed.
    Translation,
    /// Nothing translates what was written, so the models would disagree.
    Untranslated,
    KeyReused,
    KeyInFlight,
}

/// An error of a write. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Translation(#[from] TranslationError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the body cannot be read")]
    Json(#[from] JsonError),
    #[error("{}", told(.faults))]
    Refused { refusal: Refusal, faults: Vec<Fault> },
    #[error("the rows are busy: the write was tried {attempts} times in {waited_ms} ms")]
    Busy {
        attempts: u32,
        waited_ms: u128,
        #[source]
        source: Option<DatabaseError>,
    },
}

impl WriteError {
    /// A refusal for one reason.
    #[must_use]
    pub fn refused(refusal: Refusal, fault: Fault) -> Self {
        Self::Refused { refusal, faults: vec![fault] }
    }

    /// A refusal that is about no place in the body.
    #[must_use]
    pub fn said(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self::refused(refusal, Fault { detail: detail.into(), ..Fault::default() })
    }
}

fn told(faults: &[Fault]) -> String {
    match faults {
        [only] => sentence(only),
        [first, rest @ ..] => format!("{} (and {} more)", sentence(first), rest.len()),
        [] => String::from("the write was refused"),
    }
}

fn sentence(fault: &Fault) -> String {
    match (fault.pointer.is_empty(), fault.operation, fault.row) {
        (false, ..) => format!("{}: {}", fault.pointer, fault.detail),
        (true, Some(operation), Some(row)) => format!("operation {operation}, row {row}: {}", fault.detail),
        (true, Some(operation), None) => format!("operation {operation}: {}", fault.detail),
        (true, None, _) => fault.detail.clone(),
    }
}
