//! Moving a change from stage to stage: what a move does to the triggers. Whether it may be made is `gates`'s business.

use crate::change::{Direction, Stage};
use crate::database::{DatabaseConnection, Dialect};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::names::own;
use crate::sql::{effective, old_path, postgres, sqlite};

use super::backfill_ranges::forget;
use super::error::TranslationError;
use super::install::with_lock_timeout;
use super::objects;
use super::own::{Deed, InstalledChange, create_missing_tables, get_change, lock_change, record};
use super::pause::{Gap, close_gaps, open_gap, switch};

/// An error unless the change's stage leads to `to`.
pub fn check_step(change: &InstalledChange, to: Stage) -> Result<(), TranslationError> {
    if change.stage.moves().contains(&to) { Ok(()) } else { Err(TranslationError::NoStep { from: change.stage, to }) }
}

/// Where a move leads, and what goes into the history with it: the gates' evidence, whether it was forced.
#[derive(Debug, Clone)]
pub struct Move {
    pub to: Stage,
    pub detail: serde_json::Value,
}

/// What else happens in a move's transaction: told the stage that is being left.
pub type AndThen<'a> = &'a mut dyn FnMut(&mut DatabaseConnection, Stage) -> Result<(), TranslationError>;

/// Moves a change one step and makes the triggers do what the new stage says, in one transaction. The caller has looked at the gates.
pub fn move_stage(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    wanted: &Move,
    deed: Deed<'_>,
    and_then: AndThen<'_>,
) -> Result<InstalledChange, TranslationError> {
    with_lock_timeout(connection, |connection| {
        let from = lock_change(connection, &model.name)?.stage;
        let change = move_in_transaction(connection, model, wanted, deed)?;
        and_then(connection, from)?;
        Ok(change)
    })
}

fn move_in_transaction(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    wanted: &Move,
    deed: Deed<'_>,
) -> Result<InstalledChange, TranslationError> {
    let to = wanted.to;
    let change = get_change(connection, &model.name)?;
    check_step(&change, to)?;
    create_missing_tables(connection)?;
    let gap = open_gap(connection, &model.name)?;
    if let Some(gap) = &gap
        && to > change.stage
    {
        return Err(TranslationError::Paused { name: change.name, since: gap.paused_at, reason: gap.reason.clone() });
    }
    if (change.stage, to) == (Stage::Off, Stage::DualWrite) {
        // Nothing was translated at `off`: what had been filled before says nothing any more.
        let blocks: Vec<&BlockModel> = model.blocks_of(Direction::Forward).collect();
        forget(connection, &model.name, &blocks)?;
    }
    let mut statements = statements(model, (change.stage, to), gap.as_ref())?;
    if let (Stage::Complete, Some(allocation)) = (to, &change.file.allocation) {
        // Nobody assigns any more: whatever is not closed is billed by the new model.
        statements.extend(effective::drop(model.dialect));
        statements.extend(effective::create_complete(model.dialect, &model.name, allocation, &change.open_period));
    }
    objects::make(connection, &model.name, &statements)?;
    if gap.is_some() && to == Stage::Off {
        let detail =
            serde_json::json!({ "stage": "off: nothing is translated, and a backfill comes before anything is" });
        close_gaps(connection, model, deed.at, &detail)?;
    }
    let sql = format!("UPDATE {} SET stage = $1, stage_at = $2 WHERE name = $3", own(connection.dialect(), "change"));
    connection.execute(&sql, &[to.as_str().into(), deed.at.as_micros().into(), model.name.as_str().into()])?;
    let mut detail = wanted.detail.clone();
    if let Some(object) = detail.as_object_mut() {
        object.insert(String::from("from"), change.stage.as_str().into());
        object.insert(String::from("to"), to.as_str().into());
    }
    record(connection, &model.name, deed, "stage", &detail)?;
    get_change(connection, &model.name)
}

/// What a move makes of the triggers.
///
/// On PostgreSQL, replacing a function waits for nobody: a transaction that has written already, and that no trigger saw, could commit
/// after a backfill has passed its rows. So a direction that is switched on takes its tables' locks, which wait for such transactions,
/// as CREATE TRIGGER would.
fn statements(
    model: &ChangeModel,
    (from, to): (Stage, Stage),
    gap: Option<&Gap>,
) -> Result<Vec<String>, TranslationError> {
    if to == Stage::Complete {
        // From here on nothing translates: what would only do nothing is removed, as an uninstall would.
        return Ok(match model.dialect {
            Dialect::Postgres => postgres::drop_all(model),
            Dialect::Sqlite => sqlite::drop_all(model),
        });
    }
    let mut statements = if to == Stage::RampDown { old_path::create(model) } else { Vec::new() };
    statements.extend(switch(model, to, gap)?);
    if model.dialect == Dialect::Postgres {
        if to.translates_forward() && !from.translates_forward() {
            statements.extend(postgres::lock_sources(model, Direction::Forward));
        }
        if to.translates_backward() && !from.translates_backward() {
            statements.extend(postgres::lock_sources(model, Direction::Backward));
        }
    }
    Ok(statements)
}
