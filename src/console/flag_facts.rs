//! What the pages of a flag tell of it: its rules in words, its shares as a bar, what protects it, and how many a write would move.

use serde_json::Value;

use crate::database::DatabaseConnection;
use crate::flags::words::{Condition, conditions, serves, shares};
use crate::flags::{Flag, Percent, RolloutStep, Serve, ShareStep};
use crate::http::AppState;
use crate::http::api::flags::value;
use crate::http::problem::Problem;
use crate::primitives::FlagKey;
use crate::store::flags::{self, StoredFlag};
use crate::store::{StoreError, protection};

/// A flag as it is stored, and as it is understood.
pub struct Known {
    pub stored: StoredFlag,
    pub flag: Flag,
}

impl Known {
    /// Reads it from the database: what a page shows is what a write is held against.
    pub fn get(state: &AppState, key: &FlagKey) -> Result<Self, Problem> {
        let stored = state.store().read(|conn| flags::get(conn, key))?;
        let flag = stored.parse()?;
        Ok(Self { stored, flag })
    }
}

/// A rule as a page shows it.
pub struct RuleShown {
    pub at: usize,
    pub description: String,
    pub conditions: Vec<Condition>,
    pub serves: Vec<String>,
    pub bar: Vec<Share>,
    /// A rollout, or one variant that can become one.
    pub can_roll: bool,
}

/// A variant's part of a bar, in buckets.
pub struct Share {
    pub class: &'static str,
    pub from: u32,
    pub size: u32,
    pub variant: String,
    pub percent: Percent,
}

const COLOURS: [&str; 3] = ["part-2", "part-3", "part-4"];

/// A flag's rules, from top to bottom.
#[must_use]
pub fn rules(known: &Known) -> Vec<RuleShown> {
    let json = value(&known.stored.data);
    let drafts = json.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    let shown = |(at, (draft, rule)): (usize, (&Value, &crate::flags::Rule))| RuleShown {
        at,
        description: rule.description.clone(),
        conditions: conditions(draft),
        serves: serves(draft).lines().map(str::to_owned).collect(),
        bar: bar(draft, &known.flag),
        can_roll: !matches!(rule.serve, Serve::Schedule(_)),
    };
    drafts.iter().zip(known.flag.rules()).enumerate().map(shown).collect()
}

/// The shares of a rule's rollout, in the order of the flag's variants; nothing if it has none.
fn bar(rule: &Value, flag: &Flag) -> Vec<Share> {
    let ranges = rule.pointer("/serve/rollout/ranges").and_then(shares).unwrap_or_default();
    let mut from = 0;
    let mut parts = Vec::new();
    let mut others = COLOURS.into_iter().cycle();
    for variant in flag.variants() {
        // What everybody else gets stands back.
        let is_default = variant.name == *flag.default_variant();
        let class = if is_default { "part-1" } else { others.next().unwrap_or("part-2") };
        let share = ranges.iter().find(|(name, size)| *name == variant.name.as_str() && *size > 0);
        let Some((_, size)) = share.copied() else { continue };
        let variant = variant.name.to_string();
        parts.push(Share { class, from, size, variant, percent: Percent::of_buckets(size) });
        from += size;
    }
    parts
}

/// Whether a rule for everybody who is left can be added by a rollout.
#[must_use]
pub fn can_add_rollout(flag: &Flag) -> bool {
    let (rule, variant) = (flag.rules().len(), flag.default_variant().clone());
    let donor = flag.variants().iter().map(|variant| &variant.name).find(|name| **name != variant).cloned();
    let share = ShareStep::To(Percent::of_buckets(u32::MAX));
    donor.is_some() && flag.with_step(&RolloutStep { rule, variant, share, donor }).is_ok()
}

/// What protects a flag, a sentence each.
#[must_use]
pub fn protections(flag: &Flag) -> Vec<String> {
    let protection = flag.protection();
    let mut told = Vec::new();
    if protection.two_person {
        told.push(String::from(
            "It takes two persons: what one proposes another one approves. The kill switch needs nobody else.",
        ));
    }
    if let Some(percent) = protection.percent_per_hour {
        told.push(format!("At most {percent} % of its subjects may get another variant within an hour."));
    }
    if protection.reason_required {
        told.push(String::from("Every write says why."));
    }
    told
}

/// How many subjects a write may move at most, of the flag and of protected flags that depend on it.
pub fn moves(conn: &mut DatabaseConnection, key: &FlagKey, after: Option<&Flag>) -> Result<Vec<String>, StoreError> {
    let told = |one: protection::Move| {
        let of = if one.flag == key.as_str() { String::new() } else { format!(" of the flag `{}`", one.flag) };
        let left = one.left.map_or_else(String::new, |left| format!(" {left} % may still move within this hour."));
        if one.percent > 0.0 {
            format!("At most {} % of all subjects{of} get another variant.{left}", one.percent)
        } else {
            format!("No subject{of} gets another variant by it.{left}")
        }
    };
    Ok(protection::moves(conn, key, after)?.into_iter().map(told).collect())
}
