//! One charge, wherever a comparison reads it: its rows as they stand, its amounts as they are compared, and what a closed period
//! recorded of it. Every statement is restricted to the scope, so that indexes on ids are used.

use super::closed::Closed;
use super::compare::section;
use super::compare_input::{inlined, inputs, whole};
use super::compare_query::CompareQuery;
use super::names::{literal, quoted};
use crate::primitives::{ChangeName, Dialect};

/// Rows of each query that are shown.
pub const ROWS_MAX: usize = 100;

/// A query's rows in scope as they stand, each of the columns as text; one row more than are shown.
#[must_use]
pub fn rows(query: &CompareQuery<'_>, text: &str, columns: &[String]) -> String {
    let named: Vec<String> =
        columns.iter().map(|column| format!("CAST(q.{0} AS text) AS {0}", quoted(column))).collect();
    let places: Vec<String> = (1..=columns.len()).map(|place| place.to_string()).collect();
    format!(
        "SELECT {} FROM {} q WHERE {} ORDER BY {} LIMIT {}",
        named.join(", "),
        inlined(text),
        query.in_scope("q.charge_id"),
        places.join(", "),
        ROWS_MAX + 1
    )
}

/// What is compared of the charges in scope. Sections: `charge` (period, currency; amount), `old` and `new` (payer, currency; amount),
/// `expected` (payer), `group` (group), `reverses` (charge), `effective` (payer, side; amount).
#[must_use]
pub fn facts(query: &CompareQuery<'_>) -> String {
    let currency = if query.columns.new_has_currency { "currency" } else { "NULL" };
    let mut sections = vec![
        section("charge", &["period", "currency"], &["amount"], "charge_input"),
        section("old", &["payer"], &["amount"], "old_input"),
        section("new", &["payer", currency], &["amount"], "new_input"),
        section("group", &["group_id"], &[], "group_input"),
    ];
    if query.allocation.expected_payers.is_some() {
        sections.push(section("expected", &["payer"], &[], "expected_input"));
    }
    if query.allocation.reverses.is_some() {
        sections.push(section("reverses", &["reverses_id"], &[], "refund"));
    }
    if let Some(view) = query.effective {
        let from = format!(
            "(SELECT {} AS payer, q.side, {} AS amount FROM {view} q WHERE {}) effective",
            query.payer("q.payer"),
            whole(query, "effective", "q.amount"),
            query.in_scope("q.charge_id")
        );
        sections.push(section("effective", &["payer", "side"], &["amount"], &from));
    }
    format!("WITH {}\n{}", inputs(query).join(",\n"), sections.join("\nUNION ALL\n"))
}

/// What a closed period recorded of a charge: model, payer and amount as text in the smallest unit.
#[must_use]
pub fn recorded(query: &CompareQuery<'_>, closed: &Closed, charge_id: &str) -> String {
    let amount = match query.dialect {
        Dialect::Postgres => {
            let zeros = "0".repeat(query.allocation.scale.map_or(0, usize::from));
            format!("trunc(q.amount * 1{zeros})")
        }
        Dialect::Sqlite => String::from("q.amount"),
    };
    format!(
        "SELECT q.model, q.payer, CAST({amount} AS text) AS amount FROM {} q WHERE q.charge_id = {} ORDER BY 1, 2, 3",
        closed.table,
        literal(charge_id)
    )
}

/// When a period closed, by whom, and whether the new model was recorded.
#[must_use]
pub fn closing(dialect: Dialect, change: &ChangeName, period: &str) -> String {
    format!(
        "SELECT has_new, at, actor FROM {} WHERE change = {} AND period = {}",
        super::names::own(dialect, "closed_period"),
        literal(change.as_str()),
        literal(period)
    )
}
