//! Tokens: random, shown once, stored as a hash. [`Keyring`] is the copy in memory that requests are checked against.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::audit::{self, AuditEntry};
use super::schema::tokens;
use super::{Origin, Page, PageRequest, StoreError, hexadecimal, new_id, now, sha256, state};
use crate::database::DatabaseConnection;
use crate::primitives::Instant;

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Evaluate flags.
    Evaluate,
    /// Evaluate flags, and write rows of the application through us.
    Write,
    /// Evaluate flags and read everything.
    Viewer,
    /// Everything.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Evaluate, Self::Write, Self::Viewer, Self::Admin];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Write => "write",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// True if this role may do what `needed` may.
    #[must_use]
    pub fn covers(self, needed: Self) -> bool {
        self == Self::Admin || self == needed || needed == Self::Evaluate
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role: write evaluate, write, viewer or admin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.chars().take(40).collect()))
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub role: Role,
    pub created_at: Instant,
    pub created_by: String,
    pub expires_at: Option<Instant>,
    pub revoked_at: Option<Instant>,
}

/// A token that has just been made; its text is never to be had again.
#[derive(Debug)]
pub struct IssuedToken {
    pub token: Token,
    pub text: String,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = tokens)]
struct TokenRow {
    id: String,
    name: String,
    role: String,
    secret_hash: String,
    created_at: i64,
    created_by: String,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
}

/// Makes a token. Its text is `co_`, the id, `_` and 64 hexadecimal digits of randomness.
pub fn create(
    connection: &mut DatabaseConnection,
    name: &str,
    role: Role,
    expires_at: Option<Instant>,
    origin: Origin<'_>,
) -> Result<IssuedToken, StoreError> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|_| StoreError::NoRandomness)?;
    let id = new_id()?;
    let text = format!("co_{id}_{}", hexadecimal(&secret));
    state::next_token_version(connection)?;
    let row = TokenRow {
        id,
        name: name.to_owned(),
        role: role.to_string(),
        secret_hash: sha256(&text),
        created_at: now().as_micros(),
        created_by: origin.actor.to_owned(),
        expires_at: expires_at.map(Instant::as_micros),
        revoked_at: None,
    };
    diesel::insert_into(tokens::table).values(&row).execute(connection)?;
    let token = Token::try_from(row)?;
    record(connection, &token, "token.create", origin)?;
    Ok(IssuedToken { token, text })
}

/// Makes the first admin token, if there has never been a token.
pub fn create_first(connection: &mut DatabaseConnection) -> Result<Option<IssuedToken>, StoreError> {
    // Counts up first: that takes the lock, so two servers that start together make one token between them.
    state::next_token_version(connection)?;
    let count: i64 = tokens::table.count().get_result(connection)?;
    if count > 0 {
        return Ok(None);
    }
    let origin = Origin { actor: "changeover", reason: "first start" };
    create(connection, "first admin", Role::Admin, None, origin).map(Some)
}

/// A page of tokens, the newest first, with those that are revoked or have expired.
pub fn list(connection: &mut DatabaseConnection, request: &PageRequest) -> Result<Page<Token>, StoreError> {
    let rows: Vec<TokenRow> = tokens::table
        .filter(tokens::id.lt(request.after.as_deref().unwrap_or("~")))
        .order(tokens::id.desc())
        .limit(request.rows())
        .select(TokenRow::as_select())
        .load(connection)?;
    let found = rows.into_iter().map(Token::try_from).collect::<Result<_, _>>()?;
    Ok(Page::cut(found, request, |token: &Token| token.id.clone()))
}

/// The token with this id.
pub fn find(connection: &mut DatabaseConnection, id: &str) -> Result<Option<Token>, StoreError> {
    let row: Option<TokenRow> = tokens::table.find(id).select(TokenRow::as_select()).first(connection).optional()?;
    row.map(Token::try_from).transpose()
}

/// The token with this id, or an error that says there is none.
pub fn get(connection: &mut DatabaseConnection, id: &str) -> Result<Token, StoreError> {
    find(connection, id)?.ok_or_else(|| StoreError::not_found("token", id))
}

/// Revokes a token, for good. One that is revoked already stays as it is.
pub fn revoke(connection: &mut DatabaseConnection, id: &str, origin: Origin<'_>) -> Result<Token, StoreError> {
    state::next_token_version(connection)?;
    let written = diesel::update(tokens::table.filter(tokens::id.eq(id)).filter(tokens::revoked_at.is_null()))
        .set(tokens::revoked_at.eq(Some(now().as_micros())))
        .execute(connection)?;
    let token = get(connection, id)?;
    if written > 0 {
        record(connection, &token, "token.revoke", origin)?;
    }
    Ok(token)
}

fn record(
    connection: &mut DatabaseConnection,
    token: &Token,
    action: &str,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    audit::append(
        connection,
        &AuditEntry {
            actor: origin.actor,
            action,
            subject: &format!("token/{}", token.id),
            reason: origin.reason,
            detail: json!({ "name": token.name, "role": token.role, "expires_at": token.expires_at }),
        },
    )
}

impl Token {
    fn usable(&self, now: Instant) -> Result<&Self, Refusal> {
        if self.revoked_at.is_some() {
            return Err(Refusal::Revoked);
        }
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Refusal::Expired);
        }
        Ok(self)
    }
}

impl TryFrom<TokenRow> for Token {
    type Error = StoreError;

    fn try_from(row: TokenRow) -> Result<Self, StoreError> {
        let role = row.role.parse().map_err(|error: UnknownRole| StoreError::Corrupt {
            what: "token",
            name: row.id.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            id: row.id,
            name: row.name,
            role,
            created_at: Instant::from_micros(row.created_at),
            created_by: row.created_by,
            expires_at: row.expires_at.map(Instant::from_micros),
            revoked_at: row.revoked_at.map(Instant::from_micros),
        })
    }
}

/// All tokens in memory, so that requests are checked while the database is away.
#[derive(Debug, Default)]
pub struct Keyring {
    by_id: HashMap<String, (Token, String)>,
}

/// A token as a snapshot file keeps it: with the hash of its secret, never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedToken {
    id: String,
    name: String,
    role: Role,
    secret_hash: String,
    created_at: i64,
    created_by: String,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
}

/// The id in a token's text. It is no secret.
#[must_use]
pub fn token_id(text: &str) -> Option<&str> {
    text.strip_prefix("co_")?.split('_').next()
}

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Unknown,
    Expired,
    Revoked,
}

impl Keyring {
    /// Reads all tokens.
    pub fn load(connection: &mut DatabaseConnection) -> Result<Self, StoreError> {
        let rows: Vec<TokenRow> = tokens::table.select(TokenRow::as_select()).load(connection)?;
        let mut by_id = HashMap::with_capacity(rows.len());
        for row in rows {
            let hash = row.secret_hash.clone();
            let token = Token::try_from(row)?;
            by_id.insert(token.id.clone(), (token, hash));
        }
        Ok(Self { by_id })
    }

    /// All tokens, to be saved, in the order of their ids.
    #[must_use]
    pub fn to_saved(&self) -> Vec<SavedToken> {
        let saved = self.by_id.values().map(|(token, hash)| SavedToken {
            id: token.id.clone(),
            name: token.name.clone(),
            role: token.role,
            secret_hash: hash.clone(),
            created_at: token.created_at.as_micros(),
            created_by: token.created_by.clone(),
            expires_at: token.expires_at.map(Instant::as_micros),
            revoked_at: token.revoked_at.map(Instant::as_micros),
        });
        let mut saved: Vec<SavedToken> = saved.collect();
        saved.sort_by(|one, other| one.id.cmp(&other.id));
        saved
    }

    /// What [`Keyring::to_saved`] was made from.
    #[must_use]
    pub fn from_saved(saved: Vec<SavedToken>) -> Self {
        let of = |saved: SavedToken| {
            let token = Token {
                id: saved.id.clone(),
                name: saved.name,
                role: saved.role,
                created_at: Instant::from_micros(saved.created_at),
                created_by: saved.created_by,
                expires_at: saved.expires_at.map(Instant::from_micros),
                revoked_at: saved.revoked_at.map(Instant::from_micros),
            };
            (saved.id, (token, saved.secret_hash))
        };
        Self { by_id: saved.into_iter().map(of).collect() }
    }

    /// The token that `text` is. The hash is compared in constant time; the id in the text is no secret.
    pub fn check(&self, text: &str, now: Instant) -> Result<&Token, Refusal> {
        let id = token_id(text).ok_or(Refusal::Unknown)?;
        let (token, hash) = self.by_id.get(id).ok_or(Refusal::Unknown)?;
        if !bool::from(sha256(text).as_bytes().ct_eq(hash.as_bytes())) {
            return Err(Refusal::Unknown);
        }
        token.usable(now)
    }

    /// The token with this id, for who has shown before that it is theirs.
    pub fn check_id(&self, id: &str, now: Instant) -> Result<&Token, Refusal> {
        self.by_id.get(id).ok_or(Refusal::Unknown)?.0.usable(now)
    }

    /// A token and the hash of its secret.
    pub(super) fn entry(&self, id: &str) -> Option<(&Token, &str)> {
        self.by_id.get(id).map(|(token, hash)| (token, hash.as_str()))
    }
}
