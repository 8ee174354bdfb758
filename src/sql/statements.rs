//! The two writing steps of a refresh, for both dialects: delete what is not expected, upsert what is.

use crate::primitives::Dialect;

use super::expected::{expected_from, expected_identity};
use super::keys::{Keys, columns, equal};
use super::model::BlockModel;
use super::names::quoted;

/// Deletes the owned target rows of the keys whose identity the query no longer yields. Nothing for a block that may only update.
#[must_use]
pub fn delete_unexpected(block: &BlockModel, dialect: Dialect, keys: Keys<'_>) -> Option<String> {
    if !block.insert {
        return None;
    }
    let target = &block.target.sql;
    let owned = block.owns.as_ref().map(|owns| format!("\n  AND ({owns})")).unwrap_or_default();
    Some(format!(
        "DELETE FROM {target} WHERE {}{owned}\n  AND NOT EXISTS (SELECT 1 FROM ({}) e WHERE {})",
        keys.condition(&block.driving.key, &block.key_of(target)),
        expected_identity(block, dialect, keys),
        same_identity(block, target, "e"),
    ))
}

/// Inserts the expected rows of the keys; where a row with the identity exists, updates the mapped columns that differ. `gate` is a
/// condition without which nothing is written.
#[must_use]
pub fn upsert_expected(block: &BlockModel, dialect: Dialect, keys: Keys<'_>, gate: &str) -> String {
    upsert_from(block, dialect, &block.query(), (keys, gate))
}

/// [`upsert_expected`] from another text of the query.
#[must_use]
pub fn upsert_from(block: &BlockModel, dialect: Dialect, query: &str, (keys, gate): (Keys<'_>, &str)) -> String {
    let expected = expected_from(block, dialect, query, keys);
    if !block.insert {
        return update_only(block, dialect, &expected, gate);
    }
    let columns: Vec<String> = block.mapped.iter().map(|column| quoted(column)).collect();
    let identity: Vec<String> = block.identity.iter().map(|column| quoted(column)).collect();
    let payload = block.payload();
    let action = if payload.is_empty() {
        String::from("DO NOTHING")
    } else {
        let set: Vec<String> = payload.iter().map(|column| format!("{c} = excluded.{c}", c = quoted(column))).collect();
        let differs = differs(block, dialect, &block.target.sql, "excluded");
        format!("DO UPDATE SET {} WHERE ({differs}){}", set.join(", "), owned_row(block))
    };
    format!(
        "INSERT INTO {} ({columns}){overriding}\nSELECT {columns} FROM (\n{expected}\n) e WHERE {gate}{order}\nON CONFLICT ({identity}) {action}",
        block.target.sql,
        identity = identity.join(", "),
        // Two refreshes that overlap lock the rows that they share in the same order, and so wait instead of deadlocking.
        order = if dialect == Dialect::Postgres { format!(" ORDER BY {}", identity.join(", ")) } else { String::new() },
        columns = columns.join(", "),
        overriding = overriding(block),
    )
}

/// Inserts the expected rows of keys that the target has none of; fails with a unique violation where it has.
#[must_use]
pub fn insert_from(block: &BlockModel, dialect: Dialect, query: &str, keys: Keys<'_>) -> String {
    let columns: Vec<String> = block.mapped.iter().map(|column| quoted(column)).collect();
    format!(
        "INSERT INTO {} ({columns}){overriding}\nSELECT {columns} FROM (\n{expected}\n) e",
        block.target.sql,
        columns = columns.join(", "),
        overriding = overriding(block),
        expected = expected_from(block, dialect, query, keys),
    )
}

fn overriding(block: &BlockModel) -> &'static str {
    if block.overrides_minted { " OVERRIDING SYSTEM VALUE" } else { "" }
}

/// For a block that may not insert: the mapped columns of rows that exist and differ.
fn update_only(block: &BlockModel, dialect: Dialect, expected: &str, gate: &str) -> String {
    let payload = block.payload();
    let target = &block.target.sql;
    let set: Vec<String> = payload.iter().map(|column| format!("{c} = e.{c}", c = quoted(column))).collect();
    format!(
        "UPDATE {target} SET {} FROM (\n{expected}\n) e WHERE {gate} AND {} AND ({}){}",
        set.join(", "),
        same_identity(block, target, "e"),
        differs(block, dialect, target, "e"),
        owned_row(block),
    )
}

/// True where a row of the target and an expected row have the same identity, by the target's rules: SQLite compares as the column on the
/// left says, PostgreSQL would not know which of two collations to use.
#[must_use]
pub fn same_identity(block: &BlockModel, actual: &str, expected: &str) -> String {
    let expected: Vec<String> = block.identity.iter().map(|column| block.expected_column(expected, column)).collect();
    equal(&columns(actual, &block.identity), &expected)
}

/// True where some column that a refresh may change differs between a row of the target and an expected row, NULL being a value like any
/// other.
#[must_use]
pub fn differs(block: &BlockModel, dialect: Dialect, actual: &str, expected: &str) -> String {
    let differ = |column: &&String| {
        let left = format!("{actual}.{}", quoted(column));
        let right = match block.inexact_type(column) {
            None => block.expected_column(expected, column),
            Some(_) => format!("{expected}.{}", quoted(column)),
        };
        match (dialect, block.inexact_type(column)) {
            (Dialect::Postgres, None) => format!("{left} IS DISTINCT FROM {right}"),
            (Dialect::Postgres, Some(data_type)) => {
                let text = |value: &str| format!("CAST(CAST({value} AS {data_type}) AS text) COLLATE \"C\"");
                format!("{} IS DISTINCT FROM {}", text(&left), text(&right))
            }
            // A column's own collation may not see that letters changed their case.
            (Dialect::Sqlite, _) => format!("{left} COLLATE BINARY IS NOT {right}"),
        }
    };
    let pairs: Vec<String> = block.payload().iter().map(differ).collect();
    if pairs.is_empty() { String::from("false") } else { pairs.join(" OR ") }
}

/// ` AND …`: true if the existing target row is one that the block may change. The condition's unqualified columns must mean the
/// existing row, not the one proposed for insertion, hence the derived table.
pub(super) fn owned_row(block: &BlockModel) -> String {
    let Some(owns) = &block.owns else { return String::new() };
    format!("\n  AND {}", owned_condition(block, owns, &block.target.sql))
}

/// The condition `owns` on the row that `relation` names.
#[must_use]
pub fn owned_condition(block: &BlockModel, owns: &str, relation: &str) -> String {
    let columns: Vec<String> =
        block.target.columns.iter().map(|column| format!("{relation}.{c} AS {c}", c = quoted(column))).collect();
    format!("EXISTS (SELECT 1 FROM (SELECT {}) o WHERE ({owns}))", columns.join(", "))
}
