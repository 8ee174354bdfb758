//! Who was on which side at a time, and why: from what is recorded and the append-only history, for ever.

use serde::Serialize;

use super::error::RoutingError;
use super::list::{Event, history};
use super::routed::RoutedChange;
use super::side::{GroupId, Side};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant, Period};

/// The side of a group for a period, as it stood at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoodAt {
    pub change: ChangeName,
    pub group: GroupId,
    pub period: Period,
    pub at: Instant,
    pub side: Side,
    /// What put it there: who, when, why and by which version of the flag. None: nothing was recorded, so it was on the old side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Event>,
    /// What was done to it before, in order.
    pub before: Vec<Event>,
    /// What was done to it since.
    pub since: Vec<Event>,
}

/// The side of a group at an instant, for a period or the one that contains the instant.
pub fn side_at(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    group: &GroupId,
    (at, period): (Instant, Option<Period>),
) -> Result<StoodAt, RoutingError> {
    let period = match period {
        Some(period) => period,
        None => change.period_at(at)?,
    };
    let events = history(connection, &change.name, group)?;
    let of_period = events.into_iter().filter(|event| event.assignment.period == period);
    let (mut before, since): (Vec<Event>, Vec<Event>) = of_period.partition(|event| event.assignment.at <= at);
    let because = before.pop();
    let side = because.as_ref().map_or(Side::Old, |event| event.assignment.side);
    Ok(StoodAt { change: change.name.clone(), group: group.clone(), period, at, side, because, before, since })
}
