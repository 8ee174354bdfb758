//! PostgreSQL: the function that refreshes one batch of a block's keys in a backfill.

use crate::primitives::Dialect;

use super::keys::{parts_of, text_sql, variables};
use super::model::{BlockModel, ChangeModel};
use super::postgres::{block_function, time_zone};
use super::postgres_block::{assign, declarations};

const DIALECT: Dialect = Dialect::Postgres;

/// The function's name and the types of its parameters.
#[must_use]
pub fn batch_signature(change: &ChangeModel, block: &BlockModel) -> String {
    let types: Vec<&str> = block.driving.key.iter().map(|column| column.sql_type.as_str()).collect();
    let key = types.join(", ");
    format!("{}({key}, {key}, integer)", block_function(change, block, "batch"))
}

/// One batch of a backfill: the next `batch_rows` keys after `after` (NULL: from the first) up to `until` (NULL: to the last), locked
/// against updates and deletes, refreshed. Returns the last key as text (NULL: nothing left) and the number of keys.
#[must_use]
pub fn batch_function(change: &ChangeModel, block: &BlockModel) -> String {
    let driving = &block.driving;
    let (after, until) = (variables("after", &driving.key), variables("until", &driving.key));
    let typed = |names: &[String]| -> Vec<String> {
        names.iter().zip(&driving.key).map(|(name, column)| format!("{name} {}", column.sql_type)).collect()
    };
    let names = variables("keys", &driving.key);
    let last: Vec<String> = names.iter().map(|name| format!("{name}[key_count]")).collect();
    format!(
        "CREATE OR REPLACE FUNCTION {name}({after}, {until}, batch_rows integer, OUT last_key text, OUT key_count bigint) LANGUAGE plpgsql\n\
         SET search_path = {path}, pg_temp{zone} AS $co$\n#variable_conflict use_column\nDECLARE\n{keys}{work}BEGIN\n{next}\
         \x20 key_count := cardinality({counted});\n  IF key_count > 0 THEN last_key := {last}; END IF;\n{wanted}\
         \x20 PERFORM {refresh}({arguments});\nEND $co$",
        name = block_function(change, block, "batch"),
        after = typed(&after).join(", "),
        until = typed(&until).join(", "),
        path = change.search_path,
        zone = time_zone(change),
        keys = declarations(block, "keys"),
        work = declarations(block, "work"),
        next = next_keys_by_bounds(block, &after, &until),
        counted = names.first().map_or("", String::as_str),
        last = text_sql(DIALECT, &last),
        wanted = wanted_keys(block, &names),
        refresh = block_function(change, block, "refresh"),
        arguments = variables("work", &driving.key).join(", "),
    )
}

/// A statement for each combination of bounds: an index ends a scan at a bound that is there, not at one that may be NULL.
fn next_keys_by_bounds(block: &BlockModel, after: &[String], until: &[String]) -> String {
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let (from_first, to_last) = (format!("{} IS NULL", first(after)), format!("{} IS NULL", first(until)));
    let next = |after: Option<&[String]>, until| assign(block, "keys", &next_keys(block, after, until));
    format!(
        "  IF {from_first} AND {to_last} THEN\n  {}  ELSIF {from_first} THEN\n  {}  ELSIF {to_last} THEN\n  {}  ELSE\n  {}  END IF;\n",
        next(None, None),
        next(None, Some(until)),
        next(Some(after), None),
        next(Some(after), Some(until)),
    )
}

/// Assigns the keys to be refreshed: all but those that are frozen.
fn wanted_keys(block: &BlockModel, names: &[String]) -> String {
    let key = parts_of("u", &block.driving.key);
    let Some(thawed) = block.thawed(&key) else {
        let pairs = names.iter().zip(variables("work", &block.driving.key));
        return pairs.map(|(keys, work)| format!("  {work} := {keys};\n")).collect();
    };
    let select = format!(
        "SELECT {key} FROM unnest({}) AS u({}) WHERE {thawed} ORDER BY {key}",
        names.join(", "),
        variables("key", &block.driving.key).join(", "),
        key = key.join(", "),
    );
    assign(block, "work", &select)
}

/// The first `batch_rows` keys within the bounds, in order. Rows of unique keys are locked against updates and deletes; other keys are
/// locked by the refresh.
fn next_keys(block: &BlockModel, after: Option<&[String]>, until: Option<&[String]>) -> String {
    let driving = &block.driving;
    let key = driving.key_of("d");
    let nullable = key.iter().zip(&driving.key).filter(|(_, part)| part.nullable);
    let mut conditions: Vec<String> = nullable.map(|(part, _)| format!("{part} IS NOT NULL")).collect();
    for (bound, operator) in [(after, ">"), (until, "<=")] {
        match (bound, key.as_slice()) {
            (Some([bound]), [key]) => conditions.push(format!("{key} {operator} {bound}")),
            (Some(bound), key) => conditions.push(format!("({}) {operator} ({})", key.join(", "), bound.join(", "))),
            (None, _) => {}
        }
    }
    if conditions.is_empty() {
        conditions.push(String::from("true"));
    }
    format!(
        "SELECT {distinct}{key} FROM {} d WHERE {} ORDER BY {key} LIMIT batch_rows{lock}",
        driving.table.sql,
        conditions.join(" AND "),
        distinct = if driving.key_is_unique { "" } else { "DISTINCT " },
        lock = if driving.key_is_unique { " FOR NO KEY UPDATE" } else { "" },
        key = key.join(", "),
    )
}
