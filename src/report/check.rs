//! Holding a report that was sent as JSON against the checksum in it. It need not be one of this version's: only its data's bytes count.

use serde_json::Value;

use super::document::ReportError;
use crate::store;

/// The checksum that a document says its data have, and the one that they do have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedDocument {
    pub said: String,
    pub found: String,
}

/// Computes the checksum of a document's data anew.
///
/// # Errors
/// The text is no report.
pub fn check_document(text: &str) -> Result<CheckedDocument, ReportError> {
    let document: Value = serde_json::from_str(text).map_err(ReportError::Read)?;
    let (Some(data), Some(said)) = (document.get("data"), document.get("sha256").and_then(Value::as_str)) else {
        return Err(ReportError::NoReport);
    };
    // Members keep their order and numbers their text, so the compact form is the one that was signed.
    let compact = serde_json::to_string(data).map_err(ReportError::Write)?;
    Ok(CheckedDocument { said: said.to_owned(), found: store::sha256(&compact) })
}
