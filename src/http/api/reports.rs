//! `/api/v1/changes/{name}/reports`

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::jobs::{JobAnswer, accepted, start};
use super::{List, report_files};
use crate::allocation::ChargeClass;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::{PageQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, Instant, Period};
use crate::report::{self, Report, RunError, RunOptions, Since};
use crate::store::jobs::{JobKind, NewJob};
use crate::store::report_exceptions::{self, ExceptionFilter};
use crate::store::reports::{self, Word};
use crate::store::{PageRequest, StoreError};
use crate::translation::own::get_change;

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
    /// Charges in a wrong class, and how many of them nobody explains.
    exceptions: i64,
    unexplained: i64,
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
    /// False: they have read the report and do not accept it.
    approves: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
}

/// Whether a report's sign-offs count.
#[derive(Debug, Serialize, ToSchema)]
pub struct StandingAnswer {
    id: String,
    sha256: String,
    clean: bool,
    /// Signed, clean, and nothing is against it.
    counts: bool,
    /// Why the sign-offs count no more.
    faults: Vec<String>,
    signatures: Vec<SignatureAnswer>,
}

/// Which exceptions of a report.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExceptionQuery {
    /// Only of this class, such as `duplicate`.
    #[param(value_type = Option<String>)]
    class: Option<ChargeClass>,
    /// Only charges whose id begins so.
    #[param(value_type = Option<String>)]
    charge: Option<ShortText>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<ShortText>,
    /// At most this many; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Two reports set against each other.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DifferenceQuery {
    /// The id of the earlier report.
    #[param(value_type = String)]
    from: ShortText,
}

/// Which report to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportWish {
    /// Such as `["2026-11"]`; empty: all.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    periods: Vec<Period>,
    /// The id of an earlier report, or `last`: what is unchanged is taken over, and the report says what differs.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    since: Option<ShortText>,
    /// Keep checksums, so that a later report since this one reads only what has changed; a report with `since` does.
    #[serde(default)]
    checksums: bool,
    /// The moment that the report names as its own; not said: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    as_of: Option<Instant>,
}

/// In which capacity the caller vouches for a report.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureWish {
    /// Such as `finance`.
    #[schema(value_type = String)]
    role: ShortText,
    /// False: the caller has read the report and does not accept it.
    #[serde(default = "yes")]
    approves: bool,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    comment: ShortText,
    /// The checksum of what was read: a report with another one is not signed.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    sha256: Option<ShortText>,
}

fn yes() -> bool {
    true
}

/// In which form a report is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FormatQuery {
    /// `json` (if not said), `html`, or `csv`: a ZIP archive of the set.
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
    Csv,
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

/// Compares old and new allocation as they are now, and stores the report. A job: 202, and where to ask how far it is; its result names the
/// report, whose id is told at once in `arguments.report`.
#[utoipa::path(post, path = "/api/v1/changes/{name}/reports", tag = "reports", params(("name" = String, Path)), request_body = ReportWish,
    responses((status = 202, body = JobAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn run(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<ReportWish>,
) -> Result<HttpResponse, Problem> {
    let job = state
        .blocking(move |state| {
            let since = wish.since.as_ref().map(ShortText::as_str);
            let asked = Asked { periods: &wish.periods, since, checksums: wish.checksums, as_of: wish.as_of };
            start_report(state, &name, asked, caller.actor())
        })
        .await?;
    Ok(accepted(&job))
}

/// A report that is to be run; see [`ReportWish`].
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub periods: &'a [Period],
    pub since: Option<&'a str>,
    pub checksums: bool,
    pub as_of: Option<Instant>,
}

/// Starts a report as a job of `actor`, with its audit row.
pub fn start_report(state: &AppState, name: &ChangeName, asked: Asked<'_>, actor: &str) -> Result<JobAnswer, Problem> {
    let change = get_change(&mut *state.app().connection()?, name)?;
    if change.file.allocation.is_none() {
        return Err(RunError::NoAllocation(change.name).into());
    }
    let as_of = asked.as_of.unwrap_or_else(|| state.now());
    if as_of > state.now() {
        let detail = "`as_of` lies in the future: a report is of a moment that was.";
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    let since = asked.since.map(|since| report::earlier(state.store(), name, since)).transpose()?;
    let arguments = json!({
        "report": report_exceptions::new_report_id()?, "as_of": as_of, "periods": asked.periods, "since": since, "checksums": asked.checksums,
        "exceptions_max": RunOptions::EXCEPTIONS_MAX, "movers_max": RunOptions::MOVERS_MAX,
    });
    start(state, &NewJob { kind: JobKind::Report, change: name, arguments, actor })
}

/// A page of all exceptions of a report, by the charge's id.
#[utoipa::path(get, path = "/api/v1/changes/{name}/reports/{id}/exceptions", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path), ExceptionQuery),
    responses((status = 200, body = List<Object>), (status = 404, body = ProblemDocument)))]
pub async fn exceptions(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
    query: Query<ExceptionQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let page = state
        .blocking(move |state| {
            find(state, &name, id.as_str())?;
            let text = |text: &ShortText| text.as_str().to_owned();
            let filter = ExceptionFilter { class: query.class, charge: query.charge.as_ref().map(text) };
            let request = PageRequest { after: query.after.as_ref().map(text), limit: query.limit };
            Ok(state.store().read(|conn| report_exceptions::list(conn, id.as_str(), &filter, &request))?)
        })
        .await?;
    Ok(HttpResponse::Ok().json(json!({ "items": page.items, "next": page.next })))
}

/// What a report says differently from an earlier one.
#[utoipa::path(get, path = "/api/v1/changes/{name}/reports/{id}/difference", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path), DifferenceQuery),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument)))]
pub async fn difference(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
    query: Query<DifferenceQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let since = state
        .blocking(move |state| {
            let (earlier, now) = (find(state, &name, query.from.as_str())?, find(state, &name, id.as_str())?);
            Ok(Since::between(&earlier, &now.data))
        })
        .await?;
    Ok(HttpResponse::Ok().json(since))
}

/// Whether a report's sign-offs count, and if not, why.
#[utoipa::path(get, path = "/api/v1/changes/{name}/reports/{id}/signatures", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = StandingAnswer), (status = 404, body = ProblemDocument)))]
pub async fn standing(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<Json<StandingAnswer>, Problem> {
    let (name, id) = path.into_inner();
    let answer = state
        .blocking(move |state| {
            let change = get_change(&mut *state.app().connection()?, &name)?;
            let (report, faults) = report::standing(state.store(), &change, id.as_str())?;
            Ok(StandingAnswer {
                counts: report.clean && faults.is_empty() && !report.signatures.is_empty(),
                id: report.id,
                sha256: report.sha256,
                clean: report.clean,
                faults,
                signatures: report.signatures.into_iter().map(SignatureAnswer::from).collect(),
            })
        })
        .await?;
    Ok(Json(answer))
}

/// A report, held against its checksum, as JSON, as one self-contained page, or as a ZIP archive of CSV files.
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
    if let Format::Csv = query.format {
        return report_files::archive(&state, name, id.as_str().to_owned()).await;
    }
    let report = state.blocking(move |state| find(state, &name, id.as_str())).await?;
    match query.format {
        Format::Json | Format::Csv => Ok(HttpResponse::Ok().json(report)),
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
    let report = state
        .blocking(move |state| {
            let word = Word {
                approves: wish.approves,
                comment: wish.comment.as_str(),
                sha256: wish.sha256.as_ref().map(ShortText::as_str),
                ..Word::approving(caller.actor(), wish.role.as_str(), state.now())
            };
            sign_report(state, &name, id.as_str(), word)
        })
        .await?;
    Ok(HttpResponse::Created().json(report))
}

/// Records somebody's word on a report of this change, with its audit row.
pub fn sign_report(state: &AppState, name: &ChangeName, id: &str, word: Word<'_>) -> Result<Report, Problem> {
    if word.role.is_empty() {
        return Err(Problem::new(Code::InvalidValue, "`role` is empty: say in which capacity, such as finance."));
    }
    find(state, name, id)?;
    Ok(report::sign(state.store(), id, word)?)
}

/// The report, if it is one of this change.
pub fn find(state: &AppState, name: &ChangeName, id: &str) -> Result<Report, Problem> {
    let found = report::find(state.store(), id)?.filter(|report| report.data.subject.change == *name);
    found.ok_or_else(|| StoreError::NotFound { what: "report", name: id.to_owned() }.into())
}

impl From<reports::Report> for ReportAnswer {
    fn from(report: reports::Report) -> Self {
        let signatures = report.signatures.into_iter().map(SignatureAnswer::from);
        Self {
            id: report.id,
            change: report.change,
            periods: report.periods,
            as_of: report.as_of,
            clean: report.clean,
            exceptions: report.exceptions,
            unexplained: report.unexplained,
            sha256: report.sha256,
            signatures: signatures.collect(),
        }
    }
}

impl From<reports::Signature> for SignatureAnswer {
    fn from(signature: reports::Signature) -> Self {
        Self {
            name: signature.name,
            role: signature.role,
            at: Instant::from_micros(signature.at),
            approves: signature.approves,
            comment: signature.comment,
        }
    }
}
