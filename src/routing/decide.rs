//! Which side a group should get: the change's flag, evaluated for the group.
//!
//! The bucketed value is the group's id, and a cohort of users counts for all groups of its users, so whoever asks first gets what
//! the group's other users would get. A group has no attributes: a rule with clauses on attributes does not match.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::RoutingError;
use super::groups::Widened;
use super::routed::RoutedChange;
use super::side::{GroupId, Side};
use crate::flags::{Asked, Cohort, CohortIndex, Context, Evaluation, Snapshot, SnapshotFlag, World};
use crate::primitives::Instant;

/// The flag of a change over one snapshot, with its cohorts widened to groups.
pub(super) struct Decider<'s> {
    change: &'s RoutedChange,
    flag: &'s SnapshotFlag,
    snapshot: &'s Snapshot,
    widened: HashMap<CohortIndex, Arc<Widened>>,
}

impl<'s> Decider<'s> {
    /// `widen` turns a cohort of users into groups.
    pub fn new(
        change: &'s RoutedChange,
        snapshot: &'s Snapshot,
        mut widen: impl FnMut(&Cohort) -> Result<Arc<Widened>, RoutingError>,
    ) -> Result<Self, RoutingError> {
        let flag = flag_of(change, snapshot)?;
        let mut widened = HashMap::new();
        for name in flag.flag().cohorts() {
            if let Some(index) = snapshot.find_cohort(name.as_str())
                && let Some(cohort) = snapshot.cohort(index)
                && !widened.contains_key(&index)
            {
                widened.insert(index, widen(cohort)?);
            }
        }
        Ok(Self { change, flag, snapshot, widened })
    }

    /// The side that the flag gives a group at an instant.
    pub fn side_of(&self, group: &GroupId, now: Instant) -> Result<Side, RoutingError> {
        let context = Context::of(group.as_str());
        let failed = |what: String| RoutingError::Evaluation {
            change: self.change.name.clone(),
            flag: self.change.flag.clone(),
            group: group.to_string(),
            what,
        };
        match self.snapshot.evaluate_in(self.flag, Asked { context: &context, now }, self) {
            Evaluation::Served(served) => served.variant.name.as_str().parse(),
            Evaluation::Failed(failure) => Err(failed(failure.to_string())),
        }
    }

    /// All groups that users in the flag's cohorts belong to.
    pub fn groups_of_cohorts(&self) -> impl Iterator<Item = &GroupId> {
        self.widened.values().flat_map(|widened| &widened.groups)
    }

    pub fn flag(&self) -> &'s SnapshotFlag {
        self.flag
    }

    pub fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    pub fn flag_version(&self) -> i64 {
        self.flag.version()
    }

    pub fn is_enabled(&self) -> bool {
        self.flag.flag().is_enabled()
    }

    /// By which configuration it was decided, as it stands next to an assignment.
    pub fn because(&self, what: &str) -> String {
        format!("{what}: flag `{}`, configuration {}", self.change.flag, self.snapshot.version())
    }
}

/// Cohorts of users, as the groups that those belong to. By a cohort's conditions no group is a member: it has no attributes.
impl World for Decider<'_> {
    fn is_member(&self, cohort: CohortIndex, id: &str) -> bool {
        self.widened.get(&cohort).is_some_and(|widened| widened.groups.contains(id))
    }
}

/// The flag that a change is routed by, which has exactly the variants `old` and `new`.
fn flag_of<'s>(change: &RoutedChange, snapshot: &'s Snapshot) -> Result<&'s SnapshotFlag, RoutingError> {
    let missing = || RoutingError::FlagMissing { change: change.name.clone(), flag: change.flag.clone() };
    let flag = snapshot.find_flag(change.flag.as_str()).ok_or_else(missing)?;
    let variants = flag.flag().variants();
    let has = |side: Side| variants.iter().any(|variant| variant.name.as_str() == side.as_str());
    if variants.len() != 2 || !has(Side::Old) || !has(Side::New) {
        let found: Vec<String> = variants.iter().map(|variant| format!("`{}`", variant.name.as_str())).collect();
        let found = found.join(", ");
        return Err(RoutingError::FlagVariants { change: change.name.clone(), flag: change.flag.clone(), found });
    }
    Ok(flag)
}
