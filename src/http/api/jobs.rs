//! `/api/v1/jobs`: long work, asked for elsewhere (`POST …/backfill`), done by whichever server is free.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::List;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::{ReasonQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, Instant};
use crate::store::audit::{self, AuditEntry};
use crate::store::jobs::{self, Job, JobFilter, JobKind, JobProgress, JobState, NewJob};
use crate::store::{Origin, PageRequest, StoreError};

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobAnswer {
    pub id: String,
    /// Such as `backfill`.
    #[schema(value_type = String)]
    kind: JobKind,
    /// The change that it is about.
    change: String,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    state: JobState,
    /// What it was asked to do.
    arguments: Value,
    progress: ProgressAnswer,
    /// What it found, once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// Why it failed; while it is queued, why it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// True once somebody has cancelled it; it ends after its next step.
    cancel_requested: bool,
    /// How many times a server began it or went on with it.
    attempts: i64,
    actor: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Instant>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Instant>,
    /// Where this job is.
    url: String,
}

/// How far a job is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgressAnswer {
    /// What it is at, such as `f2 (memberships)`.
    step: String,
    /// Of that step: what has been done, in keys.
    done: u64,
    /// Of that step: what there is to do, roughly.
    total: u64,
    /// Keys in a second, lately.
    per_second: f64,
    /// Until the end of this step, at this rate.
    eta_seconds: Option<u64>,
    /// Why it goes slower than it could, while it does.
    throttled: Option<String>,
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobQuery {
    /// Only those of this change.
    #[param(value_type = Option<String>)]
    change: Option<ChangeName>,
    /// Only those in this state.
    #[param(value_type = Option<String>)]
    state: Option<JobState>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<ShortText>,
    /// At most this many; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// A page of jobs, the newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(JobQuery), responses((status = 200, body = List<JobAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    query: Query<JobQuery>,
) -> Result<Json<List<JobAnswer>>, Problem> {
    let page = state
        .blocking(move |state| {
            let after = query.after.as_ref().map(|after| after.as_str().to_owned());
            let filter = JobFilter { change: query.change.as_ref(), state: query.state };
            Ok(state.store().read(|conn| jobs::list(conn, filter, &PageRequest { after, limit: query.limit }))?)
        })
        .await?;
    Ok(Json(List::from(page)))
}

/// One job: its state, how far it is, what it found.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(_: Caller<Viewer>, state: Data<AppState>, id: Path<ShortText>) -> Result<Json<JobAnswer>, Problem> {
    let job = state.blocking(move |state| Ok(state.store().read(|conn| jobs::get(conn, id.as_str()))?)).await?;
    Ok(Json(job.into()))
}

/// Cancels a job: one that is queued has ended, one that runs ends after its next step. What it has done so far stays. Cancelling
/// twice is cancelling once; a job that has ended otherwise is refused.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path), ReasonQuery),
    responses((status = 200, body = JobAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn cancel(
    caller: Caller<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
    why: Query<ReasonQuery>,
) -> Result<Json<JobAnswer>, Problem> {
    let job = state.blocking(move |state| cancel_job(state, id.as_str(), (caller.actor(), why.as_str()))).await?;
    Ok(Json(job.into()))
}

/// Cancels a job for `actor`, with its audit row.
pub fn cancel_job(state: &AppState, id: &str, (actor, reason): (&str, &str)) -> Result<Job, Problem> {
    let job = state.store().write(|conn| jobs::cancel(conn, id, Origin { actor, reason }))?;
    if matches!(job.state, JobState::Done | JobState::Failed) {
        return Err(Problem::new(Code::Refused, format!("The job `{}` is {} already.", job.id, job.state)));
    }
    Ok(job)
}

/// 202 with where the job is. A handler that starts long work answers with this what [`start`] made.
pub(super) fn accepted(job: &JobAnswer) -> HttpResponse {
    HttpResponse::Accepted().insert_header(("Location", job.url.clone())).json(job)
}

/// Creates a job, with the audit row `change.KIND`.
pub(super) fn start(state: &AppState, new: &NewJob<'_>) -> Result<JobAnswer, Problem> {
    let created = state.store().write(|conn| {
        let job = jobs::create(conn, new)?;
        let (action, subject) = (format!("change.{}", new.kind), format!("change/{}", new.change));
        let detail = json!({ "job": job.id, "arguments": new.arguments });
        audit::append(conn, &AuditEntry { actor: new.actor, action: &action, subject: &subject, reason: "", detail })?;
        Ok(job)
    });
    match created {
        Err(StoreError::Exists { name, .. }) => {
            let detail = format!("A {} of `{}` is under way: /api/v1/jobs/{name}.", new.kind, new.change);
            Err(Problem::new(Code::Refused, detail))
        }
        created => Ok(JobAnswer::from(created?)),
    }
}

impl From<Job> for JobAnswer {
    fn from(job: Job) -> Self {
        Self {
            url: format!("/api/v1/jobs/{}", job.id),
            id: job.id,
            kind: job.kind,
            change: job.change,
            state: job.state,
            arguments: job.arguments,
            progress: job.progress.into(),
            result: job.result,
            error: job.error,
            cancel_requested: job.cancel_requested,
            attempts: job.attempts,
            actor: job.actor,
            created_at: job.created_at,
            started_at: job.started_at,
            updated_at: job.updated_at,
            finished_at: job.finished_at,
        }
    }
}

impl From<JobProgress> for ProgressAnswer {
    fn from(progress: JobProgress) -> Self {
        let JobProgress { step, done, total, per_second, eta_seconds, throttled } = progress;
        Self { step, done, total, per_second, eta_seconds, throttled }
    }
}
