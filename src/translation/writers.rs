//! Waiting for open transactions without standing in anybody's way.
//!
//! A function that is replaced works for every statement that begins afterwards, but a transaction that wrote before, and that no
//! trigger saw, may still be open. A table lock would wait for it, and would make every writer wait behind it. So, as PostgreSQL's own
//! CREATE INDEX CONCURRENTLY does, the transactions that hold a writer's lock are listed once, and waited for until each has ended.

use std::time::{Duration, Instant as Clock};

use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::model::TableModel;

/// How long one call waits. A caller whose work can wait tries again later.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

// Partitions too: a writer that names a partition does not lock the table above it. A prepared transaction has no process.
const WRITERS: &str = "
WITH RECURSIVE tables (id) AS (
    SELECT to_regclass(t.name)::oid FROM unnest(string_to_array($1, chr(1))) AS t(name)
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tables ON tables.id = i.inhparent)
SELECT DISTINCT l.virtualtransaction AS writer FROM pg_locks l JOIN tables ON tables.id = l.relation
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";

/// Waits until every transaction that has written one of `tables` by now has ended. False if some has not after ten seconds. SQLite
/// has one writer, and whoever asks is it.
pub fn wait_for_writers(connection: &mut DatabaseConnection, tables: &[TableModel]) -> Result<bool, DatabaseError> {
    if connection.dialect() == Dialect::Sqlite {
        return Ok(true);
    }
    let began = Clock::now();
    let mut left = writers(connection, tables)?;
    while !left.is_empty() {
        if began.elapsed() > PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
        let now = writers(connection, tables)?;
        left.retain(|writer| now.contains(writer));
    }
    Ok(true)
}

/// The transactions that hold a writer's lock on one of the tables.
fn writers(connection: &mut DatabaseConnection, tables: &[TableModel]) -> Result<Vec<String>, DatabaseError> {
    let names: Vec<&str> = tables.iter().map(|table| table.sql.as_str()).collect();
    let rows = connection.query(WRITERS, &[Value::from(names.join("\u{1}"))])?;
    rows.iter().map(|row| row.text("writer")).collect()
}
