//! Who shares the charges of some groups: what a cohort of users reaches once it is widened.

use super::error::RoutingError;
use super::routed::RoutedChange;
use super::side::GroupId;
use crate::database::DatabaseConnection;
use crate::primitives::Dialect;
use crate::sql::effective::{group_text, subquery};

/// How many distinct payers the charges of these groups have, by the old allocation or the new.
pub(super) fn count_payers<'g>(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    groups: impl Iterator<Item = &'g GroupId>,
) -> Result<i64, RoutingError> {
    let wanted = match connection.dialect() {
        Dialect::Postgres => "SELECT w.value AS g FROM json_array_elements_text(CAST($1 AS json)) AS w(value)",
        Dialect::Sqlite => "SELECT w.value AS g FROM json_each($1) AS w",
    };
    let text = group_text(connection.dialect(), "g.group_id");
    let (group, old, new) = (subquery(&change.group), subquery(&change.old), subquery(&change.new));
    let payers = |allocation: &str| {
        format!(
            "SELECT CAST(a.payer AS TEXT) AS payer FROM charges_of c JOIN {allocation} a ON a.charge_id = c.charge_id"
        )
    };
    let sql = format!(
        "WITH wanted AS ({wanted}), charges_of AS (SELECT g.charge_id FROM {group} g JOIN wanted ON wanted.g = {text})
         SELECT count(DISTINCT p.payer) AS payers FROM ({} UNION ALL {}) p",
        payers(&old),
        payers(&new)
    );
    let groups: Vec<&GroupId> = groups.collect();
    Ok(connection.get_row(&sql, &[serde_json::json!(groups).to_string().into()])?.integer("payers")?)
}
