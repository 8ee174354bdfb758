//! `/api/v1/changes/{name}/edge`: which copy of the application serves whom, as reverse proxies are told at `/edge/{change}`, and
//! maintenance.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{List, created, versioned};
use crate::edge::{Maintenance, Settings};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{ReasonQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, Instant};
use crate::store::Origin;
use crate::store::edges::{self, StoredEdge};
use crate::translation::own::get_change;

/// What is set for the edge of a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct EdgeAnswer {
    #[schema(value_type = String)]
    change: ChangeName,
    version: i64,
    /// `subject`, `flag`, `upstreams`, `choice` and `pass`: see docs/edge.md.
    #[schema(value_type = Object)]
    settings: Settings,
    /// Not there while visitors are let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    maintenance: Option<Maintenance>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
    updated_by: String,
}

impl From<StoredEdge> for EdgeAnswer {
    fn from(edge: StoredEdge) -> Self {
        let StoredEdge { change, version, settings, maintenance, updated_at, updated_by } = edge;
        Self { change, version, settings, maintenance, updated_at, updated_by }
    }
}

/// Whether visitors are kept out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceWish {
    on: bool,
    /// Why, for the history and the audit log.
    #[schema(value_type = String)]
    reason: ShortText,
    /// What `Retry-After` says: 1 to 86400, 300 if not said.
    #[serde(default = "default_retry_after")]
    retry_after_seconds: u32,
    /// What visitors read. Not said: that we are back soon.
    #[serde(default)]
    #[schema(value_type = String)]
    message: ShortText,
}

fn default_retry_after() -> u32 {
    300
}

/// Every change for whose edge something is set.
#[utoipa::path(get, path = "/api/v1/edges", tag = "edge", responses((status = 200, body = List<EdgeAnswer>)))]
pub async fn list(_: Caller<Viewer>, state: Data<AppState>) -> Result<Json<List<EdgeAnswer>>, Problem> {
    let all = state.blocking(|state| Ok(state.store().read(edges::list)?)).await?;
    Ok(Json(List { items: all.into_iter().map(EdgeAnswer::from).collect(), next: None }))
}

/// What is set for a change.
#[utoipa::path(get, path = "/api/v1/changes/{name}/edge", tag = "edge", params(("name" = String, Path)),
    responses((status = 200, body = EdgeAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(_: Caller<Viewer>, state: Data<AppState>, name: Path<ChangeName>) -> Result<HttpResponse, Problem> {
    let edge = state.blocking(move |state| Ok(state.store().read(|conn| edges::get(conn, &name))?)).await?;
    Ok(versioned(edge.version, &EdgeAnswer::from(edge)))
}

/// Sets how visitors are known, which upstreams there are, and who may choose one or pass maintenance. Maintenance stays as it is.
#[utoipa::path(put, path = "/api/v1/changes/{name}/edge", tag = "edge",
    params(("name" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)), request_body = Object,
    responses((status = 200, body = EdgeAnswer), (status = 201, body = EdgeAnswer), (status = 404, body = ProblemDocument),
        (status = 412, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn set(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    (seen, reason): (IfMatch, Query<ReasonQuery>),
    settings: Json<Settings>,
) -> Result<HttpResponse, Problem> {
    let settings = settings.into_inner();
    let location = format!("/api/v1/changes/{name}/edge");
    let (edge, is_new) = state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            write_settings(state, &name, &settings, seen.0, origin)
        })
        .await?;
    let version = edge.version;
    let body = EdgeAnswer::from(edge);
    Ok(if is_new { created(version, location, &body) } else { versioned(version, &body) })
}

/// What [`set`] does. `seen` is the version that the caller saw; true if nothing was set before.
pub fn write_settings(
    state: &AppState,
    name: &ChangeName,
    settings: &Settings,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(StoredEdge, bool), Problem> {
    if let Some(missing) = settings.keys().find(|key| !state.edge().keys().has(key)) {
        let missing: String = missing.chars().take(80).collect();
        let detail = format!("This server has no key `{missing}`: start it with --edge-key {missing}=ALGORITHM:FILE.");
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    if settings.flag.is_none() {
        get_change(&mut *state.app().connection()?, name)?;
    }
    Ok(state.store().write(|conn| edges::set(conn, name, settings.clone(), seen, origin))?)
}

/// Forgets what is set for a change: its visitors get the old upstream. Maintenance ends.
#[utoipa::path(delete, path = "/api/v1/changes/{name}/edge", tag = "edge",
    params(("name" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn remove(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| edges::remove(conn, &name, seen.0, origin))?)
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Keeps visitors out, but for those who may pass, or lets them in again.
#[utoipa::path(put, path = "/api/v1/changes/{name}/edge/maintenance", tag = "edge", params(("name" = String, Path)),
    request_body = MaintenanceWish, responses((status = 200, body = EdgeAnswer), (status = 422, body = ProblemDocument)))]
pub async fn set_maintenance(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<MaintenanceWish>,
) -> Result<HttpResponse, Problem> {
    let edge = state
        .writing(move |state| {
            let wanted = wish.on.then_some((wish.retry_after_seconds, wish.message.as_str()));
            let origin = Origin { actor: caller.actor(), reason: wish.reason.as_str() };
            write_maintenance(state, &name, wanted, origin)
        })
        .await?;
    Ok(versioned(edge.version, &EdgeAnswer::from(edge)))
}

/// What [`set_maintenance`] does: seconds for `Retry-After` and what visitors read, or nothing for an end.
pub fn write_maintenance(
    state: &AppState,
    name: &ChangeName,
    wanted: Option<(u32, &str)>,
    origin: Origin<'_>,
) -> Result<StoredEdge, Problem> {
    if state.store().read(|conn| edges::find(conn, name))?.is_none() {
        // A name that is wrong would keep nobody out.
        get_change(&mut *state.app().connection()?, name)?;
    }
    Ok(state.store().write(|conn| edges::set_maintenance(conn, name, wanted, origin))?)
}
