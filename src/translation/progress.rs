//! How far backfills are and what the last verify of each block found, as the application's database keeps it.

use serde::Serialize;

use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::names::own;

use super::own::is_table_there;

/// A block's backfill.
#[derive(Debug, Clone, Serialize)]
pub struct BackfillProgress {
    pub block: String,
    /// The last driving key that has been refreshed, as the database prints it; not known while several workers fill the block.
    pub last_key: Option<String>,
    pub keys_done: i64,
    pub finished: bool,
    pub started_at: Instant,
    pub updated_at: Instant,
}

/// What the last full verify of a block found.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    pub block: String,
    pub started_at: Instant,
    pub finished_at: Instant,
    pub keys: i64,
    pub missing: i64,
    pub extra: i64,
    pub different: i64,
}

impl Verification {
    /// Target rows that differ.
    #[must_use]
    pub fn drift(&self) -> i64 {
        self.missing + self.extra + self.different
    }
}

/// The backfill of each block that has begun, by block. What several workers have done of a block is told together.
pub fn backfill_progress(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Vec<BackfillProgress>, DatabaseError> {
    let sql = format!("SELECT * FROM {} WHERE change = $1 ORDER BY block", own(connection.dialect(), "backfill"));
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    let mut found = rows
        .iter()
        .map(|row| {
            Ok(BackfillProgress {
                block: row.text("block")?,
                last_key: row.find_text("last_key")?,
                keys_done: row.integer("keys_done")?,
                finished: row.boolean("finished")?,
                started_at: Instant::from_micros(row.integer("started_at")?),
                updated_at: Instant::from_micros(row.integer("updated_at")?),
            })
        })
        .collect::<Result<Vec<_>, DatabaseError>>()?;
    // An installation made by an earlier version has no parts.
    if is_table_there(connection, "backfill_range")? {
        add_ranges(connection, change, &mut found)?;
    }
    Ok(found)
}

fn add_ranges(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    found: &mut [BackfillProgress],
) -> Result<(), DatabaseError> {
    let sql = format!(
        "SELECT block, CAST(sum(keys_done) AS bigint) AS keys_done, max(updated_at) AS updated_at,
           CASE WHEN count(*) = 1 THEN max(last_key) END AS last_key
         FROM {} WHERE change = $1 GROUP BY block",
        own(connection.dialect(), "backfill_range")
    );
    for row in connection.query(&sql, &[Value::from(change.as_str())])? {
        let block = row.text("block")?;
        if let Some(state) = found.iter_mut().find(|state| state.block == block && !state.finished) {
            state.keys_done = row.integer("keys_done")?;
            state.updated_at = Instant::from_micros(row.integer("updated_at")?);
            state.last_key = row.find_text("last_key")?;
        }
    }
    Ok(())
}

/// What the last full verify of each block found, by block.
pub fn last_verifications(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Vec<Verification>, DatabaseError> {
    let sql = format!("SELECT * FROM {} WHERE change = $1 ORDER BY block", own(connection.dialect(), "verification"));
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    rows.iter()
        .map(|row| {
            Ok(Verification {
                block: row.text("block")?,
                started_at: Instant::from_micros(row.integer("started_at")?),
                finished_at: Instant::from_micros(row.integer("finished_at")?),
                keys: row.integer("keys")?,
                missing: row.integer("missing")?,
                extra: row.integer("extra")?,
                different: row.integer("differing")?,
            })
        })
        .collect()
}

/// Stores what a full verify of a block found.
pub fn store_verification(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    found: &Verification,
) -> Result<(), DatabaseError> {
    let sql = format!(
        "INSERT INTO {} (change, block, started_at, finished_at, keys, missing, extra, differing)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (change, block) DO UPDATE SET started_at = excluded.started_at, finished_at = excluded.finished_at,
           keys = excluded.keys, missing = excluded.missing, extra = excluded.extra, differing = excluded.differing",
        own(connection.dialect(), "verification")
    );
    let values = [
        Value::from(change.as_str()),
        Value::from(found.block.as_str()),
        Value::from(found.started_at.as_micros()),
        Value::from(found.finished_at.as_micros()),
        Value::from(found.keys),
        Value::from(found.missing),
        Value::from(found.extra),
        Value::from(found.different),
    ];
    connection.execute(&sql, &values)?;
    Ok(())
}
