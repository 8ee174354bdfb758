//! `/api/v1/cohorts/{name}/staged`: uploads that are looked at before they are served.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::cohort_uploads::ReceiptAnswer;
use super::{List, versioned};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{ReasonQuery, ShortText};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{CohortName, Instant};
use crate::store::Origin;
use crate::store::cohort_merge::{Action, Comparison};
use crate::store::cohort_staging::{self, Staged};
use crate::store::cohorts::{self, Edit};
use crate::store::upload::Receipt;

/// An upload that waits.
#[derive(Debug, Serialize, ToSchema)]
pub struct StagedAnswer {
    pub staged: String,
    cohort: String,
    /// The cohort's generation when it came.
    base_generation: i64,
    action: Action,
    /// How many ids it has.
    ids: i64,
    sha256: String,
    /// As if it had been served when it came.
    #[schema(value_type = Object)]
    receipt: Receipt,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    actor: String,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
}

/// An upload that waits, and what it would do now.
#[derive(Debug, Serialize, ToSchema)]
pub struct StagedPreview {
    #[serde(flatten)]
    staged: StagedAnswer,
    /// The cohort's generation now.
    generation: i64,
    comparison: Comparison,
}

/// How an upload is activated.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActivationQuery {
    /// Why, for the history and the audit log.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    reason: ShortText,
    /// Activate it even if the cohort has changed since it was staged.
    #[serde(default)]
    even_if_changed: bool,
}

/// The uploads that wait for a cohort.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/staged", tag = "cohorts", params(("name" = String, Path)),
    responses((status = 200, body = List<StagedAnswer>), (status = 404, body = ProblemDocument)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<Json<List<StagedAnswer>>, Problem> {
    let found = state
        .blocking(move |state| {
            Ok(state.store().read(|conn| {
                cohorts::get(conn, &name)?;
                cohort_staging::list(conn, &name)
            })?)
        })
        .await?;
    Ok(Json(List { items: found.into_iter().map(StagedAnswer::from).collect(), next: None }))
}

/// An upload that waits, with who would come and who would go if it were activated now.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/staged/{id}", tag = "cohorts", params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = StagedPreview), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
) -> Result<Json<StagedPreview>, Problem> {
    let (name, id) = path.into_inner();
    state
        .blocking(move |state| {
            let (staged, generation, comparison) = state.store().read(|conn| {
                let staged = cohort_staging::get(conn, &name, id.as_str())?;
                let comparison = cohort_staging::preview(conn, &staged)?;
                Ok((staged, cohorts::get(conn, &name)?.generation, comparison))
            })?;
            Ok(Json(StagedPreview { staged: StagedAnswer::from(staged), generation, comparison }))
        })
        .await
}

/// Does with the upload what it was sent for. Refused (412) if the cohort has changed since it was staged.
#[utoipa::path(post, path = "/api/v1/cohorts/{name}/staged/{id}/activation", tag = "cohorts",
    params(("name" = String, Path), ("id" = String, Path), ActivationQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReceiptAnswer), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn activate(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
    seen: IfMatch,
    query: Query<ActivationQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let receipt = state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: query.reason.as_str() };
            let (staged, edited) = state.store().write(|conn| {
                let staged = cohort_staging::get(conn, &name, id.as_str())?;
                let seen = seen.0.or((!query.even_if_changed).then_some(staged.base_generation));
                let edited = cohorts::edit(conn, &name, Edit::Activate(&staged), seen, origin)?;
                Ok((staged, edited))
            })?;
            Ok(edited.receipt_of(&staged))
        })
        .await?;
    Ok(versioned(receipt.generation, &ReceiptAnswer { receipt }))
}

/// Drops an upload that waits.
#[utoipa::path(delete, path = "/api/v1/cohorts/{name}/staged/{id}", tag = "cohorts", params(("name" = String, Path), ("id" = String, Path), ReasonQuery),
    responses((status = 204), (status = 404, body = ProblemDocument)))]
pub async fn drop_one(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| cohort_staging::drop_one(conn, &name, id.as_str(), origin))?)
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<Staged> for StagedAnswer {
    fn from(staged: Staged) -> Self {
        Self {
            staged: staged.id,
            cohort: staged.cohort.to_string(),
            base_generation: staged.base_generation,
            action: staged.action,
            ids: staged.id_count,
            sha256: staged.sha256,
            receipt: staged.receipt,
            created_at: staged.created_at,
            actor: staged.actor,
            reason: staged.reason,
            expires_at: staged.expires_at,
        }
    }
}
