//! A change on PostgreSQL: a function for each block's refresh, a trigger function for each source table and event.

use crate::change::{Direction, OnError, Stage};
use crate::primitives::Dialect;

use super::gap;
use super::keys::{Keys, is_there, parts_of, text_sql, variables};
use super::model::{BlockModel, ChangeModel, Event, TableModel, trimmed};
use super::names::{literal, quoted};
use super::pending::{Guarded, PROTECTED_VARIABLES, Work, protected, record_keys, record_whole};
use super::postgres_block::{apply_function, assign, batch_function, declarations, refresh_function};
use super::postgres_locks::{exclusive_locks, key_locks, shared_lock};
use super::postgres_triggers::{TransitionTables as _, trigger_name};
pub use super::postgres_triggers::{Trigger, triggers};
use super::postgres_truncate::truncate_body;
use super::statements::{delete_unexpected, upsert_expected, upsert_from};

const DIALECT: Dialect = Dialect::Postgres;

/// The setting that says which way a transaction is being translated: `forward`, `backward`, `backfill`, or unset.
#[must_use]
pub fn direction_setting(change: &ChangeModel) -> String {
    format!("changeover.{}_direction", change.stem())
}

/// The schema and the function with which generated SQL refuses a row. Shared by all changes.
#[must_use]
pub fn shared_objects() -> Vec<String> {
    vec![
        String::from("CREATE SCHEMA IF NOT EXISTS changeover"),
        String::from(
            "CREATE OR REPLACE FUNCTION changeover.refuse(reason text) RETURNS integer LANGUAGE plpgsql AS $co$\n\
             BEGIN RAISE EXCEPTION 'changeover: %', reason USING ERRCODE = 'data_exception'; END $co$",
        ),
    ]
}

/// One refresh function and one backfill function for each block.
#[must_use]
pub fn block_functions(change: &ChangeModel) -> Vec<String> {
    change
        .blocks
        .iter()
        .flat_map(|block| {
            [apply_function(change, block), refresh_function(change, block), batch_function(change, block)]
        })
        .collect()
}

/// The trigger functions of a direction, doing `work`. Replacing a function takes no lock on the table, so this is what a stage move
/// runs, and a pause.
#[must_use]
pub fn trigger_functions(change: &ChangeModel, direction: Direction, work: Work) -> Vec<String> {
    let mut functions = Vec::new();
    for table in change.sources_of(direction) {
        for event in Event::ALL {
            let body = match work {
                Work::Nothing => String::from("  RETURN NULL;\n"),
                Work::Translate(stage) => trigger_body(change, (direction, stage), &table, event),
                Work::Paused { records_keys: false } => gap::touch_postgres(&gap::mark(change, direction, &table)),
                Work::Paused { records_keys: true } => recording_body(change, direction, &table, event),
            };
            functions.push(trigger_function(
                change,
                direction,
                &trigger_name(change, direction, &table, event.word()),
                &body,
            ));
        }
        let body = match work {
            Work::Nothing => String::from("  RETURN NULL;\n"),
            Work::Translate(_) => truncate_body(change, direction, &table),
            Work::Paused { records_keys } => {
                let queued: Vec<&BlockModel> =
                    if records_keys { concerned(change, direction, &table) } else { Vec::new() };
                let whole = queued.into_iter().map(|block| record_whole(change, block.id)).collect::<String>();
                format!("{whole}{}", gap::touch_postgres(&gap::mark(change, direction, &table)))
            }
        };
        let name = trigger_name(change, direction, &table, "truncate");
        functions.push(trigger_function(change, direction, &name, &body));
    }
    functions
}

/// Waits until every transaction that has written a source table has ended, and keeps new ones waiting until this one has.
#[must_use]
pub fn lock_sources(change: &ChangeModel, direction: Direction) -> Vec<String> {
    let mut tables: Vec<String> = change.sources_of(direction).into_iter().map(|table| table.sql).collect();
    tables.sort();
    tables.iter().map(|table| format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")).collect()
}

/// Drops the triggers, then the functions. `DROP TRIGGER` takes an exclusive lock on its table.
#[must_use]
pub fn drop_all(change: &ChangeModel) -> Vec<String> {
    let mut statements = Vec::new();
    let mut functions = Vec::new();
    for direction in [Direction::Forward, Direction::Backward] {
        for table in change.sources_of(direction) {
            for word in ["insert", "update", "delete", "truncate"] {
                let name = quoted(&trigger_name(change, direction, &table, word));
                let tables = std::iter::once(&table.sql).chain(&table.partitions);
                statements.extend(tables.map(|table| format!("DROP TRIGGER IF EXISTS {name} ON {table}")));
                // A partition that has been detached keeps its triggers: they go with the function.
                functions.push(format!("DROP FUNCTION IF EXISTS changeover.{name}() CASCADE"));
            }
        }
    }
    for block in &change.blocks {
        let types: Vec<&str> = block.driving.key.iter().map(|column| column.sql_type.as_str()).collect();
        let arrays: Vec<String> = types.iter().map(|sql_type| format!("{sql_type}[]")).collect();
        let (after, arrays) = (types.join(", "), arrays.join(", "));
        functions.push(format!("DROP FUNCTION IF EXISTS {}({after}, integer)", block_function(change, block, "batch")));
        functions.push(format!("DROP FUNCTION IF EXISTS {}({arrays})", block_function(change, block, "refresh")));
        functions.push(format!("DROP FUNCTION IF EXISTS {}({arrays})", block_function(change, block, "apply")));
    }
    statements.extend(functions);
    statements
}

/// A block's function as it is called: `changeover."billing_allocation_f1_refresh"`.
#[must_use]
pub fn block_function(change: &ChangeModel, block: &BlockModel, verb: &str) -> String {
    format!("changeover.{}", quoted(&format!("{}_{}_{verb}", change.stem(), block.id)))
}

/// ` SET TimeZone = …`, if blocks depend on it.
#[must_use]
pub fn time_zone(change: &ChangeModel) -> String {
    change.time_zone.as_ref().map(|zone| format!(" SET TimeZone = {}", literal(zone))).unwrap_or_default()
}

/// A function's settings: restored when it returns and when it fails. The time zone so that a row means the same whoever writes it
/// (2.7 µs a call, so only where it matters). Forced generic plans because planning, not work, is what a
/// translated write would cost; sequential scans off because a plan that was made while a target was empty would stay one.
fn settings(change: &ChangeModel) -> String {
    format!(
        "SET search_path = {}, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off{}",
        change.search_path,
        time_zone(change),
    )
}

fn trigger_function(change: &ChangeModel, direction: Direction, name: &str, body: &str) -> String {
    let word = match direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    };
    format!(
        "CREATE OR REPLACE FUNCTION changeover.{}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n{} SET {} = '{word}'\nAS $co$\n\
         #variable_conflict use_column\nDECLARE\n{PROTECTED_VARIABLES}{}BEGIN\n{body}END $co$",
        quoted(name),
        settings(change),
        direction_setting(change),
        change.blocks_of(direction).map(|block| declarations(block, &stem(block))).collect::<String>(),
    )
}

/// What one event on one table causes: locks of what others look up here, locks of what these rows look up, then the blocks. What is
/// done for blocks whose errors are queued is protected; neighbours together, since a subtransaction costs what a small write costs.
fn trigger_body(
    change: &ChangeModel,
    (direction, stage): (Direction, Stage),
    table: &TableModel,
    event: Event,
) -> String {
    let concerned = concerned(change, direction, table);
    let mut pieces: Vec<(&BlockModel, String)> = Vec::new();
    if event == Event::Delete {
        // All keys first: what the deletes below remove could not be found any more.
        pieces.extend(concerned.iter().map(|block| (*block, collect_keys(block, table, event))));
        for block in concerned.iter().rev() {
            if let Some(delete) = delete_unexpected(block, Keys::Arrays(&stem(block))) {
                let text = format!("  IF cardinality({}) > 0 THEN\n{delete};\n  END IF;\n", first(block));
                pieces.push((block, text));
            }
        }
    }
    pieces.extend(concerned.iter().map(|block| (*block, run_block(change, block, table, event))));
    let locks = exclusive_locks(change, direction, table, event.with_changed());
    let all_queued = concerned.iter().all(|block| block.on_error(stage) == OnError::Queue);
    let mut body = format!("  IF {} THEN RETURN NULL; END IF;\n", event.nothing_changed());
    let mut inner = if all_queued { locks.clone() } else { String::new() };
    if !all_queued {
        body.push_str(&locks);
    }
    for group in pieces.chunk_by(|(left, _), (right, _)| left.on_error(stage) == right.on_error(stage)) {
        inner.extend(group.iter().map(|(_, text)| text.as_str()));
        let is_queued = group.first().is_some_and(|(block, _)| block.on_error(stage) == OnError::Queue);
        if is_queued {
            let mut blocks: Vec<&BlockModel> = group.iter().map(|(block, _)| *block).collect();
            blocks.sort_by_key(|block| block.id);
            blocks.dedup_by_key(|block| block.id);
            let guarded: Vec<Guarded> = blocks.iter().map(|block| guarded(block, table, event)).collect();
            body.push_str(&protected(change, &locks, &inner, &guarded));
        } else {
            body.push_str(&inner);
        }
        inner.clear();
    }
    body.push_str("  RETURN NULL;\n");
    body
}

/// What a paused function does that records keys.
fn recording_body(change: &ChangeModel, direction: Direction, table: &TableModel, event: Event) -> String {
    let blocks = concerned(change, direction, table);
    let guarded: Vec<Guarded> = blocks.iter().map(|block| guarded(block, table, event)).collect();
    let locks = exclusive_locks(change, direction, table, event.with_changed());
    format!("  IF {} THEN RETURN NULL; END IF;\n{}", event.nothing_changed(), record_keys(change, &locks, &guarded))
}

/// The blocks that a table drives or feeds, in their order.
fn concerned<'a>(change: &'a ChangeModel, direction: Direction, table: &TableModel) -> Vec<&'a BlockModel> {
    let feeds = |block: &BlockModel| block.follows.iter().any(|follow| follow.table == *table);
    change.blocks_of(direction).filter(|block| block.driving.table == *table || feeds(block)).collect()
}

fn guarded(block: &BlockModel, table: &TableModel, event: Event) -> Guarded {
    Guarded {
        id: block.id,
        collect: collect_keys(block, table, event),
        variables: variables(&stem(block), &block.driving.key),
        text: text_sql(DIALECT, &parts_of("k", &block.driving.key)),
        parts: variables("key", &block.driving.key),
        feeds: block.follows.iter().any(|follow| follow.table == *table),
    }
}

fn run_block(change: &ChangeModel, block: &BlockModel, table: &TableModel, event: Event) -> String {
    let drives = block.driving.table == *table;
    let feeds = block.follows.iter().any(|follow| follow.table == *table);
    if !drives {
        let collect = if event == Event::Delete { String::new() } else { collect_keys(block, table, event) };
        return format!("{collect}  PERFORM {}({});\n", block_function(change, block, "refresh"), arguments(block));
    }
    let mut text = String::new();
    if event != Event::Delete {
        text.push_str(&key_locks(change, block, &own_keys(block), event.with_changed()));
    }
    for follow in &block.follows {
        text.push_str(&shared_lock(change, follow, event.with_changed()));
    }
    if event == Event::Insert && !feeds && block.driving.key_is_unique {
        // Rows that have just been inserted have no target rows to be deleted.
        if let (Some(query), None) = (block.short_form_over("changed"), &block.split) {
            text.push_str(&format!("{};\n", upsert_from(block, DIALECT, &query, (Keys::All, "true"))));
            return text;
        }
        text.push_str(&collect_keys(block, table, event));
        text.push_str(&format!("{};\n", upsert_expected(block, DIALECT, Keys::Arrays(&stem(block)), "true")));
        return text;
    }
    if event != Event::Delete {
        text.push_str(&collect_keys(block, table, event));
    }
    let verb = if feeds { "refresh" } else { "apply" };
    text.push_str(&format!("  PERFORM {}({});\n", block_function(change, block, verb), arguments(block)));
    text
}

/// Assigns a block's keys that an event on `table` touches: those of the rows themselves, and those that `follows` derives.
fn collect_keys(block: &BlockModel, table: &TableModel, event: Event) -> String {
    let names = variables("key", &block.driving.key).join(", ");
    let mut sources = Vec::new();
    if block.driving.table == *table {
        sources.push(own_keys(block));
    }
    for follow in block.follows.iter().filter(|follow| follow.table == *table) {
        let keys = format!("SELECT f.* FROM (\n{}\n) AS f({names})", trimmed(&follow.keys));
        sources.push(match block.thawed(&parts_of("f", &block.driving.key)) {
            Some(thawed) => format!("{keys} WHERE {thawed}"),
            None => keys,
        });
    }
    let keys = parts_of("k", &block.driving.key);
    let order: Vec<String> = (1..=keys.len()).map(|number| number.to_string()).collect();
    let select = format!(
        "SELECT DISTINCT {} FROM ({with}{}) AS k({names}) WHERE {} ORDER BY {}",
        keys.join(", "),
        sources.join("\nUNION ALL\n"),
        is_there(&keys),
        order.join(", "),
        with = event.with_changed(),
    );
    assign(block, &stem(block), &select)
}

/// The keys of the statement's own rows.
fn own_keys(block: &BlockModel) -> String {
    format!("SELECT {} FROM changed", block.driving.key_of("changed").join(", "))
}

/// What a trigger function's array variables of a block's keys are called.
fn stem(block: &BlockModel) -> String {
    format!("co_{}", block.id)
}

fn arguments(block: &BlockModel) -> String {
    variables(&stem(block), &block.driving.key).join(", ")
}

/// One of the array variables: all have the same length.
fn first(block: &BlockModel) -> String {
    variables(&stem(block), &block.driving.key).into_iter().next().unwrap_or_default()
}
