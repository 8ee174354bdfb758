//! Keys by which a caller may send a write again: the answer is kept in the application's database, committed with the write itself.

use std::time::Duration;

use super::fault::{Refusal, WriteError};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::names::own;
use crate::translation::own::is_table_there;

/// Expired records removed by one write, at most.
const PRUNED_MAX: i64 = 100;
/// Characters of a key, at most.
const LENGTH_MAX: usize = 255;

/// A caller's key for one write.
#[derive(Debug, Clone, Copy)]
pub struct IdempotencyKey<'a> {
    /// Whose key it is: two callers may use the same text.
    pub caller: &'a str,
    pub text: &'a str,
    /// How long the answer is kept.
    pub keep: Duration,
}

impl IdempotencyKey<'_> {
    /// True for 1 to 255 visible ASCII characters.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

/// The table of kept answers. Each statement may be run again.
#[must_use]
pub fn create(dialect: Dialect) -> Vec<String> {
    let index = match dialect {
        Dialect::Postgres => "idempotency_expires_at",
        Dialect::Sqlite => "changeover_idempotency_expires_at",
    };
    let table = own(dialect, "idempotency");
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (change TEXT NOT NULL, caller TEXT NOT NULL, key TEXT NOT NULL, hash TEXT NOT NULL, \
             answer TEXT NOT NULL, at BIGINT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (change, caller, key))"
        ),
        format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at)"),
    ]
}

/// Creates the table where an earlier version installed the change without it.
pub fn ensure(connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
    if is_table_there(connection, "idempotency")? {
        return Ok(());
    }
    connection.in_transaction(|connection| {
        if connection.dialect() == Dialect::Postgres {
            connection.batch("SELECT pg_advisory_xact_lock(hashtext('changeover install'))")?;
        }
        create(connection.dialect()).iter().try_for_each(|statement| connection.batch(statement))
    })
}

/// In a write's transaction, before anything else: holds the key until the transaction ends and looks for the kept answer.
///
/// # Errors
/// [`Refusal::KeyInFlight`] while another transaction holds the key (PostgreSQL; on SQLite writers wait for one another anyway), and
/// [`Refusal::KeyReused`] if the key was used for another body.
pub fn begin(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    key: &IdempotencyKey<'_>,
    (hash, now): (&str, Instant),
) -> Result<Option<String>, WriteError> {
    if connection.dialect() == Dialect::Postgres {
        let name = serde_json::json!(["changeover idempotency", change.as_str(), key.caller, key.text]).to_string();
        let sql = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS held";
        if !connection.get_row(sql, &[Value::from(name)])?.boolean("held")? {
            return Err(in_flight(key.text));
        }
    }
    let sql = format!(
        "SELECT hash, answer FROM {} WHERE change = $1 AND caller = $2 AND key = $3 AND expires_at > $4",
        own(connection.dialect(), "idempotency")
    );
    let values = [change.as_str().into(), key.caller.into(), key.text.into(), now.as_micros().into()];
    let Some(row) = connection.find_row(&sql, &values)? else { return Ok(None) };
    if row.text("hash")? != hash {
        let detail = format!("Idempotency-Key `{}` was used for another body: use a new key for a new write", key.text);
        return Err(WriteError::said(Refusal::KeyReused, detail));
    }
    Ok(Some(row.text("answer")?))
}

/// The write with this key has not ended yet.
#[must_use]
pub fn in_flight(key: &str) -> WriteError {
    let detail = format!("the write with Idempotency-Key `{key}` has not ended yet: send it again in a moment");
    WriteError::said(Refusal::KeyInFlight, detail)
}

/// Keeps an answer, in the transaction of its write, and removes some that have expired.
pub fn keep(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    key: &IdempotencyKey<'_>,
    (hash, answer, now): (&str, &str, Instant),
) -> Result<(), DatabaseError> {
    let table = own(connection.dialect(), "idempotency");
    let (at, identity) = (now.as_micros(), [change.as_str(), key.caller, key.text].map(Value::from));
    let expired = format!("DELETE FROM {table} WHERE change = $1 AND caller = $2 AND key = $3");
    connection.execute(&expired, &identity)?;
    let sql = format!(
        "INSERT INTO {table} (change, caller, key, hash, answer, at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    );
    let kept_micros = i64::try_from(key.keep.as_micros()).unwrap_or(i64::MAX);
    let rest = [hash.into(), answer.into(), at.into(), at.saturating_add(kept_micros).into()];
    let values: Vec<Value> = identity.into_iter().chain(rest).collect();
    connection.execute(&sql, &values)?;
    prune(connection, now).map(drop)
}

/// Removes some expired answers, leaving those that another transaction is removing. Returns how many.
pub fn prune(connection: &mut DatabaseConnection, now: Instant) -> Result<usize, DatabaseError> {
    let table = own(connection.dialect(), "idempotency");
    let sql = match connection.dialect() {
        Dialect::Postgres => format!(
            "DELETE FROM {table} WHERE (change, caller, key) IN (SELECT change, caller, key FROM {table} WHERE expires_at <= $1 \
             ORDER BY expires_at LIMIT {PRUNED_MAX} FOR UPDATE SKIP LOCKED)"
        ),
        Dialect::Sqlite => format!(
            "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE expires_at <= $1 LIMIT {PRUNED_MAX})"
        ),
    };
    connection.execute(&sql, &[now.as_micros().into()])
}
