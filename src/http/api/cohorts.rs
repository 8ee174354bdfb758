//! `/api/v1/cohorts`

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{List, created, versioned};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{PageQuery, ReasonQuery, ShortText, UPLOAD_BYTES_MAX};
use crate::http::problem::{Code, Problem, ProblemDocument, shortened};
use crate::http::state::AppState;
use crate::primitives::{CohortName, Instant};
use crate::store::cohort_leaves::AsOf;
use crate::store::cohorts::{self, Changes, Edit, StoredCohort};
use crate::store::sorted_ids::SortedIds;
use crate::store::upload::{self, Receipt, UploadFormat};
use crate::store::{Origin, cohort_leaves};

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
}

/// What can be changed of a cohort besides its ids.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CohortChanges {
    #[schema(value_type = String)]
    description: ShortText,
}

/// What became of an upload.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptAnswer {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    receipt: Receipt,
}

/// Whether an id is in a cohort.
#[derive(Debug, Serialize, ToSchema)]
pub struct Membership {
    id: String,
    member: bool,
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
            let description = new.description.as_str();
            Ok(state.store().write(|conn| cohorts::create(conn, &new.name, description, origin))?)
        })
        .await?;
    Ok(created(cohort.generation, format!("/api/v1/cohorts/{}", cohort.name), &CohortAnswer::from(cohort)))
}

/// Changes a cohort's description.
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
            let changes = Changes { description: Some(changes.description.as_str()), conditions: None };
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

/// A page of a cohort's ids, sorted by their bytes.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/ids", tag = "cohorts", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = List<String>), (status = 404, body = ProblemDocument)))]
pub async fn ids(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<CohortName>,
    page: Query<PageQuery>,
) -> Result<Json<List<String>>, Problem> {
    let request = page.into_inner().request();
    let page = state
        .blocking(move |state| {
            Ok(state.store().read(|conn| {
                cohorts::get(conn, &name)?;
                cohort_leaves::list(conn, &name, AsOf::Now, &request)
            })?)
        })
        .await?;
    Ok(Json(List::from(page)))
}

/// Replaces all ids of a cohort, atomically. Body: one id a line (`text/plain`), CSV (first column) or NDJSON.
#[utoipa::path(put, path = "/api/v1/cohorts/{name}/ids", tag = "cohorts", params(("name" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = ReceiptAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn replace_ids(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Result<Bytes, actix_web::Error>,
) -> Result<Json<ReceiptAnswer>, Problem> {
    edit(caller, state, sent, body, |ids| Edit::Replace(ids)).await
}

/// Adds ids to a cohort. Body as for replacing.
#[utoipa::path(post, path = "/api/v1/cohorts/{name}/ids", tag = "cohorts", params(("name" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = ReceiptAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn add_ids(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Result<Bytes, actix_web::Error>,
) -> Result<Json<ReceiptAnswer>, Problem> {
    edit(caller, state, sent, body, |ids| Edit::Add(ids)).await
}

/// Removes ids from a cohort. Body as for replacing.
#[utoipa::path(post, path = "/api/v1/cohorts/{name}/removals", tag = "cohorts", params(("name" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = ReceiptAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn remove_ids(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Result<Bytes, actix_web::Error>,
) -> Result<Json<ReceiptAnswer>, Problem> {
    edit(caller, state, sent, body, |ids| Edit::Remove(ids)).await
}

/// Whether an id is in a cohort.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/ids/{id}", tag = "cohorts", params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Membership), (status = 404, body = ProblemDocument)))]
pub async fn has_id(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
) -> Result<Json<Membership>, Problem> {
    let (name, id) = path.into_inner();
    state
        .blocking(move |state| {
            let id = id.as_str();
            let member = state.store().read(|conn| {
                cohorts::get(conn, &name)?;
                cohort_leaves::contains(conn, &name, id)
            })?;
            Ok(Json(Membership { id: id.to_owned(), member }))
        })
        .await
}

/// Everything about an upload but its body.
pub struct Sent {
    name: CohortName,
    seen: IfMatch,
    reason: ReasonQuery,
    format: UploadFormat,
}

impl actix_web::FromRequest for Sent {
    type Error = actix_web::Error;
    type Future = std::future::Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut actix_web::dev::Payload) -> Self::Future {
        let read = |payload: &mut actix_web::dev::Payload| {
            Ok(Self {
                name: Path::<CohortName>::from_request(request, payload).into_inner()?.into_inner(),
                seen: IfMatch::from_request(request, payload).into_inner()?,
                reason: Query::<ReasonQuery>::from_request(request, payload).into_inner()?.into_inner(),
                format: format_of(request)?,
            })
        };
        std::future::ready(read(payload))
    }
}

fn format_of(request: &HttpRequest) -> Result<UploadFormat, Problem> {
    let Some(value) = request.headers().get(CONTENT_TYPE) else { return Ok(UploadFormat::Lines) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/plain" => Ok(UploadFormat::Lines),
        "text/csv" => Ok(UploadFormat::Csv),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(UploadFormat::Ndjson),
        other => {
            let detail = format!(
                "Send ids as text/plain (one a line), text/csv or application/x-ndjson, not as `{}`.",
                shortened(other)
            );
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

async fn edit(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Result<Bytes, actix_web::Error>,
    of: for<'a> fn(&'a SortedIds) -> Edit<'a>,
) -> Result<Json<ReceiptAnswer>, Problem> {
    let body = body.map_err(|error| unreadable(&error))?;
    state
        .writing(move |state| {
            let upload = upload::read(&body, sent.format)
                .map_err(|error| Problem::new(Code::InvalidUpload, format!("Nothing was changed: {error}.")))?;
            drop(body);
            let origin = Origin { actor: caller.actor(), reason: sent.reason.as_str() };
            let edited =
                state.store().write(|conn| cohorts::edit(conn, &sent.name, of(&upload.ids), sent.seen.0, origin))?;
            Ok(Json(ReceiptAnswer { receipt: edited.receipt(&upload) }))
        })
        .await
}

fn unreadable(error: &actix_web::Error) -> Problem {
    match error.as_response_error().status_code() {
        actix_web::http::StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Code::TooLarge, format!("An upload may have {UPLOAD_BYTES_MAX} bytes."))
        }
        _ => Problem::new(Code::InvalidRequest, format!("The body could not be read: {error}.")),
    }
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
        }
    }
}
