//! Gates: the conditions for entering a stage, evaluated, each with the evidence that it was decided on.

use serde::Serialize;

use crate::change::{Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::Instant;
use crate::sql::model::{BlockModel, ChangeModel, trimmed};
use crate::sql::names::own;
use crate::sql::old_path;

use super::audit::{Finding, audit};
use super::cover::cover_plan;
use super::error::TranslationError;
use super::laws::last_laws;
use super::own::InstalledChange;
use super::pause::open_gap;
use super::pending;
use super::progress::{backfill_progress, last_verifications};

/// A condition for entering a stage, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Gate {
    pub name: &'static str,
    pub holds: bool,
    pub evidence: String,
}

impl Gate {
    /// A gate that holds unless there is a fault.
    fn of(name: &'static str, fault: Option<String>, evidence: impl FnOnce() -> String) -> Self {
        Self { name, holds: fault.is_none(), evidence: fault.unwrap_or_else(evidence) }
    }
}

/// What gates ask that is not in the application's database: what the service knows of the change, and the time.
#[derive(Debug, Clone)]
pub struct Outside {
    /// The latest report that is signed and whose sign-off counts; without one, the latest signed.
    pub report: Option<Signed>,
    /// What applications observed over the hours that the change file names; (compared, mismatches).
    pub observed: (u64, u64),
    /// What keeps the flag from serving `new` to everybody; `None`: nothing does.
    pub not_everybody: Option<String>,
    pub now: Instant,
}

impl Outside {
    /// Nothing is known but the time.
    #[must_use]
    pub fn at(now: Instant) -> Self {
        Self { report: None, observed: (0, 0), not_everybody: Some(String::from("nothing is known of it")), now }
    }
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
    /// In which roles it was signed.
    pub roles: Vec<String>,
    /// Why its sign-offs count no more; empty: they count.
    pub faults: Vec<String>,
}

/// The gates of the step to `to`, evaluated. Going back needs none.
pub fn gates(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    change: &InstalledChange,
    to: Stage,
    outside: &Outside,
) -> Result<Vec<Gate>, TranslationError> {
    if change.stage.next() != Some(to) {
        return Ok(Vec::new());
    }
    let mut gates = vec![triggers_installed(connection, model)?];
    if !matches!(to, Stage::Off | Stage::DualWrite) {
        gates.push(nothing_waits(connection, change)?);
    }
    match to {
        Stage::Off | Stage::DualWrite => {}
        Stage::Shadow => {
            gates.push(backfill_complete(connection, model)?);
            gates.push(verify_clean(connection, model, change)?);
        }
        Stage::Live => {
            gates.push(verify_clean(connection, model, change)?);
            gates.push(laws_held(connection, change)?);
            gates.push(report_signed(connection, change, outside)?);
            gates.extend(observations_agree(change, outside));
        }
        Stage::RampDown => {
            gates.push(verify_clean(connection, model, change)?);
            gates.push(flag_at_full(change, outside));
        }
        Stage::Complete => {
            gates.push(verify_clean(connection, model, change)?);
            gates.push(flag_at_full(change, outside));
            gates.push(nobody_on_old_side(connection, change)?);
            gates.push(old_path_quiet(connection, (model, change), outside.now)?);
        }
    }
    Ok(gates)
}

/// Everything that the change has made is there, on, and as it was made.
fn triggers_installed(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<Gate, TranslationError> {
    let missing: Vec<String> = cover_plan(connection, model)?.into_iter().map(|step| step.what).collect();
    let found: Vec<Finding> =
        audit(connection, model)?.into_iter().filter(|finding| finding.code.is_silent()).collect();
    let fault = if let Some(first) = missing.first() {
        Some(format!("{} missing, first {first}; run `changeover change cover {}`", missing.len(), model.name))
    } else {
        let first = found.first().map(ToString::to_string);
        first.map(|first| format!("{} found by `changeover change audit {}`, first {first}", found.len(), model.name))
    };
    let tables = model.sources_of(Direction::Forward).len();
    let name = "triggers installed on every source table";
    Ok(Gate::of(name, fault, || format!("none is missing on the {tables} source tables, none is disabled or changed")))
}

/// No key waits for its translation, and no pause has left a gap open.
fn nothing_waits(connection: &mut DatabaseConnection, change: &InstalledChange) -> Result<Gate, DatabaseError> {
    let keys = pending::count(connection, &change.name)?;
    let gap = open_gap(connection, &change.name)?;
    let fault = match (gap, keys) {
        (Some(gap), _) => {
            Some(format!("paused since {}; run `changeover change resume {}`", gap.paused_at, change.name))
        }
        (None, 1..) => Some(format!("{keys} keys are pending; see `changeover change pending {}`", change.name)),
        (None, _) => None,
    };
    Ok(Gate::of("nothing waits to be translated", fault, || String::from("no key is pending, no pause is open")))
}

fn backfill_complete(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<Gate, DatabaseError> {
    let progress = backfill_progress(connection, &model.name)?;
    let unfinished: Vec<String> = model
        .blocks_of(Direction::Forward)
        .filter(|block| !progress.iter().any(|done| done.block == block.id.to_string() && done.finished))
        .map(BlockModel::label)
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
    let filled_at = filled_at.unwrap_or(change.stage_at).max(change.installed_at);
    // Backward blocks are kept from `live` on, so what was found of them before says nothing.
    let since = |block: &BlockModel| match block.id.direction {
        Direction::Forward => filled_at,
        Direction::Backward => filled_at.max(change.stage_at),
    };
    let later = |block: &BlockModel| match block.id.direction {
        Direction::Forward => "the backfill ended",
        Direction::Backward => "the change entered this stage",
    };
    let mut faults = Vec::new();
    let backward = change.stage.translates_backward();
    for block in model.blocks.iter().filter(|block| backward || block.id.direction == Direction::Forward) {
        let id = block.id.to_string();
        match found.iter().find(|run| run.block == id) {
            None => faults.push(format!("{} was never verified", block.label())),
            Some(run) if run.started_at < since(block) => {
                faults.push(format!("{} was verified before {}", block.label(), later(block)))
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
    outside: &Outside,
) -> Result<Gate, DatabaseError> {
    let name = "a comparison report without unexplained differences, signed off";
    let Some(allocation) = &change.file.allocation else {
        let evidence = String::from("the change has no [allocation]: there are no charges to compare");
        return Ok(Gate { name, holds: true, evidence });
    };
    let Some(Signed { id, as_of, clean, periods, roles, faults }) = &outside.report else {
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
    } else if let Some(fault) = faults.first() {
        Some(fault.clone())
    } else {
        let missing = change.file.stages.sign_off.iter().find(|role| !roles.contains(role));
        missing.map(|role| format!("is not signed as {role}; `changeover report sign {id} --role {role} --name …`"))
    };
    let holds = fault.is_none();
    let evidence =
        format!("report {id} as of {as_of} {}", fault.unwrap_or_else(|| String::from("is clean and signed")));
    Ok(Gate { name, holds, evidence })
}

/// What applications observed of both models, if the change file asks for it.
fn observations_agree(change: &InstalledChange, outside: &Outside) -> Option<Gate> {
    let wanted = change.file.stages.observations.as_ref()?;
    let (compared, mismatches) = outside.observed;
    let told = format!("{mismatches} mismatches in {compared} observations of the last {} hours", wanted.over_hours);
    let (least, most) =
        (u64::try_from(wanted.min_compared).unwrap_or(0), u64::try_from(wanted.max_mismatch_millionths).unwrap_or(0));
    let is_over = u128::from(mismatches) * 1_000_000 > u128::from(compared) * u128::from(most);
    let fault = if compared < least {
        Some(format!("{told}: {least} are asked for; applications post them, see docs/observations.md"))
    } else if is_over {
        Some(format!(
            "{told}: more than {most} of a million; see `changeover observation samples --change {}`",
            change.name
        ))
    } else {
        None
    };
    Some(Gate::of("applications observe the same results", fault, || told))
}

fn laws_held(connection: &mut DatabaseConnection, change: &InstalledChange) -> Result<Gate, DatabaseError> {
    let name = "the round-trip laws hold";
    let run = format!("run `changeover change laws {}`", change.name);
    let Some(laws) = last_laws(connection, &change.name)? else {
        return Ok(Gate { name, holds: false, evidence: format!("never tried; {run}") });
    };
    let trials: u64 = laws.tables.iter().map(|table| table.trials).sum();
    let undeclared: Vec<String> = laws.undeclared().map(|loss| format!("{}.{}", loss.table, loss.column)).collect();
    let fault = if laws.at < change.installed_at {
        Some(format!("tried before this installation; {run}"))
    } else if !undeclared.is_empty() {
        Some(format!("lost and not declared: {}; {run}", undeclared.join(", ")))
    } else {
        laws.faults.first().map(|(what, count, first)| format!("{what}, {count} times, first {first}; {run}"))
    };
    let evidence = || {
        let declared = laws.declared.len();
        format!("{trials} trials with seed {} at {}, {declared} declared losses", laws.seed, laws.at)
    };
    Ok(Gate::of(name, fault, evidence))
}

fn flag_at_full(change: &InstalledChange, outside: &Outside) -> Gate {
    let flag = &change.file.routing.flag;
    if !change.file.is_routed() {
        return Gate::of("the flag serves `new` to everybody", None, || String::from("the change has no [routing]"));
    }
    let fault = outside.not_everybody.as_ref().map(|what| format!("flag `{flag}` is not at 100 %: {what}"));
    Gate::of("the flag serves `new` to everybody", fault, || format!("flag `{flag}` serves `new` whoever asks"))
}

/// A group that is billed by the old model in a period that is still open needs the old tables to be fed.
fn nobody_on_old_side(connection: &mut DatabaseConnection, change: &InstalledChange) -> Result<Gate, DatabaseError> {
    let sql = format!(
        "SELECT count(*) AS groups, min(period) AS first, max(period) AS last FROM {} WHERE change = $1 AND side = 'old' AND period >= $2",
        own(connection.dialect(), "assignment")
    );
    let values = [Value::from(change.name.as_str()), Value::from(change.open_period.as_str())];
    let row = connection.get_row(&sql, &values)?;
    let groups = row.integer("groups")?;
    let fault = match (groups, row.find_text("first")?, row.find_text("last")?) {
        (1.., Some(first), Some(last)) => Some(format!(
            "{groups} assignments to the old side in open periods, from {first} to {last}; wait for the period to end, then `changeover change close {} --before PERIOD`",
            change.name
        )),
        _ => None,
    };
    Ok(Gate::of("no group is on the old side in an open period", fault, || String::from("none is")))
}

/// How long nobody has written to the old model what the new one had to be told. Notes are taken from `rampdown` on.
fn old_path_quiet(
    connection: &mut DatabaseConnection,
    (model, change): (&ChangeModel, &InstalledChange),
    now: Instant,
) -> Result<Gate, DatabaseError> {
    let name = "no write needed the old path for the stated time";
    let wanted = change.file.stages.quiet_hours;
    let mut last: Option<(Instant, String)> = None;
    for (table, question) in old_path::last(model) {
        let row = connection.find_row(&question, &[])?;
        let at = row.map(|row| row.find_integer("at")).transpose()?.flatten();
        last = last.max(at.map(|at| (Instant::from_micros(at), table.name)));
    }
    let since = last.as_ref().map_or(change.stage_at, |(at, _)| (*at).max(change.stage_at));
    let quiet_hours = now.as_micros().saturating_sub(since.as_micros()) / 3_600_000_000;
    let told = match &last {
        Some((at, table)) if *at > change.stage_at => format!("the last one at {at}, on {table}"),
        _ => format!("none since `rampdown` began at {}", change.stage_at),
    };
    let fault = (quiet_hours < wanted).then(|| format!("{told}: {quiet_hours} of {wanted} hours"));
    Ok(Gate::of(name, fault, || format!("{told}: {quiet_hours} hours, and {wanted} are asked for")))
}
