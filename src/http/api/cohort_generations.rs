//! `/api/v1/cohorts/{name}/generations`: what a cohort has been, and back.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::cohorts::CohortAnswer;
use super::{List, versioned};
use crate::flags::ClauseDraft;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{PageQuery, ReasonQuery};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{CohortName, Instant};
use crate::store::cohort_generations::{self, Generation};
use crate::store::cohort_merge::Comparison;
use crate::store::cohorts::{self, Edit};
use crate::store::{Origin, StoreError};

/// One generation of a cohort.
#[derive(Debug, Serialize, ToSchema)]
pub struct GenerationAnswer {
    generation: i64,
    /// What made it: `cohort.create`, `cohort.replace`, …
    action: String,
    description: String,
    #[schema(value_type = Vec<Vec<ClauseDraft>>)]
    conditions: Box<RawValue>,
    /// How many ids it has.
    ids: i64,
    added: i64,
    removed: i64,
    /// The sha-256 of all its ids, sorted by their bytes, each followed by a line feed. In a list only where it is known already.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    actor: String,
    reason: String,
    /// Whether its ids can still be read back.
    readable: bool,
}

/// From which generation on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SinceQuery {
    /// The generation that it is compared with.
    since: i64,
}

/// A page of a cohort's generations, the latest first. A cohort that was removed still has them.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/generations", tag = "cohorts", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = List<GenerationAnswer>), (status = 404, body = ProblemDocument)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<CohortName>,
    page: Query<PageQuery>,
) -> Result<Json<List<GenerationAnswer>>, Problem> {
    let request = page.into_inner().request();
    let page = state
        .blocking(move |state| {
            Ok(state.store().read(|conn| {
                let page = cohort_generations::list(conn, &name, &request)?;
                if page.items.is_empty() && request.after.is_none() {
                    return Err(StoreError::not_found("cohort", name.as_str()));
                }
                Ok(page)
            })?)
        })
        .await?;
    Ok(Json(List::from(page)))
}

/// One generation, with its checksum if its ids can still be read.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/generations/{generation}", tag = "cohorts", params(("name" = String, Path), ("generation" = i64, Path)),
    responses((status = 200, body = GenerationAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(CohortName, i64)>,
) -> Result<Json<GenerationAnswer>, Problem> {
    let (name, number) = path.into_inner();
    let found = state
        .blocking(move |state| {
            Ok(state.store().read(|conn| {
                let found = cohort_generations::get(conn, &name, number)?;
                let sha256 =
                    if found.readable { Some(cohort_generations::checksum(conn, &found)?) } else { found.sha256 };
                Ok(Generation { sha256, ..found })
            })?)
        })
        .await?;
    Ok(Json(GenerationAnswer::from(found)))
}

/// Who came and who went from another generation to this one: all counted, the first hundred of each listed.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/generations/{generation}/diff", tag = "cohorts",
    params(("name" = String, Path), ("generation" = i64, Path), SinceQuery),
    responses((status = 200, body = Comparison), (status = 404, body = ProblemDocument), (status = 410, body = ProblemDocument)))]
pub async fn diff(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(CohortName, i64)>,
    query: Query<SinceQuery>,
) -> Result<Json<Comparison>, Problem> {
    let (name, to) = path.into_inner();
    let compare = move |state: &AppState| {
        Ok(state.store().read(|conn| cohort_generations::compare(conn, &name, (query.since, to)))?)
    };
    Ok(Json(state.blocking(compare).await?))
}

/// Gives the cohort the ids of an earlier generation. It gets a new generation; conditions and description stay as they are.
#[utoipa::path(post, path = "/api/v1/cohorts/{name}/generations/{generation}/restoration", tag = "cohorts",
    params(("name" = String, Path), ("generation" = i64, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CohortAnswer), (status = 404, body = ProblemDocument), (status = 410, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn restore(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, i64)>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, earlier) = path.into_inner();
    let edited = state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| cohorts::edit(conn, &name, Edit::Restore(earlier), seen.0, origin))?)
        })
        .await?;
    Ok(versioned(edited.cohort.generation, &CohortAnswer::from(edited.cohort)))
}

impl From<Generation> for GenerationAnswer {
    fn from(found: Generation) -> Self {
        Self {
            at: found.at(),
            generation: found.generation,
            action: found.action,
            description: found.description,
            conditions: RawValue::from_string(found.conditions).unwrap_or_default(),
            ids: found.id_count,
            added: found.added,
            removed: found.removed,
            sha256: found.sha256,
            actor: found.actor,
            reason: found.reason,
            readable: found.readable,
        }
    }
}
