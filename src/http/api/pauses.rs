//! `/api/v1/changes/{name}/pause`, `resume` and `pending`: the kill switch, and the keys whose translation failed.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::changes::record;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::translation::own::get_change;
use crate::translation::pause::{Authority, Gap, Resumed, get_running, pause, resume};
use crate::translation::{Deed, Due, Retried, pending, resolve, retry_pending};

/// Why translation is to stop.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseWish {
    #[schema(value_type = String)]
    reason: ShortText,
    /// Note the keys of what is written meanwhile. Always so where both directions are on.
    #[serde(default)]
    record_keys: bool,
}

/// How translation is to go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeWish {
    #[serde(default)]
    #[schema(value_type = String)]
    reason: ShortText,
    /// `old` or `new`: whose rows stand where both models were written during the pause. Default: old, and new from `rampdown` on.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    authority: Option<Authority>,
}

/// How many keys are shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PendingQuery {
    /// At most this many; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// The keys that wait.
#[derive(Debug, Serialize, ToSchema)]
pub struct PendingAnswer {
    /// All keys that wait.
    count: i64,
    /// How many of each block that has some.
    by_block: BTreeMap<String, i64>,
    /// Those that have waited longest: block, key, error, sqlstate, attempts, first_at, last_at, next_at. The key `*` stands for the whole block.
    #[schema(value_type = Vec<Object>)]
    keys: Value,
}

/// Stops translating at once. What is written meanwhile is noted, and refreshed by the resume.
#[utoipa::path(post, path = "/api/v1/changes/{name}/pause", tag = "changes", params(("name" = String, Path)), request_body = PauseWish,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn start_pause(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<PauseWish>,
) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let gap = pause_change(state, &name, wish.record_keys, (caller.actor(), wish.reason.as_str()))?;
            Ok(Json(json!({ "change": name.as_str(), "gap": gap })))
        })
        .await
}

/// Pauses a change for `actor`, with its audit row. It needs a reason.
pub fn pause_change(
    state: &AppState,
    name: &ChangeName,
    record_keys: bool,
    (actor, reason): (&str, &str),
) -> Result<Gap, Problem> {
    if reason.trim().is_empty() {
        return Err(Problem::new(Code::InvalidValue, "A pause needs a `reason`: it stands in the history."));
    }
    let mut connection = state.app().connection()?;
    let change = get_change(&mut connection, name)?;
    let gap = pause(&mut connection, &change, record_keys, Deed { actor, at: state.now(), reason })?;
    record(state, actor, "change.pause", name, reason, &json!({ "records_keys": gap.records_keys }))?;
    Ok(gap)
}

/// Translates again, waits for the transactions of the pause and refreshes what they wrote. Answers when the gap is closed.
#[utoipa::path(post, path = "/api/v1/changes/{name}/resume", tag = "changes", params(("name" = String, Path)), request_body = ResumeWish,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn end_pause(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<ResumeWish>,
) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let resumed = resume_change(state, &name, wish.authority, (caller.actor(), wish.reason.as_str()))?;
            Ok(Json(json!({ "change": name.as_str(), "resumed": resumed })))
        })
        .await
}

/// Resumes a change for `actor`, with its audit row.
pub fn resume_change(
    state: &AppState,
    name: &ChangeName,
    authority: Option<Authority>,
    (actor, reason): (&str, &str),
) -> Result<Resumed, Problem> {
    let mut connection = state.app().connection()?;
    let change = get_change(&mut connection, name)?;
    let model = resolve(&mut connection, &change.file)?;
    let resumed = resume(&mut connection, &model, authority, Deed { actor, at: state.now(), reason })?;
    record(state, actor, "change.resume", name, reason, &json!(resumed))?;
    Ok(resumed)
}

/// The keys whose translation failed while the write itself went through, oldest first.
#[utoipa::path(get, path = "/api/v1/changes/{name}/pending", tag = "changes", params(("name" = String, Path), PendingQuery),
    responses((status = 200, body = PendingAnswer), (status = 404, body = ProblemDocument)))]
pub async fn pending_keys(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    query: Query<PendingQuery>,
) -> Result<Json<PendingAnswer>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            get_change(&mut connection, &name)?;
            let limit = i64::from(query.limit.unwrap_or(100).clamp(1, 500));
            Ok(Json(PendingAnswer {
                count: pending::count(&mut connection, &name)?,
                by_block: pending::count_by_block(&mut connection, &name)?.into_iter().collect(),
                keys: json!(pending::list(&mut connection, &name, limit)?),
            }))
        })
        .await
}

/// Tries every pending key now, whatever its pause. The answer counts what healed, what failed again and what still waits.
#[utoipa::path(post, path = "/api/v1/changes/{name}/pending/retry", tag = "changes", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn retry(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<Json<Value>, Problem> {
    state.blocking(move |state| Ok(Json(json!(retry_change(state, &name, (caller.actor(), ""))?)))).await
}

/// Tries every pending key now for `actor`, with its audit row.
pub fn retry_change(state: &AppState, name: &ChangeName, (actor, reason): (&str, &str)) -> Result<Retried, Problem> {
    let mut connection = state.app().connection()?;
    let change = get_running(&mut connection, name)?;
    let model = resolve(&mut connection, &change.file)?;
    let retried = retry_pending(&mut connection, &model, Due::All)?;
    record(state, actor, "change.retry", name, reason, &json!(retried))?;
    Ok(retried)
}
