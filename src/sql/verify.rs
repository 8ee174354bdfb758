//! Comparing what a block's target should hold with what it holds, for a range of keys or for some keys.

use crate::primitives::Dialect;

use super::basis::has_basis;
use super::expected::expected;
pub use super::keys::KeyRange;
use super::keys::{Keys, columns, in_range, is_there, text_sql};
use super::model::BlockModel;
use super::names::{literal, quoted};
use super::statements::{differs, owned_condition, same_identity};

/// One statement, and so one snapshot: the keys, each once, that have a target row which differs. Built for ranges in which nothing
/// does: no image is made, and on PostgreSQL the two sides are joined as they are read.
#[must_use]
pub fn differing_keys(block: &BlockModel, dialect: Dialect, range: &KeyRange) -> String {
    let comparison = Comparison::new(block, dialect);
    let select = format!("SELECT {} AS key\n", text_sql(dialect, &comparison.key));
    let joined = match dialect {
        Dialect::Postgres => {
            let [expected, actual] = comparison.sides(dialect, range);
            format!("{select}FROM ({expected}) e FULL JOIN ({actual}) a ON {}{}", comparison.on, comparison.wrong)
        }
        Dialect::Sqlite => comparison.joined(dialect, range, &select),
    };
    format!("SELECT DISTINCT s.key AS key FROM (\n{joined}\n) s")
}

/// One statement, and so one snapshot: a row for each target row that differs, with columns key, class (`missing`, `extra`,
/// `different`), expected and actual (JSON objects, or NULL).
#[must_use]
pub fn differing_rows(block: &BlockModel, dialect: Dialect, range: &KeyRange) -> String {
    let comparison = Comparison::new(block, dialect);
    let select = format!(
        "SELECT {key} AS key, CASE WHEN a.co_there IS NULL THEN 'missing' WHEN e.co_there IS NULL THEN 'extra' \
         ELSE 'different' END AS class,\n  {expected_image} AS expected, {actual_image} AS actual\n",
        key = text_sql(dialect, &comparison.key),
        expected_image = image(block, dialect, "e"),
        actual_image = image(block, dialect, "a"),
    );
    comparison.joined(dialect, range, &select)
}

/// The two sides `e` (expected) and `a` (actual), and what is wrong between them.
struct Comparison<'a> {
    block: &'a BlockModel,
    /// The key's columns, from whichever side has the row.
    key: Vec<String>,
    on: String,
    /// A WHERE clause.
    wrong: String,
}

impl<'a> Comparison<'a> {
    fn new(block: &'a BlockModel, dialect: Dialect) -> Self {
        let key: Vec<String> = block
            .key
            .iter()
            .map(|key| format!("coalesce({}, a.{})", block.expected_column("e", key), quoted(key)))
            .collect();
        let thawed = match (block.thawed(&key), has_basis(block, dialect, &key)) {
            (Some(thawed), Some(has_basis)) => format!("\n  AND ({thawed} OR {has_basis})"),
            (Some(thawed), None) => format!("\n  AND {thawed}"),
            (None, _) => String::new(),
        };
        let on = same_identity(block, "a", "e");
        let changed =
            format!("e.co_there = 1 AND a.co_there = 1 AND a.co_owned AND ({})", differs(block, dialect, "a", "e"));
        let wrong = if block.insert {
            format!("a.co_there IS NULL OR (e.co_there IS NULL AND a.co_owned) OR ({changed})")
        } else {
            changed
        };
        Self { block, key, on, wrong: format!("\nWHERE ({wrong}){thawed}") }
    }

    /// The rows that should be there, and the rows that are.
    fn sides(&self, dialect: Dialect, range: &KeyRange) -> [String; 2] {
        let block = self.block;
        let key = block.key_of("t");
        let restriction = in_range(&block.driving.key, &key, range);
        let owned = match &block.owns {
            Some(owns) => owned_condition(block, owns, "t"),
            None => String::from("1 = 1"),
        };
        [
            format!("SELECT 1 AS co_there, x.* FROM (\n{}\n) x", expected(block, dialect, Keys::Range(range))),
            format!(
                "SELECT 1 AS co_there, ({owned}) AS co_owned, {} FROM {} t WHERE {restriction} AND {}",
                columns("t", &block.mapped).join(", "),
                block.target.sql,
                // Rows without a key are in no range: `keyless_rows` finds them.
                is_there(&key),
            ),
        ]
    }

    /// Named and materialized: SQLite makes an index for a join with a table of its own, but scans a subquery in a FULL JOIN.
    fn joined(&self, dialect: Dialect, range: &KeyRange, select: &str) -> String {
        let [expected, actual] = self.sides(dialect, range);
        let tables = format!("WITH e AS MATERIALIZED ({expected}),\na AS MATERIALIZED ({actual})\n");
        let (on, wrong) = (&self.on, &self.wrong);
        match dialect {
            Dialect::Postgres => format!("{tables}{select}FROM e FULL JOIN a ON {on}{wrong}"),
            Dialect::Sqlite => format!(
                "{tables}{select}FROM e LEFT JOIN a ON {on}{wrong}\nUNION ALL\n\
                 {select}FROM a LEFT JOIN e ON {on}{wrong} AND e.co_there IS NULL"
            ),
        }
    }
}

/// Target rows that the block claims by its `owns` although no driving row can have made them, since a column of their key is NULL:
/// their number, and their image. None for a block that may not delete, or that owns just the rows of its keys: what has no key is
/// somebody else's.
#[must_use]
pub fn keyless_rows(block: &BlockModel, dialect: Dialect, samples_max: usize) -> Option<[String; 2]> {
    let condition = keyless(block)?;
    let from = format!(
        "FROM (SELECT 1 AS co_there, {} FROM {} t WHERE {condition}",
        columns("t", &block.mapped).join(", "),
        block.target.sql
    );
    Some([
        format!("SELECT count(*) AS count {from}) a"),
        format!("SELECT {} AS actual {from} LIMIT {samples_max}) a", image(block, dialect, "a")),
    ])
}

/// Deletes what [`keyless_rows`] finds.
#[must_use]
pub fn delete_keyless(block: &BlockModel) -> Option<String> {
    Some(format!("DELETE FROM {} AS t WHERE {}", block.target.sql, keyless(block)?))
}

fn keyless(block: &BlockModel) -> Option<String> {
    let owns = block.owns.as_ref().filter(|_| block.insert)?;
    Some(format!("NOT ({}) AND {}", is_there(&block.key_of("t")), owned_condition(block, owns, "t")))
}

/// The key of the target's row number `rows` within a range, as text; no row if there are fewer. A range is cut there, so that
/// target rows without a driving row cannot make one endless.
#[must_use]
pub fn target_end(block: &BlockModel, dialect: Dialect, range: &KeyRange, rows: usize) -> String {
    let key = block.key_of("t");
    format!(
        "SELECT {} AS key FROM (SELECT {columns} FROM {} t WHERE {} AND {} ORDER BY {columns} LIMIT 1 OFFSET {}) k",
        text_sql(dialect, &columns("k", &block.key)),
        block.target.sql,
        in_range(&block.driving.key, &key, range),
        is_there(&key),
        rows.saturating_sub(1),
        columns = key.join(", "),
    )
}

/// The driving key number `range_keys` of a range, as text; no row if there are fewer.
#[must_use]
pub fn range_end(block: &BlockModel, dialect: Dialect, range: &KeyRange, range_keys: usize) -> String {
    let names: Vec<String> = block.driving.key.iter().map(|column| column.name.clone()).collect();
    format!(
        "SELECT {} AS key FROM ({} LIMIT 1 OFFSET {}) k",
        text_sql(dialect, &columns("k", &names)),
        keys_in_order(block, range),
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

/// Every key of a range, of driving rows and of target rows, each once, as text.
#[must_use]
pub fn keys_of_both(block: &BlockModel, dialect: Dialect, range: &KeyRange) -> String {
    let names: Vec<String> = block.driving.key.iter().map(|column| column.name.clone()).collect();
    let target = block.key_of("t");
    format!(
        "SELECT {} AS key FROM ({}) d UNION SELECT {} AS key FROM {} t WHERE {} AND {}",
        text_sql(dialect, &columns("d", &names)),
        keys_in_order(block, range),
        text_sql(dialect, &target),
        block.target.sql,
        in_range(&block.driving.key, &target, range),
        is_there(&target),
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
