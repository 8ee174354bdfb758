//! Reading assignments: a page of a period, how many groups are on each side, and everything that ever happened to one group.

use serde::Serialize;

use super::error::RoutingError;
use super::record::{find_side_in, side_in};
use super::side::{GroupId, Side};
use crate::database::{DatabaseConnection, Row};
use crate::primitives::{ChangeName, Instant, Period};
use crate::sql::names::own;

/// The recorded side of a group in a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assignment {
    pub period: Period,
    pub group: GroupId,
    pub side: Side,
    pub at: Instant,
    pub actor: String,
    pub reason: String,
    /// The flag's version that decided; none: a person did.
    pub flag_version: Option<i64>,
}

/// How many groups are recorded on each side. Every other group is on the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SideCounts {
    pub period: Period,
    pub old: i64,
    pub new: i64,
}

/// How a side came to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// When the period was opened, or at the first question.
    Assign,
    Move,
    Release,
}

/// One event in the life of a (group, period).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub action: Action,
    #[serde(flatten)]
    pub assignment: Assignment,
}

/// Up to `limit` assignments of a period, by group, after `after`.
pub fn list(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    period: Period,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Assignment>, RoutingError> {
    let assignments = own(connection.dialect(), "assignment");
    let sql = format!(
        "SELECT period, group_id, side, at, actor, reason, flag_version FROM {assignments}
         WHERE change = $1 AND period = $2 AND group_id > $3 ORDER BY group_id LIMIT $4"
    );
    let values =
        [change.as_str().into(), period.to_string().into(), after.unwrap_or_default().into(), limit.max(0).into()];
    connection.query(&sql, &values)?.iter().map(read_assignment).collect()
}

/// The sides of every period that has assignments, the newest first.
pub fn count_sides(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Vec<SideCounts>, RoutingError> {
    let assignments = own(connection.dialect(), "assignment");
    let sql = format!(
        "SELECT period, sum(CASE side WHEN 'old' THEN 1 ELSE 0 END) AS old, sum(CASE side WHEN 'new' THEN 1 ELSE 0 END) AS new
         FROM {assignments} WHERE change = $1 GROUP BY period ORDER BY period DESC"
    );
    let rows = connection.query(&sql, &[change.as_str().into()])?;
    rows.iter()
        .map(|row| Ok(SideCounts { period: period_in(row)?, old: row.integer("old")?, new: row.integer("new")? }))
        .collect()
}

/// Everything that happened to a group, by period and then in order.
pub fn history(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    group: &GroupId,
) -> Result<Vec<Event>, RoutingError> {
    let mut events = Vec::new();
    for current in current_of(connection, change, group)? {
        let changes = changes_of(connection, change, group, current.period)?;
        // What was first is the image before the first change or, if nothing changed, what is in force.
        match changes.first() {
            None => events.push(Event { action: Action::Assign, assignment: current }),
            Some(row) => events
                .extend(before_image(row, &current)?.map(|assignment| Event { action: Action::Assign, assignment })),
        }
        for row in &changes {
            let action = if row.text("action")? == "move" { Action::Move } else { Action::Release };
            events.push(Event { action, assignment: read_assignment(row)? });
        }
    }
    Ok(events)
}

/// The assignments of one group, by period. Looks each period up by key: an index by group would double what assigning costs.
fn current_of(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    group: &GroupId,
) -> Result<Vec<Assignment>, RoutingError> {
    let assignments = own(connection.dialect(), "assignment");
    let sql = format!(
        "WITH RECURSIVE periods(period) AS (
           SELECT min(period) FROM {assignments} WHERE change = $1
           UNION ALL
           SELECT (SELECT min(a.period) FROM {assignments} a WHERE a.change = $1 AND a.period > periods.period)
           FROM periods WHERE periods.period IS NOT NULL
         )
         SELECT s.period, s.group_id, s.side, s.at, s.actor, s.reason, s.flag_version
         FROM periods JOIN {assignments} s ON s.change = $1 AND s.period = periods.period AND s.group_id = $2
         ORDER BY s.period"
    );
    connection.query(&sql, &[change.as_str().into(), group.as_str().into()])?.iter().map(read_assignment).collect()
}

fn changes_of(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    group: &GroupId,
    period: Period,
) -> Result<Vec<Row>, RoutingError> {
    let history = own(connection.dialect(), "assignment_history");
    let sql = format!(
        "SELECT action, period, group_id, side, at, actor, reason, CAST(NULL AS BIGINT) AS flag_version,
           before_side, before_at, before_actor, before_reason, before_flag_version
         FROM {history} WHERE change = $1 AND group_id = $2 AND period = $3 ORDER BY id"
    );
    Ok(connection.query(&sql, &[change.as_str().into(), group.as_str().into(), period.to_string().into()])?)
}

fn before_image(row: &Row, current: &Assignment) -> Result<Option<Assignment>, RoutingError> {
    let Some(side) = find_side_in(row, "before_side")? else { return Ok(None) };
    Ok(Some(Assignment {
        period: current.period,
        group: current.group.clone(),
        side,
        at: Instant::from_micros(row.integer("before_at")?),
        actor: row.text("before_actor")?,
        reason: row.text("before_reason")?,
        flag_version: row.find_integer("before_flag_version")?,
    }))
}

fn read_assignment(row: &Row) -> Result<Assignment, RoutingError> {
    Ok(Assignment {
        period: period_in(row)?,
        group: GroupId::new(&row.text("group_id")?)?,
        side: side_in(row, "side")?,
        at: Instant::from_micros(row.integer("at")?),
        actor: row.text("actor")?,
        reason: row.text("reason")?,
        flag_version: row.find_integer("flag_version")?,
    })
}

fn period_in(row: &Row) -> Result<Period, RoutingError> {
    let found = row.text("period")?;
    found.parse().map_err(|_| RoutingError::Corrupt { column: "period", found })
}
