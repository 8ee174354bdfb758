//! Comparing what a block's target should hold with what it holds, for a range of keys or for some keys.

use crate::primitives::Dialect;

use super::expected::expected;
pub use super::keys::KeyRange;
use super::keys::{Keys, columns, in_range, text_sql};
use super::model::BlockModel;
use super::names::{literal, quoted};
use super::statements::{differs, owned_condition, same_identity};

/// One statement, and so one snapshot: a row for each target row that differs, with columns key, class (`missing`, `extra`,
/// `different`), expected and actual (JSON objects, or NULL).
#[must_use]
pub fn differing_rows(block: &BlockModel, dialect: Dialect, range: &KeyRange) -> String {
    let expected = expected(block, dialect, Keys::Range(range));
    let owned = match &block.owns {
        Some(owns) => owned_condition(block, owns, "t"),
        None => String::from("1 = 1"),
    };
    let changed =
        format!("e.co_there = 1 AND a.co_there = 1 AND a.co_owned AND ({})", differs(block, dialect, "a", "e"));
    let wrong = if block.insert {
        format!("a.co_there IS NULL OR (e.co_there IS NULL AND a.co_owned) OR ({changed})")
    } else {
        changed
    };
    let key: Vec<String> =
        block.key.iter().map(|key| format!("coalesce(e.{key}, a.{key})", key = quoted(key))).collect();
    let thawed = block.thawed(&key).map(|thawed| format!("\n  AND {thawed}")).unwrap_or_default();
    // Named and materialized: SQLite makes an index for a join with a table of its own, but scans a subquery in a FULL JOIN.
    let tables = format!(
        "WITH e AS MATERIALIZED (SELECT 1 AS co_there, x.* FROM (\n{expected}\n) x),\n\
         a AS MATERIALIZED (SELECT 1 AS co_there, ({owned}) AS co_owned, {columns} FROM {target} t WHERE {range})\n",
        columns = columns("t", &block.mapped).join(", "),
        target = block.target.sql,
        range = in_range(&block.driving.key, &block.key_of("t"), range),
    );
    let select = format!(
        "SELECT {key} AS key, CASE WHEN a.co_there IS NULL THEN 'missing' WHEN e.co_there IS NULL THEN 'extra' \
         ELSE 'different' END AS class,\n  {expected_image} AS expected, {actual_image} AS actual\n",
        key = text_sql(dialect, &key),
        expected_image = image(block, dialect, "e"),
        actual_image = image(block, dialect, "a"),
    );
    let on = same_identity(block, "a", "e");
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
pub fn range_end(block: &BlockModel, dialect: Dialect, after: Option<&str>, range_keys: usize) -> String {
    let range = KeyRange::Between { after: after.map(str::to_owned), until: None };
    let names: Vec<String> = block.driving.key.iter().map(|column| column.name.clone()).collect();
    format!(
        "SELECT {} AS key FROM ({} LIMIT 1 OFFSET {}) k",
        text_sql(dialect, &columns("k", &names)),
        keys_in_order(block, &range),
        range_keys.saturating_sub(1),
    )
}

/// The driving keys of a range, each once, in order: columns of the same names as the driving table's.
#[must_use]
pub fn keys_in_order(block: &BlockModel, range: &KeyRange) -> String {
    let driving = &block.driving;
    let key = driving.key_of("d");
    format!(
        "SELECT {distinct}{columns} FROM {} d WHERE {} ORDER BY {columns}",
        driving.table.sql,
        in_range(&driving.key, &key, range),
        distinct = if driving.key_is_unique { "" } else { "DISTINCT " },
        columns = key.join(", "),
    )
}

/// The number of driving keys in a range.
#[must_use]
pub fn count_keys(block: &BlockModel, range: &KeyRange) -> String {
    let driving = &block.driving;
    let restriction = in_range(&driving.key, &driving.key_of("d"), range);
    if driving.key_is_unique {
        return format!("SELECT count(*) AS keys FROM {} d WHERE {restriction}", driving.table.sql);
    }
    format!("SELECT count(*) AS keys FROM ({}) k", keys_in_order(block, range))
}

fn image(block: &BlockModel, dialect: Dialect, relation: &str) -> String {
    let function = match dialect {
        // Not jsonb, which refuses what json may hold.
        Dialect::Postgres => "json_build_object",
        Dialect::Sqlite => "json_object",
    };
    let value = |column: &String| {
        let value = format!("{relation}.{}", quoted(column));
        match dialect {
            Dialect::Postgres => value,
            Dialect::Sqlite => format!("CASE typeof({value}) WHEN 'blob' THEN '\\x' || hex({value}) ELSE {value} END"),
        }
    };
    let pairs: Vec<String> =
        block.mapped.iter().map(|column| format!("{}, {}", literal(column), value(column))).collect();
    format!("CASE WHEN {relation}.co_there = 1 THEN CAST({function}({}) AS text) END", pairs.join(", "))
}
