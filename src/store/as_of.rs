//! The configuration as it was: what a flag's evaluation reads, as of any version, out of the histories of flags and cohorts.
//!
//! Only what one flag needs is read: itself, its prerequisites and theirs, and the cohorts that they name.

use std::collections::BTreeSet;
use std::sync::Arc;

use diesel::prelude::*;

use super::schema::flag_versions;
use super::{StoreError, cohort_generations, cohort_leaves, state};
use crate::database::DatabaseConnection;
use crate::flags::{Cohort, CohortConditions, Flag, Snapshot, VersionedFlag};
use crate::primitives::{CohortName, FlagKey, Instant};

/// What a flag's evaluation read as of a version of the configuration; without the flag if there was none then.
pub fn as_of(connection: &mut DatabaseConnection, version: i64, key: &FlagKey) -> Result<Snapshot, StoreError> {
    let current = state::versions(connection)?.config;
    if !(0..=current).contains(&version) {
        return Err(StoreError::NoSuchVersion { of: format!("the configuration, at {current} now,"), version });
    }
    let mut flags: Vec<VersionedFlag> = Vec::new();
    let mut seen = BTreeSet::from([key.clone()]);
    let mut wanted = vec![key.clone()];
    while let Some(key) = wanted.pop() {
        let Some(found) = flag_as_of(connection, version, &key)? else { continue };
        for other in found.flag.prerequisites() {
            if seen.insert(other.flag.clone()) {
                wanted.push(other.flag.clone());
            }
        }
        flags.push(found);
    }
    let names: BTreeSet<CohortName> = flags.iter().flat_map(|flag| flag.flag.cohorts()).cloned().collect();
    let mut cohorts = Vec::new();
    for name in names {
        cohorts.extend(cohort_as_of(connection, version, &name)?.map(Arc::new));
    }
    Ok(Snapshot::build(version, changed_at(connection, version)?, flags, cohorts))
}

fn flag_as_of(
    connection: &mut DatabaseConnection,
    version: i64,
    key: &FlagKey,
) -> Result<Option<VersionedFlag>, StoreError> {
    let found: Option<(i64, Option<String>)> = flag_versions::table
        .filter(flag_versions::key.eq(key.as_str()))
        .filter(flag_versions::version.le(version))
        .order(flag_versions::version.desc())
        .select((flag_versions::version, flag_versions::data))
        .first(connection)
        .optional()?;
    let Some((version, Some(data))) = found else { return Ok(None) };
    Ok(Some(VersionedFlag { flag: Flag::parse(&data)?, version }))
}

fn cohort_as_of(
    connection: &mut DatabaseConnection,
    version: i64,
    name: &CohortName,
) -> Result<Option<Cohort>, StoreError> {
    let Some(found) = cohort_generations::as_of(connection, name, version)? else { return Ok(None) };
    if !found.readable {
        return Err(StoreError::NotKept { name: name.to_string(), generation: found.generation });
    }
    let ids = cohort_leaves::load_as_of(connection, name, version)?;
    let conditions = CohortConditions::parse(&found.conditions)?;
    Ok(Some(Cohort::new(name.clone(), found.generation, ids).with_conditions(conditions)))
}

/// When a version was made: by the write of a flag, or of a cohort.
fn changed_at(connection: &mut DatabaseConnection, version: i64) -> Result<Instant, StoreError> {
    let of_flag: Option<i64> = flag_versions::table
        .filter(flag_versions::version.eq(version))
        .select(flag_versions::at)
        .first(connection)
        .optional()?;
    let at = match of_flag {
        Some(at) => Some(at),
        None => cohort_generations::made_at(connection, version)?,
    };
    Ok(Instant::from_micros(at.unwrap_or_default()))
}
