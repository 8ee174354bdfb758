//! `/api/v1/cohorts/{name}/ids`: the ids of a cohort, a page or all of them, and single ones.

use actix_web::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::List;
use super::cohort_uploads::ReceiptAnswer;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::{self, IfMatch};
use crate::http::input::{ReasonQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument, shortened};
use crate::http::state::AppState;
use crate::http::streamed::Streamed;
use crate::primitives::CohortName;
use crate::store::cohort_export::{self, ExportFormat};
use crate::store::cohort_leaves::{AsOf, LeafReader};
use crate::store::cohorts::{self, Edit};
use crate::store::sorted_ids::SortedIds;
use crate::store::upload::{self, UploadFormat};
use crate::store::{Origin, PageRequest, StoreError, cohort_generations, cohort_leaves};

/// Whether an id is in a cohort.
#[derive(Debug, Serialize, ToSchema)]
pub struct Membership {
    id: String,
    member: bool,
}

/// Which ids, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IdsQuery {
    /// All ids as a file: `lines`, `csv` or `ndjson`. `Accept: text/plain`, `text/csv` and `application/x-ndjson` say the same. Otherwise it
    /// is one page.
    #[param(value_type = Option<String>)]
    format: Option<ShortText>,
    /// The ids as they were in this generation.
    generation: Option<i64>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<ShortText>,
    /// At most this many items on a page; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// A cohort's ids, sorted by their bytes: a page of them, or all as a file.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/ids", tag = "cohorts", params(("name" = String, Path), IdsQuery),
    responses((status = 200, body = List<String>), (status = 404, body = ProblemDocument), (status = 410, body = ProblemDocument)))]
pub async fn ids(
    _: Caller<Viewer>,
    state: Data<AppState>,
    request: HttpRequest,
    name: Path<CohortName>,
    query: Query<IdsQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let format = match &query.format {
        Some(format) => Some(format_named(format.as_str())?),
        None => format_accepted(&request),
    };
    let name = name.into_inner();
    let (cohort, wanted) = (name.clone(), query.generation);
    let generation = state
        .blocking(move |state| {
            Ok(state.store().read(|conn| match wanted {
                Some(wanted) => Ok(cohort_generations::get_readable(conn, &cohort, wanted)?.generation),
                None => Ok(cohorts::get(conn, &cohort)?.generation),
            })?)
        })
        .await?;
    match format {
        Some(format) => Ok(export(&state, name, generation, format)),
        None => {
            let request = PageRequest { after: query.after.map(|after| after.as_str().to_owned()), limit: query.limit };
            let as_of = AsOf::Version(generation);
            let page = state
                .blocking(move |state| {
                    Ok(state.store().read(|conn| cohort_leaves::list(conn, &name, as_of, &request))?)
                })
                .await?;
            Ok(HttpResponse::Ok().insert_header(("ETag", etag::of(generation))).json(List::<String>::from(page)))
        }
    }
}

/// All ids of a generation. Its leaves never change, so each piece is read by itself and no transaction waits for the client.
pub fn export(state: &AppState, name: CohortName, generation: i64, format: ExportFormat) -> HttpResponse {
    let (sender, receiver) = mpsc::channel(2);
    let disposition = format!("attachment; filename=\"{name}.{}\"", format.ending());
    let state = state.clone();
    actix_web::rt::spawn(async move {
        let mut after = None;
        let mut is_first = true;
        loop {
            let (cohort, from) = (name.clone(), after.take());
            let read =
                state.blocking(move |state| Ok(state.store().read(|conn| piece(conn, &cohort, generation, from))?));
            let (text, next) = match read.await {
                Ok(read) => read,
                Err(problem) => {
                    let error = std::io::Error::other(problem.to_string());
                    return drop(sender.send(Err(error)).await);
                }
            };
            let body = cohort_export::written(format, &text, is_first);
            is_first = false;
            if sender.send(Ok(Bytes::from(body))).await.is_err() || next.is_none() {
                return;
            }
            after = next;
        }
    });
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, format.media_type()))
        .insert_header((CONTENT_DISPOSITION, disposition))
        .insert_header(("ETag", etag::of(generation)))
        .body(Streamed::new(receiver))
}

/// Some leaves' ids, one a line, and where to go on.
fn piece(
    connection: &mut crate::database::DatabaseConnection,
    cohort: &CohortName,
    generation: i64,
    after: Option<String>,
) -> Result<(String, Option<String>), StoreError> {
    let mut reader = LeafReader::new(cohort, AsOf::Version(generation), after);
    let text = reader.next_several(connection)?;
    cohort_generations::get_readable(connection, cohort, generation)?;
    let next = reader.position().filter(|_| !text.is_empty());
    Ok((text, next))
}

/// Whether an id is in a cohort.
#[utoipa::path(get, path = "/api/v1/cohorts/{name}/ids/{id}", tag = "cohorts", params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Membership), (status = 404, body = ProblemDocument)))]
pub async fn has(
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

/// Adds one id; one that is there stays.
#[utoipa::path(put, path = "/api/v1/cohorts/{name}/ids/{id}", tag = "cohorts",
    params(("name" = String, Path), ("id" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReceiptAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn add(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<Json<ReceiptAnswer>, Problem> {
    one(caller, state, path.into_inner(), (seen, reason.into_inner()), |ids| Edit::Add(ids)).await
}

/// Removes one id; one that is not there is no error.
#[utoipa::path(delete, path = "/api/v1/cohorts/{name}/ids/{id}", tag = "cohorts",
    params(("name" = String, Path), ("id" = String, Path), ReasonQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReceiptAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn remove(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
    seen: IfMatch,
    reason: Query<ReasonQuery>,
) -> Result<Json<ReceiptAnswer>, Problem> {
    one(caller, state, path.into_inner(), (seen, reason.into_inner()), |ids| Edit::Remove(ids)).await
}

async fn one(
    caller: Caller<Admin>,
    state: Data<AppState>,
    (name, id): (CohortName, ShortText),
    (seen, reason): (IfMatch, ReasonQuery),
    of: for<'a> fn(&'a SortedIds) -> Edit<'a>,
) -> Result<Json<ReceiptAnswer>, Problem> {
    state
        .writing(move |state| {
            let refused = |what: &str| Problem::new(Code::InvalidPath, format!("The id {what}."));
            let id = upload::id_of(id.as_str()).map_err(refused)?;
            // As the one line of an upload, so that its receipt counts like every other.
            let upload = upload::read(id.as_bytes(), UploadFormat::Lines)
                .map_err(|error| Problem::new(Code::InvalidPath, format!("Nothing was changed: {error}.")))?;
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            let edited = state.store().write(|conn| cohorts::edit(conn, &name, of(&upload.ids), seen.0, origin))?;
            Ok(Json(ReceiptAnswer { receipt: edited.receipt(&upload) }))
        })
        .await
}

pub fn format_named(name: &str) -> Result<ExportFormat, Problem> {
    ExportFormat::ALL.into_iter().find(|format| format.as_str() == name).ok_or_else(|| {
        let detail = format!("`format={}` is none of lines, csv and ndjson.", shortened(name));
        Problem::new(Code::InvalidQuery, detail)
    })
}

/// The format of the first media type that names one; JSON and `*/*` stand for pages.
fn format_accepted(request: &HttpRequest) -> Option<ExportFormat> {
    let accept = request.headers().get(ACCEPT)?.to_str().ok()?;
    let first = accept.split(',').next()?.split(';').next()?.trim().to_ascii_lowercase();
    ExportFormat::ALL.into_iter().find(|format| format.media_type().starts_with(&first) && !first.is_empty())
}
