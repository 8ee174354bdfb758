//! The one row that every write counts up. Its lock puts the writers one behind the other, so what a writer reads after
//! [`next_config_version`] stays true until it commits. On PostgreSQL the servers are told of each new version as it commits.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::schema::state::dsl;
use super::{StoreError, hexadecimal, now};
use crate::database::{DatabaseConnection, Value};
use crate::primitives::Instant;

/// How far a database that was set back is moved past what was served from it: further than any server can be ahead of the one
/// that finds it so.
const SKIP: i64 = 1_000;

/// Notifications are sent on a channel for each schema: two services may share a database.
const CHANNEL: &str =
    "'svc_changeover_' || (SELECT relnamespace::text FROM pg_class WHERE oid = to_regclass('svc_changeover_state'))";

/// What a server compares to know whether its memory is up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Names one history of one database. Within it versions only grow.
    pub epoch: String,
    /// Grows with every write that changes an evaluation: flags and cohorts.
    pub config: i64,
    /// When that was.
    pub config_changed_at: Instant,
    /// Grows with every write to the tokens.
    pub tokens: i64,
}

impl Versions {
    /// True if a server that has `seen` may take these: within a history nothing has gone back, and another history has a version
    /// of the configuration that was never served.
    #[must_use]
    pub fn may_follow(&self, seen: &Self) -> bool {
        if self.epoch == seen.epoch {
            self.config >= seen.config && self.tokens >= seen.tokens
        } else {
            self.config > seen.config
        }
    }
}

/// The versions as they are now.
pub fn versions(connection: &mut DatabaseConnection) -> Result<Versions, StoreError> {
    let (epoch, config, at, tokens) = dsl::state
        .select((dsl::epoch, dsl::config_version, dsl::config_changed_at, dsl::token_version))
        .first(connection)?;
    Ok(Versions { epoch, config, config_changed_at: Instant::from_micros(at), tokens })
}

/// Counts the configuration's version up and returns it. It is also the version of the flag, or the generation of the cohort,
/// that the write makes: so no version is ever used twice, not even by a flag that is removed and made again.
pub fn next_config_version(connection: &mut DatabaseConnection) -> Result<i64, StoreError> {
    diesel::update(dsl::state)
        .set((dsl::config_version.eq(dsl::config_version + 1), dsl::config_changed_at.eq(now().as_micros())))
        .execute(connection)?;
    let version = dsl::state.select(dsl::config_version).first(connection)?;
    announce(connection, "config", version)?;
    Ok(version)
}

/// Takes the writers' lock: what is read from here on stays true until the transaction ends.
pub(super) fn lock(connection: &mut DatabaseConnection) -> Result<(), StoreError> {
    diesel::update(dsl::state).set(dsl::id.eq(1)).execute(connection)?;
    Ok(())
}

pub(super) fn next_token_version(connection: &mut DatabaseConnection) -> Result<(), StoreError> {
    diesel::update(dsl::state).set(dsl::token_version.eq(dsl::token_version + 1)).execute(connection)?;
    let version = dsl::state.select(dsl::token_version).first(connection)?;
    announce(connection, "tokens", version)
}

/// Tells every server that listens, when the transaction commits. A server that misses it asks by itself a moment later.
fn announce(connection: &mut DatabaseConnection, what: &str, version: i64) -> Result<(), StoreError> {
    if let DatabaseConnection::Postgres(_) = connection {
        connection.execute(&format!("SELECT pg_notify({CHANNEL}, $1)"), &[Value::Text(format!("{what} {version}"))])?;
    }
    Ok(())
}

/// The channel that versions are announced on. `None` on SQLite, and as long as the tables are not there.
pub fn channel(connection: &mut DatabaseConnection) -> Result<Option<String>, StoreError> {
    match connection {
        DatabaseConnection::Sqlite(_) => Ok(None),
        DatabaseConnection::Postgres(_) => {
            let row = connection.get_row(&format!("SELECT {CHANNEL} AS channel"), &[])?;
            Ok(row.find_text("channel")?)
        }
    }
}

/// Why a database that is behind what was served from it must not be followed: a replica that lags, or a restore that has not ended.
pub(super) fn reason_to_wait(connection: &mut DatabaseConnection) -> Result<Option<&'static str>, StoreError> {
    if let DatabaseConnection::Sqlite(_) = connection {
        return Ok(None);
    }
    // A restore from a dump makes primary keys when all rows are there.
    let row = connection.get_row(
        "SELECT pg_is_in_recovery() AS is_replica,
                EXISTS (SELECT FROM pg_class t WHERE t.relname LIKE 'svc\\_changeover\\_%' AND t.relkind = 'r'
                        AND pg_table_is_visible(t.oid)
                        AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)) AS is_partial",
        &[],
    )?;
    Ok(if row.boolean("is_replica")? {
        Some("it is a replica that lags behind")
    } else if row.boolean("is_partial")? {
        Some("a restore into it has not ended")
    } else {
        None
    })
}

/// Moves a database that was set back (restored from a backup, or a replica that took over and had not got everything) past what was
/// served from it: it gets a new epoch, so that every server reads it anew, and versions that no server has ever had, so that they go
/// on growing for everybody. Nothing, if another server was first.
pub(super) fn overtake(connection: &mut DatabaseConnection, seen: &Versions) -> Result<(), StoreError> {
    lock(connection)?;
    let found = versions(connection)?;
    if found.may_follow(seen) {
        return Ok(());
    }
    let epoch = if found.epoch == seen.epoch { new_epoch()? } else { found.epoch.clone() };
    let past = |found: i64, seen: i64| found.max(seen).saturating_add(SKIP);
    let (config, tokens) = (past(found.config, seen.config), past(found.tokens, seen.tokens));
    diesel::update(dsl::state)
        .set((
            dsl::epoch.eq(&epoch),
            dsl::config_version.eq(config),
            dsl::config_changed_at.eq(now().as_micros()),
            dsl::token_version.eq(tokens),
        ))
        .execute(connection)?;
    announce(connection, "config", config)?;
    audit::append(
        connection,
        &AuditEntry {
            actor: "changeover",
            action: "database.set_back",
            subject: "database",
            reason: "the database is in an earlier state than was served from it",
            detail: json!({
                "served": { "epoch": seen.epoch, "version": seen.config },
                "found": { "epoch": found.epoch, "version": found.config },
                "now": { "epoch": epoch, "version": config },
            }),
        },
    )
}

fn new_epoch() -> Result<String, StoreError> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|_| StoreError::NoRandomness)?;
    Ok(hexadecimal(&random))
}

/// Counts the audit rows up; returns the new row's number and the hash of the row before it.
pub(super) fn next_audit_row(connection: &mut DatabaseConnection) -> Result<(i64, String), StoreError> {
    diesel::update(dsl::state).set(dsl::audit_count.eq(dsl::audit_count + 1)).execute(connection)?;
    Ok(dsl::state.select((dsl::audit_count, dsl::audit_hash)).first(connection)?)
}

pub(super) fn set_audit_hash(connection: &mut DatabaseConnection, hash: &str) -> Result<(), StoreError> {
    diesel::update(dsl::state).set(dsl::audit_hash.eq(hash)).execute(connection)?;
    Ok(())
}

/// The number of audit rows and the hash of the last one.
pub(super) fn audit_head(connection: &mut DatabaseConnection) -> Result<(i64, String), StoreError> {
    Ok(dsl::state.select((dsl::audit_count, dsl::audit_hash)).first(connection)?)
}
