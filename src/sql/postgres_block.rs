//! A block's functions on PostgreSQL: `apply` writes the target rows of some keys, `refresh` locks before it applies.
//! Keys are passed as one array for each key column.

use crate::primitives::Dialect;

use super::basis::record_call;
use super::keys::{Keys, parts_of, variables};
use super::model::{BlockModel, ChangeModel};
use super::postgres::block_function;
use super::postgres_locks::{key_locks, shared_lock};
use super::postgres_settle::settle;
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
    let arrays = variables("keys", &block.driving.key).join(", ");
    let delete = delete_unexpected(block, DIALECT, keys).map(|delete| format!("{delete};\n")).unwrap_or_default();
    let upsert = upsert_expected(block, DIALECT, keys, "true");
    let record = record_call(change, block, &arrays);
    keys_function(change, block, "apply", &format!("{record}{delete}{upsert};\n{}", settle(change, block, "keys")))
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
