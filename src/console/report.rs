//! `/console/changes/{name}/reports/{id}`: what a report found, what differs from an earlier one, its exceptions, and who vouches for it.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::form::{Fields, Sent};
use super::page::{Frame, base, html_with, see_other};
use super::report_parts::{ClassRow, ExceptionRow, ExplainedRow, TotalRow};
use super::report_parts::{class_rows, exception_row, explained_row, total_rows};
use super::session::{Member, Signed};
use super::words::{When, when};
use crate::allocation::{ChargeClass, ExceptionLine};
use crate::http::AppState;
use crate::http::api::reports::{find, sign_report};
use crate::http::auth::{Admin, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::Problem;
use crate::primitives::{ChangeName, Instant};
use crate::report::{self, CsvTable, Report, Since, has_all_exceptions, words};
use crate::store::report_exceptions::{self, ExceptionFilter};
use crate::store::reports::{self, Word};
use crate::store::{Page, PageRequest};
use crate::translation::own::get_change;

/// Exceptions on a page, lines of a difference, and earlier reports that one can be compared with.
const EXCEPTIONS: u32 = 50;
const LINES: usize = 60;
const EARLIER: i64 = 20;

/// Which exceptions are shown, and which report it is compared with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    class: String,
    charge: String,
    after: String,
    from: String,
    done: String,
}

#[derive(Template)]
#[template(path = "console/report.html")]
struct ReportPage {
    frame: Frame,
    name: String,
    title: String,
    id: String,
    sha256: String,
    as_of: When,
    periods: String,
    basis: String,
    configuration: String,
    is_clean: bool,
    headline: String,
    detail: String,
    totals: Vec<TotalRow>,
    classes: Vec<ClassRow>,
    explained: Vec<ExplainedRow>,
    /// What nobody explains, such as `3 × sum differs, 2026-11 EUR`.
    unexplained: Vec<String>,
    earlier: Vec<EarlierShown>,
    difference: Option<Vec<String>>,
    exceptions: Vec<ExceptionRow>,
    exceptions_total: u64,
    next: Option<String>,
    /// Which are shown.
    class: String,
    charge: String,
    signatures: Vec<SignatureShown>,
    faults: Vec<String>,
    csv_files: Vec<String>,
    role: String,
    comment: String,
    rejects: bool,
    error: Option<String>,
}

struct EarlierShown {
    id: String,
    as_of: String,
    is_chosen: bool,
}

struct SignatureShown {
    name: String,
    role: String,
    approves: bool,
    comment: String,
    at: When,
}

struct Read {
    report: Report,
    faults: Vec<String>,
    earlier: Vec<reports::Report>,
    /// The earlier report that it is compared with, and what differs.
    since: Option<(String, Since)>,
    exceptions: Page<ExceptionLine>,
}

/// The page.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
    shown: Query<Shown>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, (path.into_inner(), shown.into_inner()), None).await
}

/// Vouches for it, or rejects it.
pub async fn sign(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let approves = sent.fields.raw("word") != "reject";
    let texts = (sent.fields.text("role"), sent.fields.text("comment"));
    let outcome = match texts {
        (Ok(role), Ok(comment)) => {
            let (name, id, actor) = (name.clone(), id.clone(), sent.signed().actor().to_owned());
            let read = sent.fields.raw("sha256").to_owned();
            let word = move |state: &AppState| {
                let (comment, sha256) = (comment.as_str(), Some(read.as_str()));
                let word = Word { approves, comment, sha256, ..Word::approving(&actor, &role, state.now()) };
                sign_report(state, &name, id.as_str(), word).map(drop)
            };
            state.blocking(word).await
        }
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    };
    let Err(problem) = outcome else {
        let done = if approves { "signed" } else { "rejected" };
        return Ok(see_other(&format!("{}/changes/{name}/reports/{}?done={done}", base(&request), id.as_str())));
    };
    let place = ((name, id), Shown::default());
    answer(&request, sent.signed(), &state, place, Some((&sent.fields, problem))).await
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    ((name, id), shown): ((ChangeName, ShortText), Shown),
    refused: Option<(&Fields, Problem)>,
) -> Result<HttpResponse, Problem> {
    let (read, shown) = state.blocking(move |state| Ok((read(state, (&name, id.as_str()), &shown)?, shown))).await?;
    let mut frame = Frame::new(request, format!("Report: {}", read.report.data.subject.title), signed);
    frame.note = match shown.done.as_str() {
        "signed" => Some("You have signed this report."),
        "rejected" => Some("You have rejected this report: no sign-off of it counts."),
        "explained" => Some("The explanation is stored. It counts from the next report on: run one."),
        _ => None,
    };
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    html_with(&laid_out(frame, read, shown, refused, state.now()), status)
}

fn read(state: &AppState, (name, id): (&ChangeName, &str), shown: &Shown) -> Result<Read, Problem> {
    let report = find(state, name, id)?;
    let change = get_change(&mut *state.app().connection()?, name)?;
    let (_, faults) = report::standing(state.store(), &change, id)?;
    let as_of = report.data.subject.as_of;
    let mut earlier = state.store().read(|conn| reports::before(conn, name, as_of, EARLIER))?;
    earlier.reverse();
    let from = earlier.iter().find(|one| one.id == shown.from).or_else(|| earlier.first()).map(|one| one.id.clone());
    // One that was altered cannot be compared with; the page is shown all the same.
    let compared = from.and_then(|id| Some((find(state, name, &id).ok()?, id)));
    let since = compared.map(|(before, id)| (id, Since::between(&before, &report.data)));
    let exceptions = exceptions(state, &report, shown)?;
    Ok(Read { report, faults, earlier, since, exceptions })
}

/// The exceptions that were asked for. A report that is older than their table lists them itself.
fn exceptions(state: &AppState, report: &Report, shown: &Shown) -> Result<Page<ExceptionLine>, Problem> {
    let class: Option<ChargeClass> = shown.class.parse().ok();
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let request = PageRequest { after: text(&shown.after), limit: Some(EXCEPTIONS) };
    if let Some(id) = has_all_exceptions(report) {
        let filter = ExceptionFilter { class, charge: text(&shown.charge) };
        return Ok(state.store().read(|conn| report_exceptions::list(conn, id, &filter, &request))?);
    }
    let listed = report.data.comparison.exceptions.iter();
    let is_wanted = |line: &&ExceptionLine| {
        class.is_none_or(|class| line.class == class) && line.charge_id.starts_with(&shown.charge)
    };
    let mut wanted: Vec<ExceptionLine> = listed.filter(is_wanted).cloned().collect();
    wanted.sort_by(|one, other| one.charge_id.cmp(&other.charge_id));
    Ok(request.page_of(wanted, |line| line.charge_id.clone()))
}

fn laid_out(frame: Frame, read: Read, shown: Shown, refused: Option<(&Fields, Problem)>, now: Instant) -> ReportPage {
    let Read { report, faults, earlier, since, exceptions } = read;
    let (data, comparison) = (&report.data, &report.data.comparison);
    let verdict = words::verdict(data);
    let compared = since.as_ref().map_or("", |(id, _)| id.as_str());
    let typed = |name: &str| refused.as_ref().map_or("", |(fields, _)| fields.raw(name)).to_owned();
    ReportPage {
        name: data.subject.change.to_string(),
        title: data.subject.title.clone(),
        id: report.id.clone().unwrap_or_default(),
        sha256: report.sha256.clone(),
        as_of: when(data.subject.as_of, now),
        periods: words::periods(data),
        basis: words::new_side(data),
        configuration: words::configuration(&report),
        is_clean: data.clean,
        headline: verdict.headline,
        detail: verdict.detail,
        totals: total_rows(comparison),
        classes: class_rows(data),
        explained: data.explained.iter().take(LINES).map(explained_row).collect(),
        unexplained: data.unexplained.iter().take(LINES).map(words::unexplained).collect(),
        earlier: earlier
            .iter()
            .map(|one| EarlierShown {
                id: one.id.clone(),
                as_of: when(one.as_of, now).text,
                is_chosen: one.id == compared,
            })
            .collect(),
        difference: since.as_ref().map(|(_, since)| difference(since, &report)),
        exceptions: exceptions.items.iter().map(|line| exception_row(comparison, line)).collect(),
        exceptions_total: comparison.exceptions_total,
        next: exceptions.next,
        signatures: signatures(&report, now),
        faults,
        csv_files: CsvTable::ALL.into_iter().map(|table| table.file_name().to_owned()).collect(),
        role: typed("role"),
        comment: typed("comment"),
        rejects: typed("word") == "reject",
        error: refused.map(|(_, problem)| problem.detail().to_owned()),
        class: shown.class,
        charge: shown.charge,
        frame,
    }
}

/// What differs, a line each; nothing if the two say the same.
fn difference(since: &Since, report: &Report) -> Vec<String> {
    if since.is_nothing() {
        return Vec::new();
    }
    let text = report::since_to_text(since, &report.data);
    let mut lines: Vec<String> = text.lines().skip(1).map(|line| line.trim().to_owned()).collect();
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("and {more} more; the JSON form has them all"));
    }
    lines
}

fn signatures(report: &Report, now: Instant) -> Vec<SignatureShown> {
    let shown = report.signatures.iter().map(|signature| SignatureShown {
        name: signature.name.clone(),
        role: signature.role.clone(),
        approves: signature.approves,
        comment: signature.comment.clone(),
        at: when(signature.at, now),
    });
    shown.collect()
}
