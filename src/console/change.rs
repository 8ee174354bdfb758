//! `/console/changes/{name}`: one change: its stage and what keeps it from the next one, its blocks, sides, last report and history.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::change_charts::charts;
use super::change_facts::{Facts, LastReport};
use super::chart::Chart;
use super::jobs::{JobShown, job_shown};
use super::page::{Frame, html};
use super::session::Member;
use super::words::{StepShown, When, counted, grouped, meaning, stepper, when};
use crate::change::Stage;
use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::Problem;
use crate::primitives::{ChangeName, Instant};
use crate::store::series::Step;
use crate::translation::{BlockHealth, Gate, RestorePoint};

/// What has just been done, to be said once.
#[derive(Deserialize)]
pub struct Done {
    #[serde(default)]
    done: String,
    /// Of the charts: `month`, otherwise a day.
    #[serde(default)]
    range: String,
}

#[derive(Template)]
#[template(path = "console/change.html")]
struct ChangePage {
    frame: Frame,
    name: String,
    title: String,
    stage: &'static str,
    steps: Vec<StepShown>,
    stage_at: When,
    meaning: &'static str,
    flag: Option<String>,
    open_period: String,
    pause: Option<PauseShown>,
    next: Option<&'static str>,
    /// Stages that it may go back to.
    back: Vec<&'static str>,
    can_pause: bool,
    gates: Vec<Gate>,
    gates_hold: usize,
    /// Why the gates could not be asked: the change does not fit the database any more, say.
    gates_error: Option<String>,
    blocks: Vec<BlockShown>,
    pending_count: String,
    pending: Vec<PendingShown>,
    sides: Vec<[String; 3]>,
    report: Option<ReportShown>,
    history: Vec<EntryShown>,
    history_left_out: Option<String>,
    jobs: Vec<JobShown>,
    /// Blocks run now, so that they can be filled and repaired.
    translates: bool,
    charts: Vec<Chart>,
    is_month: bool,
}

/// A pause that is not closed.
struct PauseShown {
    at: When,
    by: String,
    reason: String,
    /// Translation is on again, and what was written meanwhile is not compared yet.
    is_half_closed: bool,
}

struct BlockShown {
    block: String,
    into: String,
    backfill: String,
    is_filled: bool,
    drift: Option<String>,
    has_drift: bool,
    verified: String,
    looked_at: Option<When>,
    pending: String,
}

struct PendingShown {
    block: String,
    key: String,
    error: String,
    attempts: String,
    since: When,
}

struct ReportShown {
    id: String,
    as_of: When,
    periods: String,
    is_clean: bool,
    unexplained: String,
    signatures: Vec<SignatureShown>,
    faults: Vec<String>,
}

struct SignatureShown {
    name: String,
    role: String,
    approves: bool,
    at: When,
}

struct EntryShown {
    at: When,
    actor: String,
    action: String,
    reason: String,
    /// The point that the application's database can be put back to, made before a move of the stage.
    restore: Option<String>,
}

/// The page.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    done: Query<Done>,
) -> Result<HttpResponse, Problem> {
    let is_month = done.range == "month";
    let read = state.blocking(move |state| {
        let facts = Facts::get(state, &name)?;
        let gates = facts.change.stage.next().map_or_else(|| Ok(Vec::new()), |next| facts.gates(state, next));
        let flag = facts.change.file.is_routed().then_some(&facts.change.file.routing.flag);
        let step = if is_month { Step::Coarse } else { Step::Fine };
        let charts = charts(state, &name, flag, step)?;
        Ok((facts, gates, charts))
    });
    let (facts, gates, charts) = read.await?;
    let mut frame = Frame::new(&request, facts.change.title.clone(), &member.signed);
    frame.note = note(&done.done);
    html(&ChangePage { charts, is_month, ..shown(frame, &facts, gates, state.now()) })
}

fn note(done: &str) -> Option<&'static str> {
    match done {
        "moved" => Some("The stage was moved."),
        "paused" => Some("Translation is paused."),
        "retried" => Some("Everything that waited was tried again; what failed once more is shown below."),
        "resumed" => Some("Translation goes on; what was written meanwhile has been compared and refreshed."),
        _ => None,
    }
}

fn shown(frame: Frame, facts: &Facts, gates: Result<Vec<Gate>, Problem>, now: Instant) -> ChangePage {
    let (gates, gates_error) = match gates {
        Ok(gates) => (gates, None),
        Err(problem) => (Vec::new(), Some(problem.detail().to_owned())),
    };
    let change = &facts.change;
    let stage = change.stage;
    let history = history_shown(facts, (now, frame.is_admin()));
    let left_out = facts.history_count.saturating_sub(facts.history.len());
    ChangePage {
        frame,
        name: change.name.to_string(),
        title: change.title.clone(),
        stage: stage.as_str(),
        steps: stepper(stage),
        stage_at: when(change.stage_at, now),
        meaning: meaning(stage),
        flag: change.file.is_routed().then(|| change.file.routing.flag.to_string()),
        open_period: change.open_period.clone(),
        pause: facts.gap.as_ref().map(|gap| PauseShown {
            at: when(gap.paused_at, now),
            by: gap.paused_by.clone(),
            reason: gap.reason.clone(),
            is_half_closed: gap.resumed_at.is_some(),
        }),
        next: stage.next().map(Stage::as_str),
        back: stage.moves().into_iter().filter(|to| *to < stage).map(Stage::as_str).collect(),
        can_pause: stage.translates_forward() && facts.gap.is_none(),
        gates_hold: gates.iter().filter(|gate| gate.holds).count(),
        gates,
        gates_error,
        blocks: facts.health.blocks.iter().map(|block| block_shown(block, facts, now)).collect(),
        pending_count: counted(facts.pending_count, "key waits", "keys wait"),
        pending: pending_shown(facts, now),
        sides: facts
            .sides
            .iter()
            .map(|count| [count.period.to_string(), grouped(count.old), grouped(count.new)])
            .collect(),
        jobs: facts.jobs.iter().map(|job| job_shown(job, now)).collect(),
        translates: stage.translates_forward(),
        charts: Vec::new(),
        is_month: false,
        report: facts.report.as_ref().map(|last| report_shown(last, now)),
        history,
        history_left_out: (left_out > 0)
            .then(|| counted(i64::try_from(left_out).unwrap_or(i64::MAX), "older entry", "older entries")),
    }
}

fn block_shown(block: &BlockHealth, facts: &Facts, now: Instant) -> BlockShown {
    let backfill = facts.backfills.iter().find(|found| found.block == block.block);
    let verified = facts.verifications.iter().find(|found| found.block == block.block);
    BlockShown {
        block: block.block.clone(),
        into: block.into.clone(),
        backfill: match backfill {
            None => String::from("not begun"),
            Some(found) if found.finished => counted(found.keys_done, "key, complete", "keys, complete"),
            Some(found) => counted(found.keys_done, "key so far", "keys so far"),
        },
        is_filled: backfill.is_some_and(|found| found.finished),
        drift: block.drift.map(|drift| {
            let parts = [(drift.missing, "missing"), (drift.extra, "too many"), (drift.different, "different")];
            let said: Vec<String> =
                parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", grouped(*n))).collect();
            if said.is_empty() { String::from("none") } else { said.join(", ") }
        }),
        has_drift: block.drift.is_some_and(|drift| drift.rows() > 0),
        verified: grouped(block.verified_keys),
        looked_at: block.oldest_range_at.or_else(|| verified.map(|found| found.started_at)).map(|at| when(at, now)),
        pending: grouped(block.pending_keys),
    }
}

fn pending_shown(facts: &Facts, now: Instant) -> Vec<PendingShown> {
    let shown = facts.pending.iter().map(|key| PendingShown {
        block: key.block.clone(),
        key: if key.key == "*" { String::from("all of it") } else { key.key.clone() },
        error: key.error.clone(),
        attempts: grouped(key.attempts),
        since: when(key.first_at, now),
    });
    shown.collect()
}

fn report_shown(last: &LastReport, now: Instant) -> ReportShown {
    let report = &last.report;
    let signatures = report.signatures.iter().map(|signature| SignatureShown {
        name: signature.name.clone(),
        role: signature.role.clone(),
        approves: signature.approves,
        at: when(Instant::from_micros(signature.at), now),
    });
    ReportShown {
        id: report.id.clone(),
        as_of: when(report.as_of, now),
        periods: if report.periods.is_empty() { String::from("all periods") } else { report.periods.join(", ") },
        is_clean: report.clean,
        unexplained: grouped(report.unexplained),
        signatures: signatures.collect(),
        faults: last.faults.clone(),
    }
}

/// Where on the server's machine a copy is, only admins are told.
fn history_shown(facts: &Facts, (now, sees_paths): (Instant, bool)) -> Vec<EntryShown> {
    let shown = facts.history.iter().map(|entry| {
        let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap_or_default();
        let text = |name: &str| detail.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let action = match (entry.action.as_str(), text("from"), text("to")) {
            ("stage", from, to) if !to.is_empty() => format!("stage: {from} → {to}"),
            (action, _, _) => action.to_owned(),
        };
        let point = detail.get("restore_point").and_then(|point| RestorePoint::deserialize(point).ok());
        let restore = point.map(|point| if sees_paths { point } else { point.without_directory() }.told());
        EntryShown { at: when(entry.at, now), actor: entry.actor.clone(), action, reason: text("reason"), restore }
    });
    shown.collect()
}
