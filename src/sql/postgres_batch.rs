//! PostgreSQL: the function that refreshes one batch of a block's keys in a backfill.
//!
//! **Locks.** A batch locks its driving rows FOR NO KEY UPDATE, so that nobody changes or deletes one between the reading of the row and
//! the writing of what follows from it. That lock costs little: of a million 1:1 rows, 7.7 s with it and 7.5 s without (the bare
//! `INSERT … SELECT`: 3.0 s). What costs is `ON CONFLICT` (11 s), which looks every row up twice, and looking at all (2.8 s). So a block whose
//! target rows are its driving rows, one for one, inserts what is not there, and refreshes only what is.

use crate::primitives::Dialect;

use super::expected::expected_from;
use super::keys::{Keys, parts_of, text_sql, variables};
use super::model::{BlockModel, ChangeModel};
use super::names::quoted;
use super::postgres::{block_function, time_zone};
use super::postgres_block::{assign, declarations};
use super::postgres_locks::shared_lock;
use super::statements::{differs, insert_from, same_identity, upsert_from};

const DIALECT: Dialect = Dialect::Postgres;

/// Names of variables: such as no column has, since a column of that name would be meant.
const AFTER: &str = "co_after";
const UNTIL: &str = "co_until";
const KEYS: &str = "co_keys";
const WORK: &str = "co_work";
const FROM: &str = "co_from";
const TO: &str = "co_to";

/// The function's name and the types of its parameters.
#[must_use]
pub fn batch_signature(change: &ChangeModel, block: &BlockModel) -> String {
    let types: Vec<&str> = block.driving.key.iter().map(|column| column.sql_type.as_str()).collect();
    let key = types.join(", ");
    format!("{}({key}, {key}, integer)", block_function(change, block, "batch"))
}

/// One batch of a backfill: the next `co_batch_rows` keys after `co_after` (NULL: from the first) up to `co_until` (NULL: to the last),
/// locked against updates and deletes, refreshed. Returns the last key as text (NULL: nothing left) and the number of keys.
#[must_use]
pub fn batch_function(change: &ChangeModel, block: &BlockModel) -> String {
    let is_copy = is_copy(block);
    let names = variables(KEYS, &block.driving.key);
    let last: Vec<String> = names.iter().map(|name| format!("{name}[key_count]")).collect();
    // A join by hash or merge would read all of a target whose statistics say that it is empty.
    let plans =
        if is_copy { " SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off" } else { "" };
    let bounds = if is_copy { [FROM, TO].map(|stem| typed(block, stem)).concat() } else { Vec::new() };
    format!(
        "CREATE OR REPLACE FUNCTION {name}({after}, {until}, co_batch_rows integer, OUT last_key text, OUT key_count bigint) LANGUAGE plpgsql\n\
         SET search_path = {path}, pg_temp{zone}{plans} AS $co$\n#variable_conflict use_column\nDECLARE\n{keys}{work}{bounds}BEGIN\n{next}\
         \x20 key_count := cardinality({counted});\n  IF key_count = 0 THEN RETURN; END IF;\n  last_key := {last};\n{body}END $co$",
        name = block_function(change, block, "batch"),
        after = typed(block, AFTER).join(", "),
        until = typed(block, UNTIL).join(", "),
        path = change.search_path,
        zone = time_zone(change),
        keys = declarations(block, KEYS),
        work = declarations(block, WORK),
        bounds = bounds.iter().map(|bound| format!("  {bound};\n")).collect::<String>(),
        next = next_keys_by_bounds(block, !is_copy),
        counted = names.first().map_or("", String::as_str),
        last = text_sql(DIALECT, &last),
        body = if is_copy { copy(block) } else { refresh(change, block) },
    )
}

/// `name type` for each part of a key.
fn typed(block: &BlockModel, stem: &str) -> Vec<String> {
    let key = &block.driving.key;
    variables(stem, key).iter().zip(key).map(|(name, column)| format!("{name} {}", column.sql_type)).collect()
}

/// True if each driving row makes exactly one target row, whatever its values and whatever other tables hold.
fn is_copy(block: &BlockModel) -> bool {
    let (mut identity, mut key) = (block.identity.clone(), block.key.clone());
    identity.sort_unstable();
    key.sort_unstable();
    let is_plain = block.insert && block.split.is_none() && block.owns.is_none() && block.frozen.is_none();
    is_plain
        && identity == key
        && block.follows.is_empty()
        && block.driving.key_is_unique
        && block.driving.key.iter().all(|column| !column.nullable)
        && block.short_form_over("").is_some()
}

/// Refreshes any block's keys, which are locked already where they are unique.
fn refresh(change: &ChangeModel, block: &BlockModel) -> String {
    let driving = &block.driving;
    let work = variables(WORK, &driving.key).join(", ");
    let wanted = wanted_keys(block);
    if !driving.key_is_unique {
        return format!("{wanted}  PERFORM {}({work});\n", block_function(change, block, "refresh"));
    }
    let condition = Keys::Arrays(WORK).condition(&driving.key, &driving.key_of("d"));
    let changed = format!("WITH changed AS (SELECT * FROM {} d WHERE {condition}) ", driving.table.sql);
    let follows: String = block.follows.iter().map(|follow| shared_lock(change, follow, &changed)).collect();
    format!("{wanted}{follows}  PERFORM {}({work});\n", block_function(change, block, "apply"))
}

/// Inserts the target rows of the driving rows between the batch's first and last key that are not there, and updates those that differ. Only
/// locked rows are read, each as it is once it is locked. Nothing is ever deleted: a driving row that is there has its target row. Whoever
/// inserted one of the target rows since the statement began makes it fail; then rows in conflict are updated, at `ON CONFLICT`'s price.
fn copy(block: &BlockModel) -> String {
    let driving = &block.driving;
    let (names, from, to) = (variables(KEYS, &driving.key), variables(FROM, &driving.key), variables(TO, &driving.key));
    let bounds: String = names
        .iter()
        .zip(from.iter().zip(&to))
        .map(|(name, (from, to))| format!("  {from} := {name}[1]; {to} := {name}[key_count];\n"))
        .collect();
    let between =
        |columns: &[String]| format!("{} AND {}", compared(columns, ">=", &from), compared(columns, "<=", &to));
    let key = driving.key_of("d");
    let locked = format!(
        "WITH co_rows AS MATERIALIZED (SELECT d.* FROM {} d WHERE {} ORDER BY {} FOR NO KEY UPDATE)",
        driving.table.sql,
        between(&key),
        key.join(", "),
    );
    let rows = block.short_form_over("co_rows").unwrap_or_default();
    let insert = insert_from(block, DIALECT, &rows, Keys::All);
    let target = &block.target.sql;
    format!(
        "{bounds}  BEGIN\n    IF EXISTS (SELECT 1 FROM {target} t WHERE {there}) THEN\n\
         {locked}{update}\n{insert} WHERE NOT EXISTS (SELECT 1 FROM {target} t WHERE {same});\n    ELSE\n\
         {locked}\n{insert};\n    END IF;\n  EXCEPTION WHEN unique_violation THEN\n{locked}\n{upsert};\n  END;\n",
        there = between(&block.key_of("t")),
        update = update(block, &rows),
        same = same_identity(block, "t", "e"),
        upsert = upsert_from(block, DIALECT, &rows, (Keys::All, "true")),
    )
}

/// A further part of a `WITH`: updates the target rows that differ.
fn update(block: &BlockModel, rows: &str) -> String {
    let payload = block.payload();
    if payload.is_empty() {
        return String::new();
    }
    let set: Vec<String> = payload.iter().map(|column| format!("{c} = e.{c}", c = quoted(column))).collect();
    format!(
        ",\nco_changed AS (UPDATE {} t SET {} FROM (\n{}\n) e WHERE {} AND ({}))",
        block.target.sql,
        set.join(", "),
        expected_from(block, DIALECT, rows, Keys::All),
        same_identity(block, "t", "e"),
        differs(block, DIALECT, "t", "e"),
    )
}

/// `a >= x`, or `(a, b) >= (x, y)`.
fn compared(left: &[String], operator: &str, right: &[String]) -> String {
    match (left, right) {
        ([left], [right]) => format!("{left} {operator} {right}"),
        _ => format!("({}) {operator} ({})", left.join(", "), right.join(", ")),
    }
}

/// A statement for each combination of bounds: an index ends a scan at a bound that is there, not at one that may be NULL.
fn next_keys_by_bounds(block: &BlockModel, is_locked: bool) -> String {
    let first = |stem: &str| variables(stem, &block.driving.key).into_iter().next().unwrap_or_default();
    let (from_first, to_last) = (format!("{} IS NULL", first(AFTER)), format!("{} IS NULL", first(UNTIL)));
    let next = |after, until| assign(block, KEYS, &next_keys(block, (after, until), is_locked));
    format!(
        "  IF {from_first} AND {to_last} THEN\n  {}  ELSIF {from_first} THEN\n  {}  ELSIF {to_last} THEN\n  {}  ELSE\n  {}  END IF;\n",
        next(false, false),
        next(false, true),
        next(true, false),
        next(true, true),
    )
}

/// Assigns the keys to be refreshed: all but those that are frozen.
fn wanted_keys(block: &BlockModel) -> String {
    let names = variables(KEYS, &block.driving.key);
    let key = parts_of("u", &block.driving.key);
    let Some(thawed) = block.thawed(&key) else {
        let pairs = names.iter().zip(variables(WORK, &block.driving.key));
        return pairs.map(|(keys, work)| format!("  {work} := {keys};\n")).collect();
    };
    let select = format!(
        "SELECT {key} FROM unnest({}) AS u({}) WHERE {thawed} ORDER BY {key}",
        names.join(", "),
        variables("key", &block.driving.key).join(", "),
        key = key.join(", "),
    );
    assign(block, WORK, &select)
}

/// The first keys within the bounds, in order. Rows of unique keys are locked against updates and deletes if `is_locked`; other keys are
/// locked by the refresh.
fn next_keys(block: &BlockModel, (after, until): (bool, bool), is_locked: bool) -> String {
    let driving = &block.driving;
    let key = driving.key_of("d");
    let nullable = key.iter().zip(&driving.key).filter(|(_, part)| part.nullable);
    let mut conditions: Vec<String> = nullable.map(|(part, _)| format!("{part} IS NOT NULL")).collect();
    for (stem, operator) in after.then_some((AFTER, ">")).into_iter().chain(until.then_some((UNTIL, "<="))) {
        conditions.push(compared(&key, operator, &variables(stem, &driving.key)));
    }
    if conditions.is_empty() {
        conditions.push(String::from("true"));
    }
    format!(
        "SELECT {distinct}{key} FROM {} d WHERE {} ORDER BY {key} LIMIT co_batch_rows{lock}",
        driving.table.sql,
        conditions.join(" AND "),
        distinct = if driving.key_is_unique { "" } else { "DISTINCT " },
        lock = if driving.key_is_unique && is_locked { " FOR NO KEY UPDATE" } else { "" },
        key = key.join(", "),
    )
}
