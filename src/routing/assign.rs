//! Opening a period: the side of every group, evaluated and recorded.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::decide::Decider;
use super::error::RoutingError;
use super::groups::{GroupLookup, Widened};
use super::record::{Mark, insert_absent};
use super::routed::{Hold, RoutedChange, lock_standing};
use super::side::{GroupId, Side};
use crate::database::DatabaseConnection;
use crate::flags::{Cohort, Snapshot};
use crate::primitives::{ChangeName, CohortName, FlagKey, Instant, Period};
use crate::sql::effective::{group_text, subquery};

/// Groups recorded in one transaction, so that the application's own writers get in between on SQLite.
const BATCH_GROUPS: usize = 10_000;
const ATTEMPTS: u32 = 8;

/// Who opens which period.
#[derive(Debug, Clone, Copy)]
pub struct Assigning<'a> {
    pub period: Period,
    pub actor: &'a str,
    pub at: Instant,
}

/// What an assignment of a period did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssignReceipt {
    pub change: ChangeName,
    pub period: Period,
    pub flag: FlagKey,
    pub flag_version: i64,
    /// False: the kill switch is on, so every group got the flag's off variant.
    pub flag_enabled: bool,
    pub configuration_version: i64,
    pub groups: usize,
    pub assigned_old: usize,
    pub assigned_new: usize,
    /// Left alone, because their side was recorded before.
    pub already_assigned: usize,
    pub widened: Vec<WidenedCohort>,
}

/// How far a cohort of users reached once it was widened to groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WidenedCohort {
    pub cohort: CohortName,
    pub generation: i64,
    pub users: usize,
    pub users_without_group: usize,
    pub groups: usize,
    /// How many payers the charges of these groups have, by the old allocation or the new; not counted for very many groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payers: Option<i64>,
}

impl WidenedCohort {
    pub(super) fn new(cohort: &Cohort, widened: &Widened, payers: Option<i64>) -> Self {
        Self {
            cohort: cohort.name().clone(),
            generation: cohort.generation(),
            users: widened.users,
            users_without_group: widened.users.saturating_sub(widened.users_with_group),
            groups: widened.groups.len(),
            payers,
        }
    }
}

/// Records the side of every group that has a charge (in whatever period) or a user in one of the flag's cohorts. Groups whose side
/// is recorded already are left alone. Interrupted, it may be run again: what is recorded stays, the rest follows.
pub fn assign(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    snapshot: &Snapshot,
    assigning: &Assigning<'_>,
) -> Result<AssignReceipt, RoutingError> {
    let receipt = assign_watched(connection, change, snapshot, assigning, &mut |_, _| true)?;
    // Only who watches can stop it.
    receipt.ok_or_else(|| RoutingError::NotInstalled(change.name.clone()))
}

/// [`assign`], told after each batch how many groups of how many are done. `None` if the watcher said no: what was recorded stays.
pub fn assign_watched(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    snapshot: &Snapshot,
    assigning: &Assigning<'_>,
    watch: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<AssignReceipt>, RoutingError> {
    change.check_period(assigning.period)?;
    let standing = lock_standing(connection, &change.name, Hold::Shared)?;
    standing.check_writable(&change.name, assigning.period)?;
    check_one_group_each(connection, change, &standing.open_period)?;
    let lookup = GroupLookup::prepare(connection, change)?;
    let mut widened = Vec::new();
    let decider = Decider::new(change, snapshot, |cohort| {
        let found = lookup.widen(connection, cohort.ids().iter())?;
        widened.push(WidenedCohort::new(cohort, &found, None));
        Ok(Arc::new(found))
    })?;
    let mut groups = groups_with_charges(connection, change)?;
    groups.extend(decider.groups_of_cohorts().cloned());
    let mut groups: Vec<GroupId> = groups.into_iter().collect();
    // In the order of the primary key: pages fill one after the other, and two runs at once take their locks in one order.
    groups.sort_unstable();
    let recording = Recording { decider: &decider, change, assigning };
    let Some((assigned_old, assigned_new)) = recording.record(connection, &groups, watch)? else { return Ok(None) };
    Ok(Some(AssignReceipt {
        change: change.name.clone(),
        period: assigning.period,
        flag: change.flag.clone(),
        flag_version: decider.flag_version(),
        flag_enabled: decider.is_enabled(),
        configuration_version: snapshot.version(),
        groups: groups.len(),
        assigned_old,
        assigned_new,
        already_assigned: groups.len().saturating_sub(assigned_old + assigned_new),
        widened,
    }))
}

/// What is recorded, and how.
struct Recording<'a> {
    decider: &'a Decider<'a>,
    change: &'a RoutedChange,
    assigning: &'a Assigning<'a>,
}

impl Recording<'_> {
    /// Evaluates and records in batches; returns how many groups got a side, old and new. `None` if it was told to stop.
    fn record(
        &self,
        connection: &mut DatabaseConnection,
        groups: &[GroupId],
        watch: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Option<(usize, usize)>, RoutingError> {
        let mut assigned = (0, 0);
        let mut done = 0;
        for batch in groups.chunks(BATCH_GROUPS) {
            if !watch(done, groups.len()) {
                return Ok(None);
            }
            let (old, new) = self.record_batch(connection, batch)?;
            assigned = (assigned.0 + old, assigned.1 + new);
            done += batch.len();
        }
        watch(done, groups.len());
        Ok(Some(assigned))
    }

    fn record_batch(
        &self,
        connection: &mut DatabaseConnection,
        batch: &[GroupId],
    ) -> Result<(usize, usize), RoutingError> {
        let (name, period) = (&self.change.name, self.assigning.period);
        let reason = self.decider.because("assigned for the period");
        let (at, flag_version) = (self.assigning.at.as_micros(), Some(self.decider.flag_version()));
        let mark = Mark { at, actor: self.assigning.actor, reason: &reason, flag_version };
        let mut old = Vec::new();
        let mut new = Vec::new();
        for group in batch {
            match self.decider.side_of(group, self.assigning.at)? {
                Side::Old => old.push(group),
                Side::New => new.push(group),
            }
        }
        connection.in_transaction_with_retry(ATTEMPTS, RoutingError::is_retryable, |connection| {
            // The stage may have been moved, or the period closed, since the last batch.
            lock_standing(connection, name, Hold::Shared)?.check_writable(name, period)?;
            let old = insert_absent(connection, name, period, Side::Old, old.iter().copied(), &mark)?;
            let new = insert_absent(connection, name, period, Side::New, new.iter().copied(), &mark)?;
            Ok((old, new))
        })
    }
}

/// Every group that a charge belongs to. Those of all periods: when a period opens there are no charges in it yet.
pub(super) fn groups_with_charges(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
) -> Result<HashSet<GroupId>, RoutingError> {
    let text = group_text(connection.dialect(), "g.group_id");
    let group = subquery(&change.group);
    let sql = format!("SELECT DISTINCT {text} AS g FROM {group} g WHERE g.group_id IS NOT NULL");
    let mut groups = HashSet::new();
    connection.query_each(&sql, |cells| {
        let id = cells.get(0).to_text().ok_or(RoutingError::InvalidGroup)?;
        groups.insert(GroupId::new(&id)?);
        Ok::<_, RoutingError>(())
    })?;
    Ok(groups)
}

/// Refuses if a charge of an open period belongs to two groups: they could be put on different sides.
pub fn check_one_group_each(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    open_period: &str,
) -> Result<(), RoutingError> {
    let text = group_text(connection.dialect(), "g.group_id");
    let (charges, group) = (subquery(&change.charges), subquery(&change.group));
    let sql = format!(
        "SELECT CAST(g.charge_id AS TEXT) AS charge, min({text}) AS one, max({text}) AS other
         FROM {charges} c JOIN {group} g ON g.charge_id = c.charge_id
         WHERE CAST(c.period AS TEXT) >= $1
         GROUP BY g.charge_id HAVING min({text}) <> max({text}) ORDER BY g.charge_id LIMIT 3"
    );
    let rows = connection.query(&sql, &[open_period.into()])?;
    if rows.is_empty() {
        return Ok(());
    }
    let described: Result<Vec<String>, RoutingError> = rows
        .iter()
        .map(|row| {
            Ok(format!("charge {} into `{}` and `{}`", row.text("charge")?, row.text("one")?, row.text("other")?))
        })
        .collect();
    Err(RoutingError::ChargeInTwoGroups { change: change.name.clone(), charges: described?.join(", ") })
}
