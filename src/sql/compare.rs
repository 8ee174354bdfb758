//! The comparison of old and new allocation as one SELECT for either dialect.
//!
//! One statement sees one snapshot, writes nothing (so it runs on a read replica and inside any transaction) and lets the database
//! spill to disk what does not fit into memory. Each of the change file's queries is evaluated once. The answer is a union of
//! *sections*, told apart by the first column; [`SECTION_TEXTS`] and [`SECTION_NUMBERS`] say how wide it is. All values leave as
//! text: sums on PostgreSQL are `numeric` and may exceed 64 bits; on SQLite `sum()` fails on overflow rather than round.
//! Ids and payers are compared as text.

use super::compare_input;
use super::compare_sections;
use super::names::literal;
use crate::change::Allocation;
use crate::primitives::Dialect;

pub use compare_input::{probe, queries};
pub use compare_sections::{SECTION_NUMBERS, SECTION_TEXTS};

/// What to compare, and how much to tell of it.
#[derive(Debug, Clone)]
pub struct CompareQuery<'a> {
    pub dialect: Dialect,
    pub allocation: &'a Allocation,
    /// Periods as the charges query prints them; empty: all.
    pub periods: &'a [String],
    /// The view of effective allocation, qualified and quoted; `None`: nobody is routed yet, so effective is old.
    pub effective: Option<&'a str>,
    /// True if the `new` query returns a column `currency` of its own.
    pub new_has_currency: bool,
    /// Periods before this one are closed and keep the payers that they had: today's expected payers say nothing about them.
    pub closed_before: Option<&'a str>,
    /// The table of what charges of closed periods were allocated to when their period closed, qualified and quoted; `None`: nothing
    /// was recorded.
    pub closed: Option<&'a str>,
    /// How many exceptions to return line by line. Their full number is always counted.
    pub exceptions_max: usize,
    /// How many payers with the largest changes to return for each currency.
    pub movers_max: usize,
    /// Ids of charges to return one by one, whatever their class.
    pub asked_charges: &'a [String],
}

/// Which side a part belongs to, as a number in SQL: grouping compares it many times.
pub(super) mod side {
    pub const OLD: u8 = 0;
    pub const NEW: u8 = 1;
    pub const EXPECTED: u8 = 2;
    pub const EFFECTIVE_OLD: u8 = 3;
    pub const EFFECTIVE_NEW: u8 = 4;
}

/// The whole comparison.
#[must_use]
pub fn compare(query: &CompareQuery<'_>) -> String {
    let mut parts = compare_input::inputs(query);
    parts.push(pairs(query));
    parts.push(String::from(ALLOCATED));
    if query.allocation.reverses.is_some() {
        parts.push(drift(query.dialect));
    }
    parts.push(judged(query));
    parts.push(String::from(PAYER_TOTALS));
    parts.push(compare_sections::exceptions(query));
    format!("WITH {}\n{}", parts.join(",\n"), compare_sections::sections(query))
}

/// Every part of every asked charge, one row for each charge and payer, the two sides next to each other.
fn pairs(query: &CompareQuery<'_>) -> String {
    let side = |number: u8, from: &str, amount: &str, currency: &str| {
        format!("SELECT charge_id, payer, {number} AS side, {amount} AS amount, {currency} AS currency FROM {from}")
    };
    let nothing = "CAST(NULL AS text)";
    let mut sides = vec![
        side(side::OLD, "old_input", "amount", nothing),
        side(side::NEW, "new_input", "amount", if query.new_has_currency { "currency" } else { nothing }),
    ];
    if query.allocation.expected_payers.is_some() {
        sides.push(side(side::EXPECTED, "expected_input", "CAST(NULL AS bigint)", nothing));
    }
    if query.effective.is_some() {
        sides.push(format!(
            "SELECT charge_id, payer, CASE WHEN side = 'new' THEN {} ELSE {} END, amount, {nothing} FROM effective_input",
            side::EFFECTIVE_NEW,
            side::EFFECTIVE_OLD
        ));
    }
    // A part of a charge that was not asked for is left out; a part without any charge stays.
    let only_asked = if query.periods.is_empty() {
        ""
    } else {
        " LEFT JOIN charge elsewhere ON elsewhere.charge_id = part.charge_id AND elsewhere.asked = 0
  WHERE elsewhere.charge_id IS NULL"
    };
    format!(
        "pair AS MATERIALIZED (
  SELECT part.charge_id, part.payer,
    count(CASE WHEN side = {old} THEN 1 END) AS old_rows,
    coalesce(sum(CASE WHEN side = {old} THEN part.amount END), 0) AS old_amount,
    count(CASE WHEN side = {new} THEN 1 END) AS new_rows,
    coalesce(sum(CASE WHEN side = {new} THEN part.amount END), 0) AS new_amount,
    coalesce(sum(CASE side WHEN {new} THEN part.amount WHEN {old} THEN -part.amount END), 0) AS difference,
    min(CASE WHEN side = {new} THEN part.amount END) AS smallest,
    max(CASE WHEN side = {new} THEN part.amount END) AS largest,
    min(CASE WHEN side = {new} THEN part.currency END) AS currency_min,
    max(CASE WHEN side = {new} THEN part.currency END) AS currency_max,
    max(CASE WHEN side = {expected} THEN 1 ELSE 0 END) AS expected,
    count(CASE WHEN side >= {effective_old} THEN 1 END) AS effective_rows,
    coalesce(sum(CASE WHEN side >= {effective_old} THEN part.amount END), 0) AS effective_amount,
    max(CASE WHEN side = {effective_new} THEN 1 ELSE 0 END) AS on_new
  FROM (\n    {sides}\n  ) part{only_asked}
  GROUP BY part.charge_id, part.payer)",
        old = side::OLD,
        new = side::NEW,
        expected = side::EXPECTED,
        effective_old = side::EFFECTIVE_OLD,
        effective_new = side::EFFECTIVE_NEW,
        sides = sides.join("\n    UNION ALL ")
    )
}

/// What the classes need to know, one row for each charge that anything is allocated of.
const ALLOCATED: &str = "allocated AS (
  SELECT charge_id,
    sum(old_rows) AS old_rows, sum(old_amount) AS old_amount,
    sum(new_rows) AS new_rows, sum(new_amount) AS new_amount,
    sum(effective_rows) AS effective_rows, sum(effective_amount) AS effective_amount, max(on_new) AS on_new,
    max(new_rows) AS new_rows_of_a_payer,
    min(smallest) AS smallest, max(largest) AS largest,
    min(currency_min) AS currency_min, max(currency_max) AS currency_max,
    max(CASE WHEN payer IS NULL AND old_rows + new_rows > 0 THEN 1 ELSE 0 END) AS nobody,
    sum(CASE WHEN old_rows > 0 AND new_rows = 0 THEN 1 ELSE 0 END) AS gone,
    sum(CASE WHEN (old_rows > 0 AND new_rows = 0) OR (old_rows = 0 AND new_rows > 0) OR difference <> 0
             THEN 1 ELSE 0 END) AS different,
    sum(CASE WHEN new_rows > 0 AND expected = 0 THEN 1 ELSE 0 END) AS unexpected,
    sum(CASE WHEN new_rows = 0 AND expected = 1 THEN 1 ELSE 0 END) AS missing
  FROM pair GROUP BY charge_id)";

/// Refunds that do not undo what they reverse. A full refund mirrors its charge unit for unit. The parts of a partial one are in
/// proportion: both sides are rounded by less than one unit, which bounds how far the cross products may lie apart.
fn drift(dialect: Dialect) -> String {
    let proportion = "abs(p.given * o.amount - p.taken * c.amount) >= abs(c.amount) + abs(o.amount)";
    let partial = match dialect {
        Dialect::Postgres => proportion.to_owned(),
        // A product beyond 64 bits would silently become a float: there only signs and sizes are held together.
        Dialect::Sqlite => format!(
            "CASE WHEN max(abs(c.amount), abs(o.amount), abs(p.given), abs(p.taken)) < 2147483648 THEN {proportion}
              ELSE (p.given > 0 AND p.taken > 0) OR (p.given < 0 AND p.taken < 0)
                OR (abs(c.amount) <= abs(o.amount) AND abs(p.given) > abs(p.taken) + 1) END"
        ),
    };
    format!(
        "refund_part AS (
  SELECT charge_id, payer, sum(given) AS given, sum(taken) AS taken FROM (
    SELECT f.charge_id, n.payer, n.amount AS given, 0 AS taken FROM refund f JOIN new_input n ON n.charge_id = f.charge_id
    UNION ALL
    SELECT f.charge_id, n.payer, 0, n.amount FROM refund f JOIN new_input n ON n.charge_id = f.reverses_id) part
  GROUP BY charge_id, payer),
drift AS (
  SELECT f.charge_id FROM refund f LEFT JOIN charge o ON o.charge_id = f.reverses_id WHERE o.charge_id IS NULL
  UNION
  SELECT p.charge_id FROM refund_part p JOIN refund f ON f.charge_id = p.charge_id
  JOIN charge c ON c.charge_id = p.charge_id JOIN charge o ON o.charge_id = f.reverses_id
  WHERE CASE WHEN c.amount = -o.amount THEN p.given <> -p.taken ELSE {partial} END)"
    )
}

/// One row for each asked charge and for each orphan, with its class. The order of the arms is that of
/// `allocation::ChargeClass`.
fn judged(query: &CompareQuery<'_>) -> String {
    let effective = query.effective.is_some();
    let (effective_missing, effective_differs) =
        if effective { (" OR p.effective_rows = 0", " OR p.effective_amount <> c.amount") } else { ("", "") };
    let measured = if effective { "effective" } else { "old" };
    let mut arms = vec![
        format!(
            "WHEN p.charge_id IS NULL OR p.old_rows = 0 OR p.new_rows = 0 OR p.nobody = 1{effective_missing} THEN 'unallocated'"
        ),
        String::from("WHEN p.currency_min <> c.currency OR p.currency_max <> c.currency THEN 'currency'"),
        String::from("WHEN p.new_rows_of_a_payer > 1 THEN 'duplicate'"),
        format!("WHEN p.old_amount <> c.amount OR p.new_amount <> c.amount{effective_differs} THEN 'not_conserved'"),
        String::from("WHEN p.smallest < 0 AND p.largest > 0 THEN 'mixed_sign'"),
    ];
    let refunds = query.allocation.reverses.is_some();
    if refunds {
        arms.push(String::from("WHEN d.charge_id IS NOT NULL THEN 'refund_drift'"));
    }
    arms.extend(payer_arms(query));
    let join_drift = if refunds { "\n  LEFT JOIN drift d ON d.charge_id = c.charge_id" } else { "" };
    format!(
        "judged AS MATERIALIZED (
  SELECT c.charge_id, c.period, c.currency, c.amount,
    coalesce(p.old_rows, 0) AS old_rows, coalesce(p.old_amount, 0) AS old_amount,
    coalesce(p.new_rows, 0) AS new_rows, coalesce(p.new_amount, 0) AS new_amount,
    coalesce(p.{measured}_rows, 0) AS effective_rows, coalesce(p.{measured}_amount, 0) AS effective_amount,
    coalesce(p.on_new, 0) AS on_new, CASE WHEN g.charge_id IS NULL THEN 1 ELSE 0 END AS ungrouped,
    CASE\n      {arms}\n    END AS class
  FROM charge c
  LEFT JOIN allocated p ON p.charge_id = c.charge_id
  LEFT JOIN grouped g ON g.charge_id = c.charge_id{join_drift}
  WHERE c.asked = 1
  UNION ALL
  SELECT p.charge_id, NULL, NULL, NULL, p.old_rows, p.old_amount, p.new_rows, p.new_amount, p.{measured}_rows, p.{measured}_amount,
    p.on_new, 0, 'orphan'
  FROM allocated p LEFT JOIN charge c ON c.charge_id = p.charge_id
  WHERE c.charge_id IS NULL AND p.old_rows + p.new_rows > 0)",
        arms = arms.join("\n      ")
    )
}

/// The arms that look at who pays. In an open period the payers are exactly the expected ones, so one who is missing counts as
/// well. A closed period keeps the payers that it had, so there only a payer without any claim is unexpected.
fn payer_arms(query: &CompareQuery<'_>) -> Vec<String> {
    let same = String::from("WHEN p.different = 0 THEN 'same_payer'");
    let divided = String::from("WHEN p.gone = 0 THEN 'split_expected'");
    if query.allocation.expected_payers.is_none() {
        // Nothing says who should pay: whoever takes over from the old payer is unexpected.
        return vec![same, divided, String::from("ELSE 'unexpected_payer'")];
    }
    let strangers = String::from("WHEN p.unexpected > 0 THEN 'unexpected_payer'");
    let otherwise = String::from("ELSE 'moved_expected'");
    let exactly = "p.unexpected > 0 OR p.missing > 0";
    match query.closed_before.filter(|period| !period.is_empty()) {
        None => vec![format!("WHEN {exactly} THEN 'unexpected_payer'"), same, divided, otherwise],
        Some(period) => {
            let open = format!(
                "WHEN c.period >= {}{} AND ({exactly}) THEN 'unexpected_payer'",
                literal(period),
                compare_input::collation(query.dialect)
            );
            vec![open, same, divided, strangers, otherwise]
        }
    }
}

/// What each payer pays by the old and by the new model, in each currency.
const PAYER_TOTALS: &str = "payer_total AS MATERIALIZED (
  SELECT c.currency, p.payer, sum(p.old_amount) AS old_amount, sum(p.new_amount) AS new_amount,
    sum(p.difference) AS difference,
    sum(CASE WHEN p.difference < 0 THEN -p.difference ELSE 0 END) AS moved_out,
    sum(CASE WHEN p.difference > 0 THEN p.difference ELSE 0 END) AS moved_in,
    count(CASE WHEN p.difference <> 0 THEN 1 END) AS charges
  FROM pair p JOIN charge c ON c.charge_id = p.charge_id
  WHERE p.old_rows + p.new_rows > 0
  GROUP BY c.currency, p.payer)";
