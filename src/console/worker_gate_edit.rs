//! Making a gate, setting one anew, and removing one: `/console/new-gate`, `/console/gates/{worker}/edit` and `…/remove`.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;

use super::cohort_history::seen;
use super::form::{Fields, Sent};
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use crate::http::AppState;
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::WorkerName;
use crate::store::{Origin, StoreError, worker_gates};
use crate::worker_gates::Settings;

#[derive(Template)]
#[template(path = "console/worker_gate_edit.html")]
struct EditPage {
    frame: Frame,
    /// `None`: a gate is made.
    worker: Option<String>,
    typed: Typed,
    error: Option<String>,
}

/// What stands in the fields.
#[derive(Default)]
struct Typed {
    worker: String,
    description: String,
    order: String,
    delay: String,
    lease: String,
    is_single: bool,
    seen: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "console/worker_gate_remove.html")]
struct RemovePage {
    frame: Frame,
    worker: String,
    state: &'static str,
    holder: Option<String>,
    seen: i64,
    reason: String,
    error: Option<String>,
}

impl Typed {
    fn of(settings: &Settings) -> Self {
        Self {
            description: settings.description.clone(),
            order: settings.order.to_string(),
            delay: settings.delay_s.to_string(),
            lease: settings.lease_s.to_string(),
            is_single: settings.single_instance,
            ..Self::default()
        }
    }

    fn sent(fields: &Fields) -> Self {
        let raw = |name: &str| fields.raw(name).to_owned();
        Self {
            worker: raw("worker"),
            description: raw("description"),
            order: raw("order"),
            delay: raw("delay"),
            lease: raw("lease"),
            is_single: fields.is_ticked("single"),
            seen: raw("seen"),
            reason: raw("reason"),
        }
    }
}

/// The form for a new one.
pub async fn new_page(request: HttpRequest, member: Member<Admin>) -> Result<HttpResponse, Problem> {
    new_answer(&request, &member.signed, (Typed::of(&Settings::default()), None))
}

/// Makes it; it runs.
pub async fn create(request: HttpRequest, sent: Sent<Admin>, state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let wish = worker(&sent.fields).and_then(|worker| Ok((worker, settings(&sent.fields)?)));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let (worker, settings) = wish?;
        Ok(state.store().write(|conn| match worker_gates::set(conn, &worker, settings.clone(), None, origin)? {
            (_, true) => Ok(worker.clone()),
            // Rolled back: somebody else's gate stays as it is.
            (_, false) => Err(StoreError::Exists { what: "gate", name: worker.to_string() }),
        })?)
    };
    match sent.write(&state, work).await {
        Ok(worker) => Ok(see_other(&format!("{}/gates/{worker}?done=made", base(&request)))),
        Err(problem) => new_answer(&request, sent.signed(), (Typed::sent(&sent.fields), Some(problem))),
    }
}

fn worker(fields: &Fields) -> Result<WorkerName, Problem> {
    let wrong = |error| Problem::new(Code::InvalidValue, format!("The worker's name: {error}."));
    fields.raw("worker").trim().parse().map_err(wrong)
}

fn new_answer(
    request: &HttpRequest,
    signed: &Signed,
    (typed, error): (Typed, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let error = error.map(|problem| problem.detail().to_owned());
    html_with(&EditPage { frame: Frame::new(request, "New worker gate", signed), worker: None, typed, error }, status)
}

/// The form for one that is there.
pub async fn edit_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
) -> Result<HttpResponse, Problem> {
    edit_answer(&request, &member.signed, &state, worker.into_inner(), None).await
}

/// Sets it anew; it stays as it is switched.
pub async fn edit(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
) -> Result<HttpResponse, Problem> {
    let worker = worker.into_inner();
    let (asked, wish) = (worker.clone(), settings(&sent.fields).and_then(|wish| Ok((wish, seen(&sent.fields)?))));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let (settings, seen) = wish?;
        let written = |conn: &mut _| worker_gates::set(conn, &asked, settings.clone(), Some(seen), origin).map(drop);
        Ok(state.store().write(written)?)
    };
    let outcome = sent.write(&state, work).await;
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/gates/{worker}?done=set", base(&request))));
    };
    edit_answer(&request, sent.signed(), &state, worker, Some((Typed::sent(&sent.fields), problem))).await
}

async fn edit_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    worker: WorkerName,
    refused: Option<(Typed, Problem)>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(request, format!("Settings: {worker}"), signed);
    let named = Some(worker.to_string());
    let found = state.blocking(move |state| Ok(state.store().read(|conn| worker_gates::get(conn, &worker))?)).await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    let (typed, error) = match refused {
        Some((typed, problem)) => (typed, Some(problem.detail().to_owned())),
        None => {
            let seen = found.found.version.to_string();
            (Typed { seen, ..Typed::of(&found.found.gate.settings) }, None)
        }
    };
    html_with(&EditPage { frame, worker: named, typed, error }, status)
}

fn settings(fields: &Fields) -> Result<Settings, Problem> {
    let number = |name: &str, title: &str| {
        let text = fields.raw(name).trim();
        let wrong = || Problem::new(Code::InvalidValue, format!("{title} has to be a whole number."));
        text.parse::<i64>().map_err(|_| wrong())
    };
    let settings = Settings {
        description: fields.text("description")?,
        order: number("order", "The order")?,
        delay_s: number("delay", "The delay")?,
        single_instance: fields.is_ticked("single"),
        lease_s: number("lease", "The time of a lease")?,
    };
    settings.checked().map_err(|error| Problem::new(Code::InvalidValue, format!("{error}.")))
}

/// What the removal of a gate will do.
pub async fn remove_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
) -> Result<HttpResponse, Problem> {
    remove_answer(&request, &member.signed, &state, worker.into_inner(), (String::new(), None)).await
}

/// Removes it.
pub async fn remove(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
) -> Result<HttpResponse, Problem> {
    let worker = worker.into_inner();
    let (asked, seen) = (worker.clone(), seen(&sent.fields));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let seen = seen?;
        Ok(state.store().write(|conn| worker_gates::remove(conn, &asked, Some(seen), origin))?)
    };
    let outcome = sent.write(&state, work).await;
    let Err(problem) = outcome else { return Ok(see_other(&format!("{}/gates?done=removed", base(&request)))) };
    let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
    remove_answer(&request, sent.signed(), &state, worker, typed).await
}

async fn remove_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    worker: WorkerName,
    (reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(request, format!("Remove: {worker}"), signed);
    let named = worker.to_string();
    let found = state.blocking(move |state| Ok(state.store().read(|conn| worker_gates::get(conn, &worker))?)).await?;
    let (now, gate) = (found.now, found.found);
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let page = RemovePage {
        frame,
        worker: named,
        state: gate.gate.state_at(now).as_str(),
        holder: gate.lease.filter(|lease| lease.is_held_at(now)).map(|lease| lease.holder),
        seen: gate.version,
        reason,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
