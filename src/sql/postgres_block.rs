//! A block's functions on PostgreSQL: `apply` writes the target rows of some keys, `refresh` locks before it applies, `batch` refreshes the
//! next keys of a backfill. Keys are passed as one array for each key column.

use crate::primitives::Dialect;

use super::keys::{Keys, parts_of, text_sql, variables};
use super::model::{BlockModel, ChangeModel};
use super::postgres::{block_function, time_zone};
use super::postgres_locks::{key_locks, shared_lock};
use super::statements::{delete_unexpected, upsert_expected};

const DIALECT: Dialect = Dialect::Postgres;

/// A block's function that takes array parameters of keys and does nothing without any.
fn keys_function(change: &ChangeModel, block: &BlockModel, verb: &str, body: &str) -> String {
    let names = variables("keys", &block.driving.key);
    let parameters: Vec<String> =
        names.iter().zip(&block.driving.key).map(|(name, column)| format!("{name} {}[]", column.sql_type)).collect();
    format!(
        "CREATE OR REPLACE FUNCTION {}({}) RETURNS void LANGUAGE plpgsql AS $co$\n#variable_conflict use_column\nBEGIN\n\
         \x20 IF cardinality({}) = 0 THEN RETURN; END IF;\n{body}END $co$",
        block_function(change, block, verb),
        parameters.join(", "),
        names.first().map_or("", String::as_str),
    )
}

/// Deletes and upserts, for keys whose locks are held already.
#[must_use]
pub fn apply_function(change: &ChangeModel, block: &BlockModel) -> String {
    let keys = Keys::Arrays("keys");
    let delete = delete_unexpected(block, keys).map(|delete| format!("{delete};\n")).unwrap_or_default();
    let upsert = upsert_expected(block, DIALECT, keys, "true");
    keys_function(change, block, "apply", &format!("{delete}{upsert};\n"))
}

/// Refreshes rows that are not the statement's own: locks the driving rows in key order against a concurrent delete (where keys are not
/// unique, the keys themselves), then what they look up.
#[must_use]
pub fn refresh_function(change: &ChangeModel, block: &BlockModel) -> String {
    let driving = &block.driving;
    let restricted = |relation: &str| Keys::Arrays("keys").condition(&driving.key, &driving.key_of(relation));
    let with_changed = format!("WITH changed AS (SELECT * FROM {} d WHERE {}) ", driving.table.sql, restricted("d"));
    let arrays = variables("keys", &driving.key).join(", ");
    let own = if driving.key_is_unique {
        format!(
            "  PERFORM 1 FROM {} d WHERE {} ORDER BY {} FOR KEY SHARE OF d;\n",
            driving.table.sql,
            restricted("d"),
            driving.key_of("d").join(", "),
        )
    } else {
        key_locks(change, block, &format!("SELECT * FROM unnest({arrays})"), "")
    };
    let follows: String = block.follows.iter().map(|follow| shared_lock(change, follow, &with_changed)).collect();
    let apply = format!("  PERFORM {}({arrays});\n", block_function(change, block, "apply"));
    keys_function(change, block, "refresh", &format!("{own}{follows}{apply}"))
}

/// One batch of a backfill: the next keys after `after` (NULL: from the first), locked against updates and deletes, refreshed.
/// Returns the last key as text (NULL: nothing left) and the number of keys.
#[must_use]
pub fn batch_function(change: &ChangeModel, block: &BlockModel) -> String {
    let driving = &block.driving;
    let after = variables("after", &driving.key);
    let parameters: Vec<String> =
        after.iter().zip(&driving.key).map(|(name, column)| format!("{name} {}", column.sql_type)).collect();
    let names = variables("keys", &driving.key);
    let last: Vec<String> = names.iter().map(|name| format!("{name}[key_count]")).collect();
    let wanted = match block.thawed(&parts_of("u", &block.driving.key)) {
        Some(thawed) => {
            let parts = variables("key", &driving.key).join(", ");
            let select = format!(
                "SELECT {} FROM unnest({}) AS u({parts}) WHERE {thawed} ORDER BY {}",
                parts_of("u", &block.driving.key).join(", "),
                names.join(", "),
                parts_of("u", &block.driving.key).join(", "),
            );
            assign(block, "work", &select)
        }
        None => names
            .iter()
            .zip(variables("work", &driving.key))
            .map(|(keys, work)| format!("  {work} := {keys};\n"))
            .collect(),
    };
    format!(
        "CREATE OR REPLACE FUNCTION {name}({parameters}, batch_rows integer, OUT last_key text, OUT key_count bigint) LANGUAGE plpgsql\n\
         SET search_path = {path}, pg_temp{zone} AS $co$\n#variable_conflict use_column\nDECLARE\n{keys}{work}BEGIN\n\
         \x20 IF {first} IS NULL THEN\n  {all}\x20 ELSE\n  {rest}\x20 END IF;\n\
         \x20 key_count := cardinality({counted});\n  IF key_count > 0 THEN last_key := {last}; END IF;\n{wanted}\
         \x20 PERFORM {refresh}({arguments});\nEND $co$",
        name = block_function(change, block, "batch"),
        parameters = parameters.join(", "),
        path = change.search_path,
        zone = time_zone(change),
        keys = declarations(block, "keys"),
        work = declarations(block, "work"),
        first = after.first().map_or("", String::as_str),
        all = assign(block, "keys", &next_keys(block, None)),
        rest = assign(block, "keys", &next_keys(block, Some(&after))),
        counted = names.first().map_or("", String::as_str),
        last = text_sql(DIALECT, &last),
        refresh = block_function(change, block, "refresh"),
        arguments = variables("work", &driving.key).join(", "),
    )
}

/// The first `batch_rows` keys, or those after the key in the variables `after`, in order. Rows of unique keys are locked against updates
/// and deletes; other keys are locked by the refresh.
fn next_keys(block: &BlockModel, after: Option<&[String]>) -> String {
    let driving = &block.driving;
    let key = driving.key_of("d");
    let mut conditions: Vec<String> = key
        .iter()
        .zip(&driving.key)
        .filter(|(_, part)| part.nullable)
        .map(|(part, _)| format!("{part} IS NOT NULL"))
        .collect();
    match (after, key.as_slice()) {
        (Some([after]), [key]) => conditions.push(format!("{key} > {after}")),
        (Some(after), key) => conditions.push(format!("({}) > ({})", key.join(", "), after.join(", "))),
        (None, _) => {}
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

/// Puts the keys that a query yields into array variables.
#[must_use]
pub fn assign(block: &BlockModel, stem: &str, select: &str) -> String {
    match variables(stem, &block.driving.key).as_slice() {
        [only] => format!("  {only} := ARRAY({select});\n"),
        several => {
            let arrays: Vec<String> = parts_of("s", &block.driving.key)
                .iter()
                .map(|part| format!("coalesce(array_agg({part}), '{{}}')"))
                .collect();
            format!(
                "  SELECT {} INTO {} FROM ({select}) s({});\n",
                arrays.join(", "),
                several.join(", "),
                variables("key", &block.driving.key).join(", "),
            )
        }
    }
}

/// Declarations of the array variables of a block's keys.
#[must_use]
pub fn declarations(block: &BlockModel, stem: &str) -> String {
    let names = variables(stem, &block.driving.key).into_iter();
    names.zip(&block.driving.key).map(|(name, column)| format!("  {name} {}[];\n", column.sql_type)).collect()
}
