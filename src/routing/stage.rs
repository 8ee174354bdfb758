//! Moving a change from stage to stage as people ask for it: gates from both databases, and what a move means for assignments.

use serde::Serialize;

use super::release;
use crate::change::Stage;
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::observations::ObservationSummary;
use crate::primitives::{Instant, VariantName};
use crate::sql::model::ChangeModel;
use crate::store::observations::Subject;
use crate::store::{PageRequest, Store, StoreError, report_standing, reports};
use crate::translation::{
    Before, Deed, Gate, InstalledChange, Move, Outside, Removal, RestorePoint, RestorePoints, Signed, TranslationError,
    check_step, checklist, gates, move_stage, resolve,
};

/// What became of a wish to move.
#[derive(Debug, Clone, Serialize)]
pub struct StageMove {
    pub from: Stage,
    pub to: Stage,
    pub moved: bool,
    /// True if a gate did not hold and the move was made all the same.
    pub forced: bool,
    pub gates: Vec<Gate>,
    /// Assignments to the new side that went back to the old one.
    pub released: usize,
    /// What is left to be removed by hand, once the change is complete.
    pub checklist: Vec<Removal>,
    /// What the application's database can be put back to, as it was before the move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<RestorePoint>,
}

/// A move that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub to: Stage,
    pub deed: Deed<'a>,
    /// Move although a gate does not hold; needs a reason.
    pub force: bool,
    /// With these, a restore point is made before the move.
    pub restore: Option<&'a RestorePoints>,
}

/// Why a stage could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Translation(#[from] TranslationError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("--force needs a reason: say why the gates may be passed")]
    ForceWithoutReason,
}

/// Evaluates the gates of the step to `to`.
pub fn evaluate_gates(
    store: &Store,
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    to: Stage,
    now: Instant,
) -> Result<Vec<Gate>, StageError> {
    let model = resolve(connection, &change.file)?;
    Ok(gates(connection, &model, change, to, &outside(store, change, now)?)?)
}

/// Moves a change one step if its gates hold or the wish is forced. Going back from `live` releases the open periods' assignments in the
/// same transaction.
pub fn change_stage(
    store: &Store,
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    wish: Wish<'_>,
) -> Result<StageMove, StageError> {
    let from = change.stage;
    check_step(change, wish.to)?;
    if wish.force && wish.deed.reason.trim().is_empty() {
        return Err(StageError::ForceWithoutReason);
    }
    let gates = evaluate_gates(store, connection, change, wish.to, wish.deed.at)?;
    let holds = gates.iter().all(|gate| gate.holds);
    let mut outcome = StageMove {
        from,
        to: wish.to,
        moved: false,
        forced: !holds && wish.force,
        gates,
        released: 0,
        checklist: Vec::new(),
        restore_point: None,
    };
    if !holds && !wish.force {
        return Ok(outcome);
    }
    let model = resolve(connection, &change.file)?;
    let before = Before { change: &change.name, from, to: wish.to, at: wish.deed.at };
    outcome.restore_point = wish.restore.map(|restore| restore.make(connection, before));
    outcome.released = make_move(connection, &model, &outcome, wish).inspect_err(|_| {
        outcome.restore_point.iter().for_each(RestorePoint::discard);
    })?;
    if let (Some(restore), Some(point)) = (wish.restore, &outcome.restore_point) {
        restore.tidy(point);
    }
    if wish.to == Stage::Complete {
        outcome.checklist = checklist(&model, change);
    }
    outcome.moved = true;
    Ok(outcome)
}

/// The move itself. Returns how many assignments it released.
fn make_move(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    outcome: &StageMove,
    wish: Wish<'_>,
) -> Result<usize, TranslationError> {
    let mut detail = serde_json::json!({ "gates": outcome.gates, "forced": outcome.forced });
    if let (Some(point), Some(fields)) = (&outcome.restore_point, detail.as_object_mut()) {
        fields.insert(String::from("restore_point"), serde_json::json!(point));
    }
    let mut released = 0;
    let wanted = Move { to: wish.to, detail };
    move_stage(connection, model, &wanted, wish.deed, &mut |connection, left| {
        if left != outcome.from {
            return Err(TranslationError::NoStep { from: left, to: wish.to });
        }
        if left.routes_to_new() && !wish.to.routes_to_new() {
            let reason = format!("stage went back to {}: {}", wish.to, wish.deed.reason);
            released = release(connection, &model.name, wish.deed.actor, &reason)
                .map_err(|error| TranslationError::Beside(Box::new(error)))?;
        }
        Ok(())
    })?;
    Ok(released)
}

/// What the service knows of a change: its latest signed report, when a cohort of its flag was last changed, whether the flag serves
/// `new` to everybody.
fn outside(store: &Store, change: &InstalledChange, now: Instant) -> Result<Outside, StoreError> {
    store.read(|connection| {
        let flag = crate::store::flags::find(connection, &change.file.routing.flag)?;
        let flag = flag.map(|flag| flag.data);
        let observed = observed(connection, change, now)?;
        Ok(Outside {
            observed,
            report: signed(connection, change)?,
            not_everybody: what_keeps_from_new(flag.as_deref()),
            now,
        })
    })
}

/// How many observations of the hours that the gate names were compared, and how many of them differ.
fn observed(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    now: Instant,
) -> Result<(u64, u64), StoreError> {
    let Some(wanted) = &change.file.stages.observations else { return Ok((0, 0)) };
    let from = Instant::from_micros(now.as_micros().saturating_sub(wanted.over_hours * 3_600_000_000));
    let subject = Subject::change(&change.name);
    let found = crate::store::observations::summary(connection, &subject, (from, now))?;
    let sum = |count: fn(&ObservationSummary) -> u64| found.iter().map(count).sum();
    Ok((sum(|one| one.compared), sum(|one| one.mismatches)))
}

/// The latest report that is signed and counts; without one, the latest signed.
fn signed(connection: &mut DatabaseConnection, change: &InstalledChange) -> Result<Option<Signed>, StoreError> {
    let request = PageRequest { after: None, limit: Some(100) };
    let file_sha256 = crate::store::sha256(&change.file.text);
    let now = report_standing::Now { change: &change.name, file_sha256: &file_sha256, flag: &change.file.routing.flag };
    let mut latest = None;
    for summary in reports::list(connection, &change.name, &request)?.items {
        if summary.signatures.is_empty() {
            continue;
        }
        let Some(report) = reports::find(connection, &summary.id)? else { continue };
        let faults = report_standing::faults(connection, &report, now)?;
        let approving = report.signatures.iter().filter(|signature| signature.approves);
        let signed = Signed {
            id: report.id.clone(),
            as_of: report.as_of,
            clean: report.clean,
            periods: report.periods.clone(),
            roles: approving.map(|signature| signature.role.clone()).collect(),
            faults,
        };
        if signed.faults.is_empty() && signed.clean {
            return Ok(Some(signed));
        }
        latest = latest.or(Some(signed));
    }
    Ok(latest)
}

fn what_keeps_from_new(flag: Option<&str>) -> Option<String> {
    let Some(flag) = flag else { return Some(String::from("it does not exist")) };
    let (Ok(flag), Ok(new)) = (Flag::parse(flag), VariantName::new("new")) else {
        return Some(String::from("it cannot be read"));
    };
    flag.what_keeps_from(&new)
}
