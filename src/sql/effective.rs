//! The view `effective_allocation`, what the bill run reads: every charge's allocation by the side of its group, as SQL text.
//!
//! One condition, "the charge has a group whose side is recorded as `new` in the charge's period", decides alone: rows of the new
//! allocation are those of charges for which it holds, rows of the old one those of charges for which it does not. So a charge is
//! on exactly one side, even one without a group (old) or one that the group query lists twice (new if any of its groups is new;
//! `routing` refuses to assign such groups).

use super::names::{literal, own};
use crate::change::Allocation;
use crate::primitives::{ChangeName, Dialect};

/// Statements that create the view: `charge_id, period, currency, payer, amount, side, group_id`.
///
/// A condition on `period` or `charge_id` reaches the change file's own queries, so a period's read costs what the period costs,
/// given an index on the charges' period. `group_id` is text; it is worked out only by who asks for it.
#[must_use]
pub fn create(dialect: Dialect, change: &ChangeName, allocation: &Allocation) -> Vec<String> {
    let view = own(dialect, "effective_allocation");
    let assignment = own(dialect, "assignment");
    let change = literal(change.as_str());
    let charges = subquery(&allocation.charges.value);
    let old = subquery(&allocation.old.value);
    let new = subquery(&allocation.new.value);
    let group = subquery(&allocation.group.value);
    let group_text = group_text(dialect, "g.group_id");
    let recorded_new = format!(
        "FROM {group} g JOIN {assignment} s ON s.group_id = {group_text}
  WHERE g.charge_id = c.charge_id AND s.change = {change} AND s.period = CAST(c.period AS TEXT) AND s.side = 'new'"
    );
    vec![format!(
        "CREATE VIEW {view} AS
SELECT c.charge_id AS charge_id, c.period AS period, c.currency AS currency, a.payer AS payer, a.amount AS amount,
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
    )]
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
    fn a_query_may_end_in_a_comment_or_a_semicolon() {
        assert_eq!(subquery(" SELECT 1; "), "(\nSELECT 1\n)");
        assert_eq!(subquery("SELECT 1 -- one"), "(\nSELECT 1 -- one\n)");
    }
}
