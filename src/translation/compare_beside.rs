//! A second connection that sees the same moment as a comparison's own, so that two chunks are compared at once. Only on PostgreSQL: a
//! snapshot can be handed on there, and one statement keeps no more than one processor busy.

use crate::database::{DatabaseConnection, DatabaseError, DatabaseUrl, Dialect};
use crate::sql::names::literal;

/// A chunk's hash tables fit into this much, never less than is set; and statements of a few seconds each are not worth being compiled.
/// Only for this transaction.
pub(super) const SETTINGS: &str =
    "SELECT set_config(name, CASE name WHEN 'jit' THEN 'off' ELSE '64MB' END, true) FROM pg_settings
  WHERE name = 'jit' OR (name = 'work_mem' AND CAST(setting AS bigint) < 65536)";

const EXPORT: &str = "SELECT pg_export_snapshot() AS id";

/// True if this server hands its snapshots on. Not inside a transaction, which a refusal would end.
pub(super) fn is_possible(connection: &mut DatabaseConnection) -> bool {
    connection.dialect() == Dialect::Postgres
        && connection.in_snapshot(|connection| connection.get_row(EXPORT, &[]).map(drop)).is_ok()
}

/// A connection in a transaction that sees what `connection`'s transaction sees. `None`: one has to do.
pub(super) fn open(
    connection: &mut DatabaseConnection,
    url: &DatabaseUrl,
) -> Result<Option<DatabaseConnection>, DatabaseError> {
    let id = connection.get_row(EXPORT, &[])?.text("id")?;
    let opened = join(url, &id);
    Ok(opened.inspect_err(|error| tracing::debug!(%error, "comparing without a second connection")).ok())
}

fn join(url: &DatabaseUrl, id: &str) -> Result<DatabaseConnection, DatabaseError> {
    let mut beside = DatabaseConnection::open(url)?;
    // It is never committed: the transaction ends with the connection.
    beside.batch("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    beside.batch(&format!("SET TRANSACTION SNAPSHOT {}", literal(id)))?;
    beside.query(SETTINGS, &[])?;
    Ok(beside)
}
