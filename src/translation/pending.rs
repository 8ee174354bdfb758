//! The pending queue: keys whose translation failed while the old write went through. Counted, listed, retried.

use serde::Serialize;

use crate::database::{DatabaseConnection, DatabaseError, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::names::own;
use crate::sql::pending::clock;

use super::own::is_table_there;

/// A key that waits, or a whole block (key `*`).
#[derive(Debug, Clone, Serialize)]
pub struct PendingKey {
    pub block: String,
    pub key: String,
    /// The last failure's message and, where the database told it, its SQLSTATE.
    pub error: String,
    pub sqlstate: String,
    /// How often the worker has tried.
    pub attempts: i64,
    pub first_at: Instant,
    pub last_at: Instant,
    pub next_at: Instant,
}

/// The number of keys that wait, of all blocks of a change.
pub fn count(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<i64, DatabaseError> {
    Ok(count_by_block(connection, change)?.iter().map(|(_, keys)| keys).sum())
}

/// The number of keys that wait, of each block that has some, by block.
pub fn count_by_block(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Vec<(String, i64)>, DatabaseError> {
    if !is_table_there(connection, "pending")? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT block, count(DISTINCT key) AS keys FROM {} WHERE change = $1 GROUP BY block ORDER BY block",
        own(connection.dialect(), "pending")
    );
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    rows.iter().map(|row| Ok((row.text("block")?, row.integer("keys")?))).collect()
}

/// The keys that have waited longest, at most `limit` of them.
pub fn list(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    limit: i64,
) -> Result<Vec<PendingKey>, DatabaseError> {
    if !is_table_there(connection, "pending")? {
        return Ok(Vec::new());
    }
    let table = own(connection.dialect(), "pending");
    // The rows of one key are one entry; its error is that of the row written last.
    let sql = format!(
        "SELECT g.block, g.key, l.error, l.sqlstate, g.attempts, g.first_at, g.last_at, g.next_at
         FROM (SELECT block, key, max(id) AS id, max(attempts) AS attempts, min(first_at) AS first_at, max(last_at) AS last_at,
                 min(next_at) AS next_at FROM {table} WHERE change = $1 GROUP BY block, key) g
         JOIN {table} l ON l.id = g.id ORDER BY g.first_at, g.block, g.key LIMIT $2"
    );
    let rows = connection.query(&sql, &[Value::from(change.as_str()), Value::from(limit)])?;
    rows.iter().map(pending_key).collect()
}

/// Appends keys of a block whose refresh failed outside of a trigger, so that the worker tries them one by one.
pub fn enqueue(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    keys: &[String],
    error: &str,
) -> Result<(), DatabaseError> {
    let dialect = connection.dialect();
    let now = clock(dialect);
    let sql = format!(
        "INSERT INTO {} (change, block, key, error, sqlstate, first_at, last_at, next_at) VALUES ($1, $2, $3, $4, '', {now}, {now}, {now})",
        own(dialect, "pending")
    );
    connection.in_transaction(|connection| {
        for key in keys {
            let values = [model.name.as_str().into(), block.id.to_string().into(), key.as_str().into(), error.into()];
            connection.execute(&sql, &values)?;
        }
        Ok(())
    })
}

fn pending_key(row: &Row) -> Result<PendingKey, DatabaseError> {
    Ok(PendingKey {
        block: row.text("block")?,
        key: row.text("key")?,
        error: row.text("error")?,
        sqlstate: row.text("sqlstate")?,
        attempts: row.integer("attempts")?,
        first_at: Instant::from_micros(row.integer("first_at")?),
        last_at: Instant::from_micros(row.integer("last_at")?),
        next_at: Instant::from_micros(row.integer("next_at")?),
    })
}
