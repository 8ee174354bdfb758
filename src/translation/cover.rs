//! Putting back triggers that a source table or a partition of it lacks: partitions attached after the install, and triggers that
//! somebody dropped.

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::model::ChangeModel;
use crate::sql::{postgres, sqlite};

use super::error::TranslationError;
use super::install::{Step, with_lock_timeout};
use super::objects;
use super::own::{Deed, InstalledChange, get_change, lock_change, record};
use super::pause::{open_gap, work};

/// What [`cover`] would run; nothing if every source table has its triggers. `model` is resolved now, so that it knows today's partitions.
pub fn cover_plan(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<Vec<Step>, TranslationError> {
    let change = get_change(connection, &model.name)?;
    missing(connection, model, &change)
}

/// Creates the triggers that are missing, all or nothing, and returns what was run. Rows that were written meanwhile are not translated
/// by this: a verify finds them, a repair translates them.
pub fn cover(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    deed: Deed<'_>,
) -> Result<Vec<Step>, TranslationError> {
    with_lock_timeout(connection, |connection| {
        let change = lock_change(connection, &model.name)?;
        let steps = missing(connection, model, &change)?;
        let statements: Vec<String> = steps.iter().map(|step| step.sql.clone()).collect();
        objects::make(connection, &model.name, &statements)?;
        if !steps.is_empty() {
            let what: Vec<&str> = steps.iter().map(|step| step.what.as_str()).collect();
            record(connection, &model.name, deed, "cover", &serde_json::json!({ "created": what }))?;
        }
        Ok(steps)
    })
}

fn missing(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    change: &InstalledChange,
) -> Result<Vec<Step>, TranslationError> {
    if change.stage == crate::change::Stage::Complete {
        return Ok(Vec::new());
    }
    match model.dialect {
        Dialect::Postgres => Ok(missing_on_postgres(connection, model)?),
        Dialect::Sqlite => missing_on_sqlite(connection, model, change),
    }
}

pub(super) fn missing_on_postgres(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
) -> Result<Vec<Step>, DatabaseError> {
    let mut steps = Vec::new();
    for direction in [Direction::Forward, Direction::Backward] {
        for trigger in postgres::triggers(model, direction) {
            let there =
                "SELECT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2) AS there";
            let values = [Value::from(trigger.table.as_str()), Value::from(trigger.name.as_str())];
            if !connection.get_row(there, &values)?.boolean("there")? {
                steps
                    .push(Step { what: format!("trigger {} on {}", trigger.name, trigger.table), sql: trigger.create });
            }
        }
    }
    Ok(steps)
}

/// SQLite's triggers fire in the order of their creation, so if one is missing all are created anew.
fn missing_on_sqlite(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    change: &InstalledChange,
) -> Result<Vec<Step>, TranslationError> {
    let gap = open_gap(connection, &change.name)?;
    let work = |direction| work(change.stage, direction, gap.as_ref());
    let wanted = sqlite::triggers(model, work(Direction::Forward), work(Direction::Backward))?;
    let rows = connection.query("SELECT sql FROM sqlite_master WHERE type = 'trigger'", &[])?;
    let there = rows.iter().map(|row| row.text("sql")).collect::<Result<Vec<_>, _>>()?;
    if wanted.iter().all(|trigger| there.contains(trigger)) {
        return Ok(Vec::new());
    }
    let step = |what: &str, sql: String| Step { what: what.to_owned(), sql };
    let dropped = [Direction::Forward, Direction::Backward].map(|direction| sqlite::drop_triggers(model, direction));
    let drops = dropped.into_iter().flatten().map(|sql| step("triggers in the order in which they fire", sql));
    Ok(drops.chain(wanted.into_iter().map(|sql| step("triggers in the order in which they fire", sql))).collect())
}
