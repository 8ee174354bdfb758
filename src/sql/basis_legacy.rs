//! Bases of what was divided before anybody kept them, and of columns that a query did not have then.

use crate::primitives::Dialect;

use super::basis::{BasisModel, kept, table};
use super::keys::{columns, equal, is_there};
use super::model::{BlockModel, trimmed};
use super::names::quoted;

/// Records the bases of frozen keys from the rows that the target has for them.
///
/// Where the target does not keep a weight, a row's part is its weight, which divides the amount as it was divided. Where it keeps the
/// weight but not who came first, those who got one of the units that were left over did.
#[must_use]
pub fn record_from_target(block: &BlockModel, dialect: Dialect) -> Option<String> {
    let (basis, split, frozen) = (kept(block)?, block.split.as_ref()?, block.frozen.as_ref()?);
    let is_mapped = |name: &String| block.mapped.iter().any(|column| column.eq_ignore_ascii_case(name));
    let units = match split.scale {
        Some(scale) => format!("abs(t.{} * 1{})", quoted(&split.amount), "0".repeat(usize::from(scale))),
        None => format!("abs(t.{})", quoted(&split.amount)),
    };
    let weight = if is_mapped(&split.by) { format!("t.{}", quoted(&split.by)) } else { units.clone() };
    let over = format!("OVER (PARTITION BY {})", block.key_of("t").join(", "));
    let exact = |value: &str| match dialect {
        Dialect::Postgres => format!("CAST({value} AS numeric)"),
        Dialect::Sqlite => value.to_owned(),
    };
    let rounded_up = format!(
        "CASE WHEN sum({weight}) {over} = 0 THEN {units} * count(*) {over} > sum({units}) {over} \
         ELSE {} * sum({weight}) {over} > {} * sum({units}) {over} END",
        exact(&units),
        exact(&weight),
    );
    let value = |name: &String| {
        if is_mapped(name) {
            format!("t.{}", quoted(name))
        } else if split.by.eq_ignore_ascii_case(name) {
            if dialect == Dialect::Postgres { format!("CAST({units} AS bigint)") } else { units.clone() }
        } else if split.first.as_ref().is_some_and(|first| first.eq_ignore_ascii_case(name)) {
            rounded_up.clone()
        } else {
            String::from("NULL")
        }
    };
    let key = block.key_of("t");
    let names: Vec<String> = basis.columns.iter().map(|name| quoted(name)).collect();
    let values: Vec<String> = basis.columns.iter().map(value).collect();
    let reversing = match &basis.reverses {
        Some(reverses) => format!(
            " AND NOT EXISTS (SELECT 1 FROM {} d WHERE {} AND d.{} IS NOT NULL)",
            block.driving.table.sql,
            equal(&block.driving.key_of("d"), &key),
            quoted(reverses),
        ),
        None => String::new(),
    };
    Some(format!(
        "INSERT INTO {} ({})\nSELECT {} FROM {} t WHERE {} AND EXISTS (SELECT 1 FROM (\n{}\n) z WHERE {}){reversing}",
        table(dialect, basis),
        names.join(", "),
        values.join(", "),
        block.target.sql,
        is_there(&key),
        trimmed(&frozen.query),
        equal(&columns("z", &frozen.columns), &key),
    ))
}

/// Fills columns that have been added: from what the query yields today for the same rows.
#[must_use]
pub fn fill_new_columns(block: &BlockModel, basis: &BasisModel, dialect: Dialect, added: &[String]) -> String {
    let known: Vec<&String> = block.identity.iter().filter(|column| !added.contains(column)).collect();
    let table = table(dialect, basis);
    let set: Vec<String> = added.iter().map(|name| format!("{c} = q.{c}", c = quoted(name))).collect();
    format!(
        "UPDATE {table} SET {} FROM (\n{}\n) q WHERE {}",
        set.join(", "),
        block.query(),
        equal(&columns(&table, known.iter().copied()), &columns("q", known.iter().copied())),
    )
}
