//! Moving many groups at once, and giving the groups that came out of a split the side of the one that they came from.

use std::collections::BTreeSet;

use serde::Serialize;

use super::error::RoutingError;
use super::moves::{Move, MoveReceipt, move_locked};
use super::record::{Mark, find_side, insert_absent, is_among, sides_of};
use super::routed::{Hold, RoutedChange, lock_standing};
use super::side::{GroupId, Side};
use crate::database::{DatabaseConnection, Value};
use crate::primitives::{ChangeName, Dialect, Instant, Period};
use crate::sql::names::own;

/// Groups of one bulk move: more are moved by several.
pub const BULK_GROUPS_MAX: usize = 100_000;
const ATTEMPTS: u32 = 8;

/// Many groups' move.
#[derive(Debug, Clone, Copy)]
pub struct BulkMove<'a> {
    pub groups: &'a BTreeSet<GroupId>,
    pub period: Period,
    pub side: Side,
    pub actor: &'a str,
    pub reason: &'a str,
    pub at: Instant,
}

/// What a bulk move did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BulkReceipt {
    pub change: ChangeName,
    pub period: Period,
    pub side: Side,
    /// Groups that were named.
    pub groups: usize,
    /// Of these: recorded on the other side until now.
    pub moved: usize,
    /// Of these: nothing was recorded until now.
    pub recorded: usize,
    /// Of these: on that side already.
    pub already: usize,
    /// True: these are the numbers of a preview, and nothing was written.
    pub preview: bool,
}

/// Puts many groups on a side for one open period, all or none. A preview only counts.
pub fn move_groups(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    wanted: &BulkMove<'_>,
    preview: bool,
) -> Result<BulkReceipt, RoutingError> {
    if wanted.reason.trim().is_empty() && !preview {
        return Err(RoutingError::NoReason);
    }
    if wanted.groups.len() > BULK_GROUPS_MAX {
        return Err(RoutingError::TooManyGroups { groups: wanted.groups.len(), most: BULK_GROUPS_MAX });
    }
    change.check_period(wanted.period)?;
    connection.in_transaction_with_retry(ATTEMPTS, RoutingError::is_retryable, |connection| {
        let hold = if preview { Hold::Shared } else { Hold::Exclusive };
        lock_standing(connection, &change.name, hold)?.check_writable(&change.name, wanted.period)?;
        let groups: Vec<GroupId> = wanted.groups.iter().cloned().collect();
        let sides = sides_of(connection, &change.name, wanted.period, &groups)?;
        let other: Vec<&GroupId> =
            groups.iter().filter(|id| sides.get(*id).is_some_and(|s| *s != wanted.side)).collect();
        let absent: Vec<&GroupId> = groups.iter().filter(|id| !sides.contains_key(*id)).collect();
        if !preview {
            write(connection, &change.name, wanted, (&other, &absent))?;
        }
        Ok(BulkReceipt {
            change: change.name.clone(),
            period: wanted.period,
            side: wanted.side,
            groups: groups.len(),
            moved: other.len(),
            recorded: absent.len(),
            already: groups.len() - other.len() - absent.len(),
            preview,
        })
    })
}

/// Writes the history first, while the image before is there. SQLite numbers parameters as they first appear, so the statements name them in
/// one order.
fn write(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    wanted: &BulkMove<'_>,
    (other, absent): (&[&GroupId], &[&GroupId]),
) -> Result<(), RoutingError> {
    let dialect = connection.dialect();
    let (assignments, history) = (own(dialect, "assignment"), own(dialect, "assignment_history"));
    let these = format!("change = $5 AND period = $6 AND {}", is_among(dialect, 7));
    let remember = format!(
        "INSERT INTO {history} (action, side, at, actor, reason, change, period, group_id,
             before_side, before_at, before_actor, before_reason, before_flag_version)
         SELECT 'move', CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), CAST($4 AS TEXT), change, period, group_id,
             side, at, actor, reason, flag_version
         FROM {assignments} WHERE {these}"
    );
    let update = format!(
        "UPDATE {assignments} SET side = $1, at = $2, actor = $3, reason = $4, flag_version = NULL WHERE {these}"
    );
    let source = match dialect {
        Dialect::Postgres => "json_array_elements_text(CAST($7 AS json)) AS g(value)",
        Dialect::Sqlite => "json_each($7) AS g",
    };
    let remember_first = format!(
        "INSERT INTO {history} (action, side, at, actor, reason, change, period, group_id)
         SELECT 'move', $1, $2, $3, $4, $5, $6, g.value FROM {source}"
    );
    let values = |groups: &[&GroupId]| -> Vec<Value> {
        vec![
            wanted.side.as_str().into(),
            wanted.at.as_micros().into(),
            wanted.actor.into(),
            wanted.reason.into(),
            change.as_str().into(),
            wanted.period.to_string().into(),
            serde_json::json!(groups).to_string().into(),
        ]
    };
    connection.execute(&remember, &values(other))?;
    connection.execute(&update, &values(other))?;
    connection.execute(&remember_first, &values(absent))?;
    let mark = Mark { at: wanted.at.as_micros(), actor: wanted.actor, reason: wanted.reason, flag_version: None };
    insert_absent(connection, change, wanted.period, wanted.side, absent.iter().copied(), &mark)?;
    Ok(())
}

/// Groups that came out of one group in a running period.
#[derive(Debug, Clone, Copy)]
pub struct SplitOf<'a> {
    pub from: &'a GroupId,
    pub into: &'a BTreeSet<GroupId>,
    pub period: Period,
    pub actor: &'a str,
    pub reason: &'a str,
    pub at: Instant,
}

/// Puts each of these groups on the side that is recorded for the group that they came from, all or none, so that its users stay on the
/// side that they were told.
pub fn inherit(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    split: &SplitOf<'_>,
) -> Result<Vec<MoveReceipt>, RoutingError> {
    if split.reason.trim().is_empty() {
        return Err(RoutingError::NoReason);
    }
    change.check_period(split.period)?;
    connection.in_transaction_with_retry(ATTEMPTS, RoutingError::is_retryable, |connection| {
        lock_standing(connection, &change.name, Hold::Exclusive)?;
        let (_, side) = find_side(connection, &change.name, split.period, split.from)?;
        let side = side.ok_or_else(|| RoutingError::NothingToInherit {
            change: change.name.clone(),
            group: split.from.clone(),
            period: split.period,
        })?;
        let reason = format!("split from group `{}`: {}", split.from, split.reason);
        let (period, actor, at) = (split.period, split.actor, split.at);
        let one = |connection: &mut DatabaseConnection, group| {
            move_locked(connection, change, &Move { group, period, side, actor, reason: &reason, at })
        };
        split.into.iter().map(|group| one(connection, group)).collect()
    })
}
