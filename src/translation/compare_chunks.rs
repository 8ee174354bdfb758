//! Which charges a comparison looks at in one statement.

use std::collections::VecDeque;

use super::compare::CompareError;
use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::Dialect;
use crate::sql::compare::{CompareQuery, Scope};
use crate::sql::compare_parts;

/// How many times the cost of reading all at once chunks may cost before one statement reads all.
const COST_MAX: f64 = 3.0;

/// Charges in a chunk unless somebody wishes otherwise: a second or two of work.
const CHUNK_CHARGES: u64 = 500_000;

/// From the first id on, up to and without the second.
pub(super) type Range = (Option<String>, Option<String>);

/// How chunks are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// 0: whatever pays.
    pub chunk_charges: u64,
    /// True if all statements see the same moment.
    pub is_one_moment: bool,
}

/// The chunks from an id on to the end.
pub(super) fn plan(
    connection: &mut DatabaseConnection,
    query: &CompareQuery<'_>,
    wish: Wish,
    from: Option<String>,
    charges: u64,
) -> Result<VecDeque<Range>, CompareError> {
    let whole: Range = (from, None);
    let asked = wish.chunk_charges > 0;
    let chunk_charges = if asked { wish.chunk_charges } else { CHUNK_CHARGES };
    // Where statements may be of different moments, one statement answers.
    if charges <= chunk_charges || !(asked || wish.is_one_moment) {
        return Ok(VecDeque::from([whole]));
    }
    let chunks = cut(connection, query, &whole, chunk_charges)?;
    if !asked && chunks.len() > 1 && !is_worth_it(connection, query, &chunks)? {
        return Ok(VecDeque::from([whole]));
    }
    Ok(chunks)
}

/// A range in ranges of so many charges each.
pub(super) fn cut(
    connection: &mut DatabaseConnection,
    query: &CompareQuery<'_>,
    range: &Range,
    chunk_charges: u64,
) -> Result<VecDeque<Range>, CompareError> {
    let (mut from, to) = range.clone();
    let scope = Scope::Between(from.clone(), to.clone());
    let query = CompareQuery { scope: &scope, ..*query };
    let mut chunks = VecDeque::new();
    for row in connection.query(&compare_parts::bounds(&query, chunk_charges), &[])? {
        let bound = Some(row.text("bound")?);
        // A charge that is listed twice may stand on both sides of a bound: it is told as a fault.
        if bound != from {
            chunks.push_back((from, bound.clone()));
            from = bound;
        }
    }
    chunks.push_back((from, to));
    Ok(chunks)
}

/// Whether the database reads a chunk without reading everything: else as many chunks would be as many times the work.
fn is_worth_it(
    connection: &mut DatabaseConnection,
    query: &CompareQuery<'_>,
    chunks: &VecDeque<Range>,
) -> Result<bool, CompareError> {
    let Some((from, to)) = chunks.get(chunks.len() / 2) else { return Ok(false) };
    let (all, one) = (Scope::Between(None, None), Scope::Between(from.clone(), to.clone()));
    let all = compare_parts::reads(&CompareQuery { scope: &all, ..*query });
    let one = compare_parts::reads(&CompareQuery { scope: &one, ..*query });
    let times = f64::from(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
    let (mut cost_all, mut cost_one) = (0.0, 0.0);
    for (all, one) in all.iter().zip(&one) {
        match connection.dialect() {
            Dialect::Postgres => {
                cost_all += estimated_cost(connection, all)?;
                cost_one += estimated_cost(connection, one)?;
            }
            Dialect::Sqlite => {
                cost_all += 1.0;
                cost_one += if begins_with_a_search(connection, one)? { 1.0 / times } else { 1.0 };
            }
        }
    }
    Ok(cost_one * times <= cost_all * COST_MAX)
}

fn estimated_cost(connection: &mut DatabaseConnection, sql: &str) -> Result<f64, CompareError> {
    let row = connection.get_row(&format!("EXPLAIN (FORMAT JSON) {sql}"), &[])?;
    let plan = row.text("QUERY PLAN")?;
    let plan: serde_json::Value = serde_json::from_str(&plan)
        .map_err(|_| CompareError::Unreadable { found: plan.chars().take(200).collect(), wanted: "a plan" })?;
    let cost = plan.pointer("/0/Plan/Total Cost").and_then(serde_json::Value::as_f64);
    cost.ok_or_else(|| CompareError::Unreadable { found: plan.to_string(), wanted: "a plan's cost" })
}

/// SQLite lists the outermost loop first.
fn begins_with_a_search(connection: &mut DatabaseConnection, sql: &str) -> Result<bool, DatabaseError> {
    let first = connection.find_row(&format!("EXPLAIN QUERY PLAN {sql}"), &[])?;
    Ok(first.map(|row| row.text("detail")).transpose()?.is_some_and(|detail| detail.starts_with("SEARCH")))
}
