//! The rows that a block says its target should have, as a SELECT: the query, restricted to some keys, with amounts divided.
//!
//! The restriction stands directly around the query, beneath every window function of ours: there both databases push it
//! down to the driving table, so that the query costs what its keys cost.

use crate::primitives::Dialect;

use super::basis;
use super::division::divided;
use super::keys::{Keys, columns};
use super::model::BlockModel;
use super::names::quoted;

/// The rows that the query yields for some keys, with the identity's columns among them. Cheaper than [`expected`], because which
/// rows there are does not depend on how an amount is divided.
#[must_use]
pub fn expected_identity(block: &BlockModel, dialect: Dialect, keys: Keys<'_>) -> String {
    format!("SELECT * FROM {}", source(block, &block.query(), dialect, keys))
}

/// The expected rows of some keys, with the mapped columns by name.
#[must_use]
pub fn expected(block: &BlockModel, dialect: Dialect, keys: Keys<'_>) -> String {
    expected_from(block, dialect, &block.query(), keys)
}

/// The rows before they are divided. A block that keeps a basis has no short form.
fn source(block: &BlockModel, query: &str, dialect: Dialect, keys: Keys<'_>) -> String {
    match basis::kept(block) {
        Some(kept) => basis::source(block, kept, dialect, keys),
        None => keys.restricted(&block.driving.key, &block.key, query),
    }
}

/// [`expected`] over another text of the query, for the short form over a transition table.
#[must_use]
pub fn expected_from(block: &BlockModel, dialect: Dialect, query: &str, keys: Keys<'_>) -> String {
    let source = source(block, query, dialect, keys);
    let Some(split) = &block.split else {
        return format!("SELECT {} FROM {source}", columns("q", &block.mapped).join(", "));
    };
    divided(block, dialect, &source, split)
}

/// SQLite: a condition that is true if some row of the keys cannot be divided exactly: a weight that is negative,
/// NULL or no integer, a total of 2³¹ or more, an amount that is no integer or 2⁶² or more, or the same identity twice.
#[must_use]
pub fn cannot_divide_sqlite(block: &BlockModel, keys: Keys<'_>) -> Option<String> {
    let split = block.split.as_ref()?;
    let (amount, weight) = (quoted(&split.amount), quoted(&split.by));
    let identity = columns("q", &block.identity);
    Some(format!(
        "EXISTS (SELECT 1 FROM {source} GROUP BY {key} HAVING \
         sum(typeof(q.{weight}) <> 'integer' OR q.{weight} < 0) > 0 OR sum(q.{weight}) >= 2147483648 \
         OR sum(typeof(q.{amount}) NOT IN ('integer', 'null')) > 0 \
         OR max(q.{amount}) >= 4611686018427387904 OR min(q.{amount}) <= -4611686018427387904 \
         OR min(q.{amount}) <> max(q.{amount}) OR count(*) > count(DISTINCT {identity}))",
        source = source(block, &block.query(), Dialect::Sqlite, keys),
        key = block.key_of("q").join(", "),
        identity = identity.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || ',' || "),
    ))
}
