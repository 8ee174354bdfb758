//! A change on PostgreSQL: a function for each block's refresh, a trigger function for each source table and event.

use crate::change::Direction;
use crate::primitives::Dialect;

use super::model::{BlockModel, ChangeModel, Event, FollowModel, TableModel, trimmed};
use super::names::quoted;
use super::statements::{Keys, delete_unexpected, upsert_expected, upsert_from};

const DIALECT: Dialect = Dialect::Postgres;

/// Stripes of an advisory lock class. A lock for each key would exhaust the lock table at some ten thousand rows in a statement.
const STRIPES: u32 = 256;

/// What a statement's rows are called, by event.
trait TransitionTables {
    fn transition_tables(self) -> &'static str;
    fn with_changed(self) -> &'static str;
    fn nothing_changed(self) -> &'static str;
}

impl TransitionTables for Event {
    fn transition_tables(self) -> &'static str {
        match self {
            Self::Insert => "NEW TABLE AS changed",
            Self::Update => "OLD TABLE AS changed_old NEW TABLE AS changed_new",
            Self::Delete => "OLD TABLE AS changed",
        }
    }

    /// A `WITH` that makes `changed` mean the old and the new rows where the event has both.
    fn with_changed(self) -> &'static str {
        match self {
            Self::Insert | Self::Delete => "",
            Self::Update => "WITH changed AS (SELECT * FROM changed_old UNION ALL SELECT * FROM changed_new) ",
        }
    }

    fn nothing_changed(self) -> &'static str {
        match self {
            Self::Insert | Self::Delete => "NOT EXISTS (SELECT 1 FROM changed)",
            Self::Update => "NOT EXISTS (SELECT 1 FROM changed_new)",
        }
    }
}

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

/// The trigger functions of a direction: with their work if `active`, doing nothing otherwise. Replacing a function takes no lock
/// on the table, so this is what a stage move runs.
#[must_use]
pub fn trigger_functions(change: &ChangeModel, direction: Direction, active: bool) -> Vec<String> {
    let mut functions = Vec::new();
    for table in change.sources_of(direction) {
        for event in Event::ALL {
            let body =
                if active { trigger_body(change, direction, &table, event) } else { String::from("  RETURN NULL;\n") };
            functions.push(trigger_function(
                change,
                direction,
                &trigger_name(change, direction, &table, event.word()),
                &body,
            ));
        }
        let refusal = format!(
            "  RAISE EXCEPTION 'changeover: TRUNCATE of {} is refused while change {} translates it: use DELETE'\n    USING ERRCODE = 'feature_not_supported';\n",
            table.name.replace('\'', "''"),
            change.name
        );
        let body = if active { refusal } else { String::from("  RETURN NULL;\n") };
        functions.push(trigger_function(
            change,
            direction,
            &trigger_name(change, direction, &table, "truncate"),
            &body,
        ));
    }
    functions
}

/// The triggers of a direction. Installed once; they take a lock that waits for open writers of the table.
#[must_use]
pub fn triggers(change: &ChangeModel, direction: Direction) -> Vec<(TableModel, String)> {
    let setting = direction_setting(change);
    let other = match direction {
        Direction::Forward => "backward",
        Direction::Backward => "forward",
    };
    let mut statements = Vec::new();
    for table in change.sources_of(direction) {
        for event in Event::ALL {
            let name = trigger_name(change, direction, &table, event.word());
            statements.push((
                table.clone(),
                format!(
                    "CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {transition} FOR EACH STATEMENT\n\
                     WHEN (coalesce(current_setting('{setting}', true), '') NOT IN ('{other}', 'backfill'))\n\
                     EXECUTE FUNCTION changeover.{name}()",
                    name = quoted(&name),
                    event = event.word().to_uppercase(),
                    table = table.sql,
                    transition = event.transition_tables(),
                ),
            ));
        }
        let name = quoted(&trigger_name(change, direction, &table, "truncate"));
        statements.push((
            table.clone(),
            format!(
                "CREATE TRIGGER {name} BEFORE TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION changeover.{name}()",
                table.sql
            ),
        ));
    }
    statements
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
                statements.push(format!("DROP TRIGGER IF EXISTS {name} ON {}", table.sql));
                functions.push(format!("DROP FUNCTION IF EXISTS changeover.{name}()"));
            }
        }
    }
    for block in &change.blocks {
        let keys = &block.driving.key_type;
        functions.push(format!("DROP FUNCTION IF EXISTS {}({keys}, integer)", block_function(change, block, "batch")));
        functions.push(format!("DROP FUNCTION IF EXISTS {}({keys}[])", block_function(change, block, "refresh")));
        functions.push(format!("DROP FUNCTION IF EXISTS {}({keys}[])", block_function(change, block, "apply")));
    }
    statements.extend(functions);
    statements
}

/// A block's function as it is called: `changeover."billing_allocation_f1_refresh"`.
#[must_use]
pub fn block_function(change: &ChangeModel, block: &BlockModel, verb: &str) -> String {
    format!("changeover.{}", quoted(&format!("{}_{}_{verb}", change.stem(), block.id)))
}

/// Triggers of one table fire in the order of their names. A write goes out to the other model first (`1`), then re-derives
/// within its own (`2`).
fn trigger_name(change: &ChangeModel, direction: Direction, table: &TableModel, word: &str) -> String {
    let turn = if change.goes_out(table, direction) { 1 } else { 2 };
    let (letter, sources) = match direction {
        Direction::Forward => ('f', change.sources_of(Direction::Forward)),
        Direction::Backward => ('b', change.sources_of(Direction::Backward)),
    };
    let number = sources.iter().position(|source| source == table).map_or(0, |position| position + 1);
    format!("changeover_{}_{turn}_{letter}t{number}_{word}", change.stem())
}

/// A function's settings: restored when it returns and when it fails. Forced generic plans because planning, not work, is what a
/// translated write would cost; sequential scans off because a plan that was made while a target was empty would stay one.
fn settings(change: &ChangeModel) -> String {
    format!(
        "SET search_path = {}, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off",
        change.search_path
    )
}

fn trigger_function(change: &ChangeModel, direction: Direction, name: &str, body: &str) -> String {
    let word = match direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    };
    format!(
        "CREATE OR REPLACE FUNCTION changeover.{}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n{} SET {} = '{word}'\nAS $co$\n\
         #variable_conflict use_column\nDECLARE\n{}BEGIN\n{body}END $co$",
        quoted(name),
        settings(change),
        direction_setting(change),
        change
            .blocks_of(direction)
            .map(|block| format!("  co_{} {}[];\n", block.id, block.driving.key_type))
            .collect::<String>(),
    )
}

/// What one event on one table causes: locks of what others look up here, locks of what these rows look up, then the blocks.
fn trigger_body(change: &ChangeModel, direction: Direction, table: &TableModel, event: Event) -> String {
    let mut body = format!("  IF {} THEN RETURN NULL; END IF;\n", event.nothing_changed());
    body.push_str(&exclusive_locks(change, direction, table, event));
    let concerned: Vec<&BlockModel> = change
        .blocks_of(direction)
        .filter(|block| block.driving.table == *table || block.follows.iter().any(|follow| follow.table == *table))
        .collect();
    if event == Event::Delete {
        // All keys first: what the deletes below remove could not be found any more.
        for block in &concerned {
            body.push_str(&collect_keys(block, table, event));
        }
        for block in concerned.iter().rev() {
            if let Some(delete) = delete_unexpected(block, Keys::Array(&variable(block))) {
                body.push_str(&format!("  IF cardinality({}) > 0 THEN\n{delete};\n  END IF;\n", variable(block)));
            }
        }
    }
    for block in concerned {
        body.push_str(&run_block(change, block, table, event));
    }
    body.push_str("  RETURN NULL;\n");
    body
}

fn run_block(change: &ChangeModel, block: &BlockModel, table: &TableModel, event: Event) -> String {
    let drives = block.driving.table == *table;
    let feeds = block.follows.iter().any(|follow| follow.table == *table);
    if !drives {
        let collect = if event == Event::Delete { String::new() } else { collect_keys(block, table, event) };
        return format!("{collect}  PERFORM {}({});\n", block_function(change, block, "refresh"), variable(block));
    }
    let mut text = String::new();
    for follow in &block.follows {
        text.push_str(&shared_lock(change, block, follow, event.with_changed()));
    }
    if event == Event::Insert && !feeds {
        // Rows that have just been inserted have no target rows to be deleted.
        if let (Some(query), None) = (block.short_form_over("changed"), &block.split) {
            text.push_str(&format!("{};\n", upsert_from(block, DIALECT, &query, ("true", "true"))));
            return text;
        }
        text.push_str(&collect_keys(block, table, event));
        text.push_str(&format!("{};\n", upsert_expected(block, DIALECT, Keys::Array(&variable(block)), "true")));
        return text;
    }
    if event != Event::Delete {
        text.push_str(&collect_keys(block, table, event));
    }
    if feeds {
        text.push_str(&format!("  PERFORM {}({});\n", block_function(change, block, "refresh"), variable(block)));
    } else {
        text.push_str(&format!("  PERFORM {}({});\n", block_function(change, block, "apply"), variable(block)));
    }
    text
}

/// Assigns a block's keys that an event on `table` touches: those of the rows themselves, and those that `follows` derives.
fn collect_keys(block: &BlockModel, table: &TableModel, event: Event) -> String {
    let mut sources = Vec::new();
    if block.driving.table == *table {
        sources.push(format!("SELECT {} FROM changed", quoted(&block.driving.key)));
    }
    for follow in block.follows.iter().filter(|follow| follow.table == *table) {
        let keys = format!("SELECT f.key FROM (\n{}\n) AS f(key)", trimmed(&follow.keys));
        sources.push(match block.thawed("f.key") {
            Some(thawed) => format!("{keys} WHERE {thawed}"),
            None => keys,
        });
    }
    format!(
        "  {} := ARRAY(SELECT DISTINCT k.key FROM ({with}{}) AS k(key) WHERE k.key IS NOT NULL ORDER BY 1);\n",
        variable(block),
        sources.join("\nUNION ALL\n"),
        with = event.with_changed(),
    )
}

fn variable(block: &BlockModel) -> String {
    format!("co_{}", block.id)
}

/// Exclusive locks of the values of this table that some block's driving rows look up: old and new images.
fn exclusive_locks(change: &ChangeModel, direction: Direction, table: &TableModel, event: Event) -> String {
    let mut text = String::new();
    let mut seen: Vec<i32> = Vec::new();
    let follows = change.blocks_of(direction).flat_map(|block| &block.follows).filter(|follow| follow.table == *table);
    for follow in follows {
        let class = lock_class(change, follow);
        if seen.contains(&class) {
            continue;
        }
        seen.push(class);
        let values = format!("SELECT {} FROM changed", quoted(&follow.by));
        text.push_str(&stripes("pg_advisory_xact_lock", class, &values, event.with_changed()));
        let coarse = change
            .blocks_of(direction)
            .flat_map(|block| &block.follows)
            .any(|other| lock_class(change, other) == class && other.reads.is_none());
        if coarse {
            text.push_str(&format!("  PERFORM pg_advisory_xact_lock({class}, {STRIPES});\n"));
        }
    }
    text
}

/// Shared locks of what driving rows look up in one follow table. Each is a statement of its own, so that it sees what was
/// committed before the lock above it was held.
fn shared_lock(change: &ChangeModel, _block: &BlockModel, follow: &FollowModel, with_changed: &str) -> String {
    let class = lock_class(change, follow);
    match &follow.reads {
        Some(reads) => stripes("pg_advisory_xact_lock_shared", class, trimmed(reads), with_changed),
        None => format!("  PERFORM pg_advisory_xact_lock_shared({class}, {STRIPES});\n"),
    }
}

fn stripes(function: &str, class: i32, values: &str, with_changed: &str) -> String {
    format!(
        "  PERFORM {function}({class}, s.stripe) FROM (\n\
         SELECT DISTINCT hashtext(v.value::text) & {mask} AS stripe FROM ({with_changed}SELECT * FROM (\n{values}\n) r) AS v(value)\n\
         WHERE v.value IS NOT NULL ORDER BY 1) s;\n",
        mask = STRIPES - 1,
    )
}

/// A lock class for each (change, follow table, column): FNV-1a, so that it is the same in every version and on every server.
fn lock_class(change: &ChangeModel, follow: &FollowModel) -> i32 {
    let text = format!("changeover/{}/{}/{}", change.name, follow.table.sql, follow.by);
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::from_ne_bytes(hash.to_ne_bytes())
}

/// Deletes and upserts, for keys whose locks are held already.
fn apply_function(change: &ChangeModel, block: &BlockModel) -> String {
    let delete = delete_unexpected(block, Keys::Array("keys")).map(|delete| format!("{delete};\n")).unwrap_or_default();
    format!(
        "CREATE OR REPLACE FUNCTION {}(keys {}[]) RETURNS void LANGUAGE plpgsql AS $co$\n#variable_conflict use_column\nBEGIN\n\
         \x20 IF cardinality(keys) = 0 THEN RETURN; END IF;\n{delete}{};\nEND $co$",
        block_function(change, block, "apply"),
        block.driving.key_type,
        upsert_expected(block, DIALECT, Keys::Array("keys"), "true"),
    )
}

/// Refreshes rows that are not the statement's own: locks the driving rows in key order against a concurrent delete, then what
/// they look up.
fn refresh_function(change: &ChangeModel, block: &BlockModel) -> String {
    let driving = &block.driving;
    let with_changed =
        format!("WITH changed AS (SELECT * FROM {} WHERE {} = ANY (keys)) ", driving.table.sql, quoted(&driving.key));
    let locks: String = block.follows.iter().map(|follow| shared_lock(change, block, follow, &with_changed)).collect();
    format!(
        "CREATE OR REPLACE FUNCTION {}(keys {}[]) RETURNS void LANGUAGE plpgsql AS $co$\n#variable_conflict use_column\nBEGIN\n\
         \x20 IF cardinality(keys) = 0 THEN RETURN; END IF;\n\
         \x20 PERFORM 1 FROM {table} d WHERE d.{key} = ANY (keys) ORDER BY d.{key} FOR KEY SHARE;\n{locks}\
         \x20 PERFORM {apply}(keys);\nEND $co$",
        block_function(change, block, "refresh"),
        driving.key_type,
        table = driving.table.sql,
        key = quoted(&driving.key),
        apply = block_function(change, block, "apply"),
    )
}

/// One batch of a backfill: the next keys after `after` (NULL: from the first), locked against updates and deletes, refreshed.
/// Returns the last key as text (NULL: nothing left) and the number of keys.
fn batch_function(change: &ChangeModel, block: &BlockModel) -> String {
    let driving = &block.driving;
    let (table, key) = (&driving.table.sql, quoted(&driving.key));
    let wanted = match block.thawed("u.key") {
        Some(thawed) => {
            format!("  work := ARRAY(SELECT u.key FROM unnest(keys) AS u(key) WHERE {thawed} ORDER BY 1);\n")
        }
        None => String::from("  work := keys;\n"),
    };
    format!(
        "CREATE OR REPLACE FUNCTION {name}(after {kind}, batch_rows integer, OUT last_key text, OUT key_count bigint) LANGUAGE plpgsql\n\
         SET search_path = {path}, pg_temp AS $co$\n#variable_conflict use_column\nDECLARE\n  keys {kind}[];\n  work {kind}[];\nBEGIN\n\
         \x20 IF after IS NULL THEN\n\
         \x20   keys := ARRAY(SELECT d.{key} FROM {table} d ORDER BY d.{key} LIMIT batch_rows FOR NO KEY UPDATE);\n\
         \x20 ELSE\n\
         \x20   keys := ARRAY(SELECT d.{key} FROM {table} d WHERE d.{key} > after ORDER BY d.{key} LIMIT batch_rows FOR NO KEY UPDATE);\n\
         \x20 END IF;\n  key_count := cardinality(keys);\n  last_key := keys[key_count];\n{wanted}\
         \x20 PERFORM {refresh}(work);\nEND $co$",
        name = block_function(change, block, "batch"),
        kind = driving.key_type,
        path = change.search_path,
        refresh = block_function(change, block, "refresh"),
    )
}
