//! When the old path was last needed: at `rampdown`, a write to a table of the old model that changes a row of the new one is noted with
//! the time. A write that needs no translation (a column that the change is not about) is not.
//!
//! On PostgreSQL a sequence for each table holds the time: setting one waits for nobody, fails for nobody, and stays if the writer rolls
//! back, which was a use of the old path too. On SQLite, with its one writer, a row.

use crate::change::{Direction, Stage};
use crate::primitives::Dialect;

use super::model::{ChangeModel, TableModel};
use super::names::{literal, own, quoted};
use super::pending::clock;

/// True if writes to the table in this direction are uses of the old path that are noted at this stage.
#[must_use]
pub fn is_noted(change: &ChangeModel, (direction, stage): (Direction, Stage), table: &TableModel) -> bool {
    stage == Stage::RampDown && direction == Direction::Forward && !change.is_new(table)
}

/// The tables of the old model that forward blocks read, with the name of each one's note.
fn notes(change: &ChangeModel) -> Vec<(TableModel, String)> {
    let sources = change.sources_of(Direction::Forward).into_iter().enumerate();
    sources
        .filter(|(_, table)| !change.is_new(table))
        .map(|(index, table)| (table, format!("{}_old_path_{}", change.stem(), index + 1)))
        .collect()
}

fn note(change: &ChangeModel, table: &TableModel) -> String {
    notes(change).into_iter().find(|(noted, _)| noted == table).map(|(_, name)| name).unwrap_or_default()
}

/// Statements that make the notes where they are not there yet.
#[must_use]
pub fn create(change: &ChangeModel) -> Vec<String> {
    let notes = notes(change).into_iter().map(|(_, name)| name);
    match change.dialect {
        Dialect::Postgres => {
            notes.map(|name| format!("CREATE SEQUENCE IF NOT EXISTS changeover.{}", quoted(&name))).collect()
        }
        Dialect::Sqlite => notes
            .map(|name| {
                format!(
                    "INSERT INTO {} (change, note, at, changes) VALUES ({}, {}, 0, 0) ON CONFLICT DO NOTHING",
                    own(Dialect::Sqlite, "old_path"),
                    literal(change.name.as_str()),
                    literal(&name)
                )
            })
            .collect(),
    }
}

/// Statements that remove the notes; SQLite's go with the change's rows.
#[must_use]
pub fn drop(change: &ChangeModel) -> Vec<String> {
    match change.dialect {
        Dialect::Postgres => notes(change)
            .into_iter()
            .map(|(_, name)| format!("DROP SEQUENCE IF EXISTS changeover.{}", quoted(&name)))
            .collect(),
        Dialect::Sqlite => Vec::new(),
    }
}

/// The table of the notes on SQLite. PostgreSQL has it too, and leaves it empty.
#[must_use]
pub fn table(dialect: Dialect) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (change TEXT NOT NULL, note TEXT NOT NULL, at BIGINT NOT NULL, changes BIGINT NOT NULL, PRIMARY KEY (change, note))",
        own(dialect, "old_path")
    )
}

/// PostgreSQL: a trigger function's statements, and around them what notes whether they changed anything: the transaction's own counts
/// of the new model's rows. Where nothing is counted every write is noted. Noting must never fail.
#[must_use]
pub fn around_postgres(change: &ChangeModel, table: &TableModel, statements: &str) -> String {
    let mut targets: Vec<&String> = change
        .blocks_of(Direction::Forward)
        .flat_map(|block| std::iter::once(&block.target.sql).chain(&block.target.partitions))
        .collect();
    targets.sort();
    targets.dedup();
    let counts: Vec<String> = targets
        .iter()
        .flat_map(|target| {
            let id = format!("{}::regclass", literal(target));
            ["inserted", "updated", "deleted"].map(|what| format!("pg_stat_get_xact_tuples_{what}({id})"))
        })
        .collect();
    let rows = counts.join(" + ");
    let name = quoted(&note(change, table)).replace('\'', "''");
    format!(
        "  DECLARE\n    co_rows bigint := {rows};\n  BEGIN\n{statements}\
         \x20   IF co_rows <> {rows} OR current_setting('track_counts') <> 'on' THEN\n\
         \x20     BEGIN PERFORM setval('changeover.{name}', {clock}); EXCEPTION WHEN OTHERS THEN NULL; END;\n    END IF;\n  END;\n",
        clock = clock(Dialect::Postgres)
    )
}

/// SQLite: a trigger's body, and around it what notes whether it changed anything. The first statement here is a change of its own,
/// which `total_changes()` does not count yet when it is evaluated.
#[must_use]
pub fn around_sqlite(change: &ChangeModel, table: &TableModel, body: &str) -> String {
    let row = format!("change = {} AND note = {}", literal(change.name.as_str()), literal(&note(change, table)));
    let notes = own(Dialect::Sqlite, "old_path");
    format!(
        "UPDATE {notes} SET changes = total_changes() WHERE {row};\n{body}\
         UPDATE {notes} SET at = {} WHERE {row} AND total_changes() > changes + 1;\n",
        clock(Dialect::Sqlite)
    )
}

/// For each old table, a query for the time (column `at`, microseconds) of the last use of the old path; no row, or NULL, if there was none.
#[must_use]
pub fn last(change: &ChangeModel) -> Vec<(TableModel, String)> {
    let question = |name: &str| match change.dialect {
        Dialect::Postgres => {
            format!("SELECT CASE WHEN is_called THEN last_value END AS at FROM changeover.{}", quoted(name))
        }
        Dialect::Sqlite => format!(
            "SELECT nullif(at, 0) AS at FROM {} WHERE change = {} AND note = {}",
            own(Dialect::Sqlite, "old_path"),
            literal(change.name.as_str()),
            literal(name)
        ),
    };
    notes(change).into_iter().map(|(table, name)| (table, question(&name))).collect()
}
