//! `/api/v1/changes/{name}/reports`

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::List;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::{PageQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, Instant, Period};
use crate::report::{self, Report, RunOptions};
use crate::store::{StoreError, reports};

/// A stored report, without its data.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportAnswer {
    id: String,
    change: String,
    /// Empty: all.
    periods: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    as_of: Instant,
    /// No unexplained difference.
    clean: bool,
    exceptions: i64,
    /// Of the report's data.
    sha256: String,
    signatures: Vec<SignatureAnswer>,
}

/// Who vouches for a report.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignatureAnswer {
    name: String,
    role: String,
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
}

/// Which report to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportWish {
    /// Such as `["2026-11"]`; empty: all.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    periods: Vec<Period>,
}

/// In which capacity the caller vouches for a report.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureWish {
    /// Such as `finance`.
    #[schema(value_type = String)]
    role: ShortText,
}

/// In which form a report is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FormatQuery {
    /// `json` (if not said) or `html`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    format: Format,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Html,
}

/// A page of a change's reports, the newest first.
#[utoipa::path(get, path = "/api/v1/changes/{name}/reports", tag = "reports", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = List<ReportAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    page: Query<PageQuery>,
) -> Result<Json<List<ReportAnswer>>, Problem> {
    let request = page.into_inner().request();
    let page =
        state.blocking(move |state| Ok(state.store().read(|conn| reports::list(conn, &name, &request))?)).await?;
    Ok(Json(List::from(page)))
}

/// Compares old and new allocation as they are now, and stores the report.
#[utoipa::path(post, path = "/api/v1/changes/{name}/reports", tag = "reports", params(("name" = String, Path)), request_body = ReportWish,
    responses((status = 201, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn run(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<ReportWish>,
) -> Result<HttpResponse, Problem> {
    let report = state
        .blocking(move |state| {
            let options = RunOptions {
                periods: &wish.periods,
                as_of: state.now(),
                actor: caller.actor(),
                exceptions_max: RunOptions::EXCEPTIONS_MAX,
                movers_max: RunOptions::MOVERS_MAX,
            };
            Ok(report::run(&mut *state.app().connection()?, state.store(), &name, &options)?)
        })
        .await?;
    let id = report.id.as_deref().unwrap_or_default();
    let location = format!("/api/v1/changes/{}/reports/{id}", report.data.subject.change);
    Ok(HttpResponse::Created().insert_header(("Location", location)).json(report))
}

/// A report, held against its checksum, as JSON or as one self-contained page.
#[utoipa::path(get, path = "/api/v1/changes/{name}/reports/{id}", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path), FormatQuery),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
    query: Query<FormatQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let report = state.blocking(move |state| find(state, &name, id.as_str())).await?;
    match query.format {
        Format::Json => Ok(HttpResponse::Ok().json(report)),
        Format::Html => {
            let page = report::to_html(&report).map_err(|error| Problem::internal(&error))?;
            Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page))
        }
    }
}

/// Vouches for a report, by the name of the caller's token.
#[utoipa::path(post, path = "/api/v1/changes/{name}/reports/{id}/signatures", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path)), request_body = SignatureWish,
    responses((status = 201, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn sign(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
    wish: Json<SignatureWish>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    if wish.role.as_str().is_empty() {
        return Err(Problem::new(Code::InvalidValue, "`role` is empty: say in which capacity, such as finance."));
    }
    let report = state
        .blocking(move |state| {
            find(state, &name, id.as_str())?;
            Ok(report::sign(state.store(), id.as_str(), caller.actor(), wish.role.as_str(), state.now())?)
        })
        .await?;
    Ok(HttpResponse::Created().json(report))
}

/// The report, if it is one of this change.
fn find(state: &AppState, name: &ChangeName, id: &str) -> Result<Report, Problem> {
    let found = report::find(state.store(), id)?.filter(|report| report.data.subject.change == *name);
    found.ok_or_else(|| StoreError::NotFound { what: "report", name: id.to_owned() }.into())
}

impl From<reports::Report> for ReportAnswer {
    fn from(report: reports::Report) -> Self {
        let signatures = report.signatures.into_iter().map(|signature| SignatureAnswer {
            name: signature.name,
            role: signature.role,
            at: Instant::from_micros(signature.at),
        });
        Self {
            id: report.id,
            change: report.change,
            periods: report.periods,
            as_of: report.as_of,
            clean: report.clean,
            exceptions: report.exceptions,
            sha256: report.sha256,
            signatures: signatures.collect(),
        }
    }
}
