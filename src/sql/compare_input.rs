//! What a comparison reads: the change file's queries with ids as text and amounts as checked integers, and the rows that cannot be
//! compared at all.

use super::compare::CompareQuery;
use super::names::literal;
use crate::change::{Allocation, Located};
use crate::primitives::Dialect;

/// Returns one row of a query with its columns, so that a missing column can be told before anything is computed: on PostgreSQL one
/// column `columns`, a JSON object; on SQLite the row itself.
#[must_use]
pub fn probe(dialect: Dialect, query: &str) -> String {
    let query = inlined(query);
    match dialect {
        Dialect::Postgres => format!("SELECT CAST(to_jsonb(q) AS text) AS columns FROM {query} q LIMIT 1"),
        Dialect::Sqlite => format!("SELECT * FROM {query} q LIMIT 1"),
    }
}

/// The queries that a comparison reads and the columns that it needs of each, in the order in which mistakes are told.
#[must_use]
pub fn queries(allocation: &Allocation) -> Vec<(&'static str, &Located<String>, &'static [&'static str])> {
    let mut queries: Vec<(&'static str, &Located<String>, &'static [&'static str])> = vec![
        ("charges", &allocation.charges, &["charge_id", "period", "currency", "amount"]),
        ("old", &allocation.old, &["charge_id", "payer", "amount"]),
        ("new", &allocation.new, &["charge_id", "payer", "amount"]),
        ("group", &allocation.group, &["charge_id", "group_id"]),
    ];
    if let Some(query) = &allocation.expected_payers {
        queries.push(("expected_payers", query, &["charge_id", "payer"]));
    }
    if let Some(query) = &allocation.reverses {
        queries.push(("reverses", query, &["charge_id", "reverses_id"]));
    }
    queries
}

/// Bytewise order, so that a report does not depend on a database's locale.
pub(super) fn collation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => " COLLATE \"C\"",
        Dialect::Sqlite => "",
    }
}

/// A query as a derived table; a comment on its last line does not swallow the bracket.
fn inlined(query: &str) -> String {
    format!("(\n{}\n)", query.trim().trim_end_matches(';'))
}

/// The condition that `amount` is an integer that can be summed exactly. False or NULL otherwise.
fn is_whole(dialect: Dialect, amount: &str) -> String {
    match dialect {
        Dialect::Postgres => format!(
            "(pg_typeof({amount}) NOT IN ('real'::regtype, 'double precision'::regtype)
      AND CAST({amount} AS numeric) BETWEEN -9223372036854775807 AND 9223372036854775807
      AND CAST({amount} AS numeric) = trunc(CAST({amount} AS numeric)))"
        ),
        Dialect::Sqlite => {
            format!("(typeof({amount}) = 'integer' AND {amount} BETWEEN -4611686018427387903 AND 4611686018427387903)")
        }
    }
}

/// `amount` as a 64-bit integer, NULL if it is none.
fn whole(dialect: Dialect, amount: &str) -> String {
    let value = match dialect {
        Dialect::Postgres => format!("CAST(CAST({amount} AS numeric) AS bigint)"),
        Dialect::Sqlite => amount.to_owned(),
    };
    format!("CASE WHEN {} THEN {value} END", is_whole(dialect, amount))
}

/// Why a row cannot be compared, as text; NULL if it can. `columns` must not be NULL either.
fn fault(dialect: Dialect, columns: &[&str]) -> String {
    let missing: Vec<String> =
        columns.iter().map(|column| format!("WHEN q.{column} IS NULL THEN 'has no {column}'")).collect();
    format!(
        "CASE {} WHEN q.amount IS NULL THEN 'has no amount' WHEN {} THEN NULL
      ELSE 'has an amount that is no integer of at most 64 bits (62 on SQLite)' END",
        missing.join(" "),
        is_whole(dialect, "q.amount")
    )
}

/// The named subqueries that everything else stands on.
pub(super) fn inputs(query: &CompareQuery<'_>) -> Vec<String> {
    let (dialect, allocation) = (query.dialect, query.allocation);
    let mut inputs = vec![
        charges(query),
        side(dialect, "old_input", &allocation.old.value, false),
        side(dialect, "new_input", &allocation.new.value, query.new_has_currency),
        format!(
            "grouped AS MATERIALIZED (
  SELECT CAST(q.charge_id AS text) AS charge_id, count(DISTINCT q.group_id) AS times
  FROM {} q WHERE q.group_id IS NOT NULL GROUP BY CAST(q.charge_id AS text))",
            inlined(&allocation.group.value)
        ),
    ];
    if let Some(expected) = &allocation.expected_payers {
        inputs.push(format!(
            "expected_input AS (SELECT CAST(q.charge_id AS text) AS charge_id, CAST(q.payer AS text) AS payer FROM {} q)",
            inlined(&expected.value)
        ));
    }
    if let Some(reverses) = &allocation.reverses {
        inputs.push(format!(
            "refund AS MATERIALIZED (
  SELECT CAST(q.charge_id AS text) AS charge_id, min(CAST(q.reverses_id AS text)) AS reverses_id,
    count(DISTINCT q.reverses_id) AS times
  FROM {} q WHERE q.reverses_id IS NOT NULL GROUP BY CAST(q.charge_id AS text))",
            inlined(&reverses.value)
        ));
    }
    if let Some(view) = query.effective {
        inputs.push(format!(
            "effective_input AS (SELECT CAST(q.charge_id AS text) AS charge_id, CAST(q.payer AS text) AS payer, q.side,
    {} AS amount FROM {view} q)",
            whole(dialect, "q.amount")
        ));
    }
    inputs
}

/// `charge_input`, as the query has it, and `charge`, one row for each id.
fn charges(query: &CompareQuery<'_>) -> String {
    let asked = if query.periods.is_empty() {
        String::from("1 = 1")
    } else {
        let periods: Vec<String> = query.periods.iter().map(|period| literal(period)).collect();
        format!("min(period) IN ({})", periods.join(", "))
    };
    format!(
        "charge_input AS MATERIALIZED (
  SELECT CAST(q.charge_id AS text) AS charge_id, CAST(q.period AS text) AS period, CAST(q.currency AS text) AS currency,
    {amount} AS amount,
    {fault} AS fault, CAST(q.amount AS text) AS shown
  FROM {query} q),
charge AS MATERIALIZED (
  SELECT charge_id, min(period) AS period, min(currency) AS currency, min(amount) AS amount, count(*) AS times,
    CASE WHEN {asked} THEN 1 ELSE 0 END AS asked
  FROM charge_input WHERE charge_id IS NOT NULL GROUP BY charge_id)",
        amount = whole(query.dialect, "q.amount"),
        fault = fault(query.dialect, &["charge_id", "period", "currency"]),
        query = inlined(&query.allocation.charges.value)
    )
}

/// One side's parts.
fn side(dialect: Dialect, name: &str, query: &str, currency: bool) -> String {
    // A part without a currency is in another one than its charge.
    let currency = if currency { ", coalesce(CAST(q.currency AS text), '') AS currency" } else { "" };
    format!(
        "{name} AS MATERIALIZED (
  SELECT CAST(q.charge_id AS text) AS charge_id, CAST(q.payer AS text) AS payer,
    {amount} AS amount,
    {fault} AS fault, CAST(q.amount AS text) AS shown{currency}
  FROM {query} q)",
        amount = whole(dialect, "q.amount"),
        fault = fault(dialect, &["charge_id"]),
        query = inlined(query)
    )
}

/// The rows that cannot be compared: query, what is wrong, charge, the amount as it stands there.
pub(super) fn faults(query: &CompareQuery<'_>) -> String {
    let rows = |name: &str, from: &str| {
        format!("SELECT '{name}' AS query, fault AS what, charge_id, shown FROM {from} WHERE fault IS NOT NULL")
    };
    let twice = |name: &str, from: &str, what: &str| {
        format!("SELECT '{name}', '{what}', charge_id, CAST(NULL AS text) FROM {from} WHERE times > 1")
    };
    let mut faults = vec![
        rows("charges", "charge_input"),
        twice("charges", "charge", "is returned more than once"),
        rows("old", "old_input"),
        rows("new", "new_input"),
        twice("group", "grouped", "is in more than one group"),
    ];
    if query.allocation.reverses.is_some() {
        faults.push(twice("reverses", "refund", "reverses more than one charge"));
    }
    faults.join("\n    UNION ALL ")
}
