//! Triggers, views and the control row on SQLite.

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::{ChangeName, Dialect};
use crate::sql::model::ChangeModel;
use crate::sql::names::{own, quoted};
use crate::sql::objects::ObjectKind;
use crate::translation::catalogue::find_table;
use crate::translation::objects::{noted, read};

use super::Code;
use super::found::{Found, shown};

pub(super) fn audit(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    model: Option<&ChangeModel>,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let triggers = read(connection, ObjectKind::Trigger)?;
    for trigger in noted(connection, change, ObjectKind::Trigger.as_str())? {
        let object = format!("{} on {}", trigger.name, shown(&trigger.on_table));
        let remedy = "`changeover change cover` creates the triggers again; then verify and repair";
        match triggers.iter().find(|live| live.name == trigger.name) {
            None => {
                // The 12 steps of SQLite's manual for changing a table drop it, and its triggers with it.
                let what =
                    "the trigger is gone, as after a table was dropped and created again: writes are not translated";
                found.add(Code::TriggerMissing, &object, what, remedy);
            }
            Some(live) if !is_same(&live.definition, &trigger.definition) => {
                found.add(Code::TriggerChanged, &object, "the trigger is not the one that was created", remedy);
            }
            Some(_) => {}
        }
    }
    let views = read(connection, ObjectKind::View)?;
    for view in noted(connection, change, ObjectKind::View.as_str())? {
        let remedy = "`changeover change update` with the installed file creates it again; until then pause the change";
        match views.iter().find(|live| live.name == view.name) {
            None => {
                found.add(Code::ViewMissing, &view.name, "the view that refreshes rows is gone: writes fail", remedy)
            }
            Some(live) if !is_same(&live.definition, &view.definition) => {
                found.add(Code::ViewChanged, &view.name, "the view is not the one that was created", remedy);
            }
            Some(_) => {}
        }
    }
    audit_control(connection, change, found)?;
    if let Some(model) = model {
        audit_writes(connection, model, found)?;
    }
    Ok(())
}

/// Renaming a table to and fro leaves its name in quotes.
fn is_same(left: &str, right: &str) -> bool {
    left.chars().filter(|character| *character != '"').eq(right.chars().filter(|character| *character != '"'))
}

/// Translation sets the mode and sets it back within a statement, a backfill within a transaction: nobody else ever sees it.
fn audit_control(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let table = own(Dialect::Sqlite, &format!("{}_control", change.identifier()));
    let there = "SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' AND name = $1";
    let name = table.trim_matches('"').to_owned();
    if connection.get_row(there, &[name.clone().into()])?.integer("n")? == 0 {
        // At `complete` it is gone with the rest.
        if !noted(connection, change, ObjectKind::View.as_str())?.iter().any(|view| view.name.contains("_f")) {
            return Ok(());
        }
        let what = "the control table is gone: every write to a source table fails";
        let remedy = format!(
            "CREATE TABLE {table} (id INTEGER PRIMARY KEY CHECK (id = 1), mode INTEGER NOT NULL); INSERT INTO {table} VALUES (1, 0)"
        );
        found.add(Code::ControlStuck, &name, what, &remedy);
        return Ok(());
    }
    let row = connection.find_row(&format!("SELECT mode FROM {table} WHERE id = 1"), &[])?;
    let mode = row.map(|row| row.find_integer("mode")).transpose()?.flatten();
    let remedy = format!("INSERT OR REPLACE INTO {table} VALUES (1, 0); then verify and repair");
    match mode {
        Some(0) => {}
        None => found.add(Code::ControlStuck, &name, "the control row is gone: nothing is translated", &remedy),
        Some(mode) => {
            let what = format!("the control row stands at {mode}: translation is silent although nobody is at it");
            found.add(Code::ControlStuck, &name, &what, &remedy);
        }
    }
    Ok(())
}

/// Has SQLite compile a write of each kind to each source table, with all triggers that it fires. Nothing is run.
fn audit_writes(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let mut sources = model.sources_of(Direction::Forward);
    sources.extend(model.sources_of(Direction::Backward));
    for table in sources {
        let Some(live) = find_table(connection, &table.sql)? else { continue };
        let Some(column) = live.columns.iter().find(|column| !column.generated) else { continue };
        let column = quoted(&column.name);
        let writes = [
            format!("EXPLAIN INSERT INTO {t} DEFAULT VALUES", t = table.sql),
            format!("EXPLAIN UPDATE {t} SET {column} = {column}", t = table.sql),
            format!("EXPLAIN DELETE FROM {t}", t = table.sql),
        ];
        for write in writes {
            // Its rows mean nothing here, only whether it compiles.
            let Err(error) = connection.execute(&write, &[]) else { continue };
            if error.is_disconnected() || error.is_retryable() {
                return Err(error);
            }
            let what = format!("a write to the table fails: {}", error.primary_message());
            found.add(
                Code::TriggerBroken,
                &shown(&table.sql),
                &what,
                "put back what the trigger needs, or pause the change",
            );
            break;
        }
    }
    Ok(())
}
