//! Every file that a change has had: what was installed and what was put in its place, with who, when and why. Putting an earlier file
//! back is an update with it.

use serde_json::Value as Json;

use crate::database::{DatabaseConnection, DatabaseError, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::names::own;

/// The field of a history row's detail that holds the file.
pub(super) const FILE: &str = "file";

/// One file of a change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileVersion {
    pub number: i64,
    pub at: Instant,
    pub actor: String,
    /// `install` or `update`.
    pub action: String,
    pub reason: String,
    pub title: String,
    /// The blocks that an update changed.
    pub changed_blocks: Vec<String>,
    /// Its text; not there if it was recorded by a version of Changeover that did not keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// The files of a change, the newest first.
pub fn list_files(connection: &mut DatabaseConnection, name: &ChangeName) -> Result<Vec<FileVersion>, DatabaseError> {
    let sql = format!(
        "SELECT id, at, actor, action, detail FROM {} WHERE change = $1 AND action IN ('install', 'update') ORDER BY id DESC",
        own(connection.dialect(), "change_history")
    );
    connection.query(&sql, &[Value::from(name.as_str())])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<FileVersion, DatabaseError> {
    let detail: Json = serde_json::from_str(&row.text("detail")?).unwrap_or_default();
    let text = |name: &str| detail.get(name).and_then(Json::as_str).map(str::to_owned);
    let blocks = detail.get("changed_blocks").and_then(Json::as_array).into_iter().flatten();
    Ok(FileVersion {
        number: row.integer("id")?,
        at: Instant::from_micros(row.integer("at")?),
        actor: row.text("actor")?,
        action: row.text("action")?,
        reason: text("reason").unwrap_or_default(),
        title: text("title").unwrap_or_default(),
        changed_blocks: blocks.filter_map(Json::as_str).map(str::to_owned).collect(),
        file: text(FILE),
    })
}

/// A history row's detail without the file, which is shown by itself.
pub(super) fn without_file(detail: String) -> String {
    let Ok(Json::Object(mut fields)) = serde_json::from_str(&detail) else { return detail };
    if fields.remove(FILE).is_some() { Json::Object(fields).to_string() } else { detail }
}
