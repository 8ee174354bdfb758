//! The view `effective_allocation`, what the bill run reads: every charge's allocation by the side of its group, as SQL text.
//!
//! One condition decides alone: "the charge has a group whose side is recorded as `new` in the charge's period". Of a charge that reverses
//! another one that is there, it is asked of that one: a refund gives back to whom was charged, though the group has changed sides since.
//! Rows of the new allocation are those of charges for which the condition holds, rows of the old one those of charges for which it does
//! not. So a charge is on exactly one side, even one without a group (old), one that the group query lists twice (new if any of its groups
//! is new; `routing` refuses to assign such groups) or one that reverses several (new if any of them is).

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
    view(dialect, allocation, &Parts::new(dialect, change, allocation, None))
}

/// Statements that make the view as [`create`] does where one of the same queries is there already, perhaps made by an earlier version. What
/// the application has granted on it, or built on it, stays on PostgreSQL.
#[must_use]
pub fn renew(dialect: Dialect, change: &ChangeName, allocation: &Allocation) -> Vec<String> {
    let created = create(dialect, change, allocation);
    match dialect {
        Dialect::Postgres => {
            created.into_iter().map(|sql| sql.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)).collect()
        }
        Dialect::Sqlite => drop(dialect).into_iter().chain(created).collect(),
    }
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
    view(dialect, allocation, &Parts::new(dialect, change, allocation, Some(open_period)))
}

fn view(dialect: Dialect, allocation: &Allocation, parts: &Parts) -> Vec<String> {
    let mut looked_up = std::iter::once(&allocation.group).chain(&allocation.reverses);
    let is_by_key = dialect == Dialect::Postgres || looked_up.all(|query| is_looked_up_by_key(&query.value));
    let query = if is_by_key { parts.looked_up() } else { parts.computed_once() };
    vec![format!("CREATE VIEW {} AS\n{query}", own(dialect, "effective_allocation"))]
}

/// Whether SQLite can restrict a query to one charge. It merges a plain SELECT into the query around it; anything else it
/// would compute as a whole, for every single charge.
#[must_use]
pub fn is_looked_up_by_key(query: &str) -> bool {
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
    reverses: Option<String>,
    assignment: String,
    change: String,
    /// Periods from this one on are billed by the new model.
    new_from: Option<String>,
}

const COLUMNS: &str =
    "c.charge_id AS charge_id, c.period AS period, c.currency AS currency, a.payer AS payer, a.amount AS amount";

impl Parts {
    fn new(dialect: Dialect, change: &ChangeName, allocation: &Allocation, new_from: Option<&str>) -> Self {
        Self {
            group_text: group_text(dialect, "g.group_id"),
            group: subquery(&allocation.group.value),
            charges: subquery(&allocation.charges.value),
            old: subquery(&allocation.old.value),
            new: subquery(&allocation.new.value),
            reverses: allocation.reverses.as_ref().map(|query| subquery(&query.value)),
            assignment: own(dialect, "assignment"),
            change: literal(change.as_str()),
            new_from: new_from.map(literal),
        }
    }

    /// The condition for a row of the charges query, by its alias.
    fn is_new(&self, charge: &str) -> String {
        let Self { group_text, group, assignment, change, .. } = self;
        let recorded = format!(
            "EXISTS (SELECT 1 FROM {group} g JOIN {assignment} s ON s.group_id = {group_text}
  WHERE g.charge_id = {charge}.charge_id AND s.change = {change} AND s.period = CAST({charge}.period AS TEXT) AND s.side = 'new')"
        );
        match &self.new_from {
            Some(period) => format!("(CAST({charge}.period AS TEXT) >= {period} OR {recorded})"),
            None => recorded,
        }
    }

    /// Semi-joins for the new side and the same ones as anti-joins for the old side, which a planner can drive from either end. Charges
    /// that reverse others have branches of their own, so that all others are asked nothing more than without them.
    fn looked_up(&self) -> String {
        let Self { group_text, group, charges, old, new, .. } = self;
        let branch = |side: &str, model: &str, condition: &str| {
            format!(
                "SELECT {COLUMNS},
  CAST('{side}' AS TEXT) AS side,
  (SELECT min({group_text}) FROM {group} g WHERE g.charge_id = c.charge_id) AS group_id
FROM {charges} c JOIN {model} a ON a.charge_id = c.charge_id
WHERE {condition}"
            )
        };
        let is_new = self.is_new("c");
        let Some(reverses) = &self.reverses else {
            return [branch("old", old, &format!("NOT {is_new}")), branch("new", new, &is_new)].join("\nUNION ALL\n");
        };
        let reversed = |more: &str| {
            format!(
                "EXISTS (SELECT 1 FROM {reverses} r JOIN {charges} b ON b.charge_id = r.reverses_id
  WHERE r.charge_id = c.charge_id{more})"
            )
        };
        let (reverses, reverses_new) = (reversed(""), reversed(&format!(" AND {}", self.is_new("b"))));
        [
            branch("old", old, &format!("NOT {is_new}\n  AND NOT {reverses}")),
            branch("new", new, &format!("{is_new}\n  AND NOT {reverses}")),
            branch("old", old, &format!("{reverses}\n  AND NOT {reverses_new}")),
            branch("new", new, &reverses_new),
        ]
        .join("\nUNION ALL\n")
    }

    /// The same with the groups of all charges, and what each of them reverses, computed once and joined.
    fn computed_once(&self) -> String {
        let Self { group_text, group, charges, old, new, assignment, change, .. } = self;
        let groups = format!(
            "(SELECT g.charge_id AS charge_id, min({group_text}) AS group_id FROM {group} g GROUP BY g.charge_id)"
        );
        let recorded_new = format!(
            "(SELECT DISTINCT g.charge_id AS charge_id, s.period AS period
  FROM {group} g JOIN {assignment} s ON s.group_id = {group_text} WHERE s.change = {change} AND s.side = 'new')"
        );
        let is_new_of = |charge: &str| match &self.new_from {
            Some(period) => format!("(n.charge_id IS NOT NULL OR CAST({charge}.period AS TEXT) >= {period})"),
            None => String::from("n.charge_id IS NOT NULL"),
        };
        let own_new = format!(
            "\n  LEFT JOIN {recorded_new} n ON n.charge_id = c.charge_id AND n.period = CAST(c.period AS TEXT)"
        );
        let (joins, is_new) = match &self.reverses {
            None => (own_new, is_new_of("c")),
            Some(reverses) => (
                format!(
                    "{own_new}
  LEFT JOIN (SELECT r.charge_id AS charge_id, max({}) AS is_new
    FROM {reverses} r JOIN {charges} b ON b.charge_id = r.reverses_id
    LEFT JOIN {recorded_new} n ON n.charge_id = b.charge_id AND n.period = CAST(b.period AS TEXT)
    GROUP BY r.charge_id) r ON r.charge_id = c.charge_id",
                    is_new_of("b")
                ),
                format!("coalesce(r.is_new, {})", is_new_of("c")),
            ),
        };
        let branch = |side: &str, model: &str, is: &str| {
            format!(
                "SELECT {COLUMNS}, CAST('{side}' AS TEXT) AS side, k.group_id AS group_id
FROM {charges} c JOIN {model} a ON a.charge_id = c.charge_id LEFT JOIN {groups} k ON k.charge_id = c.charge_id{joins}
WHERE {is}{is_new}"
            )
        };
        [branch("old", old, "NOT "), branch("new", new, "")].join("\nUNION ALL\n")
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
