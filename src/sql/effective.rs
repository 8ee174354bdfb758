//! The view `effective_allocation`, what the bill run reads: every charge's allocation by the side of its group, as SQL text.
//!
//! One condition, "the charge has a group whose side is recorded as `new` in the charge's period", decides alone: rows of the new
//! allocation are those of charges for which it holds, rows of the old one those of charges for which it does not. So a charge is
//! on exactly one side, even one without a group (old) or one that the group query lists twice (new if any of its groups is new;
//! `routing` refuses to assign such groups).

use super::names::{literal, own};
use super::scan::find_identifier;
use crate::change::Allocation;
use crate::primitives::{ChangeName, Dialect};

/// Statements that create the view: `charge_id, period, currency, payer, amount, side, group_id`.
///
/// A condition on `period` or `charge_id` reaches the change file's own queries, so a period's read costs what the period costs,
/// given an index on the charges' period and one on the charge's id wherever the group is looked up. `group_id` is text.
#[must_use]
pub fn create(dialect: Dialect, change: &ChangeName, allocation: &Allocation) -> Vec<String> {
    let parts = Parts {
        group_text: group_text(dialect, "g.group_id"),
        group: subquery(&allocation.group.value),
        charges: subquery(&allocation.charges.value),
        old: subquery(&allocation.old.value),
        new: subquery(&allocation.new.value),
        assignment: own(dialect, "assignment"),
        change: literal(change.as_str()),
    };
    let query = match dialect {
        Dialect::Sqlite if !is_looked_up_by_key(&allocation.group.value) => parts.computed_once(),
        _ => parts.looked_up(),
    };
    vec![format!("CREATE VIEW {} AS\n{query}", own(dialect, "effective_allocation"))]
}

/// The view once a change is complete: what is not closed is billed by the new model, whatever is recorded; closed periods stay as they
/// were billed.
#[must_use]
pub fn create_complete(
    dialect: Dialect,
    change: &ChangeName,
    allocation: &Allocation,
    open_period: &str,
) -> Vec<String> {
    let group_text = group_text(dialect, "g.group_id");
    let (group, charges) = (subquery(&allocation.group.value), subquery(&allocation.charges.value));
    let (old, new) = (subquery(&allocation.old.value), subquery(&allocation.new.value));
    let is_new = format!(
        "(CAST(c.period AS TEXT) >= {} OR EXISTS (SELECT 1 FROM {group} g JOIN {} s ON s.group_id = {group_text}
  WHERE g.charge_id = c.charge_id AND s.change = {} AND s.period = CAST(c.period AS TEXT) AND s.side = 'new'))",
        literal(open_period),
        own(dialect, "assignment"),
        literal(change.as_str())
    );
    let group_id = format!("(SELECT min({group_text}) FROM {group} g WHERE g.charge_id = c.charge_id) AS group_id");
    let columns =
        "c.charge_id AS charge_id, c.period AS period, c.currency AS currency, a.payer AS payer, a.amount AS amount";
    vec![format!(
        "CREATE VIEW {} AS\nSELECT {columns},\n  CAST('old' AS TEXT) AS side, {group_id}\nFROM {charges} c JOIN {old} a ON a.charge_id = c.charge_id\nWHERE NOT {is_new}\nUNION ALL\nSELECT {columns},\n  CAST('new' AS TEXT) AS side, {group_id}\nFROM {charges} c JOIN {new} a ON a.charge_id = c.charge_id\nWHERE {is_new}",
        own(dialect, "effective_allocation")
    )]
}

/// Whether SQLite can restrict the group query to one charge. It merges a plain SELECT into the query around it; anything else it
/// would compute as a whole, for every single charge.
fn is_looked_up_by_key(query: &str) -> bool {
    let words = ["distinct", "group", "union", "except", "intersect", "limit", "over", "with"];
    let selects_again = find_identifier(query, "select")
        .and_then(|at| query.get(at + "select".len()..))
        .is_some_and(|rest| find_identifier(rest, "select").is_some());
    !selects_again && words.iter().all(|word| find_identifier(query, word).is_none())
}

/// What the view is made of, each in parentheses or quoted.
struct Parts {
    group_text: String,
    group: String,
    charges: String,
    old: String,
    new: String,
    assignment: String,
    change: String,
}

impl Parts {
    /// The condition as a semi-join for the new side and the same one as an anti-join for the old side.
    fn looked_up(&self) -> String {
        let Self { group_text, group, charges, old, new, assignment, change } = self;
        let recorded_new = format!(
            "FROM {group} g JOIN {assignment} s ON s.group_id = {group_text}
  WHERE g.charge_id = c.charge_id AND s.change = {change} AND s.period = CAST(c.period AS TEXT) AND s.side = 'new'"
        );
        format!(
            "SELECT c.charge_id AS charge_id, c.period AS period, c.currency AS currency, a.payer AS payer, a.amount AS amount,
  CAST('old' AS TEXT) AS side,
  (SELECT min({group_text}) FROM {group} g WHERE g.charge_id = c.charge_id) AS group_id
FROM {charges} c JOIN {old} a ON a.charge_id = c.charge_id
WHERE NOT EXISTS (SELECT 1 {recorded_new})
UNION ALL
SELECT c.charge_id, c.period, c.currency, a.payer, a.amount,
  CAST('new' AS TEXT),
  (SELECT min({group_text}) {recorded_new})
FROM {charges} c JOIN {new} a ON a.charge_id = c.charge_id
WHERE EXISTS (SELECT 1 {recorded_new})"
        )
    }

    /// The same with the groups of all charges computed once, one row a charge, and joined.
    fn computed_once(&self) -> String {
        let Self { group_text, group, charges, old, new, assignment, change } = self;
        let groups = format!(
            "(SELECT g.charge_id AS charge_id, min({group_text}) AS group_id FROM {group} g GROUP BY g.charge_id)"
        );
        let recorded_new = format!(
            "(SELECT g.charge_id AS charge_id, s.period AS period, min({group_text}) AS group_id
  FROM {group} g JOIN {assignment} s ON s.group_id = {group_text}
  WHERE s.change = {change} AND s.side = 'new' GROUP BY g.charge_id, s.period)"
        );
        format!(
            "SELECT c.charge_id AS charge_id, c.period AS period, c.currency AS currency, a.payer AS payer, a.amount AS amount,
  CAST('old' AS TEXT) AS side, k.group_id AS group_id
FROM {charges} c JOIN {old} a ON a.charge_id = c.charge_id LEFT JOIN {groups} k ON k.charge_id = c.charge_id
  LEFT JOIN {recorded_new} n ON n.charge_id = c.charge_id AND n.period = CAST(c.period AS TEXT)
WHERE n.charge_id IS NULL
UNION ALL
SELECT c.charge_id, c.period, c.currency, a.payer, a.amount, CAST('new' AS TEXT), n.group_id
FROM {charges} c JOIN {new} a ON a.charge_id = c.charge_id
  JOIN {recorded_new} n ON n.charge_id = c.charge_id AND n.period = CAST(c.period AS TEXT)"
        )
    }
}

/// Statements that remove what [`create`] made.
#[must_use]
pub fn drop(dialect: Dialect) -> Vec<String> {
    vec![format!("DROP VIEW IF EXISTS {}", own(dialect, "effective_allocation"))]
}

/// A group's id as the text that assignments are stored by.
#[must_use]
pub fn group_text(dialect: Dialect, expression: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("(CAST({expression} AS TEXT) COLLATE \"C\")"),
        Dialect::Sqlite => format!("CAST({expression} AS TEXT)"),
    }
}

/// A query of the change file in parentheses, on lines of its own so that a comment at its end stays a comment.
#[must_use]
pub fn subquery(query: &str) -> String {
    format!("(\n{}\n)", query.trim().trim_end_matches(';').trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_select_is_looked_up_by_key() {
        assert!(is_looked_up_by_key(
            "SELECT c.id AS charge_id, v.account_id AS group_id FROM charges c JOIN videos v USING (video_id)"
        ));
        for query in [
            "SELECT DISTINCT charge_id, account_id AS group_id FROM charge_allocations",
            "SELECT charge_id, min(account_id) AS group_id FROM charge_allocations group by charge_id",
            "SELECT id AS charge_id, a AS group_id FROM b UNION ALL SELECT id, a FROM c",
            "SELECT id AS charge_id, (SELECT 1) AS group_id FROM b",
        ] {
            assert!(!is_looked_up_by_key(query), "{query}");
        }
    }

    #[test]
    fn a_query_may_end_in_a_comment_or_a_semicolon() {
        assert_eq!(subquery(" SELECT 1; "), "(\nSELECT 1\n)");
        assert_eq!(subquery("SELECT 1 -- one"), "(\nSELECT 1 -- one\n)");
    }
}
