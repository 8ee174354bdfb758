//! Moving a change from stage to stage: gates with their evidence, and what a move does to the triggers.

use serde::Serialize;

use crate::change::{Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::Instant;
use crate::sql::model::{ChangeModel, trimmed};
use crate::sql::names::own;
use crate::sql::{postgres, sqlite};

use super::error::TranslationError;
use super::install::with_lock_timeout;
use super::own::{Deed, InstalledChange, get_change, lock_change, record};
use super::progress::{backfill_progress, last_verifications};

/// A condition for entering a stage, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Gate {
    pub name: &'static str,
    pub holds: bool,
    pub evidence: String,
}

/// What the service's own database knows of the change's latest signed report.
#[derive(Debug, Clone, Default)]
pub struct SignedReport {
    pub latest: Option<Signed>,
    /// When cohorts or flags were last changed.
    pub routing_changed_at: Option<Instant>,
}

/// A signed report.
#[derive(Debug, Clone)]
pub struct Signed {
    pub id: String,
    pub as_of: Instant,
    /// No unexplained differences.
    pub clean: bool,
    /// The periods that it covers; empty: all.
    pub periods: Vec<String>,
}

/// The gates of the step to `to`, evaluated. Going back needs none.
pub fn gates(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    change: &InstalledChange,
    to: Stage,
    report: &SignedReport,
) -> Result<Vec<Gate>, TranslationError> {
    if change.stage.next() != Some(to) {
        return Ok(Vec::new());
    }
    match to {
        Stage::DualWrite => Ok(vec![triggers_installed(connection, model)?]),
        Stage::Shadow => Ok(vec![backfill_complete(connection, model)?, verify_clean(connection, model, change)?]),
        Stage::Live => Ok(vec![verify_clean(connection, model, change)?, report_signed(connection, change, report)?]),
        Stage::Off | Stage::RampDown | Stage::Complete => Ok(Vec::new()),
    }
}

/// True if a step is one that this version can take.
pub fn check_step(change: &InstalledChange, to: Stage) -> Result<(), TranslationError> {
    if change.stage.next() != Some(to) && change.stage.back() != Some(to) {
        return Err(TranslationError::NoStep { from: change.stage, to });
    }
    if matches!(to, Stage::RampDown | Stage::Complete) {
        return Err(TranslationError::Unsupported(format!(
            "stage `{to}` cannot be entered with this version yet: keep the change at `live`, where both models are fed"
        )));
    }
    Ok(())
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
    for statement in statements(model, change.stage, to)? {
        connection.batch(&statement)?;
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
fn statements(model: &ChangeModel, from: Stage, to: Stage) -> Result<Vec<String>, TranslationError> {
    let (forward, backward) = (to.translates_forward(), to.translates_backward());
    match model.dialect {
        Dialect::Postgres => {
            let mut statements = postgres::trigger_functions(model, Direction::Forward, forward);
            statements.extend(postgres::trigger_functions(model, Direction::Backward, backward));
            if forward && !from.translates_forward() {
                statements.extend(postgres::lock_sources(model, Direction::Forward));
            }
            if backward && !from.translates_backward() {
                statements.extend(postgres::lock_sources(model, Direction::Backward));
            }
            Ok(statements)
        }
        Dialect::Sqlite => {
            let mut statements = sqlite::drop_triggers(model, Direction::Forward);
            statements.extend(sqlite::drop_triggers(model, Direction::Backward));
            let backward = backward && model.blocks_of(Direction::Backward).next().is_some();
            statements.extend(sqlite::triggers(model, forward, backward)?);
            Ok(statements)
        }
    }
}

fn triggers_installed(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<Gate, DatabaseError> {
    let name = "triggers installed on every source table";
    let (there, wanted) = match model.dialect {
        Dialect::Postgres => {
            let sources =
                [Direction::Forward, Direction::Backward].map(|direction| model.sources_of(direction).len() * 4);
            let sql = "SELECT count(*) AS n FROM pg_trigger WHERE tgname LIKE $1 AND tgenabled IN ('O', 'A')";
            let pattern = format!("changeover\\_{}\\_%\\_%", model.stem().replace('_', "\\_"));
            (connection.get_row(sql, &[Value::from(pattern)])?.integer("n")?, sources.iter().sum())
        }
        Dialect::Sqlite => {
            let sql = "SELECT count(*) AS n FROM sqlite_master WHERE type = 'view' AND name LIKE $1 ESCAPE '!'";
            let pattern = format!("changeover!_{}!_%", model.stem().replace('_', "!_"));
            (connection.get_row(sql, &[Value::from(pattern)])?.integer("n")?, model.blocks.len())
        }
    };
    let holds = usize::try_from(there).is_ok_and(|there| there >= wanted);
    let kind =
        if model.dialect == Dialect::Postgres { "triggers" } else { "refresh views (row triggers come with the move)" };
    Ok(Gate { name, holds, evidence: format!("{there} of {wanted} {kind} found") })
}

fn backfill_complete(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<Gate, DatabaseError> {
    let progress = backfill_progress(connection, &model.name)?;
    let unfinished: Vec<String> = model
        .blocks_of(Direction::Forward)
        .filter(|block| !progress.iter().any(|done| done.block == block.id.to_string() && done.finished))
        .map(crate::sql::model::BlockModel::label)
        .collect();
    let keys: i64 = progress.iter().map(|done| done.keys_done).sum();
    let evidence = if unfinished.is_empty() {
        format!("all blocks filled, {keys} keys")
    } else {
        format!("not finished: {}; run `changeover backfill {}`", unfinished.join(", "), model.name)
    };
    Ok(Gate { name: "backfill complete", holds: unfinished.is_empty(), evidence })
}

fn verify_clean(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    change: &InstalledChange,
) -> Result<Gate, DatabaseError> {
    let found = last_verifications(connection, &model.name)?;
    let filled_at = backfill_progress(connection, &model.name)?.iter().map(|done| done.updated_at).max();
    let since = filled_at.unwrap_or(change.stage_at).max(change.installed_at);
    let mut faults = Vec::new();
    for block in model.blocks_of(Direction::Forward) {
        let id = block.id.to_string();
        match found.iter().find(|run| run.block == id) {
            None => faults.push(format!("{} was never verified", block.label())),
            Some(run) if run.started_at < since => {
                faults.push(format!("{} was verified before the backfill ended", block.label()))
            }
            Some(run) if run.drift() > 0 => faults.push(format!("{}: {} rows differ", block.label(), run.drift())),
            Some(_) => {}
        }
    }
    let keys: i64 = found.iter().map(|run| run.keys).sum();
    let evidence = if faults.is_empty() {
        format!("{keys} keys verified, no drift")
    } else {
        format!("{}; run `changeover verify {}`", faults.join("; "), model.name)
    };
    Ok(Gate { name: "a full verify found no drift", holds: faults.is_empty(), evidence })
}

fn report_signed(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    report: &SignedReport,
) -> Result<Gate, DatabaseError> {
    let name = "a comparison report without unexplained differences, signed off";
    let Some(allocation) = &change.file.allocation else {
        let evidence = String::from("the change has no [allocation]: there are no charges to compare");
        return Ok(Gate { name, holds: true, evidence });
    };
    let Some(Signed { id, as_of, clean, periods }) = &report.latest else {
        let evidence = format!("no signed report; run `changeover report run {}` and sign it", change.name);
        return Ok(Gate { name, holds: false, evidence });
    };
    let sql =
        format!("SELECT CAST(max(c.period) AS text) AS newest FROM (\n{}\n) c", trimmed(&allocation.charges.value));
    let newest = connection.get_row(&sql, &[])?.find_text("newest")?.unwrap_or_default();
    let fault = if !clean {
        Some(String::from("has unexplained differences"))
    } else if !periods.is_empty() && !periods.contains(&newest) {
        Some(format!("does not cover the newest period, {newest}"))
    } else if *as_of < change.stage_at {
        Some(String::from("is older than when the change entered this stage"))
    } else if report.routing_changed_at.is_some_and(|changed| *as_of < changed) {
        Some(String::from("is older than the last change of a cohort"))
    } else {
        None
    };
    let holds = fault.is_none();
    let evidence =
        format!("report {id} as of {as_of} {}", fault.unwrap_or_else(|| String::from("is clean and signed")));
    Ok(Gate { name, holds, evidence })
}
