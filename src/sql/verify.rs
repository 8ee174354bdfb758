//! Comparing what a block's target should hold with what it holds, for a range of keys or for some keys.

use crate::primitives::Dialect;

use super::expected::{expected, key_of_query};
use super::model::BlockModel;
use super::names::{literal, quoted};
use super::statements::{differs, owned_condition};

/// Which keys are compared. Values are as the database prints them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// after < key ≤ until; an absent bound is open.
    Between { after: Option<String>, until: Option<String> },
    /// Just these.
    Among(Vec<String>),
}

/// One statement, and so one snapshot: a row for each target row that differs, with columns key, class (`missing`, `extra`,
/// `different`), expected and actual (JSON objects, or NULL).
#[must_use]
pub fn differing_rows(block: &BlockModel, dialect: Dialect, range: &KeyRange) -> String {
    let expected = expected(block, dialect, &restriction(block, &key_of_query(block), range));
    let actual_key = format!("t.{}", quoted(&block.key));
    let columns: Vec<String> = block.mapped.iter().map(|column| format!("t.{}", quoted(column))).collect();
    let owned = match &block.owns {
        Some(owns) => owned_condition(block, owns, "t"),
        None => String::from("1 = 1"),
    };
    let same: Vec<String> = block.identity.iter().map(|column| format!("e.{c} = a.{c}", c = quoted(column))).collect();
    let payload = block.payload();
    let changed =
        format!("e.co_there = 1 AND a.co_there = 1 AND a.co_owned AND ({})", differs(dialect, &payload, "e", "a"));
    let wrong = if block.insert {
        format!("a.co_there IS NULL OR (e.co_there IS NULL AND a.co_owned) OR ({changed})")
    } else {
        changed
    };
    let key = format!("coalesce(e.{key}, a.{key})", key = quoted(&block.key));
    let thawed = block.thawed(&key).map(|thawed| format!("\n  AND {thawed}")).unwrap_or_default();
    // Named and materialized: SQLite makes an index for a join with a table of its own, but scans a subquery in a FULL JOIN.
    let tables = format!(
        "WITH e AS MATERIALIZED (SELECT 1 AS co_there, x.* FROM (\n{expected}\n) x),\n\
         a AS MATERIALIZED (SELECT 1 AS co_there, ({owned}) AS co_owned, {columns} FROM {target} t WHERE {range})\n",
        columns = columns.join(", "),
        target = block.target.sql,
        range = restriction(block, &actual_key, range),
    );
    let select = format!(
        "SELECT CAST({key} AS text) AS key, CASE WHEN a.co_there IS NULL THEN 'missing' WHEN e.co_there IS NULL THEN 'extra' \
         ELSE 'different' END AS class,\n  {expected_image} AS expected, {actual_image} AS actual\n",
        expected_image = image(block, dialect, "e"),
        actual_image = image(block, dialect, "a"),
    );
    let on = same.join(" AND ");
    match dialect {
        Dialect::Postgres => format!("{tables}{select}FROM e FULL JOIN a ON {on}\nWHERE ({wrong}){thawed}"),
        Dialect::Sqlite => format!(
            "{tables}{select}FROM e LEFT JOIN a ON {on}\nWHERE ({wrong}){thawed}\nUNION ALL\n\
             {select}FROM a LEFT JOIN e ON {on}\nWHERE e.co_there IS NULL AND ({wrong}){thawed}"
        ),
    }
}

/// The upper bound of the next range of `range_keys` driving keys after `after`, as text; no row if fewer are left.
#[must_use]
pub fn range_end(block: &BlockModel, after: Option<&str>, range_keys: usize) -> String {
    let key = format!("d.{}", quoted(&block.driving.key));
    let range = KeyRange::Between { after: after.map(str::to_owned), until: None };
    format!(
        "SELECT CAST({key} AS text) AS key FROM {} d WHERE {} ORDER BY {key} LIMIT 1 OFFSET {}",
        block.driving.table.sql,
        restriction(block, &key, &range),
        range_keys.saturating_sub(1),
    )
}

/// The number of driving keys in a range.
#[must_use]
pub fn count_keys(block: &BlockModel, range: &KeyRange) -> String {
    let key = format!("d.{}", quoted(&block.driving.key));
    format!("SELECT count(*) AS keys FROM {} d WHERE {}", block.driving.table.sql, restriction(block, &key, range))
}

/// `column` restricted to a range.
#[must_use]
pub fn restriction(block: &BlockModel, column: &str, range: &KeyRange) -> String {
    match range {
        KeyRange::Between { after: None, until: None } => String::from("1 = 1"),
        KeyRange::Between { after: Some(after), until: None } => format!("{column} > {}", key_literal(block, after)),
        KeyRange::Between { after: None, until: Some(until) } => format!("{column} <= {}", key_literal(block, until)),
        KeyRange::Between { after: Some(after), until: Some(until) } => {
            format!("{column} > {} AND {column} <= {}", key_literal(block, after), key_literal(block, until))
        }
        KeyRange::Among(keys) => {
            let list: Vec<String> = keys.iter().map(|key| key_literal(block, key)).collect();
            if list.is_empty() { String::from("1 = 0") } else { format!("{column} IN ({})", list.join(", ")) }
        }
    }
}

/// A key's value as a literal. Integers stand bare, since SQLite compares an integer expression with a text by type, not by value;
/// a key that is no integer although its column says so (SQLite allows that) stands as text.
#[must_use]
pub fn key_literal(block: &BlockModel, value: &str) -> String {
    if block.driving.key_is_integer && value.parse::<i64>().is_ok() { value.to_owned() } else { literal(value) }
}

fn image(block: &BlockModel, dialect: Dialect, relation: &str) -> String {
    let function = match dialect {
        Dialect::Postgres => "jsonb_build_object",
        Dialect::Sqlite => "json_object",
    };
    let pairs: Vec<String> =
        block.mapped.iter().map(|column| format!("{}, {relation}.{}", literal(column), quoted(column))).collect();
    format!("CASE WHEN {relation}.co_there = 1 THEN CAST({function}({}) AS text) END", pairs.join(", "))
}
