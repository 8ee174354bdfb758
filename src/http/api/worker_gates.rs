//! `/api/v1/gates`: whether background workers run, and in which order they come back. Not the gates of a change's stages.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{List, created, versioned};
use crate::http::auth::{Admin, Caller, Evaluate, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{ReasonQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{Instant, WorkerName};
use crate::store::Origin;
use crate::store::tokens::Role;
use crate::store::worker_gates::{self, Found, StoredGate};
use crate::worker_gates::{Answer, DELAY_S_MAX, Lease, Settings, State, Switch};

/// What a worker is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct GateAnswer {
    #[schema(value_type = String)]
    worker: WorkerName,
    /// `run` or `pause`. Of a worker of which one instance runs, only the holder of its lease runs.
    #[schema(value_type = String)]
    answer: Answer,
    /// `running`, `waiting` for its turn to come back, or `paused`.
    state: &'static str,
    /// Ask again after so many seconds.
    ask_again_seconds: i64,
    /// When it runs by itself, while it is `waiting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resumes_at: Option<Instant>,
    single_instance: bool,
    /// For those who may read everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<GateDetails>,
}

/// What people see of a gate.
#[derive(Debug, Serialize, ToSchema)]
pub struct GateDetails {
    version: i64,
    #[schema(value_type = Object)]
    settings: Settings,
    /// `run`, `pause`, or `pause_all` if it was paused with all others.
    #[schema(value_type = String)]
    switch: Switch,
    #[schema(value_type = String, format = DateTime)]
    switched_at: Instant,
    switched_by: String,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
    updated_by: String,
    /// The latest lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseDetails>,
}

/// A lease as people see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaseDetails {
    holder: String,
    fencing_token: i64,
    #[schema(value_type = String, format = DateTime)]
    acquired_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
    held: bool,
    /// Its holder has been told to stop.
    stopping: bool,
}

/// What a gate is to be. What is left out has its default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateWish {
    /// What the worker does, for people.
    #[serde(default)]
    #[schema(value_type = String)]
    description: ShortText,
    /// Workers come back from the smallest number to the greatest; those of one number together. 0 if not said.
    #[serde(default)]
    order: i64,
    /// How many seconds after those of the number before. 0 if not said.
    #[serde(default)]
    delay_seconds: i64,
    /// Only the holder of the worker's lease runs.
    #[serde(default)]
    single_instance: bool,
    /// How long a lease is held without a heartbeat: 2 to 86400 seconds, 30 if not said.
    lease_seconds: Option<i64>,
}

/// Why a worker is paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GatePauseWish {
    #[schema(value_type = String)]
    reason: ShortText,
}

/// How a worker comes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateResumeWish {
    #[schema(value_type = String)]
    reason: ShortText,
    /// In so many seconds; at once if not said.
    #[serde(default)]
    after_seconds: i64,
}

/// How all workers come back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllResumeWish {
    #[schema(value_type = String)]
    reason: ShortText,
    /// Also those that were paused for themselves.
    #[serde(default)]
    include_paused_alone: bool,
}

/// The gates that were switched.
#[derive(Debug, Serialize, ToSchema)]
pub struct SwitchedGates {
    items: Vec<SwitchedGate>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct SwitchedGate {
    #[schema(value_type = String)]
    worker: WorkerName,
    /// When it runs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resumes_at: Option<Instant>,
}

/// All gates, in the order in which their workers come back.
#[utoipa::path(get, path = "/api/v1/gates", tag = "gates", responses((status = 200, body = List<GateAnswer>)))]
pub async fn list(_: Caller<Viewer>, state: Data<AppState>) -> Result<Json<List<GateAnswer>>, Problem> {
    let all = state.blocking(|state| Ok(state.store().read(worker_gates::list)?)).await?;
    let now = all.now;
    let items = all.found.into_iter().map(|found| answer(Found { now, found }, Role::Viewer)).collect();
    Ok(Json(List { items, next: None }))
}

/// May this worker run? Asked by the worker itself, again and again.
#[utoipa::path(get, path = "/api/v1/gates/{worker}", tag = "gates", params(("worker" = String, Path)),
    responses((status = 200, body = GateAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(
    caller: Caller<Evaluate>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
) -> Result<HttpResponse, Problem> {
    let found = state.blocking(move |state| Ok(state.store().read(|conn| worker_gates::get(conn, &worker))?)).await?;
    Ok(versioned(found.found.version, &answer(found, caller.token().role)))
}

/// Makes a gate, which runs, or sets one anew, which stays as it is switched.
#[utoipa::path(put, path = "/api/v1/gates/{worker}", tag = "gates",
    params(("worker" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)), request_body = GateWish,
    responses((status = 200, body = GateAnswer), (status = 201, body = GateAnswer), (status = 412, body = ProblemDocument)))]
pub async fn set(
    caller: Caller<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
    wish: Json<GateWish>,
) -> Result<HttpResponse, Problem> {
    let settings = wish.into_inner().settings();
    let location = format!("/api/v1/gates/{worker}");
    let (found, is_new) = state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| worker_gates::set(conn, &worker, settings.clone(), seen.0, origin))?)
        })
        .await?;
    let version = found.found.version;
    let body = answer(found, Role::Admin);
    Ok(if is_new { created(version, location, &body) } else { versioned(version, &body) })
}

/// Removes a gate. A lease that is held ends by itself; fencing tokens are not forgotten.
#[utoipa::path(delete, path = "/api/v1/gates/{worker}", tag = "gates",
    params(("worker" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn remove(
    caller: Caller<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| worker_gates::remove(conn, &worker, seen.0, origin))?)
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Pauses a worker: it is told so when it asks next, and its lease is not prolonged.
#[utoipa::path(post, path = "/api/v1/gates/{worker}/pause", tag = "gates", params(("worker" = String, Path)),
    request_body = GatePauseWish, responses((status = 200, body = GateAnswer), (status = 404, body = ProblemDocument)))]
pub async fn pause(
    caller: Caller<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    wish: Json<GatePauseWish>,
) -> Result<HttpResponse, Problem> {
    let found = state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: wish.reason.as_str() };
            Ok(state.store().write(|conn| worker_gates::pause(conn, &worker, origin))?)
        })
        .await?;
    Ok(versioned(found.found.version, &answer(found, Role::Admin)))
}

/// Lets a worker run again, at once or in some seconds.
#[utoipa::path(post, path = "/api/v1/gates/{worker}/resume", tag = "gates", params(("worker" = String, Path)),
    request_body = GateResumeWish, responses((status = 200, body = GateAnswer), (status = 404, body = ProblemDocument)))]
pub async fn resume(
    caller: Caller<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    wish: Json<GateResumeWish>,
) -> Result<HttpResponse, Problem> {
    if !(0..=DELAY_S_MAX).contains(&wish.after_seconds) {
        return Err(Problem::new(Code::InvalidValue, format!("`after_seconds` is 0 to {DELAY_S_MAX}.")));
    }
    let found = state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: wish.reason.as_str() };
            Ok(state.store().write(|conn| worker_gates::resume(conn, &worker, wish.after_seconds, origin))?)
        })
        .await?;
    Ok(versioned(found.found.version, &answer(found, Role::Admin)))
}

/// Pauses every worker that runs or waits for its turn. Answers which ones.
#[utoipa::path(post, path = "/api/v1/all-gates/pause", tag = "gates", request_body = GatePauseWish,
    responses((status = 200, body = SwitchedGates)))]
pub async fn pause_all(
    caller: Caller<Admin>,
    state: Data<AppState>,
    wish: Json<GatePauseWish>,
) -> Result<Json<SwitchedGates>, Problem> {
    let paused = state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: wish.reason.as_str() };
            Ok(state.store().write(|conn| worker_gates::pause_all(conn, origin))?)
        })
        .await?;
    let items = paused.into_iter().map(|worker| SwitchedGate { worker, resumes_at: None }).collect();
    Ok(Json(SwitchedGates { items }))
}

/// Brings back, in order and each after its delay, the workers that were paused together. Answers when each runs.
#[utoipa::path(post, path = "/api/v1/all-gates/resume", tag = "gates", request_body = AllResumeWish,
    responses((status = 200, body = SwitchedGates)))]
pub async fn resume_all(
    caller: Caller<Admin>,
    state: Data<AppState>,
    wish: Json<AllResumeWish>,
) -> Result<Json<SwitchedGates>, Problem> {
    let times = state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: wish.reason.as_str() };
            Ok(state.store().write(|conn| worker_gates::resume_all(conn, wish.include_paused_alone, origin))?)
        })
        .await?;
    let items = times.into_iter().map(|(worker, at)| SwitchedGate { worker, resumes_at: Some(at) }).collect();
    Ok(Json(SwitchedGates { items }))
}

impl GateWish {
    fn settings(self) -> Settings {
        let defaults = Settings::default();
        Settings {
            description: self.description.as_str().to_owned(),
            order: self.order,
            delay_s: self.delay_seconds,
            single_instance: self.single_instance,
            lease_s: self.lease_seconds.unwrap_or(defaults.lease_s),
        }
    }
}

/// A gate as somebody of this role may see it.
#[must_use]
pub fn answer(found: Found<StoredGate>, role: Role) -> GateAnswer {
    let Found { now, found: stored } = found;
    let state: State = stored.gate.state_at(now);
    GateAnswer {
        worker: stored.worker.clone(),
        answer: state.answer(),
        state: state.as_str(),
        ask_again_seconds: state.ask_again_s(now),
        resumes_at: state.until(),
        single_instance: stored.gate.settings.single_instance,
        details: role.covers(Role::Viewer).then(|| details(stored, now)),
    }
}

fn details(stored: StoredGate, now: Instant) -> GateDetails {
    let lease = |lease: Lease| LeaseDetails {
        held: lease.is_held_at(now),
        stopping: lease.stopped_at.is_some(),
        holder: lease.holder,
        fencing_token: lease.fencing,
        acquired_at: lease.acquired_at,
        expires_at: lease.expires_at,
    };
    GateDetails {
        version: stored.version,
        settings: stored.gate.settings,
        switch: stored.gate.switch,
        switched_at: stored.switched_at,
        switched_by: stored.switched_by,
        reason: stored.switch_reason,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
        updated_by: stored.updated_by,
        lease: stored.lease.map(lease),
    }
}
