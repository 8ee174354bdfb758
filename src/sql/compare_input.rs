//! What a comparison reads: the change file's queries with amounts as checked integers, and the rows that cannot be compared at all.

use super::compare_query::{CompareQuery, IdKind};
use super::names::literal;
use crate::change::{Allocation, Located};
use crate::primitives::Dialect;

/// One row, all NULL, with a query's columns. The query itself is planned but not run.
#[must_use]
pub fn probe(query: &str) -> String {
    format!("SELECT q.* FROM (SELECT 1 AS one) one LEFT JOIN {} q ON 1 = 0", inlined(query))
}

/// The types of a query's columns on PostgreSQL, each as text under the column's name, and the collation of `charge_id`. The query is
/// planned but not run.
#[must_use]
pub fn types(query: &str, columns: &[&str]) -> String {
    let columns: Vec<String> =
        columns.iter().map(|column| format!("CAST(pg_typeof(q.{column}) AS text) AS {column}")).collect();
    format!("SELECT {} FROM (SELECT 1 AS one) one LEFT JOIN {} q ON false", columns.join(", "), inlined(query))
}

/// The collation of a text column `charge_id` on PostgreSQL, NULL if it takes different texts for the same.
#[must_use]
pub fn id_collation(query: &str) -> String {
    format!(
        "SELECT (SELECT named.name FROM (SELECT CAST(pg_collation_for(q.charge_id) AS text) AS name) named
    JOIN pg_collation c ON c.oid = to_regcollation(named.name) WHERE c.collisdeterministic) AS collation
  FROM (SELECT 1 AS one) one LEFT JOIN {} q ON false",
        inlined(query)
    )
}

/// The types that an id has in a query's rows on SQLite, where every value has its own: in all rows, or in those of one charge.
#[must_use]
pub fn id_types(query: &str, column: &str, of: Option<&str>) -> String {
    let query = inlined(query);
    let Some(id) = of else {
        return format!("SELECT DISTINCT typeof(q.{column}) AS type FROM {query} q WHERE q.{column} IS NOT NULL");
    };
    // Two questions, so that an index on the id is used for either.
    let number = id.parse::<i64>().ok().filter(|number| number.to_string() == id);
    let equal = [number.map(|number| format!("= ({number})")), Some(format!("= {}", literal(id)))];
    let asked: Vec<String> = equal
        .into_iter()
        .flatten()
        .map(|equal| {
            format!(
                "SELECT typeof(q.{column}) AS type FROM {query} q WHERE q.charge_id {equal} AND q.{column} IS NOT NULL"
            )
        })
        .collect();
    asked.join(" UNION ")
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

/// A query as a derived table; a comment on its last line does not swallow the bracket.
pub(super) fn inlined(query: &str) -> String {
    format!("(\n{}\n)", query.trim().trim_end_matches(';'))
}

/// The condition that `amount` is an integer, of the smallest unit that is declared, which can be summed exactly. False or NULL
/// otherwise.
fn is_whole(query: &CompareQuery<'_>, amount: &str) -> String {
    match query.dialect {
        Dialect::Postgres => {
            let units = units(query, amount);
            let limit = match query.allocation.scale {
                None => "9223372036854775807",
                // As wide as a sum of them is in memory, with room for twelve digits of rows.
                Some(_) => "99999999999999999999999999",
            };
            format!(
                "(pg_typeof({amount}) NOT IN ('real'::regtype, 'double precision'::regtype)
      AND {units} BETWEEN -{limit} AND {limit} AND {units} = trunc({units}))"
            )
        }
        Dialect::Sqlite => {
            format!("(typeof({amount}) = 'integer' AND {amount} BETWEEN -4611686018427387903 AND 4611686018427387903)")
        }
    }
}

/// An amount in the smallest unit, as PostgreSQL's `numeric`.
fn units(query: &CompareQuery<'_>, amount: &str) -> String {
    match query.allocation.scale.filter(|scale| *scale > 0) {
        None => format!("CAST({amount} AS numeric)"),
        Some(scale) => format!("(CAST({amount} AS numeric) * 1{})", "0".repeat(usize::from(scale))),
    }
}

/// An amount of the named query as an integer of the smallest unit, NULL if it is none.
pub(super) fn whole(query: &CompareQuery<'_>, name: &str, amount: &str) -> String {
    let is_integer = query.columns.integer_amounts.contains(name);
    let value = match (query.dialect, query.allocation.scale) {
        (Dialect::Postgres, None) if is_integer => return format!("CAST({amount} AS bigint)"),
        (Dialect::Postgres, None) => format!("CAST({} AS bigint)", units(query, amount)),
        (Dialect::Postgres, Some(_)) if is_integer => return units(query, amount),
        (Dialect::Postgres, Some(_)) => format!("trunc({})", units(query, amount)),
        (Dialect::Sqlite, _) => amount.to_owned(),
    };
    format!("CASE WHEN {} THEN {value} END", is_whole(query, amount))
}

/// Why a row cannot be compared, as text; NULL if it can. `columns` must not be NULL either.
fn fault(query: &CompareQuery<'_>, columns: &[&str]) -> String {
    let missing: Vec<String> =
        columns.iter().map(|column| format!("WHEN q.{column} IS NULL THEN 'has no {column}'")).collect();
    let otherwise = match query.allocation.scale {
        None => String::from("has an amount that is no integer of at most 64 bits (62 on SQLite)"),
        Some(scale) => format!("has an amount that is no number of at most {scale} decimals and 26 digits"),
    };
    format!(
        "CASE {} WHEN q.amount IS NULL THEN 'has no amount' WHEN {} THEN NULL
      ELSE '{otherwise}' END",
        missing.join(" "),
        is_whole(query, "q.amount")
    )
}

/// The named subqueries that everything else stands on. None of the large ones is kept but `charge`: each use reads the rows that it needs by
/// itself.
pub(super) fn inputs(query: &CompareQuery<'_>) -> Vec<String> {
    let mut inputs = rows(query);
    inputs.insert(1, charge(query));
    inputs
}

/// All of them but `charge`.
pub(super) fn rows(query: &CompareQuery<'_>) -> Vec<String> {
    let allocation = query.allocation;
    let id = query.id("q.charge_id");
    let scope = query.in_scope("q.charge_id");
    let mut inputs = vec![
        charge_input(query, &id, &scope),
        side(query, "old", &allocation.old.value),
        side(query, "new", &allocation.new.value),
        format!(
            "group_input AS NOT MATERIALIZED (SELECT {id} AS charge_id, q.group_id FROM {} q WHERE {scope} AND q.group_id IS NOT NULL)",
            inlined(&allocation.group.value)
        ),
    ];
    if let Some(expected) = &allocation.expected_payers {
        inputs.push(format!(
            "expected_input AS NOT MATERIALIZED (SELECT {id} AS charge_id, {} AS payer FROM {} q WHERE {scope})",
            query.payer("q.payer"),
            inlined(&expected.value)
        ));
    }
    if let Some(reverses) = &allocation.reverses {
        inputs.push(format!(
            "refund AS MATERIALIZED (
  SELECT charge_id, {reverses_id} AS reverses_id, count(DISTINCT reverses_id) AS times
  FROM (SELECT {id} AS charge_id, {} AS reverses_id FROM {} q WHERE {scope} AND q.reverses_id IS NOT NULL) r
  GROUP BY charge_id)",
            reversed(query),
            inlined(&reverses.value),
            reverses_id = match query.columns.charge_id {
                IdKind::Uuid => "CAST(min(reverses_id) AS uuid)",
                _ => "min(reverses_id)",
            }
        ));
    }
    if let Some(view) = query.effective {
        inputs.push(format!(
            "effective_input AS NOT MATERIALIZED (SELECT {id} AS charge_id, q.side, {} AS amount FROM {view} q WHERE {scope})",
            whole(query, "effective", "q.amount")
        ));
    }
    inputs
}

/// The reversed charge's id, in a type that has a smallest one.
fn reversed(query: &CompareQuery<'_>) -> String {
    match query.columns.charge_id {
        IdKind::Uuid => String::from("CAST(q.reverses_id AS text)"),
        _ => query.id("q.reverses_id"),
    }
}

/// The charges as the query has them.
fn charge_input(query: &CompareQuery<'_>, id: &str, scope: &str) -> String {
    format!(
        "charge_input AS NOT MATERIALIZED (
  SELECT {id} AS charge_id, CAST(q.period AS text){bytewise} AS period, CAST(q.currency AS text){bytewise} AS currency,
    {amount} AS amount,
    {fault} AS fault, CAST(q.amount AS text) AS shown
  FROM {query} q WHERE {scope})",
        bytewise = query.bytewise(),
        amount = whole(query, "charges", "q.amount"),
        fault = fault(query, &["charge_id", "period", "currency"]),
        query = inlined(&query.allocation.charges.value)
    )
}

/// One row for each charge's id, which several others read.
fn charge(query: &CompareQuery<'_>) -> String {
    format!(
        "charge AS MATERIALIZED (
  SELECT {CHARGE_COLUMNS}, {} AS asked
  FROM charge_input GROUP BY charge_id)",
        asked(query, "min(period)")
    )
}

/// What is kept of the rows of one charge's id: there should be one.
pub(super) const CHARGE_COLUMNS: &str =
    "charge_id, min(period) AS period, min(currency) AS currency, min(amount) AS amount, count(*) AS times,
    CASE WHEN count(*) = 1 AND count(period) = 1 AND count(currency) = 1 AND count(amount) = 1 THEN 0 ELSE 1 END AS suspect";

/// 1 for periods that are asked for, else 0.
pub(super) fn asked(query: &CompareQuery<'_>, period: &str) -> String {
    if query.periods.is_empty() {
        return String::from("1");
    }
    let periods: Vec<String> = query.periods.iter().map(|period| literal(period)).collect();
    format!("CASE WHEN {period} IN ({}) THEN 1 ELSE 0 END", periods.join(", "))
}

/// One side's parts.
fn side(query: &CompareQuery<'_>, name: &'static str, text: &str) -> String {
    // A part without a currency is in another one than its charge.
    let has_currency = name == "new" && query.columns.new_has_currency;
    let currency = if has_currency { ", coalesce(CAST(q.currency AS text), '') AS currency" } else { "" };
    format!(
        "{name}_input AS NOT MATERIALIZED (
  SELECT {id} AS charge_id, {payer} AS payer,
    {amount} AS amount,
    {fault} AS fault, CAST(q.amount AS text) AS shown{currency}
  FROM {query} q WHERE {scope})",
        id = query.id("q.charge_id"),
        payer = query.payer("q.payer"),
        amount = whole(query, name, "q.amount"),
        fault = fault(query, &["charge_id"]),
        query = inlined(text),
        scope = query.in_scope("q.charge_id")
    )
}
