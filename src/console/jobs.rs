//! `/console/jobs/{id}`: long work that somebody has asked for: how far it is, what it found, and its end before its time.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde_json::Value;

use super::form::Sent;
use super::job_result::JobResult;
use super::page::{Frame, base, html, html_with, see_other};
use super::session::{Member, Signed};
use super::words::{When, counted, grouped, when};
use crate::http::AppState;
use crate::http::api::jobs::cancel_job;
use crate::http::auth::{Admin, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem};
use crate::primitives::Instant;
use crate::store::jobs::{self, Job, JobKind, JobState};

#[derive(Template)]
#[template(path = "console/job.html")]
struct JobPage {
    frame: Frame,
    job: JobShown,
}

#[derive(Template)]
#[template(path = "console/job_cancel.html")]
struct CancelPage {
    frame: Frame,
    job: JobShown,
    reason: String,
    error: Option<String>,
}

/// A job as pages tell it.
pub struct JobShown {
    pub id: String,
    pub change: String,
    pub title: &'static str,
    pub state: &'static str,
    pub is_ended: bool,
    /// It ended otherwise than it should have.
    pub is_bad: bool,
    pub is_cancelling: bool,
    pub step: String,
    pub done: u64,
    pub total: u64,
    pub done_text: String,
    pub rate: Option<String>,
    pub left: Option<String>,
    pub throttled: Option<String>,
    pub error: Option<String>,
    pub restarts: Option<String>,
    pub actor: String,
    pub created: When,
    pub finished: Option<When>,
    pub result: JobResult,
    /// The report that it has made.
    pub report: Option<String>,
}

/// How far it is.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    let job = found(&state, id.into_inner()).await?;
    let frame = Frame::new(&request, format!("{}: {}", job.title, job.change), &member.signed);
    html(&JobPage { frame, job })
}

/// What cancelling it will do.
pub async fn cancel_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    cancel_answer(&request, &member.signed, &state, id.into_inner(), (String::new(), None)).await
}

/// Ends it after its next step.
pub async fn cancel(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    let outcome = match sent.fields.reason() {
        Ok(reason) => {
            let (id, actor) = (id.clone(), sent.signed().actor().to_owned());
            state.blocking(move |state| cancel_job(state, id.as_str(), (&actor, &reason)).map(drop)).await
        }
        Err(problem) => Err(problem),
    };
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/jobs/{}", base(&request), id.as_str())));
    };
    let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
    cancel_answer(&request, sent.signed(), &state, id, typed).await
}

async fn cancel_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    id: ShortText,
    (reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let job = found(state, id).await?;
    if job.is_ended && error.is_none() {
        return Err(Problem::new(Code::Refused, "There is nothing to cancel: the job has ended."));
    }
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let frame = Frame::new(request, format!("Cancel: {}", job.title), signed);
    html_with(&CancelPage { frame, job, reason, error: error.map(|problem| problem.detail().to_owned()) }, status)
}

async fn found(state: &Data<AppState>, id: ShortText) -> Result<JobShown, Problem> {
    let job = state.blocking(move |state| Ok(state.store().read(|conn| jobs::get(conn, id.as_str()))?)).await?;
    Ok(job_shown(&job, state.now()))
}

/// What a job does, as a heading.
#[must_use]
pub fn title(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Backfill => "Backfill",
        JobKind::Verify => "Verify",
        JobKind::Repair => "Repair",
        JobKind::Report => "Comparison report",
        JobKind::Assign => "Opening of a period",
    }
}

/// A job as pages tell it.
#[must_use]
pub fn job_shown(job: &Job, now: Instant) -> JobShown {
    let progress = &job.progress;
    let is_running = !job.state.is_ended();
    let report = job.result.as_ref().and_then(|result| result.get("report")).and_then(Value::as_str);
    JobShown {
        id: job.id.clone(),
        change: job.change.clone(),
        title: title(job.kind),
        state: if job.cancel_requested && is_running { "ending" } else { job.state.as_str() },
        is_ended: job.state.is_ended(),
        is_bad: matches!(job.state, JobState::Failed | JobState::Cancelled),
        is_cancelling: job.cancel_requested,
        step: progress.step.clone(),
        done: progress.done,
        total: progress.total,
        done_text: format!("{} of about {}", count(progress.done), count(progress.total)),
        rate: (is_running && progress.per_second >= 1.0).then(|| format!("{:.0} a second", progress.per_second)),
        left: progress.eta_seconds.filter(|_| is_running).map(left),
        throttled: progress.throttled.clone().filter(|_| is_running),
        error: job.error.clone(),
        restarts: (job.attempts > 1).then(|| counted(job.attempts - 1, "other server", "other servers")),
        actor: job.actor.clone(),
        created: when(job.created_at, now),
        finished: job.finished_at.map(|at| when(at, now)),
        result: job.result.as_ref().map(JobResult::of).unwrap_or_default(),
        report: report.map(str::to_owned),
    }
}

fn count(count: u64) -> String {
    grouped(i64::try_from(count).unwrap_or(i64::MAX))
}

fn left(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    match seconds {
        ..=90 => format!("about {} left", counted(seconds.max(1), "second", "seconds")),
        91..=5_399 => format!("about {} left", counted(seconds.saturating_add(30) / 60, "minute", "minutes")),
        _ => format!("about {} left", counted(seconds.saturating_add(1_800) / 3_600, "hour", "hours")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_its_largest_unit() {
        assert_eq!(left(0), "about 1 second left");
        assert_eq!(left(91), "about 2 minutes left");
        assert_eq!(left(u64::MAX), "about 2,562,047,788,015,215 hours left");
    }
}
