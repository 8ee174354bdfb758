//! Ranges of driving keys and when each was last compared: the memory of verify, repair and the sentinel, in the application's
//! database. A run of verify or repair appends its ranges in key order and so knows where it was; when it is done its ranges become
//! the ones that the sentinel keeps young.

use serde::Serialize;

use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::names::own;

use super::health::Drift;
use super::own::is_table_there;

/// Tables of this file, each with its columns. `run` is `verify` or `repair` while one is under way, `current` for what the newest
/// look at each range found.
pub(super) fn tables(dialect: Dialect) -> [(&'static str, String); 3] {
    let id = match dialect {
        Dialect::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        Dialect::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
    };
    [
        (
            "range",
            String::from(
                "change TEXT NOT NULL, run TEXT NOT NULL, block TEXT NOT NULL, number BIGINT NOT NULL, after_key TEXT, until_key TEXT, \
                 keys BIGINT NOT NULL, missing BIGINT NOT NULL, extra BIGINT NOT NULL, differing BIGINT NOT NULL, \
                 since BIGINT NOT NULL, verified_at BIGINT, PRIMARY KEY (change, run, block, number)",
            ),
        ),
        (
            "drift",
            format!(
                "id {id}, change TEXT NOT NULL, run TEXT NOT NULL, block TEXT NOT NULL, key TEXT, class TEXT NOT NULL, \
                 expected TEXT, actual TEXT, found_at BIGINT NOT NULL, repaired BIGINT NOT NULL"
            ),
        ),
        (
            "sentinel",
            String::from(
                "change TEXT NOT NULL, block TEXT NOT NULL, verified BIGINT NOT NULL, found BIGINT NOT NULL, repaired BIGINT NOT NULL, \
                 pass_began_at BIGINT NOT NULL, pass_ended_at BIGINT, PRIMARY KEY (change, block)",
            ),
        ),
    ]
}

/// What a block's current ranges say together.
#[derive(Debug, Clone)]
pub struct RangeSummary {
    pub block: String,
    /// Ranges that have been compared at least once.
    pub seen: i64,
    /// Driving keys in them when they were compared.
    pub keys: i64,
    pub drift: Drift,
    /// When the oldest was compared; for one that never was, since when it has been waiting.
    pub oldest_at: Instant,
}

/// What the sentinel has done for a block since the change was installed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SentinelTally {
    #[serde(skip)]
    pub block: String,
    /// Driving keys compared.
    pub verified_keys: i64,
    /// Target rows that differed.
    pub drift_found: i64,
    /// Of these, the rows that it put right.
    pub repaired: i64,
    /// When every range had been compared once more. None: never yet.
    pub last_pass_at: Option<Instant>,
}

/// The current ranges of each block, summed up.
pub fn summarize(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Vec<RangeSummary>, DatabaseError> {
    if !is_table_there(connection, "range")? {
        return Ok(Vec::new());
    }
    let sum = |dialect, column: &str| match dialect {
        Dialect::Postgres => format!("CAST(sum({column}) AS bigint)"),
        Dialect::Sqlite => format!("sum({column})"),
    };
    let dialect = connection.dialect();
    let sql = format!(
        "SELECT block, count(verified_at) AS seen, {keys} AS keys, {missing} AS missing, {extra} AS extra, {differing} AS differing,
           min(coalesce(verified_at, since)) AS oldest_at
         FROM {range} WHERE change = $1 AND run = 'current' GROUP BY block ORDER BY block",
        keys = sum(dialect, "keys"),
        missing = sum(dialect, "missing"),
        extra = sum(dialect, "extra"),
        differing = sum(dialect, "differing"),
        range = own(dialect, "range"),
    );
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    rows.iter()
        .map(|row| {
            Ok(RangeSummary {
                block: row.text("block")?,
                seen: row.integer("seen")?,
                keys: row.integer("keys")?,
                drift: drift_in(row)?,
                oldest_at: Instant::from_micros(row.integer("oldest_at")?),
            })
        })
        .collect()
}

/// What the sentinel has done for each block.
pub fn sentinel_tallies(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Vec<SentinelTally>, DatabaseError> {
    if !is_table_there(connection, "sentinel")? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT * FROM {} WHERE change = $1 ORDER BY block", own(connection.dialect(), "sentinel"));
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    rows.iter()
        .map(|row| {
            Ok(SentinelTally {
                block: row.text("block")?,
                verified_keys: row.integer("verified")?,
                drift_found: row.integer("found")?,
                repaired: row.integer("repaired")?,
                last_pass_at: row.find_integer("pass_ended_at")?.map(Instant::from_micros),
            })
        })
        .collect()
}

fn drift_in(row: &Row) -> Result<Drift, DatabaseError> {
    Ok(Drift { missing: row.integer("missing")?, extra: row.integer("extra")?, different: row.integer("differing")? })
}
