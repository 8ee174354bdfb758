//! Steps of rollouts: a flag read, changed and written under the writers' lock.

use serde_json::{Map, Value, json};

use super::flags::{self, Deed, FlagWrite, StoredFlag};
use super::protection::Authority;
use super::{Origin, StoreError, state};
use crate::database::DatabaseConnection;
use crate::flags::{RolloutStep, Stepped};
use crate::primitives::FlagKey;

/// A step that is to be taken. With `seen`, only if that is still the flag's version.
#[derive(Debug, Clone, Copy)]
pub struct Stepping<'a> {
    pub step: &'a RolloutStep,
    pub seen: Option<i64>,
    pub authority: Authority,
}

/// Takes a step of a rollout. Where it leads nowhere, nothing is written.
pub fn step(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    stepping: Stepping<'_>,
    origin: Origin<'_>,
) -> Result<(StoredFlag, Stepped), StoreError> {
    state::lock(connection)?;
    let stored = flags::get(connection, key)?;
    let Stepping { step, seen, authority } = stepping;
    if let Some(seen) = seen.filter(|seen| *seen != stored.version) {
        return Err(StoreError::Stale { what: "flag", name: key.to_string(), seen, current: stored.version });
    }
    let flag = stored.parse()?;
    let stepped = flag.with_step(step)?;
    if stepped.flag == flag {
        return Ok((stored, stepped));
    }
    let data = flags::json_of(&stepped.flag)?;
    let deed = Deed { action: "flag.rollout", detail: detail(step, &stepped), authority };
    let stored = flags::write_as(connection, key, FlagWrite::Replace { data: &data, seen }, deed, origin)?;
    Ok((stored, stepped))
}

fn detail(step: &RolloutStep, stepped: &Stepped) -> Map<String, Value> {
    let detail = json!({
        "rule": step.rule, "variant": step.variant, "donor": stepped.donor,
        "percent_before": stepped.before, "percent": stepped.after,
    });
    match detail {
        Value::Object(detail) => detail,
        _ => Map::new(),
    }
}
