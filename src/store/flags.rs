//! Flags as JSON text, with every version that each of them ever had. A flag's version is the configuration's version that
//! its last write made, so the state as of any version can be read back.

use diesel::prelude::*;
use serde_json::{Map, Value};

use super::audit::{self, AuditEntry};
use super::proposals::{Ask, ProposedWrite};
use super::protection::{self, Authority, FlagChange};
use super::schema::{flag_versions, flags};
use super::{Origin, Page, PageRequest, StoreError, flag_relations, now, state};
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

    /// The flag itself.
    pub fn parse(&self) -> Result<Flag, StoreError> {
        Flag::parse(&self.data).map_err(|error| corrupt(&self.key, &error))
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

/// Which flags are wanted: those that meet everything that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Its key begins so.
    pub prefix: Option<String>,
    /// It routes this change.
    pub change: Option<String>,
    /// A rule of it names this cohort.
    pub cohort: Option<String>,
}

impl Filter {
    /// Whether a flag is one of them.
    #[must_use]
    pub fn takes(&self, stored: &StoredFlag) -> bool {
        let flag: Option<Flag> = stored.parse().ok();
        let is = |wanted: &Option<String>, holds: &dyn Fn(&Flag, &str) -> bool| match wanted {
            Some(wanted) => flag.as_ref().is_some_and(|flag| holds(flag, wanted)),
            None => true,
        };
        self.prefix.as_deref().is_none_or(|prefix| stored.key.starts_with(prefix))
            && is(&self.change, &|flag, name| flag.change().is_some_and(|change| change.as_str() == name))
            && is(&self.cohort, &|flag, name| flag.cohorts().any(|cohort| cohort.as_str() == name))
    }
}

/// A page of the flags that are wanted, in the order of their keys.
pub fn list_some(
    connection: &mut DatabaseConnection,
    filter: &Filter,
    request: &PageRequest,
) -> Result<Page<StoredFlag>, StoreError> {
    if *filter == Filter::default() {
        return list(connection, request);
    }
    let mut found = all(connection)?;
    found.retain(|stored| filter.takes(stored));
    Ok(request.page_of(found, |stored| stored.key.clone()))
}

/// All flags, for a snapshot.
pub fn all(connection: &mut DatabaseConnection) -> Result<Vec<StoredFlag>, StoreError> {
    Ok(flags::table.order(flags::key.asc()).select(StoredFlag::as_select()).load(connection)?)
}

/// The flags whose JSON has one of these texts in it, as it is stored.
pub(super) fn with_any_of(
    connection: &mut DatabaseConnection,
    texts: [&str; 3],
) -> Result<Vec<StoredFlag>, StoreError> {
    let [one, two, three] = texts.map(|text| format!("%{text}%"));
    Ok(flags::table
        .filter(flags::data.like(one).or(flags::data.like(two)).or(flags::data.like(three)))
        .order(flags::key.asc())
        .select(StoredFlag::as_select())
        .load(connection)?)
}

/// Whether there is or was a flag with this key.
pub(super) fn was_ever(connection: &mut DatabaseConnection, key: &FlagKey) -> Result<bool, StoreError> {
    let versions = flag_versions::table.filter(flag_versions::key.eq(key.as_str())).count();
    Ok(versions.get_result::<i64>(connection)? > 0)
}

/// What was served at some time since then: the versions made after it, and the one that stood when it began.
pub(super) fn served_since(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    since: Instant,
) -> Result<Vec<Flag>, StoreError> {
    let of_flag = || flag_versions::table.filter(flag_versions::key.eq(key.as_str())).select(flag_versions::data);
    let mut found: Vec<Option<String>> = of_flag().filter(flag_versions::at.gt(since.as_micros())).load(connection)?;
    let before: Option<Option<String>> = of_flag()
        .filter(flag_versions::at.le(since.as_micros()))
        .order(flag_versions::version.desc())
        .first(connection)
        .optional()?;
    found.extend(before);
    Ok(found.into_iter().flatten().filter_map(|data| Flag::parse(&data).ok()).collect())
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

/// What is to happen to a flag. `seen` is the version that it must still be at; data is `flags::Flag` as JSON.
#[derive(Debug, Clone, Copy)]
pub enum FlagWrite<'a> {
    Create(&'a str),
    Replace { data: &'a str, seen: Option<i64> },
    Remove { seen: Option<i64> },
}

impl<'a> FlagWrite<'a> {
    fn data(self) -> Option<&'a str> {
        match self {
            Self::Create(data) | Self::Replace { data, .. } => Some(data),
            Self::Remove { .. } => None,
        }
    }

    fn seen(self) -> Option<i64> {
        match self {
            Self::Create(_) => None,
            Self::Replace { seen, .. } | Self::Remove { seen } => seen,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Create(_) => "flag.create",
            Self::Replace { .. } => "flag.replace",
            Self::Remove { .. } => "flag.remove",
        }
    }
}

/// Creates a flag; one with the same key is an error.
pub fn create(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    data: &str,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    write(connection, key, FlagWrite::Create(data), Authority::ALONE, origin)
}

/// Replaces a flag. With `seen`, only if that is still its version.
pub fn replace(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    data: &str,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    write(connection, key, FlagWrite::Replace { data, seen }, Authority::ALONE, origin)
}

/// Throws (`false`) or releases (`true`) a flag's kill switch. Where it stands so already, nothing is written.
pub fn set_enabled(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    enabled: bool,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    set_enabled_as(connection, key, enabled, Authority::ALONE, origin)
}

/// [`set_enabled`], by somebody's word.
pub fn set_enabled_as(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    enabled: bool,
    authority: Authority,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    state::lock(connection)?;
    let stored = get(connection, key)?;
    let flag = stored.parse()?;
    if flag.is_enabled() == enabled {
        return Ok(stored);
    }
    let data = json_of(&flag.with_enabled(enabled))?;
    write(connection, key, FlagWrite::Replace { data: &data, seen: None }, authority, origin)
}

/// A flag as the store keeps it.
pub fn json_of(flag: &Flag) -> Result<String, StoreError> {
    serde_json::to_string(flag).map_err(|error| corrupt(flag.key().as_str(), &error))
}

fn corrupt(key: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: "flag", name: key.to_owned(), reason: error.to_string() }
}

/// Removes a flag; its history stays. With `seen`, only if that is still its version.
pub fn remove(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    write(connection, key, FlagWrite::Remove { seen }, Authority::ALONE, origin).map(drop)
}

/// Every write of a flag goes through here: the version is checked, then what protects the flag is asked, then it is written,
/// with its history and its audit row. What comes back has no data where the flag was removed.
pub fn write(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    write: FlagWrite<'_>,
    authority: Authority,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    let deed = Deed { action: write.action(), detail: Map::new(), authority };
    write_as(connection, key, write, deed, origin)
}

/// How a write stands in the audit log, and by whose word it is made.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    pub(super) action: &'static str,
    /// The version that the write makes is added to it.
    pub(super) detail: Map<String, Value>,
    pub(super) authority: Authority,
}

/// [`write`], under another name in the audit log.
pub(super) fn write_as(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    write: FlagWrite<'_>,
    deed: Deed,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    state::lock(connection)?;
    let before = find(connection, key)?;
    check_version(key, write, before.as_ref())?;
    let base = before.as_ref().map(|stored| stored.version);
    // A stored flag that can't be read protects nothing: otherwise nobody could replace it.
    let before = before.and_then(|stored| stored.parse().ok());
    let after = match write.data() {
        Some(data) => Some(Flag::parse(data).map_err(|error| corrupt(key.as_str(), &error))?),
        None => None,
    };
    flag_relations::check(connection, key, before.as_ref(), after.as_ref())?;
    let change = FlagChange { key, before: before.as_ref(), after: after.as_ref() };
    let cleared = protection::check_flag_write(connection, change, deed.authority, origin)
        .map_err(|error| error.with_ask(|| asked(change, base, deed.action)))?;
    let stored = StoredFlag {
        key: key.to_string(),
        version: state::next_config_version(connection)?,
        data: write.data().unwrap_or_default().to_owned(),
        updated_at: now().as_micros(),
        updated_by: origin.actor.to_owned(),
    };
    put(connection, &stored, write)?;
    record(connection, &stored, write, deed, origin)?;
    cleared.record(connection, stored.version, origin)?;
    Ok(stored)
}

/// What may be proposed instead of a write that takes a second person.
fn asked(change: FlagChange<'_>, base: Option<i64>, action: &str) -> Ask {
    let write = ProposedWrite { key: change.key.clone(), base, flag: change.after.cloned(), action: action.to_owned() };
    Ask { subject: format!("flag/{}", change.key), kind: action.to_owned(), writes: vec![write] }
}

/// The writers' lock is held, so what was found is what will be written over.
fn check_version(key: &FlagKey, write: FlagWrite<'_>, found: Option<&StoredFlag>) -> Result<(), StoreError> {
    match (write, found) {
        (FlagWrite::Create(_), Some(_)) => Err(StoreError::Exists { what: "flag", name: key.to_string() }),
        (FlagWrite::Create(_), None) => Ok(()),
        (_, None) => Err(StoreError::not_found("flag", key.as_str())),
        (_, Some(found)) => match write.seen() {
            Some(seen) if seen != found.version => {
                Err(StoreError::Stale { what: "flag", name: key.to_string(), seen, current: found.version })
            }
            _ => Ok(()),
        },
    }
}

fn put(connection: &mut DatabaseConnection, stored: &StoredFlag, write: FlagWrite<'_>) -> Result<(), StoreError> {
    let target = flags::table.filter(flags::key.eq(&stored.key));
    match write {
        FlagWrite::Create(_) => diesel::insert_into(flags::table).values(stored).execute(connection)?,
        FlagWrite::Replace { .. } => diesel::update(target)
            .set((
                flags::version.eq(stored.version),
                flags::data.eq(&stored.data),
                flags::updated_at.eq(stored.updated_at),
                flags::updated_by.eq(&stored.updated_by),
            ))
            .execute(connection)?,
        FlagWrite::Remove { .. } => diesel::delete(target).execute(connection)?,
    };
    Ok(())
}

fn record(
    connection: &mut DatabaseConnection,
    flag: &StoredFlag,
    write: FlagWrite<'_>,
    mut deed: Deed,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let row = FlagVersion {
        key: flag.key.clone(),
        version: flag.version,
        data: write.data().map(str::to_owned),
        at: flag.updated_at,
        actor: origin.actor.to_owned(),
        reason: origin.reason.to_owned(),
    };
    diesel::insert_into(flag_versions::table).values(&row).execute(connection)?;
    deed.detail.insert(String::from("version"), flag.version.into());
    audit::append(
        connection,
        &AuditEntry {
            actor: origin.actor,
            action: deed.action,
            subject: &format!("flag/{}", flag.key),
            reason: origin.reason,
            detail: Value::Object(deed.detail),
        },
    )
}
