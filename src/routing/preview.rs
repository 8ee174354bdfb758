//! Who would move: a flag as it is and as it would be, over subjects that are known. Nothing is written.
//!
//! A flag that routes a change is asked for groups, as it is when sides are recorded: of users, those that they belong to.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::assign::{WidenedCohort, groups_with_charges};
use super::decide::Decider;
use super::error::RoutingError;
use super::explain::Peek;
use super::groups::{GroupLookup, Widened};
use super::question::Router;
use super::reach;
use super::record::sides_of;
use super::routed::{Hold, RoutedChange, lock_standing};
use super::side::{GroupId, Side};
use crate::change::Stage;
use crate::database::{Database, DatabaseConnection};
use crate::flags::{
    Asked, Cohort, Context, Evaluation, Failure, Flag, Moves, Snapshot, SnapshotFlag, Staying, VariantMove,
    VersionedFlag, outcome,
};
use crate::primitives::{ChangeName, FlagKey, Instant, Period};

/// Groups whose recorded sides are asked for by one statement.
const BATCH_GROUPS: usize = 10_000;

/// A flag as it is and as it would be.
#[derive(Debug, Clone)]
pub struct Plan {
    key: FlagKey,
    change: Option<ChangeName>,
    before: Arc<Snapshot>,
    after: Arc<Snapshot>,
    at: Instant,
}

/// What has been counted so far.
#[derive(Debug, Default)]
pub struct Counted {
    moves: Moves,
    groups: BTreeSet<GroupId>,
    users: u64,
    users_without_group: u64,
}

/// Who would move.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Preview {
    #[schema(value_type = String)]
    pub flag: FlagKey,
    /// The version of the flag that the preview begins with; 0 if there is no such flag yet.
    pub flag_version: i64,
    pub configuration_version: i64,
    /// `subject`, or `group` for the flag of a change.
    pub unit: &'static str,
    /// How many were counted.
    pub subjects: u64,
    /// How many of them get another variant.
    pub moving: u64,
    pub percent_moving: f64,
    pub moves: Vec<VariantMove>,
    /// Those who get the variant that they get now.
    pub staying: Vec<Staying>,
    /// Of a change's flag: what is recorded and how far cohorts reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangePreview>,
}

/// What routing adds to a preview.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChangePreview {
    #[schema(value_type = String)]
    pub change: ChangeName,
    /// Before `live` nobody is on the new side, and after it everybody is, whatever the flag says.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// The running period. Whoever has a side recorded for it stays on that side until it ends.
    #[schema(value_type = String, example = "2026-12")]
    pub period: Period,
    pub recorded_old: u64,
    pub recorded_new: u64,
    /// Users who were named; none if all groups were counted.
    pub users: u64,
    pub users_without_group: u64,
    /// How far the cohorts of the flag as it would be reach.
    #[schema(value_type = Vec<Object>)]
    pub widened: Vec<WidenedCohort>,
}

impl Plan {
    /// Puts `after` in the place of the flag with its key, or beside the others if there is none. Both are evaluated as of `at`.
    #[must_use]
    pub fn new(before: Arc<Snapshot>, after: Flag, at: Instant) -> Self {
        let key = after.key().clone();
        let change = after.change().or_else(|| before.find_flag(key.as_str())?.flag().change()).cloned();
        let versioned = |flag: &SnapshotFlag| VersionedFlag { flag: flag.flag().clone(), version: flag.version() };
        let others = before.flags().iter().filter(|flag| *flag.flag().key() != key).map(versioned);
        let version = before.version() + 1;
        let flags = others.chain([VersionedFlag { flag: after, version }]).collect();
        let after = Snapshot::build(version, before.changed_at(), flags, before.cohorts().to_vec());
        Self { key, change, before, after: Arc::new(after), at }
    }

    /// The change that the flag routes: then groups are counted, and of contexts only the targeting key counts.
    #[must_use]
    pub fn change(&self) -> Option<&ChangeName> {
        self.change.as_ref()
    }

    /// Counts these subjects; of a change's flag the groups that they belong to, each once.
    pub fn count(&self, app: &Database, counted: &mut Counted, contexts: &[Context]) -> Result<(), RoutingError> {
        let Some(change) = &self.change else {
            let router = Router::new(app.clone());
            for context in contexts {
                let before = self.evaluate(&self.before, context, &router);
                let after = self.evaluate(&self.after, context, &router);
                let subject = context.targeting_key().unwrap_or("(nobody)");
                counted.moves.add(subject, outcome(&before), outcome(&after), false);
            }
            return Ok(());
        };
        let mut connection = app.connection()?;
        let change = RoutedChange::get(&mut connection, change)?;
        let users = contexts.iter().filter_map(|context| context.targeting_key().map(str::to_owned));
        let widened = GroupLookup::prepare(&mut connection, &change)?.widen(&mut connection, users)?;
        counted.users += u64::try_from(contexts.len()).unwrap_or(u64::MAX);
        let without = contexts.len().saturating_sub(widened.users_with_group);
        counted.users_without_group += u64::try_from(without).unwrap_or(u64::MAX);
        counted.groups.extend(widened.groups);
        Ok(())
    }

    /// A prerequisite that routes a change is asked without recording anything.
    fn evaluate<'s>(&self, snapshot: &'s Snapshot, context: &Context, router: &Router) -> Evaluation<'s> {
        let world = Peek { router, snapshot, period: None, at: self.at };
        match snapshot.find_flag(self.key.as_str()) {
            Some(flag) => snapshot.evaluate_in(flag, Asked { context, now: self.at }, &world),
            None => Evaluation::Failed(Failure::FlagNotFound { key: self.key.to_string() }),
        }
    }

    /// Counts every group of the change: those with a charge, and those of users in a cohort of the flag, as it is or would be.
    pub fn count_all_groups(&self, app: &Database, counted: &mut Counted) -> Result<(), RoutingError> {
        let Some(change) = &self.change else { return Ok(()) };
        let mut connection = app.connection()?;
        let change = RoutedChange::get(&mut connection, change)?;
        counted.groups.extend(groups_with_charges(&mut connection, &change)?);
        let lookup = GroupLookup::prepare(&mut connection, &change)?;
        for snapshot in [&self.before, &self.after] {
            let Some(flag) = snapshot.find_flag(self.key.as_str()) else { continue };
            for name in flag.flag().cohorts() {
                let Some(cohort) = snapshot.find_cohort(name.as_str()).and_then(|at| snapshot.cohort(at)) else {
                    continue;
                };
                counted.groups.extend(lookup.widen(&mut connection, cohort.ids().iter())?.groups);
            }
        }
        Ok(())
    }

    /// The result. Sides recorded for the period that contains `now` are told.
    pub fn finish(&self, app: &Database, mut counted: Counted, now: Instant) -> Result<Preview, RoutingError> {
        let change = match &self.change {
            Some(change) => Some(self.count_groups(&mut *app.connection()?, change, &mut counted, now)?),
            None => None,
        };
        let moves = &counted.moves;
        let flag = self.before.find_flag(self.key.as_str());
        Ok(Preview {
            flag: self.key.clone(),
            flag_version: flag.map_or(0, SnapshotFlag::version),
            configuration_version: self.before.version(),
            unit: if change.is_some() { "group" } else { "subject" },
            subjects: moves.subjects(),
            moving: moves.moving(),
            percent_moving: moves.percent(moves.moving()),
            moves: moves.moves(),
            staying: moves.staying(),
            change,
        })
    }

    /// Evaluates both flags for every group, in batches.
    fn count_groups(
        &self,
        connection: &mut DatabaseConnection,
        name: &ChangeName,
        counted: &mut Counted,
        now: Instant,
    ) -> Result<ChangePreview, RoutingError> {
        let change = RoutedChange::get(connection, name)?;
        let period = change.period_at(now)?;
        let stage = lock_standing(connection, name, Hold::Shared)?.stage;
        let mut widening = Widening { lookup: GroupLookup::prepare(connection, &change)?, known: HashMap::new() };
        let before = match self.before.find_flag(self.key.as_str()) {
            Some(_) => Some(Decider::new(&change, &self.before, |cohort| widening.widen(connection, cohort))?),
            None => None,
        };
        let after = Decider::new(&change, &self.after, |cohort| widening.widen(connection, cohort))?;
        let mut recorded = (0, 0);
        let groups: Vec<GroupId> = std::mem::take(&mut counted.groups).into_iter().collect();
        for batch in groups.chunks(BATCH_GROUPS) {
            let sides = sides_of(connection, name, period, batch)?;
            for group in batch {
                let side = sides.get(group).copied();
                recorded.0 += u64::from(side == Some(Side::Old));
                recorded.1 += u64::from(side == Some(Side::New));
                let from = before.as_ref().map(|decider| decider.side_of(group, self.at)).transpose()?;
                let to = after.side_of(group, self.at)?;
                counted.moves.add(
                    group.as_str(),
                    from.map_or("(FLAG_NOT_FOUND)", Side::as_str),
                    to.as_str(),
                    side.is_some(),
                );
            }
        }
        let widened = widening.told(connection, &change, &self.after, &self.key)?;
        Ok(ChangePreview {
            change: name.clone(),
            stage,
            period,
            recorded_old: recorded.0,
            recorded_new: recorded.1,
            users: counted.users,
            users_without_group: counted.users_without_group,
            widened,
        })
    }
}

/// Cohorts widened to groups, each generation once.
struct Widening {
    lookup: GroupLookup,
    known: HashMap<(String, i64), Arc<Widened>>,
}

impl Widening {
    fn widen(&mut self, connection: &mut DatabaseConnection, cohort: &Cohort) -> Result<Arc<Widened>, RoutingError> {
        let key = (cohort.name().to_string(), cohort.generation());
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let widened = Arc::new(self.lookup.widen(connection, cohort.ids().iter())?);
        self.known.insert(key, Arc::clone(&widened));
        Ok(widened)
    }

    /// How far each cohort of a flag reaches.
    fn told(
        &mut self,
        connection: &mut DatabaseConnection,
        change: &RoutedChange,
        snapshot: &Snapshot,
        key: &FlagKey,
    ) -> Result<Vec<WidenedCohort>, RoutingError> {
        let names: BTreeSet<_> =
            snapshot.find_flag(key.as_str()).iter().flat_map(|flag| flag.flag().cohorts()).cloned().collect();
        let mut told = Vec::new();
        for name in names {
            let Some(cohort) = snapshot.find_cohort(name.as_str()).and_then(|at| snapshot.cohort(at)) else { continue };
            let widened = self.widen(connection, cohort)?;
            told.push(reach::told(connection, change, cohort, &widened)?);
        }
        Ok(told)
    }
}
