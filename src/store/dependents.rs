//! Which protected flags a write reaches besides the one that it is made to: those that ask for a flag as a prerequisite or name a
//! cohort, and those that ask for these in turn.

use std::collections::{BTreeMap, BTreeSet};

use super::protection::Guard;
use super::{StoreError, flags};
use crate::database::DatabaseConnection;
use crate::flags::{Flag, FlagDraft, ProtectionDraft};
use crate::primitives::{CohortName, FlagKey};

/// The protected flags whose answers depend on this flag's, without itself.
pub(super) fn of_flag(connection: &mut DatabaseConnection, key: &FlagKey) -> Result<Vec<Guard>, StoreError> {
    let mut found = reached(connection, "", |flag| asks_for(flag, key.as_str()))?;
    found.retain(|guard| guard.flag != *key);
    Ok(found)
}

/// The protected flags whose answers depend on this cohort.
pub(super) fn of_cohort(connection: &mut DatabaseConnection, name: &CohortName) -> Result<Vec<Guard>, StoreError> {
    let naming = format!("cohort\":\"{name}\"");
    let name = Some(name.as_str());
    reached(connection, &naming, |flag| {
        flag.rules.iter().any(|rule| rule.cohort.as_deref() == name || rule.except_cohort.as_deref() == name)
    })
}

/// The protected flags that an edit of this cohort's ids reaches, each with what it asks.
pub fn protections_of_cohort(
    connection: &mut DatabaseConnection,
    name: &CohortName,
) -> Result<Vec<(FlagKey, ProtectionDraft)>, StoreError> {
    Ok(of_cohort(connection, name)?.into_iter().map(|guard| (guard.flag, guard.protection)).collect())
}

/// The protected ones of those that `directly` is true of, and of those that depend on them. `naming` is a text that the JSON
/// of the former has, if there is one.
fn reached(
    connection: &mut DatabaseConnection,
    naming: &str,
    directly: impl Fn(&FlagDraft) -> bool,
) -> Result<Vec<Guard>, StoreError> {
    // Only flags that are protected, lead from one flag to another, or name the cohort are read.
    let naming = if naming.is_empty() { "\"prerequisites\"" } else { naming };
    let stored = flags::with_any_of(connection, ["\"protection\"", "\"prerequisites\"", naming])?;
    let drafts: BTreeMap<String, FlagDraft> = stored
        .iter()
        .filter_map(|stored| Some((stored.key.clone(), Flag::parse(&stored.data).ok()?.to_draft())))
        .collect();
    let mut reached: BTreeSet<&str> =
        drafts.values().filter(|flag| directly(flag)).map(|flag| flag.key.as_str()).collect();
    let mut ahead: Vec<&str> = reached.iter().copied().collect();
    while let Some(key) = ahead.pop() {
        for flag in drafts.values().filter(|flag| asks_for(flag, key)) {
            if reached.insert(&flag.key) {
                ahead.push(&flag.key);
            }
        }
    }
    let guards = reached.into_iter().filter_map(|key| {
        let flag = drafts.get(key)?;
        let protection = flag.protection.clone()?;
        Some(Guard { flag: FlagKey::new(key).ok()?, protection, enabled: flag.enabled, moved: 0 })
    });
    Ok(guards.collect())
}

fn asks_for(flag: &FlagDraft, key: &str) -> bool {
    flag.prerequisites.iter().any(|prerequisite| prerequisite.flag == key)
}
