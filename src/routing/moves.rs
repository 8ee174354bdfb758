//! The two ways in which a recorded side may change: an admin moves one group, or the change goes back to `shadow` and everything
//! that is still open is released to the old side. Both are recorded with both images and a reason.

use serde::Serialize;

use super::error::RoutingError;
use super::record::{Mark, find_side, insert_absent, key_values};
use super::routed::{Hold, RoutedChange, lock_standing};
use super::side::{GroupId, Side};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant, Period};
use crate::sql::effective::{group_text, subquery};
use crate::sql::names::own;
use crate::translation::own::get_change;

const ATTEMPTS: u32 = 8;

/// One group's move.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    pub group: &'a GroupId,
    pub period: Period,
    pub side: Side,
    pub actor: &'a str,
    pub reason: &'a str,
    pub at: Instant,
}

/// What a move did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MoveReceipt {
    pub change: ChangeName,
    pub period: Period,
    pub group: GroupId,
    /// The side recorded before; none: the group was on the old side without a record.
    pub before: Option<Side>,
    pub after: Side,
    /// False: the group was recorded on that side already, and nothing was written.
    pub moved: bool,
    /// The group's charges of the period: they are all allocated by the new side of the group from now on.
    pub charges: i64,
}

/// Puts a group on a side for one open period.
pub fn move_group(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    wanted: &Move<'_>,
) -> Result<MoveReceipt, RoutingError> {
    if wanted.reason.trim().is_empty() {
        return Err(RoutingError::NoReason);
    }
    change.check_period(wanted.period)?;
    connection.in_transaction_with_retry(ATTEMPTS, RoutingError::is_retryable, |connection| {
        // Alone: two moves of one group must each see what the other left behind.
        lock_standing(connection, &change.name, Hold::Exclusive)?;
        move_locked(connection, change, wanted)
    })
}

/// The same, in a transaction that has the change to itself.
pub(super) fn move_locked(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    wanted: &Move<'_>,
) -> Result<MoveReceipt, RoutingError> {
    let (standing, before) = find_side(connection, &change.name, wanted.period, wanted.group)?;
    standing.check_writable(&change.name, wanted.period)?;
    let moved = before != Some(wanted.side);
    if moved {
        write_move(connection, &change.name, wanted)?;
    }
    Ok(MoveReceipt {
        change: change.name.clone(),
        period: wanted.period,
        group: wanted.group.clone(),
        before,
        after: wanted.side,
        moved,
        charges: count_charges(connection, change, wanted)?,
    })
}

fn write_move(connection: &mut DatabaseConnection, change: &ChangeName, wanted: &Move<'_>) -> Result<(), RoutingError> {
    let dialect = connection.dialect();
    let (assignments, history) = (own(dialect, "assignment"), own(dialect, "assignment_history"));
    // One row, whether or not there was an assignment before.
    let remember = format!(
        "INSERT INTO {history} (action, change, period, group_id, side, at, actor, reason,
             before_side, before_at, before_actor, before_reason, before_flag_version)
         SELECT 'move', k.change, k.period, k.group_id, $1, $2, $3, $4, s.side, s.at, s.actor, s.reason, s.flag_version
         FROM (SELECT CAST($5 AS TEXT) AS change, CAST($6 AS TEXT) AS period, CAST($7 AS TEXT) AS group_id) k
         LEFT JOIN {assignments} s ON s.change = k.change AND s.period = k.period AND s.group_id = k.group_id"
    );
    let mark = [wanted.side.as_str().into(), wanted.at.as_micros().into(), wanted.actor.into(), wanted.reason.into()];
    let values: Vec<_> = mark.into_iter().chain(key_values(change, wanted.period, wanted.group)).collect();
    connection.execute(&remember, &values)?;
    let update = format!(
        "UPDATE {assignments} SET side = $1, at = $2, actor = $3, reason = $4, flag_version = NULL
         WHERE change = $5 AND period = $6 AND group_id = $7"
    );
    if connection.execute(&update, &values)? == 0 {
        let mark = Mark { at: wanted.at.as_micros(), actor: wanted.actor, reason: wanted.reason, flag_version: None };
        insert_absent(connection, change, wanted.period, wanted.side, std::iter::once(wanted.group), &mark)?;
    }
    Ok(())
}

fn count_charges(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    wanted: &Move<'_>,
) -> Result<i64, RoutingError> {
    let text = group_text(connection.dialect(), "g.group_id");
    let (charges, group) = (subquery(&change.charges), subquery(&change.group));
    let sql = format!(
        "SELECT count(DISTINCT g.charge_id) AS charges FROM {charges} c JOIN {group} g ON g.charge_id = c.charge_id
         WHERE c.period = $1 AND {text} = $2"
    );
    let row = connection.get_row(&sql, &[wanted.period.to_string().into(), wanted.group.as_str().into()])?;
    Ok(row.integer("charges")?)
}

/// Puts every group that is recorded on the new side in an open period back to the old side, and returns how many that were. Call it in the
/// transaction that moves a change back from `live` to `shadow`. Closed periods stay as they were billed; a change without
/// `[allocation]` has nothing to release.
pub fn release(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    actor: &str,
    reason: &str,
) -> Result<usize, RoutingError> {
    if get_change(connection, change)?.file.allocation.is_none() {
        return Ok(0);
    }
    let at = Instant::from(jiff::Timestamp::now()).as_micros();
    connection.in_transaction(|connection| {
        // Alone: a first question that is being answered would otherwise record `new` behind our back.
        let standing = lock_standing(connection, change, Hold::Exclusive)?;
        let dialect = connection.dialect();
        let (assignments, history) = (own(dialect, "assignment"), own(dialect, "assignment_history"));
        let remember = format!(
            "INSERT INTO {history} (action, change, period, group_id, side, at, actor, reason,
                 before_side, before_at, before_actor, before_reason, before_flag_version)
             SELECT 'release', s.change, s.period, s.group_id, 'old', CAST($1 AS BIGINT), CAST($2 AS TEXT), CAST($3 AS TEXT),
                 s.side, s.at, s.actor, s.reason, s.flag_version
             FROM {assignments} s WHERE s.change = $4 AND s.period >= $5 AND s.side = 'new'"
        );
        let values =
            [at.into(), actor.into(), reason.into(), change.as_str().into(), standing.open_period.as_str().into()];
        connection.execute(&remember, &values)?;
        let update = format!(
            "UPDATE {assignments} SET side = 'old', at = $1, actor = $2, reason = $3, flag_version = NULL
             WHERE change = $4 AND period >= $5 AND side = 'new'"
        );
        Ok(connection.execute(&update, &values)?)
    })
}
