//! Sessions of the console: a random secret in a cookie, its hash here. A session ends after a working day, after an hour in which nobody
//! came by, when it is signed out, and with the token that it was opened with.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::schema::sessions as table;
use super::tokens::Token;
use super::{StoreError, hexadecimal, sha256};
use crate::database::DatabaseConnection;
use crate::primitives::Instant;

const SECOND: i64 = 1_000_000;
/// A session ends after this, however busy it is.
pub const LIFETIME_MICROS: i64 = 12 * 60 * 60 * SECOND;
/// A session that nobody uses ends after this.
pub const IDLE_MICROS: i64 = 60 * 60 * SECOND;
/// When a session was last seen is noted this often, not with each request.
const NOTED_EVERY_MICROS: i64 = 60 * SECOND;

/// A session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id of the token that it was opened with.
    pub token: String,
    seen_at: i64,
}

impl Session {
    /// True if it is time to [`note`] that it was seen.
    #[must_use]
    pub fn is_to_be_noted(&self, now: Instant) -> bool {
        now.as_micros().saturating_sub(self.seen_at) > NOTED_EVERY_MICROS
    }
}

/// Sixty-four hexadecimal digits of randomness: for a cookie.
pub fn new_secret() -> Result<String, StoreError> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|_| StoreError::NoRandomness)?;
    Ok(hexadecimal(&secret))
}

/// Opens a session for the bearer of a token, clears away those that have ended, and returns the new one's secret.
pub fn start(connection: &mut DatabaseConnection, token: &Token, now: Instant) -> Result<String, StoreError> {
    let at = now.as_micros();
    let ended = table::expires_at.le(at).or(table::seen_at.le(at.saturating_sub(IDLE_MICROS)));
    diesel::delete(table::table.filter(ended)).execute(connection)?;
    let secret = new_secret()?;
    let row = (
        table::secret_hash.eq(sha256(&secret)),
        table::token.eq(&token.id),
        table::created_at.eq(at),
        table::seen_at.eq(at),
        table::expires_at.eq(at.saturating_add(LIFETIME_MICROS)),
    );
    diesel::insert_into(table::table).values(row).execute(connection)?;
    record(connection, "session.start", &token.id, &token.name)?;
    Ok(secret)
}

/// The session with this secret, if it has not ended.
pub fn find(connection: &mut DatabaseConnection, secret: &str, now: Instant) -> Result<Option<Session>, StoreError> {
    let at = now.as_micros();
    let found: Option<(String, i64)> = table::table
        .filter(table::secret_hash.eq(sha256(secret)))
        .filter(table::expires_at.gt(at))
        .filter(table::seen_at.gt(at.saturating_sub(IDLE_MICROS)))
        .select((table::token, table::seen_at))
        .first(connection)
        .optional()?;
    Ok(found.map(|(token, seen_at)| Session { token, seen_at }))
}

/// Notes that a session was seen.
pub fn note(connection: &mut DatabaseConnection, secret: &str, now: Instant) -> Result<(), StoreError> {
    let session = table::table.filter(table::secret_hash.eq(sha256(secret)));
    diesel::update(session).set(table::seen_at.eq(now.as_micros())).execute(connection)?;
    Ok(())
}

/// Ends a session, for good. Nothing happens if there is none with this secret.
pub fn end(connection: &mut DatabaseConnection, secret: &str, token: &Token) -> Result<(), StoreError> {
    let ended = diesel::delete(table::table.filter(table::secret_hash.eq(sha256(secret)))).execute(connection)?;
    if ended > 0 {
        record(connection, "session.end", &token.id, &token.name)?;
    }
    Ok(())
}

fn record(connection: &mut DatabaseConnection, action: &str, token: &str, actor: &str) -> Result<(), StoreError> {
    let subject = format!("token/{token}");
    audit::append(connection, &AuditEntry { actor, action, subject: &subject, reason: "", detail: json!({}) })
}
