//! `/console/changes/{name}/explanations`: why charges of a wrong class are as they should be: who says so, until when, for how many.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use jiff::civil::Date;
use serde::Deserialize;

use super::form::{Fields, Sent};
use super::page::{Frame, base, html, html_with, see_other};
use super::session::{Member, Signed};
use super::words::{When, when};
use crate::allocation::{ChargeClass, Explanation, Wording};
use crate::http::AppState;
use crate::http::api::explanations::{create_explanation, today, withdraw_explanation};
use crate::http::api::reports::find;
use crate::http::auth::{Admin, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem};
use crate::primitives::{ChangeName, Instant};
use crate::report::{ReportData, words};
use crate::store::PageRequest;
use crate::store::explanations::{self, StoredExplanation};
use crate::translation::own::get_change;

const ROWS: u32 = 50;
/// An explanation that says nothing else ends after this.
const DAYS: i32 = 30;

/// Where a page of the list begins, and what has just been done.
#[derive(Deserialize)]
pub struct Place {
    #[serde(default)]
    after: String,
    #[serde(default)]
    done: String,
}

#[derive(Template)]
#[template(path = "console/explanations.html")]
struct ListPage {
    frame: Frame,
    name: String,
    title: String,
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
}

struct Row {
    id: String,
    version: i64,
    about: &'static str,
    place: String,
    max_count: u64,
    reason_code: String,
    text: String,
    owner: String,
    expires: String,
    by: String,
    at: When,
    /// `in force`, `expired`, `withdrawn`.
    state: &'static str,
    is_in_force: bool,
}

#[derive(Template)]
#[template(path = "console/explain.html")]
struct ExplainPage {
    frame: Frame,
    name: String,
    title: String,
    report: String,
    /// What the report that one comes from says, in numbers.
    told: Vec<String>,
    classes: Vec<(&'static str, &'static str, bool)>,
    form: Typed,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "console/explanation_withdraw.html")]
struct WithdrawPage {
    frame: Frame,
    name: String,
    title: String,
    row: Row,
    reason: String,
    error: Option<String>,
}

/// The form as it was typed, or as the link to it says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    report: String,
    class: String,
    period: String,
    currency: String,
    charge: String,
    reason_code: String,
    text: String,
    owner: String,
    expires: String,
    max_count: String,
}

/// The explanations of a change.
pub async fn list(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let after = Some(place.after.clone()).filter(|after| !after.is_empty());
    let is_first = after.is_none();
    let read = state.blocking(move |state| {
        let change = get_change(&mut *state.app().connection()?, &name)?;
        let request = PageRequest { after, limit: Some(ROWS) };
        Ok((change, state.store().read(|conn| explanations::list(conn, &name, &request))?))
    });
    let (change, page) = read.await?;
    let (now, today) = (state.now(), today(&state));
    let mut frame = Frame::new(&request, format!("Explanations: {}", change.title), &member.signed);
    frame.note = match place.done.as_str() {
        "explained" => Some("The explanation is stored. It counts from the next report on: run one."),
        "withdrawn" => Some("The explanation is withdrawn: what it covered is unexplained in the next report."),
        _ => None,
    };
    let rows = page.items.into_iter().map(|one| row(one, today, now)).collect();
    let (name, title) = (change.name.to_string(), change.title);
    html(&ListPage { frame, name, title, rows, is_first, next: page.next })
}

fn row(stored: StoredExplanation, today: Date, now: Instant) -> Row {
    let is_expired = stored.wording.expires < today;
    let state = match (stored.withdrawn_at.is_some(), is_expired) {
        (true, _) => "withdrawn",
        (false, true) => "expired",
        (false, false) => "in force",
    };
    let explanation: Explanation = stored.explanation();
    let wording = stored.wording;
    Row {
        about: wording.class.title(),
        place: words::explained_place(&explanation),
        max_count: wording.max_count,
        reason_code: wording.reason_code,
        text: wording.text,
        owner: wording.owner,
        expires: wording.expires.to_string(),
        by: stored.updated_by,
        at: when(stored.updated_at, now),
        state,
        is_in_force: stored.withdrawn_at.is_none(),
        id: stored.id,
        version: stored.version,
    }
}

/// The form that explains.
pub async fn form(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    asked: Query<Typed>,
) -> Result<HttpResponse, Problem> {
    let mut typed = asked.into_inner();
    let is_about_one = !typed.charge.is_empty();
    typed.max_count = if is_about_one && typed.max_count.is_empty() { String::from("1") } else { typed.max_count };
    if typed.expires.is_empty() {
        let until = today(&state).checked_add(jiff::Span::new().days(DAYS));
        typed.expires = until.map(|day| day.to_string()).unwrap_or_default();
    }
    form_answer(&request, &member.signed, &state, (name.into_inner(), typed), None).await
}

/// Stores an explanation.
pub async fn create(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let (name, typed) = (name.into_inner(), Typed::of(&sent.fields));
    let stored = match typed.wording() {
        Ok(wording) => {
            let (name, actor) = (name.clone(), sent.signed().actor().to_owned());
            state.blocking(move |state| create_explanation(state, &name, wording, (&actor, "")).map(drop)).await
        }
        Err(problem) => Err(problem),
    };
    let Err(problem) = stored else {
        return Ok(see_other(&format!("{}/changes/{name}/explanations?done=explained", base(&request))));
    };
    form_answer(&request, sent.signed(), &state, (name, typed), Some(problem)).await
}

impl Typed {
    fn of(fields: &Fields) -> Self {
        let raw = |name: &str| fields.raw(name).trim().to_owned();
        Self {
            report: raw("report"),
            class: raw("class"),
            period: raw("period"),
            currency: raw("currency"),
            charge: raw("charge"),
            reason_code: raw("reason_code"),
            text: raw("text"),
            owner: raw("owner"),
            expires: raw("expires"),
            max_count: raw("max_count"),
        }
    }

    fn wording(&self) -> Result<Wording, Problem> {
        let invalid = |detail: &str| Problem::new(Code::InvalidValue, detail);
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let charges = self.charge.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(Wording {
            class: self.class.parse().map_err(|_| invalid("Say which class of charges is explained."))?,
            period: text(&self.period),
            currency: text(&self.currency),
            charges: charges.map(str::to_owned).collect(),
            reason_code: self.reason_code.clone(),
            text: self.text.clone(),
            owner: self.owner.clone(),
            expires: self.expires.parse().map_err(|_| invalid("Say until which day it counts, such as 2026-12-31."))?,
            max_count: self.max_count.parse().map_err(|_| invalid("Say how many charges it may cover at most."))?,
        })
    }
}

async fn form_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, typed): (ChangeName, Typed),
    error: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let asked = typed.clone();
    let read = state.blocking(move |state| {
        let change = get_change(&mut *state.app().connection()?, &name)?;
        let report = if asked.report.is_empty() { None } else { find(state, &name, &asked.report).ok() };
        Ok((change, report.map(|report| told(&report.data, &asked)).unwrap_or_default()))
    });
    let (change, told) = read.await?;
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let wrong = ChargeClass::ALL.into_iter().filter(|class| class.is_wrong());
    let page = ExplainPage {
        frame: Frame::new(request, format!("Explain: {}", change.title), signed),
        name: change.name.to_string(),
        title: change.title,
        report: typed.report.clone(),
        told,
        classes: wrong.map(|class| (class.as_str(), class.title(), class.as_str() == typed.class)).collect(),
        form: typed,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

/// What the report says of the charges that are to be explained.
fn told(data: &ReportData, typed: &Typed) -> Vec<String> {
    let Ok(class) = typed.class.parse::<ChargeClass>() else { return Vec::new() };
    let is_here = |period: Option<&str>, currency: Option<&str>| {
        (typed.period.is_empty() || period == Some(typed.period.as_str()))
            && (typed.currency.is_empty() || currency == Some(typed.currency.as_str()))
    };
    let all = data.comparison.classes.iter().filter(|total| total.class == class);
    let all: u64 = all
        .filter(|total| is_here(total.period.as_deref(), total.currency.as_deref()))
        .map(|total| total.charges)
        .sum();
    let open = data.unexplained.iter().filter(|total| total.class == class);
    let open: u64 = open
        .filter(|total| is_here(total.period.as_deref(), total.currency.as_deref()))
        .map(|total| total.charges)
        .sum();
    vec![
        format!("{}: {}", class.title(), class.sentence()),
        format!(
            "In the report that you come from, {} in this class; {} of them nobody explains yet.",
            if all == 1 { String::from("1 charge is") } else { format!("{} charges are", words::grouped(all)) },
            words::grouped(open)
        ),
    ]
}

/// What withdrawing it will do.
pub async fn withdraw_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    withdraw_answer(&request, &member.signed, &state, path.into_inner(), (String::new(), None)).await
}

/// Takes it back.
pub async fn withdraw(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let seen: Option<i64> = sent.fields.raw("version").parse().ok();
    let outcome = match sent.fields.reason() {
        Ok(reason) => {
            let (name, id, actor) = (name.clone(), id.clone(), sent.signed().actor().to_owned());
            let taken = move |state: &AppState| {
                withdraw_explanation(state, &name, (id.as_str(), seen), (&actor, &reason)).map(drop)
            };
            state.blocking(taken).await
        }
        Err(problem) => Err(problem),
    };
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/changes/{name}/explanations?done=withdrawn", base(&request))));
    };
    let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
    withdraw_answer(&request, sent.signed(), &state, (name, id), typed).await
}

async fn withdraw_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, id): (ChangeName, ShortText),
    (reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let read = state.blocking(move |state| {
        let change = get_change(&mut *state.app().connection()?, &name)?;
        Ok((change, state.store().read(|conn| explanations::get(conn, &name, id.as_str()))?))
    });
    let (change, stored) = read.await?;
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let page = WithdrawPage {
        frame: Frame::new(request, format!("Withdraw an explanation: {}", change.title), signed),
        name: change.name.to_string(),
        title: change.title,
        row: row(stored, today(state), state.now()),
        reason,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
