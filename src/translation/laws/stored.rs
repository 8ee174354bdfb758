//! The last run of a change's laws, kept beside the change: evidence for a gate, and what reports say of losses.

use super::Laws;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::ChangeName;
use crate::sql::names::own;
use crate::translation::own::is_table_there;

/// The table; the statement may be run again.
#[must_use]
pub fn create(dialect: Dialect) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (change TEXT PRIMARY KEY, at BIGINT NOT NULL, held BIGINT NOT NULL, detail TEXT NOT NULL)",
        own(dialect, "laws")
    )
}

/// Stores a run in place of the one before.
pub fn store_laws(connection: &mut DatabaseConnection, laws: &Laws) -> Result<(), DatabaseError> {
    let dialect = connection.dialect();
    let detail = serde_json::json!(laws).to_string();
    let values =
        [Value::from(laws.change.as_str()), laws.at.as_micros().into(), i64::from(laws.held).into(), detail.into()];
    connection.in_transaction(|connection| {
        connection.batch(&create(dialect))?;
        let sql = format!(
            "INSERT INTO {} (change, at, held, detail) VALUES ($1, $2, $3, $4)
             ON CONFLICT (change) DO UPDATE SET at = excluded.at, held = excluded.held, detail = excluded.detail",
            own(dialect, "laws")
        );
        connection.execute(&sql, &values)?;
        Ok(())
    })
}

/// The last run; `None` if there was none, or it cannot be read any more.
pub fn last_laws(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Option<Laws>, DatabaseError> {
    if !is_table_there(connection, "laws")? {
        return Ok(None);
    }
    let sql = format!("SELECT detail FROM {} WHERE change = $1", own(connection.dialect(), "laws"));
    let row = connection.find_row(&sql, &[Value::from(change.as_str())])?;
    let detail = row.map(|row| row.text("detail")).transpose()?;
    Ok(detail.and_then(|detail| serde_json::from_str(&detail).ok()))
}
