//! The one row that every write counts up. Its lock puts the writers one behind the other, so what a writer reads after
//! [`next_config_version`] stays true until it commits.

use diesel::prelude::*;

use super::schema::state::dsl;
use super::{StoreError, now};
use crate::database::DatabaseConnection;
use crate::primitives::Instant;

/// What a server compares to know whether its memory is up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Grows with every write that changes an evaluation: flags and cohorts.
    pub config: i64,
    /// When that was.
    pub config_changed_at: Instant,
    /// Grows with every write to the tokens.
    pub tokens: i64,
}

/// The versions as they are now.
pub fn versions(connection: &mut DatabaseConnection) -> Result<Versions, StoreError> {
    let (config, at, tokens) =
        dsl::state.select((dsl::config_version, dsl::config_changed_at, dsl::token_version)).first(connection)?;
    Ok(Versions { config, config_changed_at: Instant::from_micros(at), tokens })
}

/// Counts the configuration's version up and returns it. It is also the version of the flag, or the generation of the cohort,
/// that the write makes: so no version is ever used twice, not even by a flag that is removed and made again.
pub fn next_config_version(connection: &mut DatabaseConnection) -> Result<i64, StoreError> {
    diesel::update(dsl::state)
        .set((dsl::config_version.eq(dsl::config_version + 1), dsl::config_changed_at.eq(now().as_micros())))
        .execute(connection)?;
    Ok(dsl::state.select(dsl::config_version).first(connection)?)
}

/// Takes the writers' lock: what is read from here on stays true until the transaction ends.
pub(super) fn lock(connection: &mut DatabaseConnection) -> Result<(), StoreError> {
    diesel::update(dsl::state).set(dsl::id.eq(1)).execute(connection)?;
    Ok(())
}

pub(super) fn next_token_version(connection: &mut DatabaseConnection) -> Result<(), StoreError> {
    diesel::update(dsl::state).set(dsl::token_version.eq(dsl::token_version + 1)).execute(connection)?;
    Ok(())
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
