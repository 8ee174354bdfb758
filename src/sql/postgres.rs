//! A change on PostgreSQL: a function for each block's refresh, a trigger function for each source table and event.

use crate::change::{Direction, OnError, Stage};
use crate::primitives::Dialect;

use super::basis::{record_call, record_function};
use super::gap;
use super::keys::{Keys, is_there, parts_of, text_sql, variables};
use super::model::{BlockModel, ChangeModel, Event, FollowModel, TableModel, trimmed};
use super::names::{literal, quoted};
use super::old_path;
use super::pending::{Guarded, PROTECTED_VARIABLES, Tries, Work, protected, record_keys, record_whole};
use super::postgres_batch::{batch_function, batch_signature};
use super::postgres_block::{apply_function, assign, declarations, refresh_function};
use super::postgres_locks::{exclusive_locks, key_locks, shared_lock};
use super::postgres_settle::settle;
use super::postgres_triggers::{TransitionTables as _, trigger_name};
pub use super::postgres_triggers::{Trigger, triggers};
use super::postgres_truncate::truncate_body;
use super::statements::{delete_unexpected, insert_from, upsert_expected, upsert_from};

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
            let of_keys =
                [apply_function(change, block), refresh_function(change, block), batch_function(change, block)];
            record_function(change, block).into_iter().chain(of_keys)
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
                Work::Nothing => Body::default(),
                Work::Translate(stage) => {
                    let mut body = trigger_body(change, (direction, stage), &table, event);
                    if old_path::is_noted(change, (direction, stage), &table) {
                        body.statements = old_path::around_postgres(change, &table, &body.statements);
                    }
                    body
                }
                Work::Paused { records_keys: false } => {
                    Body::of(gap::touch_postgres(&gap::mark(change, direction, &table)))
                }
                Work::Paused { records_keys: true } => recording_body(change, direction, &table, event),
            };
            functions.push(trigger_function(change, (direction, work), (&table, event.word()), &body));
        }
        let body = match work {
            Work::Nothing => String::new(),
            Work::Translate(_) => truncate_body(change, direction, &table),
            Work::Paused { records_keys } => {
                let queued: Vec<&BlockModel> =
                    if records_keys { concerned(change, direction, &table) } else { Vec::new() };
                let whole = queued.into_iter().map(|block| record_whole(change, block.id)).collect::<String>();
                format!("{whole}{}", gap::touch_postgres(&gap::mark(change, direction, &table)))
            }
        };
        functions.push(trigger_function(change, (direction, work), (&table, "truncate"), &Body::of(body)));
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
        functions.push(format!("DROP FUNCTION IF EXISTS {}", batch_signature(change, block)));
        functions.push(format!("DROP FUNCTION IF EXISTS {}({arrays})", block_function(change, block, "refresh")));
        functions.push(format!("DROP FUNCTION IF EXISTS {}({arrays})", block_function(change, block, "apply")));
        if block.frozen.is_some() {
            functions.push(format!("DROP FUNCTION IF EXISTS {}({arrays})", block_function(change, block, "record")));
        }
    }
    statements.extend(functions);
    statements.extend(old_path::drop(change));
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
/// (2.7 µs a call, so only where it matters). Forced generic plans because planning, not work, is what a translated write would cost;
/// sequential scans off because a plan that was made while a target was empty would stay one. Neither matters to a function that reads
/// nothing but the written rows. No compilation, since a plan that was made for a million rows would be compiled anew for each single
/// row after them.
fn settings(change: &ChangeModel, reads_tables: bool) -> String {
    let plans = if reads_tables { " SET plan_cache_mode = force_generic_plan SET enable_seqscan = off" } else { "" };
    format!("SET search_path = {}, pg_temp SET jit = off{plans}{}", change.search_path, time_zone(change))
}

/// What a trigger function does.
#[derive(Debug, Default)]
struct Body {
    /// A condition under which there is nothing to do.
    idle: Option<String>,
    statements: String,
    /// False if only the written rows are read, as long as no write fails.
    reads_tables: bool,
}

impl Body {
    fn of(statements: String) -> Self {
        Self { idle: None, statements, reads_tables: true }
    }
}

/// A trigger function: quiet while the other direction is being translated, or a backfill runs; otherwise it does its work with the
/// direction set.
///
/// The direction is set and restored by the function's own statements: a condition on the trigger would be parsed anew for each
/// statement that fires it, which costs more than anything else here, and a setting of the function would hide from it the direction
/// that it was called in. If the function fails, whatever undoes its work undoes the setting. Where there are only blocks of one direction
/// nobody asks for it.
fn trigger_function(
    change: &ChangeModel,
    (direction, work): (Direction, Work),
    (table, word): (&TableModel, &str),
    body: &Body,
) -> String {
    let setting = direction_setting(change);
    let other = direction.other();
    let quiet_in = match change.is_written_by(other, table) {
        true => format!("'{}', 'backfill'", other.word()),
        false => String::from("'backfill'"),
    };
    // A TRUNCATE is never one of ours.
    let is_asked = word != "truncate" && work != Work::Nothing;
    let is_told = matches!(work, Work::Translate(_)) && change.blocks_of(other).next().is_some();
    let mut text = String::new();
    if is_asked {
        text.push_str(&format!("  IF co_direction IN ({quiet_in}) THEN RETURN NULL; END IF;\n"));
    }
    if let Some(idle) = &body.idle {
        text.push_str(&format!("  IF {idle} THEN RETURN NULL; END IF;\n"));
    }
    let set = |value: &str| match is_told {
        true => format!("  co_set := set_config('{setting}', {value}, true);\n"),
        false => String::new(),
    };
    text.push_str(&set(&format!("'{}'", direction.word())));
    text.push_str(&body.statements);
    text.push_str(&set("co_direction"));
    format!(
        "CREATE OR REPLACE FUNCTION changeover.{}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n{}\nAS $co$\n\
         #variable_conflict use_column\nDECLARE\n  co_direction text := coalesce(current_setting('{setting}', true), '');\n  co_set text;\n\
         {PROTECTED_VARIABLES}{}BEGIN\n{text}  RETURN NULL;\nEND $co$",
        quoted(&trigger_name(change, direction, table, word)),
        settings(change, body.reads_tables),
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
) -> Body {
    let concerned = concerned(change, direction, table);
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    if event == Event::Delete {
        // All keys first: what the deletes below remove could not be found any more.
        pieces.extend(concerned.iter().map(|block| Piece::new(block, collect_and_lock(change, block, table, event))));
        for block in concerned.iter().rev() {
            if let Some(delete) = delete_unexpected(block, DIALECT, Keys::Arrays(&stem(block))) {
                let text = format!("  IF cardinality({}) > 0 THEN\n{delete};\n  END IF;\n", first(block));
                pieces.push(Piece::new(block, text));
            }
        }
    }
    if event == Event::Update {
        for block in change.deleted_first(direction, table) {
            if let Some(delete) = delete_unexpected(block, DIALECT, Keys::Arrays(&stem(block))) {
                pieces.push(Piece::new(block, format!("{}{delete};\n", collect_and_lock(change, block, table, event))));
            }
        }
    }
    pieces.extend(concerned.iter().map(|block| Piece {
        fast: insert_fast(change, block, table, event),
        ..Piece::new(block, run_block(change, block, table, event))
    }));
    let locks = exclusive_locks(change, direction, table, event.with_changed());
    let all_queued = concerned.iter().all(|block| block.on_error(stage) == OnError::Queue);
    let checks =
        if all_queued && change.goes_out(table, direction) { check_deferred(change, direction) } else { String::new() };
    let mut statements = if all_queued { String::new() } else { locks.clone() };
    let mut before = if all_queued { locks.as_str() } else { "" };
    for group in pieces.chunk_by(|left, right| left.block.on_error(stage) == right.block.on_error(stage)) {
        let inner: String = group.iter().map(|piece| piece.text.as_str()).collect();
        let is_queued = group.first().is_some_and(|piece| piece.block.on_error(stage) == OnError::Queue);
        if is_queued {
            let mut blocks: Vec<&BlockModel> = group.iter().map(|piece| piece.block).collect();
            blocks.sort_by_key(|block| block.id);
            blocks.dedup_by_key(|block| block.id);
            let guarded: Vec<Guarded> = blocks.iter().map(|block| guarded(block, table, event)).collect();
            let fast = group.iter().any(|piece| piece.fast.is_some()).then(|| {
                let pieces = group.iter().map(|piece| piece.fast.as_deref().unwrap_or(&piece.text));
                format!("{before}{}{checks}", pieces.collect::<String>())
            });
            let tries = Tries { fast: fast.as_deref(), thorough: &format!("{before}{inner}{checks}") };
            statements.push_str(&protected(change, &locks, tries, &guarded));
        } else {
            statements.push_str(&inner);
        }
        before = "";
    }
    // Such a function finds out by inserting that there is nothing to insert.
    let reads_rows_only = locks.is_empty()
        && pieces.iter().all(|piece| piece.fast.is_some() && piece.block.follows.is_empty())
        && concerned.iter().all(|block| block.split.is_none() && block.short_form_over("changed").is_some());
    let idle = (!reads_rows_only).then(|| String::from(event.nothing_changed()));
    Body { idle, statements, reads_tables: !reads_rows_only }
}

/// A part of a trigger function's work, for one block.
struct Piece<'a> {
    block: &'a BlockModel,
    text: String,
    /// What does the same if the target has no row yet with the identity of one to be inserted, and fails otherwise.
    fast: Option<String>,
}

impl<'a> Piece<'a> {
    fn new(block: &'a BlockModel, text: String) -> Self {
        Self { block, text, fast: None }
    }
}

/// Inserts the target rows of driving rows that have just been inserted, without looking whether they are there. Not where a row that
/// another block has just written lets a follow trigger insert them first.
fn insert_fast(change: &ChangeModel, block: &BlockModel, table: &TableModel, event: Event) -> Option<String> {
    let is_fed_meanwhile = |follow: &FollowModel| {
        concerned(change, block.id.direction, table)
            .iter()
            .any(|other| other.target == follow.table && other.id < block.id)
    };
    let is_fresh =
        event == Event::Insert && is_driven_only(block, table) && block.driving.key_is_unique && block.insert;
    if !is_fresh || block.follows.iter().any(is_fed_meanwhile) {
        return None;
    }
    let (locks, keys) = own_locks(change, block, event);
    let insert = match (block.short_form_over("changed"), &block.split) {
        (Some(query), None) => insert_from(block, DIALECT, &query, Keys::All),
        _ => {
            let collect = assign(block, &stem(block), &keys);
            let insert = insert_from(block, DIALECT, &block.query(), Keys::Arrays(&stem(block)));
            format!("{collect}{}{insert}", record_call(change, block, &arguments(block)))
        }
    };
    Some(format!("{locks}{insert};\n{}", settle(change, block, &stem(block))))
}

/// The locks of what the statement's own rows look up, and a query of their keys, which are as distinct as the rows.
fn own_locks(change: &ChangeModel, block: &BlockModel, event: Event) -> (String, String) {
    let mut locks = key_locks(change, block, &own_keys(block), event.with_changed());
    for follow in &block.follows {
        locks.push_str(&shared_lock(change, follow, event.with_changed()));
    }
    let key = block.driving.key_of("changed");
    (locks, format!("{} WHERE {} ORDER BY {}", own_keys(block), is_there(&key), key.join(", ")))
}

/// True if a table drives a block and does not feed it as well.
fn is_driven_only(block: &BlockModel, table: &TableModel) -> bool {
    block.driving.table == *table && !block.follows.iter().any(|follow| follow.table == *table)
}

/// Constraints of the targets that would wait for the commit, where nobody could catch them, are checked now: at the end of what the
/// application's write causes, when every block has been refreshed.
fn check_deferred(change: &ChangeModel, direction: Direction) -> String {
    let mut names: Vec<&str> =
        change.blocks_of(direction).flat_map(|block| &block.refusals.deferred).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    let names = names.join(", ");
    format!("  SET CONSTRAINTS {names} IMMEDIATE;\n  SET CONSTRAINTS {names} DEFERRED;\n")
}

/// What a paused function does that records keys.
fn recording_body(change: &ChangeModel, direction: Direction, table: &TableModel, event: Event) -> Body {
    let blocks = concerned(change, direction, table);
    let guarded: Vec<Guarded> = blocks.iter().map(|block| guarded(block, table, event)).collect();
    let locks = exclusive_locks(change, direction, table, event.with_changed());
    Body { idle: Some(String::from(event.nothing_changed())), ..Body::of(record_keys(change, &locks, &guarded)) }
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
        text.push_str(&record_call(change, block, &arguments(block)));
        text.push_str(&format!("{};\n", upsert_expected(block, DIALECT, Keys::Arrays(&stem(block)), "true")));
        text.push_str(&settle(change, block, &stem(block)));
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

/// Collects a block's keys before something is deleted: where several driving rows have one key, under that key's lock, since which of its
/// target rows go depends on what others write. Before any target row is touched, as everywhere, so that nobody waits in a circle.
fn collect_and_lock(change: &ChangeModel, block: &BlockModel, table: &TableModel, event: Event) -> String {
    let keys = format!("SELECT * FROM unnest({})", arguments(block));
    format!("{}{}", collect_keys(block, table, event), key_locks(change, block, &keys, ""))
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
