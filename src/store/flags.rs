//! Flags as JSON text, with every version that each of them ever had. A flag's version is the configuration's version that
//! its last write made, so the state as of any version can be read back.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::schema::{flag_versions, flags};
use super::{Origin, Page, PageRequest, StoreError, now, state};
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::primitives::{FlagKey, Instant};

/// A flag as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = flags)]
pub struct StoredFlag {
    pub key: String,
    pub version: i64,
    /// `flags::Flag` as JSON.
    pub data: String,
    /// Microseconds since 1970.
    pub updated_at: i64,
    pub updated_by: String,
}

impl StoredFlag {
    #[must_use]
    pub fn updated_at(&self) -> Instant {
        Instant::from_micros(self.updated_at)
    }
}

/// A version that a flag has or had.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = flag_versions)]
pub struct FlagVersion {
    pub key: String,
    pub version: i64,
    /// `flags::Flag` as JSON; nothing where the flag was removed.
    pub data: Option<String>,
    /// Microseconds since 1970.
    pub at: i64,
    pub actor: String,
    pub reason: String,
}

/// The flag with this key.
pub fn find(connection: &mut DatabaseConnection, key: &FlagKey) -> Result<Option<StoredFlag>, StoreError> {
    Ok(flags::table.find(key.as_str()).select(StoredFlag::as_select()).first(connection).optional()?)
}

/// The flag with this key, or an error that says there is none.
pub fn get(connection: &mut DatabaseConnection, key: &FlagKey) -> Result<StoredFlag, StoreError> {
    find(connection, key)?.ok_or_else(|| StoreError::not_found("flag", key.as_str()))
}

/// A page of flags in the order of their keys.
pub fn list(connection: &mut DatabaseConnection, request: &PageRequest) -> Result<Page<StoredFlag>, StoreError> {
    let rows = flags::table
        .filter(flags::key.gt(request.after.as_deref().unwrap_or_default()))
        .order(flags::key.asc())
        .limit(request.rows())
        .select(StoredFlag::as_select())
        .load(connection)?;
    Ok(Page::cut(rows, request, |flag: &StoredFlag| flag.key.clone()))
}

/// All flags, for a snapshot.
pub fn all(connection: &mut DatabaseConnection) -> Result<Vec<StoredFlag>, StoreError> {
    Ok(flags::table.order(flags::key.asc()).select(StoredFlag::as_select()).load(connection)?)
}

/// A page of a flag's versions, the newest first; those of a removed flag too.
pub fn history(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    request: &PageRequest,
) -> Result<Page<FlagVersion>, StoreError> {
    let before = request.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(i64::MAX);
    let rows = flag_versions::table
        .filter(flag_versions::key.eq(key.as_str()))
        .filter(flag_versions::version.lt(before))
        .order(flag_versions::version.desc())
        .limit(request.rows())
        .select(FlagVersion::as_select())
        .load(connection)?;
    Ok(Page::cut(rows, request, |version: &FlagVersion| version.version.to_string()))
}

/// Creates a flag; one with the same key is an error.
pub fn create(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    data: &str,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    let version = state::next_config_version(connection)?;
    if find(connection, key)?.is_some() {
        return Err(StoreError::Exists { what: "flag", name: key.to_string() });
    }
    let flag = StoredFlag {
        key: key.to_string(),
        version,
        data: data.to_owned(),
        updated_at: now().as_micros(),
        updated_by: origin.actor.to_owned(),
    };
    diesel::insert_into(flags::table).values(&flag).execute(connection)?;
    record(connection, &flag, Some(data), "flag.create", origin)?;
    Ok(flag)
}

/// Replaces a flag. With `seen`, only if that is still its version.
pub fn replace(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    data: &str,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    let version = state::next_config_version(connection)?;
    let flag = StoredFlag {
        key: key.to_string(),
        version,
        data: data.to_owned(),
        updated_at: now().as_micros(),
        updated_by: origin.actor.to_owned(),
    };
    let values = (
        flags::version.eq(flag.version),
        flags::data.eq(&flag.data),
        flags::updated_at.eq(flag.updated_at),
        flags::updated_by.eq(&flag.updated_by),
    );
    let target = flags::table.filter(flags::key.eq(key.as_str()));
    let written = match seen {
        Some(seen) => diesel::update(target.filter(flags::version.eq(seen))).set(values).execute(connection)?,
        None => diesel::update(target).set(values).execute(connection)?,
    };
    if written == 0 {
        return Err(refusal(connection, key, seen)?);
    }
    record(connection, &flag, Some(data), "flag.replace", origin)?;
    Ok(flag)
}

/// Throws (`false`) or releases (`true`) a flag's kill switch. Where it stands so already, nothing is written.
pub fn set_enabled(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    enabled: bool,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    state::lock(connection)?;
    let stored = get(connection, key)?;
    let flag = Flag::parse(&stored.data).map_err(|error| corrupt(key, &error))?;
    if flag.is_enabled() == enabled {
        return Ok(stored);
    }
    let data = serde_json::to_string(&flag.with_enabled(enabled)).map_err(|error| corrupt(key, &error))?;
    replace(connection, key, &data, None, origin)
}

fn corrupt(key: &FlagKey, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: "flag", name: key.to_string(), reason: error.to_string() }
}

/// Removes a flag; its history stays. With `seen`, only if that is still its version.
pub fn remove(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let version = state::next_config_version(connection)?;
    let target = flags::table.filter(flags::key.eq(key.as_str()));
    let written = match seen {
        Some(seen) => diesel::delete(target.filter(flags::version.eq(seen))).execute(connection)?,
        None => diesel::delete(target).execute(connection)?,
    };
    if written == 0 {
        return Err(refusal(connection, key, seen)?);
    }
    let flag = StoredFlag {
        key: key.to_string(),
        version,
        data: String::new(),
        updated_at: now().as_micros(),
        updated_by: origin.actor.to_owned(),
    };
    record(connection, &flag, None, "flag.remove", origin)
}

/// Why a write found no row: there is none, or it is at another version.
fn refusal(connection: &mut DatabaseConnection, key: &FlagKey, seen: Option<i64>) -> Result<StoreError, StoreError> {
    Ok(match (find(connection, key)?, seen) {
        (Some(flag), Some(seen)) => {
            StoreError::Stale { what: "flag", name: key.to_string(), seen, current: flag.version }
        }
        _ => StoreError::not_found("flag", key.as_str()),
    })
}

fn record(
    connection: &mut DatabaseConnection,
    flag: &StoredFlag,
    data: Option<&str>,
    action: &str,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let row = FlagVersion {
        key: flag.key.clone(),
        version: flag.version,
        data: data.map(str::to_owned),
        at: flag.updated_at,
        actor: origin.actor.to_owned(),
        reason: origin.reason.to_owned(),
    };
    diesel::insert_into(flag_versions::table).values(&row).execute(connection)?;
    audit::append(
        connection,
        &AuditEntry {
            actor: origin.actor,
            action,
            subject: &format!("flag/{}", flag.key),
            reason: origin.reason,
            detail: json!({ "version": flag.version }),
        },
    )
}
