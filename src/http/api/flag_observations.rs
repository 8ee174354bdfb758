//! `/api/v1/flags/{key}/observations`: old and new results of a flag that applications post, and what they come to.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Json, Path, Query};

use super::observing::{self, SamplesQuery, SpanQuery};
use crate::http::auth::{Admin, Caller, Evaluate, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{ReasonQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::observations::Rule;
use crate::primitives::FlagKey;
use crate::store::Origin;
use crate::store::observations::Subject;

/// Compares and counts observations: an object, an array, or one object a line. Lines that cannot be taken are told, the others count.
#[utoipa::path(post, path = "/api/v1/flags/{key}/observations", tag = "observations", params(("key" = String, Path)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Object), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 413, body = ProblemDocument)))]
pub async fn post(
    _: Caller<Evaluate>,
    state: Data<AppState>,
    name: Path<FlagKey>,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    Ok(state.blocking(move |state| observing::post(state, &known(state, &name)?, &body)).await?.respond())
}

/// What the last hours come to, by operation.
#[utoipa::path(get, path = "/api/v1/flags/{key}/observations", tag = "observations", params(("key" = String, Path), SpanQuery),
    responses((status = 200, body = Object)))]
pub async fn summary(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<FlagKey>,
    span: Query<SpanQuery>,
) -> Result<HttpResponse, Problem> {
    Ok(state.blocking(move |state| observing::summary(state, &Subject::flag(&name), &span)).await?.respond())
}

/// The same hour by hour.
#[utoipa::path(get, path = "/api/v1/flags/{key}/observations/series", tag = "observations", params(("key" = String, Path), SpanQuery),
    responses((status = 200, body = Object)))]
pub async fn series(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<FlagKey>,
    span: Query<SpanQuery>,
) -> Result<HttpResponse, Problem> {
    Ok(state.blocking(move |state| observing::series(state, &Subject::flag(&name), &span)).await?.respond())
}

/// The newest mismatches that are kept.
#[utoipa::path(get, path = "/api/v1/flags/{key}/observations/samples", tag = "observations", params(("key" = String, Path), SamplesQuery),
    responses((status = 200, body = Object)))]
pub async fn samples(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<FlagKey>,
    wanted: Query<SamplesQuery>,
) -> Result<HttpResponse, Problem> {
    Ok(state.blocking(move |state| observing::samples(state, &Subject::flag(&name), &wanted)).await?.respond())
}

/// What comparisons tolerate, ignore and hide.
#[utoipa::path(get, path = "/api/v1/flags/{key}/observation-rules", tag = "observations", params(("key" = String, Path)),
    responses((status = 200, body = Object)))]
pub async fn rules(_: Caller<Viewer>, state: Data<AppState>, name: Path<FlagKey>) -> Result<HttpResponse, Problem> {
    Ok(state.blocking(move |state| observing::rules(state, &Subject::flag(&name))).await?.respond())
}

/// Adds a rule; it counts for observations that come from now on.
#[utoipa::path(post, path = "/api/v1/flags/{key}/observation-rules", tag = "observations", params(("key" = String, Path), ReasonQuery),
    request_body = Object, responses((status = 201, body = Object), (status = 422, body = ProblemDocument)))]
pub async fn create_rule(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<FlagKey>,
    reason: Query<ReasonQuery>,
    rule: Json<Rule>,
) -> Result<HttpResponse, Problem> {
    let reply = state
        .blocking(move |state| {
            let subject = known(state, &name)?;
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            observing::create_rule(state, &subject, rule.into_inner(), origin)
        })
        .await?;
    Ok(reply.respond())
}

/// Words a rule anew.
#[utoipa::path(put, path = "/api/v1/flags/{key}/observation-rules/{id}", tag = "observations",
    params(("key" = String, Path), ("id" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)), request_body = Object,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn replace_rule(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(FlagKey, ShortText)>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
    rule: Json<Rule>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let reply = state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            observing::replace_rule(state, &Subject::flag(&name), (id.as_str(), seen.0), rule.into_inner(), origin)
        })
        .await?;
    Ok(reply.respond())
}

/// Removes a rule.
#[utoipa::path(delete, path = "/api/v1/flags/{key}/observation-rules/{id}", tag = "observations",
    params(("key" = String, Path), ("id" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn remove_rule(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(FlagKey, ShortText)>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let reply = state
        .blocking(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            observing::remove_rule(state, &Subject::flag(&name), (id.as_str(), seen.0), origin)
        })
        .await?;
    Ok(reply.respond())
}

fn known(state: &AppState, key: &FlagKey) -> Result<Subject, Problem> {
    match state.snapshot().find_flag(key.as_str()) {
        Some(_) => Ok(Subject::flag(key)),
        None => Err(Problem::new(Code::FlagNotFound, format!("There is no flag `{key}`."))),
    }
}
