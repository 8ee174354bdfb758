//! `/console/reports` and `/console/changes/{name}/reports`: the stored comparisons, the one that runs, and the form that runs one.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::form::{Fields, Sent};
use super::jobs::{JobShown, job_shown};
use super::page::{Frame, base, html, html_with, see_other};
use super::session::{Member, Signed};
use super::words::{When, counted, when};
use crate::http::AppState;
use crate::http::api::reports::{Asked, start_report};
use crate::http::auth::{Admin, Viewer};
use crate::http::problem::{Code, Problem};
use crate::primitives::{ChangeName, Instant, Period};
use crate::store::PageRequest;
use crate::store::jobs::{self, JobKind};
use crate::store::reports::{self, Report};
use crate::translation::InstalledChange;
use crate::translation::own::{get_change, list_changes};

/// Reports on a page, and of each change where all changes are shown.
const ROWS: u32 = 25;
const ROWS_OF_EACH: u32 = 5;

/// Where a page of the list begins.
#[derive(Deserialize)]
pub struct Place {
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "console/reports.html")]
struct AllPage {
    frame: Frame,
    changes: Vec<ReportsOf>,
}

/// A change and its newest reports.
struct ReportsOf {
    name: String,
    title: String,
    rows: Vec<ReportRow>,
    has_more: bool,
}

#[derive(Template)]
#[template(path = "console/report_list.html")]
struct ListPage {
    frame: Frame,
    name: String,
    title: String,
    /// The change file says who pays, so there is something to compare.
    is_comparable: bool,
    running: Option<JobShown>,
    rows: Vec<ReportRow>,
    is_first: bool,
    next: Option<String>,
    periods: String,
    since_last: bool,
    error: Option<String>,
}

/// A report in a list.
pub struct ReportRow {
    pub id: String,
    pub as_of: When,
    pub periods: String,
    pub is_clean: bool,
    pub found: String,
    pub signed: String,
}

struct Read {
    change: InstalledChange,
    running: Option<JobShown>,
    rows: Vec<ReportRow>,
    next: Option<String>,
}

/// The newest reports of every change.
pub async fn all(request: HttpRequest, member: Member<Viewer>, state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let changes = state.blocking(|state| {
        let installed = list_changes(&mut *state.app().connection()?)?;
        let of = |change: InstalledChange| {
            let (rows, next) = rows(state, &change.name, &PageRequest { after: None, limit: Some(ROWS_OF_EACH) })?;
            Ok(ReportsOf { name: change.name.to_string(), title: change.title, rows, has_more: next.is_some() })
        };
        installed.into_iter().map(of).collect()
    });
    html(&AllPage { changes: changes.await?, frame: Frame::new(&request, "Reports", &member.signed) })
}

/// The reports of a change.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let after = Some(place.into_inner().after).filter(|after| !after.is_empty());
    answer(&request, &member.signed, &state, (name.into_inner(), after), None).await
}

/// Runs one, as a job.
pub async fn run(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let (wished, actor) = (name.clone(), sent.signed().actor().to_owned());
    let started = match periods(&sent.fields) {
        Ok(periods) => {
            let since_last = sent.fields.is_ticked("since_last");
            let start = move |state: &AppState| {
                let is_first = rows(state, &wished, &PageRequest { after: None, limit: Some(1) })?.0.is_empty();
                let since = (since_last && !is_first).then_some("last");
                let asked = Asked { periods: &periods, since, checksums: true, as_of: None };
                start_report(state, &wished, asked, &actor)
            };
            state.blocking(start).await
        }
        Err(problem) => Err(problem),
    };
    match started {
        Ok(job) => Ok(see_other(&format!("{}/jobs/{}", base(&request), job.id))),
        Err(problem) => answer(&request, sent.signed(), &state, (name, None), Some((&sent.fields, problem))).await,
    }
}

/// Periods as they are typed: with blanks or commas between them.
fn periods(fields: &Fields) -> Result<Vec<Period>, Problem> {
    let typed = fields.text("periods")?;
    let each = typed.split([' ', ',']).filter(|text| !text.is_empty());
    let parsed = each.map(|text| text.parse().map_err(|_| text.chars().take(40).collect::<String>()));
    parsed.collect::<Result<_, _>>().map_err(|text| {
        Problem::new(
            Code::InvalidValue,
            format!("`{text}` is not a period: write 2026-11, or nothing for all of them."),
        )
    })
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, after): (ChangeName, Option<String>),
    refused: Option<(&Fields, Problem)>,
) -> Result<HttpResponse, Problem> {
    let is_first = after.is_none();
    let read = state.blocking(move |state| read(state, &name, after)).await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    let page = ListPage {
        frame: Frame::new(request, format!("Reports: {}", read.change.title), signed),
        name: read.change.name.to_string(),
        title: read.change.title.clone(),
        is_comparable: read.change.file.allocation.is_some(),
        running: read.running,
        rows: read.rows,
        is_first,
        next: read.next,
        periods: refused.as_ref().map_or("", |(fields, _)| fields.raw("periods")).to_owned(),
        since_last: refused.as_ref().is_none_or(|(fields, _)| fields.is_ticked("since_last")),
        error: refused.map(|(_, problem)| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

fn read(state: &AppState, name: &ChangeName, after: Option<String>) -> Result<Read, Problem> {
    let change = get_change(&mut *state.app().connection()?, name)?;
    let (rows, next) = rows(state, name, &PageRequest { after, limit: Some(ROWS) })?;
    let running = state.store().read(|conn| jobs::find_unfinished(conn, JobKind::Report, name))?;
    Ok(Read { change, running: running.map(|job| job_shown(&job, state.now())), rows, next })
}

fn rows(
    state: &AppState,
    name: &ChangeName,
    request: &PageRequest,
) -> Result<(Vec<ReportRow>, Option<String>), Problem> {
    let page = state.store().read(|conn| reports::list(conn, name, request))?;
    Ok((page.items.iter().map(|report| row(report, state.now())).collect(), page.next))
}

fn row(report: &Report, now: Instant) -> ReportRow {
    let found = match (report.clean, report.exceptions, report.unexplained) {
        (true, 0, _) => String::from("every charge is allocated exactly once"),
        (true, all, _) => counted(all, "difference, explained", "differences, all explained"),
        (false, _, 0) => String::from("control totals differ"),
        (false, _, some) => counted(some, "difference nobody explains", "differences nobody explains"),
    };
    let who: Vec<String> = report.signatures.iter().map(signature).collect();
    ReportRow {
        id: report.id.clone(),
        as_of: when(report.as_of, now),
        periods: if report.periods.is_empty() { String::from("all") } else { report.periods.join(", ") },
        is_clean: report.clean,
        found,
        signed: if who.is_empty() { String::from("nobody") } else { who.join(", ") },
    }
}

fn signature(signature: &reports::Signature) -> String {
    let verdict = if signature.approves { "" } else { ", rejected" };
    format!("{} ({}{verdict})", signature.name, signature.role)
}
