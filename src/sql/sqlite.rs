//! A change on SQLite: a view with an INSTEAD OF trigger as each block's refresh, row triggers on the source tables.
//!
//! A view is a stored procedure for one key: `INSERT INTO refresh(key, removing) VALUES (7, 0)` refreshes the target rows of key 7
//! (a key of several columns has `key_1`, `key_2`, …), `removing` only deletes. One key at a time, because SQLite pushes `= NEW.key` into a query with window functions but not
//! `IN (SELECT …)`.

use crate::change::{Direction, OnError};
use crate::primitives::Dialect;

use super::basis::record_one_sqlite;
use super::expected::cannot_divide_sqlite;
use super::gap;
use super::keys::{KeyRange, Keys, columns, is_there, text_sql, variables};
use super::lenient::{Lenient, queue};
use super::model::{BlockModel, ChangeModel, Event, TableModel, trimmed};
use super::names::{literal, own, quoted};
use super::old_path;
use super::pending::Work;
use super::rewrite::{RewriteError, replace_table};
use super::statements::{delete_unexpected, upsert_expected, upsert_from};

const DIALECT: Dialect = Dialect::Sqlite;

/// The change's control row: `mode` is 0 while nothing is being translated, positive inside forward and negative inside backward
/// translation ([`Turn`]), and [`BACKFILL`] in a backfill's transaction. SQLite has one writer, so nobody else sees it change.
#[must_use]
pub fn control_table(change: &ChangeModel) -> String {
    own(DIALECT, &format!("{}_control", change.stem()))
}

/// The mode in which no trigger does anything.
pub const BACKFILL: i64 = 1_000_000;

/// The control table and a view with its triggers for each block.
#[must_use]
pub fn block_objects(change: &ChangeModel) -> Vec<String> {
    let control = control_table(change);
    let mut statements = vec![
        format!("CREATE TABLE IF NOT EXISTS {control} (id INTEGER PRIMARY KEY CHECK (id = 1), mode INTEGER NOT NULL)"),
        format!("INSERT OR IGNORE INTO {control} VALUES (1, 0)"),
    ];
    for block in &change.blocks {
        let view = refresh_view(change, block);
        let names = variables("key", &block.driving.key);
        let nulls = ["NULL"].repeat(names.len()).join(", ");
        statements.push(format!("CREATE VIEW {view} ({}, removing) AS SELECT {nulls}, NULL WHERE 0", names.join(", ")));
        statements.push(refresh_trigger(change, block, Work::Nothing));
    }
    statements
}

/// The view that refreshes a block's rows.
#[must_use]
pub fn refresh_view(change: &ChangeModel, block: &BlockModel) -> String {
    own(DIALECT, &format!("{}_{}", change.stem(), block.id))
}

/// Names the trigger that does a view's work.
fn refresh_name(change: &ChangeModel, block: &BlockModel) -> String {
    own(DIALECT, &format!("{}_{}_refresh", change.stem(), block.id))
}

/// The trigger that does a view's work, as the direction's work wants it.
fn refresh_trigger(change: &ChangeModel, block: &BlockModel, work: Work) -> String {
    let body = match work {
        Work::Paused { records_keys: true } => {
            format!("{};\n", queue(change, block, &key_text(block), "written while paused", "NOT NEW.removing"))
        }
        Work::Translate(stage) if block.on_error(stage) == OnError::Queue => lenient_body(change, block),
        Work::Nothing | Work::Translate(_) | Work::Paused { .. } => strict_body(block),
    };
    format!(
        "CREATE TRIGGER {} INSTEAD OF INSERT ON {} BEGIN\n{body}END",
        refresh_name(change, block),
        refresh_view(change, block),
    )
}

/// The refreshed key as text.
fn key_text(block: &BlockModel) -> String {
    text_sql(DIALECT, &variables("NEW.key", &block.driving.key))
}

fn cannot_divide(block: &BlockModel) -> Option<(String, String)> {
    let cannot = cannot_divide_sqlite(block, Keys::Row("NEW"))?;
    let message = format!(
        "changeover: block {}: an amount cannot be divided exactly: a weight is negative, NULL or no integer, the total weight reaches 2^31, \
         the amount reaches 2^62, is no integer or differs between the rows of one key, or an identity is there twice",
        block.label()
    );
    Some((cannot, message))
}

/// Records the basis of a key that is frozen and has none, once it is known that it can be divided.
fn record(block: &BlockModel) -> String {
    record_one_sqlite(block).unwrap_or_default().iter().map(|statement| format!("{statement};\n")).collect()
}

/// Fails with the error of whatever fails.
fn strict_body(block: &BlockModel) -> String {
    let key = Keys::Row("NEW");
    let guard = cannot_divide(block).map(|(cannot, message)| {
        format!("SELECT RAISE(ABORT, {}) WHERE NOT NEW.removing AND {cannot};\n", literal(&message))
    });
    let delete = delete_unexpected(block, DIALECT, key).map(|delete| format!("{delete};\n")).unwrap_or_default();
    let upsert = upsert_expected(block, DIALECT, key, "NOT NEW.removing");
    format!("{}{}{delete}{upsert};\n", guard.unwrap_or_default(), record(block))
}

/// What refreshes one key and fails with the error of whatever fails, outside of triggers: for telling which constraint it was.
#[must_use]
pub fn strict_statements(block: &BlockModel, key: &str) -> Vec<String> {
    let range = KeyRange::Among(vec![key.to_owned()]);
    let keys = Keys::Range(&range);
    delete_unexpected(block, DIALECT, keys)
        .into_iter()
        .chain([upsert_expected(block, DIALECT, keys, "1 = 1")])
        .collect()
}

/// Queues the key where the strict body would fail, as far as that can be known beforehand.
fn lenient_body(change: &ChangeModel, block: &BlockModel) -> String {
    let key = Keys::Row("NEW");
    let guard = cannot_divide(block).map(|(cannot, message)| {
        let condition = format!("NOT NEW.removing AND {cannot}");
        // `changes()` is that of the statement before; the rest of the body is left out for this key.
        format!(
            "{};\nSELECT RAISE(IGNORE) WHERE changes() > 0;\n",
            queue(change, block, &key_text(block), &message, &condition)
        )
    });
    let delete = delete_unexpected(block, DIALECT, key).map(|delete| format!("{delete};\n")).unwrap_or_default();
    let lenient =
        Lenient { change, block, query: &block.query(), keys: key, gate: "NOT NEW.removing", key: &key_text(block) };
    format!("{}{}{delete}{};\n", guard.unwrap_or_default(), record(block), lenient.statements().join(";\n"))
}

/// Statements that make every trigger of the change do its direction's work.
///
/// # Errors
/// If a `keys` query cannot be rewritten to read the changed row instead of `changed`.
pub fn switch(change: &ChangeModel, forward: Work, backward: Work) -> Result<Vec<String>, RewriteError> {
    let mut statements = drop_triggers(change, Direction::Forward);
    statements.extend(drop_triggers(change, Direction::Backward));
    for block in &change.blocks {
        let work = match block.id.direction {
            Direction::Forward => forward,
            Direction::Backward => backward,
        };
        statements.push(format!("DROP TRIGGER IF EXISTS {}", refresh_name(change, block)));
        statements.push(refresh_trigger(change, block, work));
    }
    statements.extend(triggers(change, forward, backward)?);
    Ok(statements)
}

/// The row triggers of the active directions.
///
/// SQLite runs the triggers of one event in an order that it does not document: the last created first, which the tests hold it to.
/// So on each table those that write to the other model are created last: a write goes out first, then re-derives within its own model.
///
/// # Errors
/// If a `keys` query cannot be rewritten to read the changed row instead of `changed`.
pub fn triggers(change: &ChangeModel, forward: Work, backward: Work) -> Result<Vec<String>, RewriteError> {
    let mut inward = Vec::new();
    let mut outward = Vec::new();
    let both =
        forward != Work::Nothing && backward != Work::Nothing && change.blocks_of(Direction::Backward).next().is_some();
    for (direction, work) in [(Direction::Forward, forward), (Direction::Backward, backward)] {
        for table in change.sources_of(direction).into_iter().filter(|_| work != Work::Nothing) {
            for event in Event::ALL {
                let body = match work {
                    Work::Paused { records_keys: false } => gap::touch_sqlite(&gap::mark(change, direction, &table)),
                    _ => trigger_body(change, (direction, work), &table, event)?,
                };
                if body.is_empty() {
                    continue;
                }
                let noted =
                    matches!(work, Work::Translate(stage) if old_path::is_noted(change, (direction, stage), &table));
                let body = if noted { old_path::around_sqlite(change, &table, &body) } else { body };
                let statement = trigger(change, direction, &table, event, &body, both);
                if change.goes_out(&table, direction) { outward.push(statement) } else { inward.push(statement) }
            }
        }
    }
    inward.extend(outward);
    Ok(inward)
}

/// Drops the triggers of a direction.
#[must_use]
pub fn drop_triggers(change: &ChangeModel, direction: Direction) -> Vec<String> {
    let tables = change.sources_of(direction);
    tables
        .iter()
        .flat_map(|table| {
            Event::ALL.map(|event| format!("DROP TRIGGER IF EXISTS {}", trigger_name(change, direction, table, event)))
        })
        .collect()
}

/// Drops everything of the change but the tables it shares with others.
#[must_use]
pub fn drop_all(change: &ChangeModel) -> Vec<String> {
    let mut statements = drop_triggers(change, Direction::Forward);
    statements.extend(drop_triggers(change, Direction::Backward));
    statements.extend(change.blocks.iter().map(|block| format!("DROP VIEW IF EXISTS {}", refresh_view(change, block))));
    statements.push(format!("DROP TABLE IF EXISTS {}", control_table(change)));
    statements
}

fn images(event: Event) -> &'static [&'static str] {
    match event {
        Event::Insert => &["NEW"],
        Event::Update => &["OLD", "NEW"],
        Event::Delete => &["OLD"],
    }
}

fn trigger_name(change: &ChangeModel, direction: Direction, table: &TableModel, event: Event) -> String {
    let letter = super::names::letter(direction);
    let number =
        change.sources_of(direction).iter().position(|source| source == table).map_or(0, |position| position + 1);
    own(DIALECT, &format!("{}_{letter}t{number}_{}", change.stem(), event.word()))
}

fn trigger(
    change: &ChangeModel,
    direction: Direction,
    table: &TableModel,
    event: Event,
    body: &str,
    other_active: bool,
) -> String {
    let control = control_table(change);
    let turn = Turn { direction };
    // The mode tells the other direction's triggers to stay quiet; while they are not there, nobody needs to be told.
    let (enter, leave) = if other_active {
        (
            format!("UPDATE {control} SET mode = {};\n", turn.enter()),
            format!("UPDATE {control} SET mode = {};\n", turn.leave()),
        )
    } else {
        (String::new(), String::new())
    };
    let is_quiet = if change.is_written_by(direction.other(), table) { turn.is_mine() } else { String::new() };
    format!(
        "CREATE TRIGGER {} AFTER {} ON {} WHEN (SELECT mode <> {BACKFILL}{is_quiet} FROM {control}) BEGIN\n{enter}{body}{leave}END",
        trigger_name(change, direction, table, event),
        event.word().to_uppercase(),
        table.sql,
    )
}

/// How a direction's translation is noted in `mode`. Its sign is the direction that is being translated, its last three digits how
/// deeply; a write by an application's trigger may begin the other direction within, for which what was there moves three digits up.
struct Turn {
    direction: Direction,
}

impl Turn {
    /// ` AND …`: true unless the other direction is being translated.
    fn is_mine(&self) -> String {
        match self.direction {
            Direction::Forward => String::from(" AND mode >= 0"),
            Direction::Backward => String::from(" AND mode <= 0"),
        }
    }

    fn enter(&self) -> &'static str {
        match self.direction {
            Direction::Forward => "CASE WHEN mode >= 0 THEN mode + 1 ELSE 1 - mode * 1000 END",
            Direction::Backward => "CASE WHEN mode <= 0 THEN mode - 1 ELSE -1 - mode * 1000 END",
        }
    }

    fn leave(&self) -> &'static str {
        match self.direction {
            Direction::Forward => "CASE WHEN mode > 1000 AND mode % 1000 = 1 THEN -(mode / 1000) ELSE mode - 1 END",
            Direction::Backward => "CASE WHEN mode < -1000 AND mode % 1000 = -1 THEN -(mode / 1000) ELSE mode + 1 END",
        }
    }
}

fn trigger_body(
    change: &ChangeModel,
    (direction, work): (Direction, Work),
    table: &TableModel,
    event: Event,
) -> Result<String, RewriteError> {
    let mut body = String::new();
    if event == Event::Delete {
        for block in change.blocks_of(direction).rev().filter(|block| block.driving.table == *table) {
            let key = block.driving.key_of("OLD").join(", ");
            body.push_str(&format!("INSERT INTO {} VALUES ({key}, 1);\n", refresh_view(change, block)));
        }
    }
    if event == Event::Update {
        for block in change.deleted_first(direction, table) {
            let key = block.driving.key_of("OLD").join(", ");
            body.push_str(&format!("INSERT INTO {} VALUES ({key}, 1);\n", refresh_view(change, block)));
        }
    }
    for block in change.blocks_of(direction) {
        if block.driving.table == *table {
            body.push_str(&refresh_own((change, work), block, table, event));
        }
        for follow in block.follows.iter().filter(|follow| follow.table == *table) {
            let keys = replace_table(trimmed(&follow.keys), "changed", &changed(table, event), DIALECT)?;
            let names = variables("key", &block.driving.key);
            let nulls: Vec<String> = names.iter().map(|name| format!("NULL AS {name}")).collect();
            let found = columns("f", &names);
            // A subquery's columns cannot be named in SQLite; a UNION with a named empty row names them.
            body.push_str(&format!(
                "INSERT INTO {} SELECT DISTINCT {}, 0 FROM (SELECT {} WHERE 0 UNION ALL SELECT * FROM (\n{keys}\n)) f WHERE {}{};\n",
                refresh_view(change, block),
                found.join(", "),
                nulls.join(", "),
                is_there(&found),
                and_thawed(block, &found),
            ));
        }
    }
    Ok(body)
}

/// ` AND …`: a block's keys that may be refreshed by others than their own row. Empty for a block without `frozen`.
#[must_use]
pub fn and_thawed(block: &BlockModel, key: &[String]) -> String {
    block.thawed(key).map(|thawed| format!(" AND {thawed}")).unwrap_or_default()
}

/// Refreshes the target rows of the row that was written.
fn refresh_own((change, work): (&ChangeModel, Work), block: &BlockModel, table: &TableModel, event: Event) -> String {
    let view = refresh_view(change, block);
    let (old, new) = (block.driving.key_of("OLD"), block.driving.key_of("NEW"));
    let refresh = |key: &[String]| format!("INSERT INTO {view} VALUES ({}, 0);\n", key.join(", "));
    match event {
        Event::Insert => match (block.short_form_over(&row_image(table, "NEW")), work) {
            (Some(query), Work::Translate(stage)) if block.split.is_none() && block.driving.key_is_unique => {
                match block.on_error(stage) {
                    OnError::Fail => format!("{};\n", upsert_from(block, DIALECT, &query, (Keys::All, "true"))),
                    OnError::Queue => {
                        let key = text_sql(DIALECT, &new);
                        let lenient =
                            Lenient { change, block, query: &query, keys: Keys::All, gate: "true", key: &key };
                        format!("{};\n", lenient.statements().join(";\n"))
                    }
                }
            }
            _ => refresh(&new),
        },
        Event::Update => {
            // Byte for byte: a key that differs in case alone may be another one to the target.
            let moved: Vec<String> =
                old.iter().zip(&new).map(|(old, new)| format!("{old} COLLATE BINARY IS NOT {new}")).collect();
            format!("INSERT INTO {view} SELECT {}, 0 WHERE {};\n{}", old.join(", "), moved.join(" OR "), refresh(&new))
        }
        Event::Delete => refresh(&old),
    }
}

/// The written row as a derived table: a trigger takes no WITH.
fn changed(table: &TableModel, event: Event) -> String {
    let images: Vec<String> = images(event)
        .iter()
        .map(|image| {
            let columns: Vec<String> =
                table.columns.iter().map(|c| format!("{image}.{c} AS {c}", c = quoted(c))).collect();
            format!("SELECT {}", columns.join(", "))
        })
        .collect();
    images.join(" UNION ALL ")
}

fn row_image(table: &TableModel, image: &str) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| format!("{image}.{c} AS {c}", c = quoted(c))).collect();
    format!("(SELECT {})", columns.join(", "))
}
