//! `/api/v1/cohorts`

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{List, created, versioned};
use crate::flags::{ClauseDraft, CohortConditions};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{PageQuery, ReasonQuery, ShortText};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{CohortName, Instant};
use crate::store::Origin;
use crate::store::cohorts::{self, Changes, StoredCohort};

/// A cohort, without its ids.
#[derive(Debug, Serialize, ToSchema)]
pub struct CohortAnswer {
    name: String,
    description: String,
    /// Grows with every write; also the ETag.
    generation: i64,
    /// How many ids it has.
    ids: i64,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
    updated_by: String,
    /// Groups of clauses: whoever meets all clauses of any group belongs to the cohort as well.
    #[schema(value_type = Vec<Vec<ClauseDraft>>)]
    conditions: Box<RawValue>,
}

/// A cohort that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCohort {
    #[schema(value_type = String)]
    name: CohortName,
    #[serde(default)]
    #[schema(value_type = String)]
    description: ShortText,
    /// Groups of clauses: whoever meets all clauses of any group belongs to the cohort as well.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Vec<ClauseDraft>>>)]
    conditions: Option<Value>,
}

/// What can be changed of a cohort besides its ids.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CohortChanges {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Option<ShortText>,
    /// Groups of clauses: whoever meets all clauses of any group belongs to the cohort as well. An empty list for none.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Vec<ClauseDraft>>>)]
    conditions: Option<Value>,
}

/// A page of cohorts in the order of their names.
#[utoipa::path(get, path = "/api/v1/cohorts", tag = "cohorts", params(PageQuery), responses((status = 200, body = List<CohortAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    page: Query<PageQuery>,
) -> Result<Json<List<CohortAnswer>>, Problem> {
    let request = page.into_inner().request();
    let page = state.blocking(move |state| Ok(state.store().read(|conn| cohorts::list(conn, &request))?)).await?;
    Ok(Json(List::from(page)))
}

/// One cohort.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}", tag = "cohorts", params(("name" = String, Path)),
    responses((status = 200, body = CohortAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(_: Caller<Viewer>, state: Data<AppState>, name: Path<CohortName>) -> Result<HttpResponse, Problem> {
    let cohort = state.blocking(move |state| Ok(state.store().read(|conn| cohorts::get(conn, &name))?)).await?;
    Ok(versioned(cohort.generation, &CohortAnswer::from(cohort)))
}

/// Creates a cohort without ids.
#[utoipa::path(post, path = "/api/v1/cohorts", tag = "cohorts", params(ReasonQuery), request_body = NewCohort,
    responses((status = 201, body = CohortAnswer), (status = 409, body = ProblemDocument)))]
pub async fn create(
    caller: Caller<Admin>,
    state: Data<AppState>,
    reason: Query<ReasonQuery>,
    new: Json<NewCohort>,
) -> Result<HttpResponse, Problem> {
    let cohort = state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            let conditions = conditions_of(new.conditions.as_ref())?;
            let described = Changes { description: Some(new.description.as_str()), conditions: conditions.as_deref() };
            Ok(state.store().write(|conn| cohorts::create_as(conn, &new.name, described, origin))?)
        })
        .await?;
    Ok(created(cohort.generation, format!("/api/v1/cohorts/{}", cohort.name), &CohortAnswer::from(cohort)))
}

/// Changes a cohort's description or its conditions; what is left out stays.
#[utoipa::path(put, path = "/api/v1/cohorts/{name}", tag = "cohorts", params(("name" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    request_body = CohortChanges,
    responses((status = 200, body = CohortAnswer), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn replace(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
    changes: Json<CohortChanges>,
) -> Result<HttpResponse, Problem> {
    let cohort = state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            let conditions = conditions_of(changes.conditions.as_ref())?;
            let description = changes.description.as_ref().map(ShortText::as_str);
            let changes = Changes { description, conditions: conditions.as_deref() };
            Ok(state.store().write(|conn| cohorts::describe(conn, &name, changes, seen.0, origin))?)
        })
        .await?;
    Ok(versioned(cohort.generation, &CohortAnswer::from(cohort)))
}

/// Removes a cohort. One that a flag's rule names is not removed.
#[utoipa::path(delete, path = "/api/v1/cohorts/{name}", tag = "cohorts", params(("name" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn delete(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| cohorts::remove(conn, &name, seen.0, origin))?)
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Conditions as they are stored, if they are valid.
fn conditions_of(conditions: Option<&Value>) -> Result<Option<String>, Problem> {
    let Some(conditions) = conditions else { return Ok(None) };
    let parsed = CohortConditions::parse(&conditions.to_string())?;
    serde_json::to_string(&parsed).map(Some).map_err(|error| Problem::internal(&error))
}

impl From<StoredCohort> for CohortAnswer {
    fn from(cohort: StoredCohort) -> Self {
        Self {
            updated_at: cohort.updated_at(),
            name: cohort.name,
            description: cohort.description,
            generation: cohort.generation,
            ids: cohort.id_count,
            updated_by: cohort.updated_by,
            conditions: RawValue::from_string(cohort.conditions).unwrap_or_default(),
        }
    }
}
