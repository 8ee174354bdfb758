//! Single versions of flags, and the way back to one of them.

use diesel::prelude::*;
use serde_json::Map;

use super::flags::{self, Deed, FlagVersion, FlagWrite, StoredFlag};
use super::protection::Authority;
use super::schema::flag_versions as table;
use super::{Origin, StoreError, state};
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::primitives::FlagKey;

/// One version of a flag, of a removed one too.
pub fn get(connection: &mut DatabaseConnection, key: &FlagKey, version: i64) -> Result<FlagVersion, StoreError> {
    let found = table::table.find((key.as_str(), version)).select(FlagVersion::as_select());
    let missing = || StoreError::NoSuchVersion { of: format!("the flag `{key}`"), version };
    found.first(connection).optional()?.ok_or_else(missing)
}

/// The version that a flag had before `version`; none if that was its first.
pub fn find_before(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    version: i64,
) -> Result<Option<FlagVersion>, StoreError> {
    let earlier = table::table
        .filter(table::key.eq(key.as_str()))
        .filter(table::version.lt(version))
        .order(table::version.desc());
    Ok(earlier.select(FlagVersion::as_select()).first(connection).optional()?)
}

/// Which version is to be made the flag again. With `seen`, only if that is still its version.
#[derive(Debug, Clone, Copy)]
pub struct Restoration {
    pub version: i64,
    pub seen: Option<i64>,
    pub authority: Authority,
}

/// Makes a flag what it was at an earlier version, byte for byte; a removed flag is there again. What was valid then and is not now is
/// refused. Where the flag stands so already, nothing is written.
pub fn restore(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    wanted: Restoration,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    state::lock(connection)?;
    let Restoration { version, seen, authority } = wanted;
    let removed = || StoreError::RemovedThen { flag: key.to_string(), version };
    let data = get(connection, key, version)?.data.ok_or_else(removed)?;
    Flag::parse(&data)?;
    let write = match flags::find(connection, key)? {
        None if seen.is_some() => return Err(StoreError::not_found("flag", key.as_str())),
        None => FlagWrite::Create(&data),
        Some(current) if current.data == data && seen.is_none_or(|seen| seen == current.version) => return Ok(current),
        Some(_) => FlagWrite::Replace { data: &data, seen },
    };
    let detail = Map::from_iter([(String::from("restored"), version.into())]);
    flags::write_as(connection, key, write, Deed { action: "flag.restore", detail, authority }, origin)
}
