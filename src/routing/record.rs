//! Reading and writing the recorded sides. An assignment is inserted if absent and otherwise left alone; only `moves` changes one.

use std::collections::HashMap;

use super::error::RoutingError;
use super::routed::Standing;
use super::side::{GroupId, Side};
use crate::database::{DatabaseConnection, Row, Value};
use crate::primitives::{ChangeName, Dialect, Period};
use crate::sql::names::own;

/// What is written next to a side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark<'a> {
    pub at: i64,
    pub actor: &'a str,
    pub reason: &'a str,
    pub flag_version: Option<i64>,
}

/// One statement: where the change stands, and the recorded side of a group, if there is one.
pub(super) fn find_side(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    period: Period,
    group: &GroupId,
) -> Result<(Standing, Option<Side>), RoutingError> {
    let (changes, assignments) = (own(connection.dialect(), "change"), own(connection.dialect(), "assignment"));
    let sql = format!(
        "SELECT c.stage, c.open_period, c.installed_at, s.side
         FROM {changes} c LEFT JOIN {assignments} s ON s.change = c.name AND s.period = $1 AND s.group_id = $2
         WHERE c.name = $3"
    );
    let values = [period.to_string().into(), group.as_str().into(), change.as_str().into()];
    let row = connection.find_row(&sql, &values)?.ok_or_else(|| RoutingError::NotInstalled(change.clone()))?;
    Ok((Standing::read(&row)?, find_side_in(&row, "side")?))
}

/// The recorded sides of these groups; those without one are left out.
pub(super) fn sides_of(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    period: Period,
    groups: &[GroupId],
) -> Result<HashMap<GroupId, Side>, RoutingError> {
    let assignments = own(connection.dialect(), "assignment");
    let sql = format!(
        "SELECT group_id, side FROM {assignments} WHERE change = $1 AND period = $2 AND {}",
        is_among(connection.dialect(), 3)
    );
    let groups = serde_json::json!(groups).to_string();
    let rows = connection.query(&sql, &[change.as_str().into(), period.to_string().into(), groups.into()])?;
    rows.iter().map(|row| Ok((GroupId::new(&row.text("group_id")?)?, side_in(row, "side")?))).collect()
}

/// The condition that a row's group is one of the JSON array that is bound to this parameter. Written as a list of keys and not as a join:
/// right after a million rows were written, planners without statistics read all of them for each group.
pub(super) fn is_among(dialect: Dialect, parameter: usize) -> String {
    match dialect {
        Dialect::Postgres => {
            format!("group_id = ANY (ARRAY(SELECT json_array_elements_text(CAST(${parameter} AS json))))")
        }
        Dialect::Sqlite => format!("group_id IN (SELECT value FROM json_each(${parameter}))"),
    }
}

/// Records a side for each of these groups that has none in the period, and says how many that were.
pub(super) fn insert_absent<'g>(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    period: Period,
    side: Side,
    groups: impl Iterator<Item = &'g GroupId>,
    mark: &Mark<'_>,
) -> Result<usize, RoutingError> {
    let assignments = own(connection.dialect(), "assignment");
    let source = match connection.dialect() {
        Dialect::Postgres => "json_array_elements_text(CAST($8 AS json)) AS g(value)",
        Dialect::Sqlite => "json_each($8) AS g",
    };
    let sql = format!(
        "INSERT INTO {assignments} (change, period, group_id, side, at, actor, reason, flag_version)
         SELECT $1, $2, g.value, $3, $4, $5, $6, CAST($7 AS BIGINT) FROM {source} WHERE true
         ON CONFLICT (change, period, group_id) DO NOTHING"
    );
    let groups: Vec<&GroupId> = groups.collect();
    let groups = serde_json::json!(groups).to_string();
    let values = [
        change.as_str().into(),
        period.to_string().into(),
        side.as_str().into(),
        mark.at.into(),
        mark.actor.into(),
        mark.reason.into(),
        mark.flag_version.into(),
        groups.into(),
    ];
    Ok(connection.execute(&sql, &values)?)
}

/// A side in a column that may be NULL.
pub(super) fn find_side_in(row: &Row, column: &'static str) -> Result<Option<Side>, RoutingError> {
    let text = row.find_text(column)?;
    text.map(|found| found.parse().map_err(|_| RoutingError::Corrupt { column, found })).transpose()
}

/// A side in a column that is never NULL.
pub(super) fn side_in(row: &Row, column: &'static str) -> Result<Side, RoutingError> {
    find_side_in(row, column)?.ok_or(RoutingError::Corrupt { column, found: String::from("NULL") })
}

/// `change, period, group` as the values of a condition on the primary key.
pub(super) fn key_values(change: &ChangeName, period: Period, group: &GroupId) -> Vec<Value> {
    vec![change.as_str().into(), period.to_string().into(), group.as_str().into()]
}
