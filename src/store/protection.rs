//! What a flag's `protection` asks of a write: a reason, a second person, and that not too many subjects change variant at once.
//! Every write of a flag or a cohort is checked here, in its own transaction, whether it comes over HTTP, from the command line
//! or from an import. docs/protected-flags.md is the same in prose.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::audit::{self, AuditEntry};
use super::proposals::Ask;
use super::{Origin, StoreError, cohorts, dependents, exposures, flags, state};
use crate::database::DatabaseConnection;
use crate::flags::{Flag, FlagDraft, ProtectionDraft, WHOLE, answers_alike, exposure};
use crate::primitives::{CohortName, FlagKey};

/// By whose word a write is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Authority {
    /// A second person has approved it.
    pub approved: bool,
    /// The limit on how many subjects change variant in an hour, and the ban on weakening a protection, are set aside.
    pub overriding: bool,
}

impl Authority {
    /// One person, within the limits.
    pub const ALONE: Self = Self { approved: false, overriding: false };
}

/// How much of a cohort an edit touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditSize {
    /// Ids that come or go.
    pub ids: u64,
    /// Its conditions change as well: nobody knows how many subjects that moves.
    pub conditions: bool,
}

/// Why a protection does not let a write through. The texts say what to do instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Protected {
    #[error(
        "the flag `{flag}` asks for a reason with every write: say why (`reason` over HTTP, --reason on the command line)"
    )]
    ReasonRequired { flag: FlagKey },
    #[error("the flag `{flag}` takes two persons: {instead}")]
    SecondPerson {
        flag: FlagKey,
        instead: &'static str,
        /// What may be proposed in its place.
        ask: Option<Box<Ask>>,
    },
    #[error(
        "`{proposer}` proposed this: another person, with a token of another name that is older than the proposal, decides about it"
    )]
    OwnProposal { proposer: String },
    #[error("the proposal `{id}` {why}")]
    Closed { id: String, why: String },
    #[error(
        "this weakens the protection of `{flag}`: repeat it with `override=true` (--override on the command line) and a reason"
    )]
    Override { flag: FlagKey },
    #[error(
        "this could move {} % of the subjects of `{flag}` to another variant; of the {} % that it allows in an hour, {} % are \
         left: {}", percent(*.asked), percent(*.limit), percent(*.left), when(*.retry_after_s)
    )]
    Exposure { flag: FlagKey, asked: u32, left: u32, limit: u32, retry_after_s: Option<u64> },
}

impl Protected {
    /// When the same write would be let through, if it ever would.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Exposure { retry_after_s, .. } => *retry_after_s,
            _ => None,
        }
    }
}

/// Millionths as per cent.
fn percent(millionths: u32) -> f64 {
    f64::from(millionths) / 10_000.0
}

fn when(retry_after_s: Option<u64>) -> String {
    match retry_after_s {
        Some(seconds) => format!("try again in {seconds} s, or move fewer"),
        None => String::from("move fewer at a time, or override it with `override=true` and a reason"),
    }
}

/// One write of a flag: `before` is nothing where it is created, `after` where it is removed.
#[derive(Debug, Clone, Copy)]
pub struct FlagChange<'a> {
    pub key: &'a FlagKey,
    pub before: Option<&'a Flag>,
    pub after: Option<&'a Flag>,
}

/// A write that may be made; what it moves is recorded with the version that it makes.
#[derive(Debug, Default)]
#[must_use]
pub struct Cleared {
    moved: Vec<(FlagKey, u32)>,
    /// What was set aside, for the audit log.
    overridden: Vec<(FlagKey, String)>,
}

impl Cleared {
    /// Adds what the write moves to the sliding hour. Call it in the write's transaction.
    pub fn record(
        self,
        connection: &mut DatabaseConnection,
        version: i64,
        origin: Origin<'_>,
    ) -> Result<(), StoreError> {
        for (flag, millionths) in self.moved {
            exposures::add(connection, &flag, (version, millionths), origin.actor)?;
        }
        for (flag, what) in self.overridden {
            let subject = format!("flag/{flag}");
            let detail = json!({ "version": version, "set_aside": what });
            let entry = AuditEntry {
                actor: origin.actor,
                action: "flag.override",
                subject: &subject,
                reason: origin.reason,
                detail,
            };
            audit::append(connection, &entry)?;
        }
        Ok(())
    }

    /// At most so many millionths of the subjects of each protected flag move.
    #[must_use]
    pub fn moved(&self) -> &[(FlagKey, u32)] {
        &self.moved
    }
}

/// Checks one write of a flag, under the writers' lock and before anything is written.
pub fn check_flag_write(
    connection: &mut DatabaseConnection,
    change: FlagChange<'_>,
    authority: Authority,
    origin: Origin<'_>,
) -> Result<Cleared, StoreError> {
    let write = Write::of(change);
    let mut cleared = Cleared::default();
    let own = strictest(write.protection_before(), write.protection_after());
    if own != ProtectionDraft::default() {
        // Whoever asked for a flag that never was had no variant of it to move from.
        let is_first = write.before.is_none() && !flags::was_ever(connection, change.key)?;
        let moved = if is_first { 0 } else { write.exposure(connection, own.population)? };
        let guard = Guard { flag: change.key.clone(), protection: own, enabled: true, moved };
        let weakens = write.weakens();
        let second = write.protection_before().two_person && !write.is_kill();
        guard.check_persons(second.then_some(PROPOSE), weakens, authority, origin)?;
        let free = write.is_safe() || write.is_undo(connection)?;
        guard.check_limit(connection, free, authority, &mut cleared)?;
        if weakens && authority.overriding {
            cleared.overridden.push((change.key.clone(), String::from("the ban on weakening a protection")));
        }
    }
    for mut guard in dependents::of_flag(connection, change.key)? {
        let moved = write.exposure(connection, guard.protection.population)?;
        guard.moved = if guard.enabled { moved } else { 0 };
        if moved > 0 {
            let second = guard.protection.two_person && !write.is_kill();
            guard.check_persons(second.then_some(PROPOSE), false, authority, origin)?;
            guard.check_limit(connection, write.is_safe(), authority, &mut cleared)?;
        }
    }
    Ok(cleared)
}

/// Checks one edit of a cohort, in the transaction that makes it and after it has advanced the configuration's version: on an
/// error, roll back.
pub fn check_cohort_edit(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    size: EditSize,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    check_cohort(connection, name, size, None, origin)
}

/// Checks that a staged upload is activated by another person than the one who uploaded it, where a flag that names the cohort asks
/// for that; and what [`check_cohort_edit`] checks.
pub fn check_cohort_activation(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    size: EditSize,
    uploader: &str,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    check_cohort(connection, name, size, Some(uploader), origin)
}

fn check_cohort(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    size: EditSize,
    uploader: Option<&str>,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let mut cleared = Cleared::default();
    for mut guard in dependents::of_cohort(connection, name)? {
        guard.moved = if guard.enabled { size.share(guard.protection.population) } else { 0 };
        let authority = Authority { approved: uploader.is_some_and(|by| by != origin.actor), overriding: false };
        let second = guard.protection.two_person && (size.ids > 0 || size.conditions);
        guard.check_persons(second.then_some(size.instead(uploader)), false, authority, origin)?;
        guard.check_limit(connection, false, Authority::ALONE, &mut cleared)?;
    }
    let version = state::versions(connection)?.config;
    cleared.record(connection, version, origin)
}

/// How many subjects of a flag a write may move, in per cent, and how many may move now.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Move {
    pub flag: String,
    /// At most so many per cent of the subjects get another variant.
    pub percent: f64,
    /// So many per cent may still move within this hour, if the flag has such a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<f64>,
}

/// What may move if a flag became `after`: of itself, and of the protected flags that depend on it.
pub fn moves(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    after: Option<&Flag>,
) -> Result<Vec<Move>, StoreError> {
    let before = flags::find(connection, key)?.and_then(|stored| stored.parse().ok());
    let write = Write::of(FlagChange { key, before: before.as_ref(), after });
    let own = strictest(write.protection_before(), write.protection_after());
    let mut guards = vec![Guard { flag: key.clone(), protection: own, enabled: true, moved: 0 }];
    guards.extend(dependents::of_flag(connection, key)?);
    let mut moves = Vec::new();
    for guard in guards {
        let moved = write.exposure(connection, guard.protection.population)?;
        let left = match limit(&guard.protection) {
            Some(limit) => Some(percent(exposures::left(&exposures::of_last_hour(connection, &guard.flag)?, limit))),
            None => None,
        };
        let moved = if guard.enabled { moved } else { 0 };
        moves.push(Move { flag: guard.flag.to_string(), percent: percent(moved), left });
    }
    Ok(moves)
}

const PROPOSE: &str = "this write waits as a proposal until another person approves it";
const STAGE: &str = "stage the ids (`?stage=true`), and let another person activate them";
const NEW_COHORT: &str =
    "make another cohort with these conditions, and let the flag name that one: that is a proposal";
const ANOTHER_ACTIVATES: &str = "another person than the one who uploaded the ids activates them";

/// A flag whose protection a write must satisfy, and how many of its subjects the write moves.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) flag: FlagKey,
    pub(super) protection: ProtectionDraft,
    /// False: its kill switch is thrown, and nobody moves.
    pub(super) enabled: bool,
    pub(super) moved: u32,
}

impl Guard {
    /// `second` is what to do instead, where it takes a second person.
    fn check_persons(
        &self,
        second: Option<&'static str>,
        weakens: bool,
        authority: Authority,
        origin: Origin<'_>,
    ) -> Result<(), StoreError> {
        let flag = self.flag.clone();
        let blank = origin.reason.trim().is_empty();
        if blank && (self.protection.reason_required || authority.overriding) {
            return Err(Protected::ReasonRequired { flag }.into());
        }
        match second {
            Some(instead) if !authority.approved => Err(Protected::SecondPerson { flag, instead, ask: None }.into()),
            _ if weakens && !authority.approved && !authority.overriding => Err(Protected::Override { flag }.into()),
            _ => Ok(()),
        }
    }

    fn check_limit(
        &self,
        connection: &mut DatabaseConnection,
        free: bool,
        authority: Authority,
        cleared: &mut Cleared,
    ) -> Result<(), StoreError> {
        let Some(limit) = limit(&self.protection) else { return Ok(()) };
        if !free {
            match exposures::check(connection, &self.flag, limit, self.moved) {
                Err(StoreError::Protected(refused)) if authority.overriding => {
                    cleared.overridden.push((self.flag.clone(), refused.to_string()));
                }
                other => other?,
            }
        }
        cleared.moved.push((self.flag.clone(), self.moved));
        Ok(())
    }
}

/// The limit in millionths.
#[must_use]
pub fn limit(protection: &ProtectionDraft) -> Option<u32> {
    let percent = protection.percent_per_hour?;
    let whole = f64::from(WHOLE);
    let millionths = (percent * whole / 100.0).round().clamp(0.0, whole);
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 0 and 1,000,000"
    )]
    Some(millionths as u32)
}

impl EditSize {
    /// What to do where it takes a second person.
    fn instead(self, uploader: Option<&str>) -> &'static str {
        match uploader {
            _ if self.conditions => NEW_COHORT,
            Some(_) => ANOTHER_ACTIVATES,
            None => STAGE,
        }
    }

    /// How many of so many subjects are touched; nobody knows how many a condition moves.
    fn share(self, population: Option<u64>) -> u32 {
        if self.conditions { WHOLE } else { share_of(self.ids, population) }
    }
}

/// `count` of `population` subjects, in millionths, rounded up. Without a population they count as everybody.
fn share_of(count: u64, population: Option<u64>) -> u32 {
    if count == 0 {
        return 0;
    }
    let Some(population) = population.filter(|population| *population > 0) else { return WHOLE };
    let share = (u128::from(count) * u128::from(WHOLE)).div_ceil(u128::from(population));
    u32::try_from(share).unwrap_or(WHOLE).min(WHOLE)
}

/// A change of a flag, as drafts.
struct Write {
    before: Option<FlagDraft>,
    after: Option<FlagDraft>,
}

impl Write {
    fn of(change: FlagChange<'_>) -> Self {
        Self { before: change.before.map(Flag::to_draft), after: change.after.map(Flag::to_draft) }
    }

    fn protection_before(&self) -> ProtectionDraft {
        self.before.as_ref().and_then(|flag| flag.protection.clone()).unwrap_or_default()
    }

    fn protection_after(&self) -> ProtectionDraft {
        self.after.as_ref().and_then(|flag| flag.protection.clone()).unwrap_or_default()
    }

    /// Nothing but the kill switch is thrown.
    fn is_kill(&self) -> bool {
        let killed = self.before.clone().map(|flag| FlagDraft { enabled: false, ..flag });
        killed.is_some() && killed == self.after
    }

    /// Everybody gets the off variant, and it is the one that it was: nobody has to wait for safety.
    fn is_safe(&self) -> bool {
        let off = |flag: &FlagDraft| {
            let value = flag.variants.0.iter().find(|(name, _)| *name == flag.off_variant).cloned();
            (flag.off_variant.clone(), value)
        };
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => !after.enabled && off(before) == off(after),
            _ => false,
        }
    }

    /// It goes back to what was served within the last hour.
    fn is_undo(&self, connection: &mut DatabaseConnection) -> Result<bool, StoreError> {
        let Some(after) = &self.after else { return Ok(false) };
        let Ok(key) = FlagKey::new(&after.key) else { return Ok(false) };
        let served = flags::served_since(connection, &key, exposures::hour_ago())?;
        let alike = |flag: &Flag| answers_alike(&flag.to_draft(), after);
        Ok(served.iter().any(alike))
    }

    fn weakens(&self) -> bool {
        let (before, after) = (self.protection_before(), self.protection_after());
        let lost =
            |before: Option<u32>, after: Option<u32>| before.is_some_and(|old| after.is_none_or(|new| new > old));
        self.after.is_some()
            && (before.reason_required && !after.reason_required
                || before.two_person && !after.two_person
                || lost(limit(&before), limit(&after))
                || before.percent_per_hour.is_some() && is_larger(before.population, after.population))
    }

    /// At most so many millionths of the subjects move, if there are `population` of them.
    fn exposure(&self, connection: &mut DatabaseConnection, population: Option<u64>) -> Result<u32, StoreError> {
        let mut shares = BTreeMap::new();
        let rules = [&self.before, &self.after].into_iter().flatten().flat_map(|flag| &flag.rules);
        for name in rules.filter_map(|rule| rule.cohort.as_deref()) {
            if !shares.contains_key(name) {
                shares.insert(name.to_owned(), cohort_share(connection, name, population)?);
            }
        }
        let share = |name: &str| shares.get(name).copied().unwrap_or(WHOLE);
        Ok(exposure(self.before.as_ref(), self.after.as_ref(), &share))
    }
}

/// A larger population makes a cohort a smaller share; none at all makes it everybody.
fn is_larger(before: Option<u64>, after: Option<u64>) -> bool {
    after.is_some_and(|after| before.is_none_or(|before| after > before))
}

/// A cohort that is not there matches nobody.
fn cohort_share(connection: &mut DatabaseConnection, name: &str, population: Option<u64>) -> Result<u32, StoreError> {
    let Ok(name) = CohortName::new(name) else { return Ok(WHOLE) };
    let Some(cohort) = cohorts::find(connection, &name)? else { return Ok(0) };
    if cohort.conditions != "[]" {
        return Ok(WHOLE);
    }
    Ok(share_of(u64::try_from(cohort.id_count).unwrap_or(u64::MAX), population))
}

/// What both ask for together.
fn strictest(one: ProtectionDraft, other: ProtectionDraft) -> ProtectionDraft {
    let smaller = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let population = match (one.percent_per_hour, other.percent_per_hour) {
        (Some(_), Some(_)) => one.population.zip(other.population).map(|(one, other)| one.min(other)),
        (Some(_), None) => one.population,
        _ => other.population,
    };
    ProtectionDraft {
        reason_required: one.reason_required || other.reason_required,
        two_person: one.two_person || other.two_person,
        percent_per_hour: smaller(one.percent_per_hour, other.percent_per_hour),
        population,
    }
}
