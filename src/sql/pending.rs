//! The pending queue in the application's database: keys whose translation failed, waiting to be refreshed.
//!
//! The table is only ever appended to by writers. A unique (change, block, key) would make two writers that fail on the same key wait
//! for one another, and so could make old code wait or deadlock. Several rows of one key are one entry: the reader groups them, the
//! worker deletes exactly the rows it has read, so that a failure which is recorded meanwhile stays.

use crate::primitives::Dialect;

use super::names::own;

/// The key of an entry that stands for a whole block: which keys were concerned is not known.
pub const WHOLE_BLOCK: &str = "*";

/// The queue, and the gaps left by pauses. Each statement may be run again.
#[must_use]
pub fn create(dialect: Dialect) -> Vec<String> {
    let id = match dialect {
        Dialect::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        Dialect::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
    };
    let index = match dialect {
        Dialect::Postgres => "pending_key",
        Dialect::Sqlite => "changeover_pending_key",
    };
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id {id}, change TEXT NOT NULL, block TEXT NOT NULL, key TEXT NOT NULL, \
             error TEXT NOT NULL, sqlstate TEXT NOT NULL, attempts BIGINT NOT NULL DEFAULT 0, first_at BIGINT NOT NULL, \
             last_at BIGINT NOT NULL, next_at BIGINT NOT NULL)",
            own(dialect, "pending")
        ),
        format!("CREATE INDEX IF NOT EXISTS {index} ON {} (change, block, key)", own(dialect, "pending")),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id {id}, change TEXT NOT NULL, stage TEXT NOT NULL, paused_at BIGINT NOT NULL, \
             paused_by TEXT NOT NULL, reason TEXT NOT NULL, records_keys BIGINT NOT NULL, resumed_at BIGINT, resumed_by TEXT, \
             closed_at BIGINT, detail TEXT NOT NULL DEFAULT '{{}}')",
            own(dialect, "gap")
        ),
    ]
}

/// Microseconds since 1970 by the database's clock.
#[must_use]
pub fn clock(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
        // `julianday` rather than `unixepoch`: old code's SQLite may be older than ours.
        Dialect::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)",
    }
}
