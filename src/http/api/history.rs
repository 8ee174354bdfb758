//! `/api/v1/flags/{key}/history`: every version of a flag, what differs between two of them, and the way back.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::flags::{FlagAnswer, value};
use super::proposals::{self, ProposalAnswer};
use super::{List, versioned};
use crate::database::DatabaseConnection;
use crate::flags::{Difference, FlagDraft, differences};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{PageQuery, WriteQuery};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{FlagKey, Instant};
use crate::store::flag_versions::{self, Restoration};
use crate::store::flags::{self, FlagVersion};
use crate::store::protection::Authority;
use crate::store::{Origin, PageRequest, StoreError};

/// A version that a flag has or had.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagVersionAnswer {
    pub version: i64,
    /// Not there where the flag was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FlagDraft>)]
    pub flag: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    pub at: Instant,
    pub actor: String,
    pub reason: String,
    /// What differs from the version before.
    pub changes: Vec<Difference>,
}

/// What differs between two versions of a flag.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagDiff {
    pub flag: String,
    pub from: i64,
    pub to: i64,
    pub changes: Vec<Difference>,
}

/// Which two versions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// The earlier version; if not said, the one before `to`.
    from: Option<i64>,
    /// The later version; if not said, the newest.
    to: Option<i64>,
}

/// Every version of a flag, the newest first; those of a removed flag too.
#[utoipa::path(get, path = "/api/v1/flags/{key}/history", tag = "flags", params(("key" = String, Path), PageQuery),
    responses((status = 200, body = List<FlagVersionAnswer>), (status = 404, body = ProblemDocument)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    page: Query<PageQuery>,
) -> Result<Json<List<FlagVersionAnswer>>, Problem> {
    let request = page.into_inner().request();
    let page = state.blocking(move |state| Ok(state.store().read(|conn| read_page(conn, &key, &request))?)).await?;
    Ok(Json(page))
}

/// One version of a flag, of a removed one too.
#[utoipa::path(get, path = "/api/v1/flags/{key}/history/{version}", tag = "flags", params(("key" = String, Path), ("version" = i64, Path)),
    responses((status = 200, body = FlagVersionAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(FlagKey, i64)>,
) -> Result<Json<FlagVersionAnswer>, Problem> {
    let (key, version) = path.into_inner();
    let read = move |conn: &mut DatabaseConnection| {
        let found = flag_versions::get(conn, &key, version)?;
        let before = flag_versions::find_before(conn, &key, version)?;
        Ok(answer(found, before.as_ref()))
    };
    Ok(Json(state.blocking(move |state| Ok(state.store().read(read)?)).await?))
}

/// What differs between two versions of a flag: each place with what stood there before and what stands there after.
#[utoipa::path(get, path = "/api/v1/flags/{key}/diff", tag = "flags", params(("key" = String, Path), DiffQuery),
    responses((status = 200, body = FlagDiff), (status = 404, body = ProblemDocument)))]
pub async fn diff(
    _: Caller<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    query: Query<DiffQuery>,
) -> Result<Json<FlagDiff>, Problem> {
    let read = move |conn: &mut DatabaseConnection| read_diff(conn, &key, query.from, query.to);
    Ok(Json(state.blocking(move |state| Ok(state.store().read(read)?)).await?))
}

/// Makes a flag what it was at a version. A removed flag is there again. With `If-Match`, only if it is still at the version that was seen.
#[utoipa::path(post, path = "/api/v1/flags/{key}/history/{version}/restoration", tag = "flags",
    params(("key" = String, Path), ("version" = i64, Path), WriteQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = FlagAnswer), (status = 202, body = ProposalAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 412, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn restore(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(FlagKey, i64)>,
    seen: IfMatch,
    query: Query<WriteQuery>,
) -> Result<HttpResponse, Problem> {
    let (key, version) = path.into_inner();
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        flag_versions::restore(conn, &key, Restoration { version, seen: seen.0, authority }, origin)
    };
    let written = proposals::write(&state, caller, query.into_inner().asked(), work).await?;
    Ok(proposals::answer(written, |stored| versioned(stored.version, &FlagAnswer::from(stored))))
}

/// A page of a flag's versions, each with what differs from the one before it.
pub fn read_page(
    conn: &mut DatabaseConnection,
    key: &FlagKey,
    request: &PageRequest,
) -> Result<List<FlagVersionAnswer>, StoreError> {
    let page = flags::history(conn, key, request)?;
    if page.items.is_empty() && request.after.is_none() {
        return Err(StoreError::NotFound { what: "flag", name: key.to_string() });
    }
    let last_before = match page.items.last() {
        Some(last) => flag_versions::find_before(conn, key, last.version)?,
        None => None,
    };
    let befores = page.items.iter().skip(1).cloned().map(Some).chain([last_before]).collect::<Vec<_>>();
    let items = page.items.into_iter().zip(befores).map(|(version, before)| answer(version, before.as_ref()));
    Ok(List { items: items.collect(), next: page.next })
}

/// The difference of two versions; where one is not named, it is the newest and the one before.
pub fn read_diff(
    conn: &mut DatabaseConnection,
    key: &FlagKey,
    from: Option<i64>,
    to: Option<i64>,
) -> Result<FlagDiff, StoreError> {
    let missing = || StoreError::NotFound { what: "flag", name: key.to_string() };
    let later = match to {
        Some(version) => flag_versions::get(conn, key, version)?,
        None => flag_versions::find_before(conn, key, i64::MAX)?.ok_or_else(missing)?,
    };
    let earlier = match from {
        Some(version) => Some(flag_versions::get(conn, key, version)?),
        None => flag_versions::find_before(conn, key, later.version)?,
    };
    let changes = changes(earlier.as_ref(), &later);
    let from = earlier.map_or(0, |earlier| earlier.version);
    Ok(FlagDiff { flag: key.to_string(), from, to: later.version, changes })
}

fn answer(version: FlagVersion, before: Option<&FlagVersion>) -> FlagVersionAnswer {
    FlagVersionAnswer {
        changes: changes(before, &version),
        version: version.version,
        flag: version.data.as_deref().map(value),
        at: Instant::from_micros(version.at),
        actor: version.actor,
        reason: version.reason,
    }
}

fn changes(before: Option<&FlagVersion>, after: &FlagVersion) -> Vec<Difference> {
    let json = |version: &FlagVersion| version.data.as_deref().map(value);
    differences(before.and_then(json).as_ref(), json(after).as_ref())
}
