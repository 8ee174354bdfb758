//! `/api/v1/changes/{name}/explanations`: why charges of a wrong class are as they should be.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::Serialize;
use utoipa::ToSchema;

use super::{List, created, versioned};
use crate::allocation::Wording;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{PageQuery, ReasonQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, Instant};
use crate::store::Origin;
use crate::store::explanations::{self, ExplanationVersion, InvalidWording, StoredExplanation};
use crate::translation::own::get_change;

/// An explanation as it is stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationAnswer {
    id: String,
    change: String,
    version: i64,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    wording: Wording,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
    updated_by: String,
    /// Not there while it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    withdrawn_at: Option<Instant>,
}

/// One version of an explanation.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationVersionAnswer {
    version: i64,
    /// Not there: it was withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    wording: Option<Wording>,
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    actor: String,
    reason: String,
}

/// A page of a change's explanations, the newest first, with those that were withdrawn.
#[utoipa::path(get, path = "/api/v1/changes/{name}/explanations", tag = "reports", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = List<ExplanationAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    page: Query<PageQuery>,
) -> Result<Json<List<ExplanationAnswer>>, Problem> {
    let request = page.into_inner().request();
    let page =
        state.blocking(move |state| Ok(state.store().read(|conn| explanations::list(conn, &name, &request))?)).await?;
    Ok(Json(List::from(page)))
}

/// One explanation.
#[utoipa::path(get, path = "/api/v1/changes/{name}/explanations/{id}", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = ExplanationAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let found = state
        .blocking(move |state| Ok(state.store().read(|conn| explanations::get(conn, &name, id.as_str()))?))
        .await?;
    Ok(versioned(found.version, &ExplanationAnswer::from(found)))
}

/// Every version of an explanation, the oldest first.
#[utoipa::path(get, path = "/api/v1/changes/{name}/explanations/{id}/history", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = List<ExplanationVersionAnswer>), (status = 404, body = ProblemDocument)))]
pub async fn history(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<Json<List<ExplanationVersionAnswer>>, Problem> {
    let (name, id) = path.into_inner();
    let versions = state
        .blocking(move |state| {
            Ok(state.store().read(|conn| {
                explanations::get(conn, &name, id.as_str())?;
                explanations::history(conn, id.as_str())
            })?)
        })
        .await?;
    Ok(Json(List { items: versions.into_iter().map(ExplanationVersionAnswer::from).collect(), next: None }))
}

/// Explains charges of a wrong class. It counts in reports from the next one on.
#[utoipa::path(post, path = "/api/v1/changes/{name}/explanations", tag = "reports", params(("name" = String, Path), ReasonQuery),
    request_body = Object,
    responses((status = 201, body = ExplanationAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument)))]
pub async fn create(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    reason: Query<ReasonQuery>,
    wording: Json<Wording>,
) -> Result<HttpResponse, Problem> {
    let stored = state
        .blocking(move |state| {
            create_explanation(state, &name, wording.into_inner(), (caller.actor(), reason.as_str()))
        })
        .await?;
    let location = format!("/api/v1/changes/{}/explanations/{}", stored.change, stored.id);
    Ok(created(stored.version, location, &ExplanationAnswer::from(stored)))
}

/// Explains charges of a wrong class for `actor`, with its audit row.
pub fn create_explanation(
    state: &AppState,
    name: &ChangeName,
    wording: Wording,
    (actor, reason): (&str, &str),
) -> Result<StoredExplanation, Problem> {
    get_change(&mut *state.app().connection()?, name)?;
    let wording = explanations::checked(wording, today(state))?;
    Ok(state.store().write(|conn| explanations::create(conn, name, &wording, Origin { actor, reason }))?)
}

/// Words an explanation anew.
#[utoipa::path(put, path = "/api/v1/changes/{name}/explanations/{id}", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)), request_body = Object,
    responses((status = 200, body = ExplanationAnswer), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn replace(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
    wording: Json<Wording>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let stored = state
        .blocking(move |state| {
            let wording = explanations::checked(wording.into_inner(), today(state))?;
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| {
                let before = explanations::get_seen(conn, &name, id.as_str(), seen.0)?;
                explanations::replace(conn, &before, &wording, origin)
            })?)
        })
        .await?;
    Ok(versioned(stored.version, &ExplanationAnswer::from(stored)))
}

/// Withdraws an explanation: what it covered is unexplained in the next report.
#[utoipa::path(delete, path = "/api/v1/changes/{name}/explanations/{id}", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn withdraw(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    state
        .blocking(move |state| {
            withdraw_explanation(state, &name, (id.as_str(), seen.0), (caller.actor(), reason.as_str()))
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Takes an explanation back for `actor`, in the version that was seen if one is said, with its audit row.
pub fn withdraw_explanation(
    state: &AppState,
    name: &ChangeName,
    (id, seen): (&str, Option<i64>),
    (actor, reason): (&str, &str),
) -> Result<StoredExplanation, Problem> {
    Ok(state.store().write(|conn| {
        let before = explanations::get_seen(conn, name, id, seen)?;
        explanations::withdraw(conn, &before, Origin { actor, reason })
    })?)
}

/// The day by which explanations expire.
pub fn today(state: &AppState) -> jiff::civil::Date {
    state.now().timestamp().to_zoned(jiff::tz::TimeZone::UTC).date()
}

impl From<InvalidWording> for Problem {
    fn from(error: InvalidWording) -> Self {
        Self::new(Code::InvalidValue, format!("{error}."))
    }
}

impl From<StoredExplanation> for ExplanationAnswer {
    fn from(stored: StoredExplanation) -> Self {
        Self {
            id: stored.id,
            change: stored.change,
            version: stored.version,
            wording: stored.wording,
            created_at: stored.created_at,
            created_by: stored.created_by,
            updated_at: stored.updated_at,
            updated_by: stored.updated_by,
            withdrawn_at: stored.withdrawn_at,
        }
    }
}

impl From<ExplanationVersion> for ExplanationVersionAnswer {
    fn from(version: ExplanationVersion) -> Self {
        Self {
            version: version.version,
            wording: version.wording,
            at: version.at,
            actor: version.actor,
            reason: version.reason,
        }
    }
}
