//! What may be written at which stage, and what is translated then.

use super::fault::{Refusal, WriteError};
use super::request::Request;
use super::tables::{Side, WriteModel};
use crate::change::{Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::ChangeName;
use crate::sql::names::own;
use crate::translation::own::is_table_there;

/// The directions in which writes are translated at a stage.
#[must_use]
pub fn directions(stage: Stage) -> Vec<Direction> {
    let forward = stage.translates_forward().then_some(Direction::Forward);
    forward.into_iter().chain(stage.translates_backward().then_some(Direction::Backward)).collect()
}

/// Why rows of one side cannot be written at a stage, with the remedy; `None` if they can.
#[must_use]
pub fn refusal(name: &ChangeName, stage: Stage, side: Side) -> Option<String> {
    match (side, stage) {
        // At `off` nothing has begun: a row of the old model is written as old code writes it, to the old model alone.
        (Side::Old, Stage::Off | Stage::DualWrite | Stage::Shadow | Stage::Live | Stage::RampDown) => None,
        (Side::Old, Stage::Complete) => Some(format!(
            "change `{name}` is complete: nothing translates the old model any more; write the new model's tables"
        )),
        (Side::New, Stage::Live | Stage::RampDown | Stage::Complete) => None,
        (Side::New, Stage::Off | Stage::DualWrite | Stage::Shadow) => Some(format!(
            "change `{name}` is at stage `{stage}`, where the new model is only derived from the old one and nothing is translated back: \
             write the old model's tables, or move the change to `live`"
        )),
    }
}

/// The stage at which a request may be written now. A paused change is refused: only one model would be written.
pub fn stage_for(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    request: &Request,
) -> Result<Stage, WriteError> {
    let stage = read_stage(connection, &model.name)?;
    let gone = || WriteError::said(Refusal::Stage, format!("change `{}` is not installed any more", model.name));
    let stage = stage.ok_or_else(gone)?;
    for (number, operation) in request.operations.iter().enumerate() {
        let Some(table) = model.tables.get(operation.table) else { continue };
        if let Some(reason) = refusal(&model.name, stage, table.side) {
            let detail = format!("`{}` belongs to the {} model; {reason}", table.table.shown(), word(table.side));
            let fault = super::fault::Fault {
                operation: Some(number),
                pointer: format!("/operations/{number}"),
                table: Some(table.table.shown()),
                detail,
                ..Default::default()
            };
            return Err(WriteError::refused(Refusal::Stage, fault));
        }
    }
    if stage.translates_forward() && is_paused(connection, &model.name)? {
        return Err(WriteError::said(
            Refusal::Stage,
            format!(
                "translation of `{0}` is paused, so a write would reach one model only: `changeover change resume {0}`, then try again",
                model.name
            ),
        ));
    }
    Ok(stage)
}

fn word(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}

/// The stage as it is committed now; `None` if the change is not installed.
pub fn read_stage(connection: &mut DatabaseConnection, name: &ChangeName) -> Result<Option<Stage>, WriteError> {
    let sql = format!("SELECT stage FROM {} WHERE name = $1", own(connection.dialect(), "change"));
    let Some(row) = connection.find_row(&sql, &[Value::from(name.as_str())])? else { return Ok(None) };
    let stage = row.text("stage")?.parse().map_err(|source| {
        WriteError::Translation(crate::translation::TranslationError::StoredStage { name: name.to_string(), source })
    })?;
    Ok(Some(stage))
}

/// True between a pause and its resume.
fn is_paused(connection: &mut DatabaseConnection, name: &ChangeName) -> Result<bool, DatabaseError> {
    if !is_table_there(connection, "gap")? {
        return Ok(false);
    }
    let sql = format!(
        "SELECT count(*) AS n FROM {} WHERE change = $1 AND resumed_at IS NULL",
        own(connection.dialect(), "gap")
    );
    Ok(connection.get_row(&sql, &[Value::from(name.as_str())])?.integer("n")? > 0)
}
