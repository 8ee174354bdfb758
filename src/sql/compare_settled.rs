//! Charges of which nothing is left to be said once each query has been read: one row in each, all of them with the same payer and the
//! same amount. Most charges are like that before a change goes live, and it takes one grouping by charge to tell them, a third of what
//! putting them side by side payer by payer takes. All others are looked at in detail.
//!
//! Only for PostgreSQL: there it pays.

use super::closed::is_in;
use super::compare::{no_amount, section};
use super::compare_input::{CHARGE_COLUMNS, asked};
use super::compare_query::CompareQuery;

/// How many allocations without a charge are named; if there are more, they are looked for again.
pub const ORPHANS_NAMED: usize = 1_000;

// What is known of an id, in the column `state` of `known`: short, because there is one for each charge.
const OPEN: u8 = 0;
const SETTLED: u8 = 1;
const ELSEWHERE: u8 = 2;
/// Somebody is expected to pay, but there is no charge, and nothing is allocated.
const NOTHING: u8 = 3;
/// Something is allocated, or so many expected payers have no name that it looks like it: whoever is told looks again.
const ORPHAN: u8 = 4;

/// The named subqueries `alone` (what the rows of an id have in common), `known` (each charge, and each allocation without one) and
/// `charge` (the charges that are not settled).
pub(super) fn settled(query: &CompareQuery<'_>) -> Vec<String> {
    vec![alone(query), known(query), open(query)]
}

/// One row for each id that any side names. A sound row of the old side counts 10, one of the new side 100, an expected payer nothing: as
/// many rows as there are queries make 110 only if there is one of each. PostgreSQL does not know how many ids there are and would hash
/// them; put in order, they are grouped and joined faster.
fn alone(query: &CompareQuery<'_>) -> String {
    let (no_currency, currency, currency_of) = if query.columns.new_has_currency {
        (", CAST(NULL AS text) AS currency", ", currency", ", min(currency) AS currency")
    } else {
        ("", "", "")
    };
    let row = |sound: u8| format!("CASE WHEN payer IS NULL OR amount IS NULL THEN 1000 ELSE {sound} END");
    let mut sides = vec![
        format!("SELECT charge_id, payer, amount, {} AS kind{no_currency} FROM old_input", row(10)),
        format!("SELECT charge_id, payer, amount, {}{currency} FROM new_input", row(100)),
    ];
    if query.allocation.expected_payers.is_some() {
        sides.push(format!(
            "SELECT charge_id, payer, {}, CASE WHEN payer IS NULL THEN 1 ELSE 0 END{no_currency} FROM expected_input",
            no_amount(query)
        ));
    }
    format!(
        "alone AS NOT MATERIALIZED (
  SELECT charge_id, min(payer) AS payer, min(amount) AS amount, sum(kind) AS kind{currency_of},
    CASE WHEN count(*) = {rows} AND sum(kind) = 110 AND min(payer) = max(payer) AND min(amount) = max(amount) THEN 1 ELSE 0 END AS is_alone
  FROM (\n    {sides}\n    ORDER BY charge_id) part
  GROUP BY charge_id)",
        rows = sides.len(),
        sides = sides.join("\n    UNION ALL ")
    )
}

fn known(query: &CompareQuery<'_>) -> String {
    let mut conditions = vec![
        String::from("a.is_alone = 1 AND a.amount = c.amount AND c.period IS NOT NULL AND coalesce(g.times, 1) = 1"),
        match query.columns.new_has_currency {
            true => String::from("a.currency = c.currency"),
            false => String::from("c.currency IS NOT NULL"),
        },
    ];
    let (mut columns, mut joins) = ("", String::new());
    if query.effective.is_some() {
        conditions.push(String::from("v.amount = c.amount"));
        columns = ",\n    coalesce(v.times, 0) AS effective_rows, coalesce(v.amount, 0) AS effective_amount, coalesce(v.on_new, 0) AS on_new";
        joins.push_str("\n  LEFT JOIN effective_of v ON v.charge_id = c.charge_id");
    }
    if query.allocation.reverses.is_some() {
        conditions.push(String::from("r.charge_id IS NULL"));
        joins.push_str("\n  LEFT JOIN refund r ON r.charge_id = c.charge_id");
    }
    if let Some(closed) = query.closed {
        conditions.push(format!("NOT ({})", is_in("c.period", &closed.periods)));
    }
    if !query.asked_charges.is_empty() {
        conditions.push(format!("NOT ({})", query.is_among("c.charge_id", query.asked_charges)));
    }
    format!(
        "known AS MATERIALIZED (
  SELECT coalesce(c.charge_id, a.charge_id) AS charge_id, c.period, c.currency, c.amount, a.payer, g.times AS group_rows{columns},
    CASE WHEN c.charge_id IS NULL THEN CASE WHEN a.kind >= 10 THEN {ORPHAN} ELSE {NOTHING} END
      WHEN {conditions} THEN CASE {asked} WHEN 1 THEN {SETTLED} ELSE {ELSEWHERE} END
      ELSE {OPEN} END AS state
  FROM charge_input c
  LEFT JOIN group_of g ON g.charge_id = c.charge_id{joins}
  FULL JOIN alone a ON a.charge_id = c.charge_id)",
        asked = asked(query, "c.period"),
        conditions = conditions.join("\n      AND ")
    )
}

/// What is left, in the shape of the inputs' `charge`, with what `known` has joined already.
fn open(query: &CompareQuery<'_>) -> String {
    let effective = match query.effective {
        Some(_) => {
            ", max(effective_rows) AS effective_rows, max(effective_amount) AS effective_amount, max(on_new) AS on_new"
        }
        None => "",
    };
    format!(
        "charge AS MATERIALIZED (
  SELECT {CHARGE_COLUMNS}, {} AS asked, max(group_rows) AS group_rows{effective}
  FROM known WHERE state = {OPEN} GROUP BY charge_id)",
        asked(query, "min(period)")
    )
}

/// What is said of settled charges, in the shape of the section `class`.
pub(super) fn classes(query: &CompareQuery<'_>) -> String {
    let (effective_rows, on_new, on_new_amount) = match query.effective {
        Some(_) => ("sum(effective_rows)", "sum(on_new)", "sum(CASE WHEN on_new = 1 THEN amount END)"),
        None => ("count(*)", "0", "NULL"),
    };
    let numbers = [
        "count(*)",
        "sum(amount)",
        "count(*)",
        "count(*)",
        "sum(amount)",
        "count(*)",
        "count(*)",
        "sum(amount)",
        "count(*)",
        effective_rows,
        "sum(amount)",
        on_new,
        on_new_amount,
        "count(CASE WHEN group_rows IS NULL THEN 1 END)",
        "0",
    ];
    section(
        "class",
        &[&format!("CASE WHEN state = {SETTLED} THEN 'same_payer' ELSE 'elsewhere' END"), "period", "currency"],
        &numbers,
        &format!("known WHERE state IN ({SETTLED}, {ELSEWHERE}) GROUP BY state, period, currency"),
    )
}

/// What the payers of settled charges pay, in the shape of the section `payer`: nothing of it moves.
pub(super) fn payers() -> String {
    section(
        "payer",
        &["currency", "payer"],
        &["sum(amount)", "NULL", "NULL", "0"],
        &format!("known WHERE state = {SETTLED} GROUP BY currency, payer"),
    )
}

/// Allocations without a charge, one more than are named if there are more. A named subquery, because of the limit.
pub(super) fn orphans() -> String {
    let named = format!("(SELECT charge_id FROM known WHERE state = {ORPHAN} LIMIT {}) orphan", ORPHANS_NAMED + 1);
    section("orphan", &["charge_id"], &[], &named)
}

/// How many charges are listed more than once.
pub(super) const CHARGES_TWICE: &str =
    "(SELECT count(*) FROM (SELECT charge_id FROM charge_input GROUP BY charge_id HAVING count(*) > 1) twice)";
