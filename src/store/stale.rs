//! Flags that could go, and cohorts that no flag names.

use std::collections::BTreeSet;

use super::flags::{self, FlagVersion, StoredFlag};
use super::{PageRequest, StoreError, cohorts, flag_usage, now};
use crate::database::DatabaseConnection;
use crate::flags::{Facts, Flag, Stale};
use crate::primitives::Instant;

/// Every flag that could go or needs a look, by key, each with its reasons. One that has served one variant to everybody, or has not been
/// evaluated, for `days` is among them.
pub fn flags(connection: &mut DatabaseConnection, days: u16) -> Result<Vec<(StoredFlag, Vec<Stale>)>, StoreError> {
    let stored = flags::all(connection)?;
    let keys = stored.iter().map(|flag| flag.key.clone()).collect();
    let found = judged(connection, stored, &keys, days)?;
    Ok(found.into_iter().filter(|(_, reasons)| !reasons.is_empty()).collect())
}

/// These flags, each with why it could go or needs a look, if it does. `keys` are those of all flags.
pub fn judged(
    connection: &mut DatabaseConnection,
    stored: Vec<StoredFlag>,
    keys: &BTreeSet<String>,
    days: u16,
) -> Result<Vec<(StoredFlag, Vec<Stale>)>, StoreError> {
    let cohorts: BTreeSet<String> = cohorts::all(connection)?.into_iter().map(|cohort| cohort.name).collect();
    let usage = flag_usage::read(connection)?;
    let mut found = Vec::new();
    for stored in stored {
        let Ok(flag) = stored.parse() else {
            found.push((stored, Vec::new()));
            continue;
        };
        let facts = Facts {
            now: now(),
            days,
            constant_since: constant_since(connection, &flag)?,
            evaluated_at: usage.of(&stored.key),
            written_at: stored.updated_at(),
            is_cohort: &|name| cohorts.contains(name),
            is_flag: &|key| keys.contains(key),
        };
        let reasons = flag.stale(&facts);
        found.push((stored, reasons));
    }
    Ok(found)
}

/// The names of cohorts that no flag names.
pub fn cohorts(connection: &mut DatabaseConnection) -> Result<Vec<String>, StoreError> {
    let stored = flags::all(connection)?;
    let flags: Vec<Flag> = stored.iter().filter_map(|flag| flag.parse().ok()).collect();
    let named: BTreeSet<&str> = flags.iter().flat_map(Flag::cohorts).map(|name| name.as_str()).collect();
    let all = cohorts::all(connection)?.into_iter().map(|cohort| cohort.name);
    Ok(all.filter(|name| !named.contains(name.as_str())).collect())
}

/// Since when a flag has served what it serves to everybody, if it does.
fn constant_since(connection: &mut DatabaseConnection, flag: &Flag) -> Result<Option<Instant>, StoreError> {
    let Some(variant) = flag.constant_variant() else { return Ok(None) };
    let mut since = None;
    let mut request = PageRequest::first();
    loop {
        let page = flags::history(connection, flag.key(), &request)?;
        for version in &page.items {
            if !serves(version, variant.as_str()) {
                return Ok(since);
            }
            since = Some(Instant::from_micros(version.at));
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(since),
        }
    }
}

fn serves(version: &FlagVersion, variant: &str) -> bool {
    let flag = version.data.as_deref().and_then(|data| Flag::parse(data).ok());
    flag.is_some_and(|flag| flag.constant_variant().is_some_and(|constant| constant.as_str() == variant))
}
