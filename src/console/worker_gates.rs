//! `/console/gates`: which background workers run, in which order they come back, who holds a lease; pausing and resuming one or all.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::form::Sent;
use super::page::{Frame, base, html_with, see_other};
use super::session::Member;
use super::words::{When, counted, when};
use crate::http::AppState;
use crate::http::auth::{Admin, Viewer};
use crate::http::problem::{Code, Problem};
use crate::primitives::{Instant, WorkerName};
use crate::store::Origin;
use crate::store::worker_gates::{self, Found, StoredGate};
use crate::worker_gates::{DELAY_S_MAX, Returning, Switch, schedule};

/// What has just been done.
#[derive(Deserialize)]
pub struct Done {
    #[serde(default)]
    done: String,
}

#[derive(Template)]
#[template(path = "console/worker_gates.html")]
struct GatesPage {
    frame: Frame,
    rows: Vec<Row>,
    /// Of those that a pause of all concerns: in words, nothing if there are none.
    to_pause: Option<String>,
    leases: String,
    /// The workers that a resume of all brings back, each with when.
    to_resume: Vec<(String, String)>,
    alone: Option<String>,
    reason: String,
    error: Option<Refused>,
}

/// What was refused, at which form.
struct Refused {
    at: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "console/worker_gate.html")]
struct GatePage {
    frame: Frame,
    row: Row,
    after: String,
    after_max: i64,
    reason: String,
    error: Option<String>,
}

struct Row {
    worker: String,
    description: String,
    /// `running`, `waiting`, `paused`
    state: &'static str,
    with_all: bool,
    until: Option<String>,
    order: i64,
    delay: String,
    single: bool,
    lease_s: i64,
    holder: Option<Holder>,
    switched: When,
    by: String,
    because: String,
}

struct Holder {
    name: String,
    token: i64,
    ends: String,
    stopping: bool,
}

/// All gates.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    done: Query<Done>,
) -> Result<HttpResponse, Problem> {
    let mut frame = Frame::new(&request, "Worker gates", &member.signed);
    frame.note = match done.done.as_str() {
        "paused" => Some("The workers are paused: each is told so when it asks next, within 10 seconds."),
        "resumed" => {
            Some("The workers come back in order. The times are stored: nothing needs to stay awake for them.")
        }
        "removed" => Some("The gate is removed."),
        _ => None,
    };
    list(frame, &state, String::new(), None).await
}

/// Pauses all.
pub async fn pause_all(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let work = |state: &AppState, origin: Origin<'_>| {
        Ok(state.store().write(|conn| worker_gates::pause_all(conn, origin).map(drop))?)
    };
    let outcome = sent.write(&state, work).await;
    all_done(&request, &sent, &state, ("pause", "paused"), outcome).await
}

/// Brings all back, in order.
pub async fn resume_all(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let alone = sent.fields.is_ticked("alone");
    let work = move |state: &AppState, origin: Origin<'_>| {
        Ok(state.store().write(|conn| worker_gates::resume_all(conn, alone, origin).map(drop))?)
    };
    let outcome = sent.write(&state, work).await;
    all_done(&request, &sent, &state, ("resume", "resumed"), outcome).await
}

async fn all_done(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    (at, done): (&'static str, &str),
    outcome: Result<(), Problem>,
) -> Result<HttpResponse, Problem> {
    let Err(problem) = outcome else { return Ok(see_other(&format!("{}/gates?done={done}", base(request)))) };
    let frame = Frame::new(request, "Worker gates", sent.signed());
    list(frame, state, sent.fields.raw("reason").to_owned(), Some((at, problem))).await
}

async fn list(
    frame: Frame,
    state: &Data<AppState>,
    reason: String,
    refused: Option<(&'static str, Problem)>,
) -> Result<HttpResponse, Problem> {
    let all = state.blocking(|state| Ok(state.store().read(worker_gates::list)?)).await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    let count = |is: &dyn Fn(&StoredGate) -> bool| {
        i64::try_from(all.found.iter().filter(|one| is(one)).count()).unwrap_or(i64::MAX)
    };
    let to_pause = count(&|one| one.gate.switch == Switch::Run);
    let held = count(&|one| {
        one.gate.switch == Switch::Run && one.lease.as_ref().is_some_and(|lease| lease.is_held_at(all.now))
    });
    let alone = count(&|one| one.gate.switch == Switch::Pause);
    let page = GatesPage {
        frame,
        to_pause: (to_pause > 0).then(|| counted(to_pause, "worker that runs or waits", "workers that run or wait")),
        leases: counted(held, "lease is held", "leases are held"),
        to_resume: returning(&all),
        alone: (alone > 0).then(|| counted(alone, "worker that was", "workers that were")),
        rows: all.found.into_iter().map(|one| row(one, all.now)).collect(),
        reason,
        error: refused.map(|(at, problem)| Refused { at, text: problem.detail().to_owned() }),
    };
    html_with(&page, status)
}

/// When each worker that was paused with all others would run, if all were resumed now.
fn returning(all: &Found<Vec<StoredGate>>) -> Vec<(String, String)> {
    let paused = all.found.iter().filter(|one| one.gate.switch == Switch::PauseAll);
    let returning = paused.map(|one| {
        let settings = &one.gate.settings;
        Returning { worker: one.worker.clone(), order: settings.order, delay_s: settings.delay_s }
    });
    let times = schedule(returning.collect(), all.now);
    times.into_iter().map(|(worker, at)| (worker.to_string(), in_words(seconds_until(at, all.now)))).collect()
}

fn seconds_until(at: Instant, now: Instant) -> i64 {
    (at.as_micros().saturating_sub(now.as_micros()).max(0).saturating_add(999_999)) / 1_000_000
}

fn in_words(seconds: i64) -> String {
    match seconds {
        ..=0 => String::from("at once"),
        1..=119 => format!("in {}", counted(seconds, "second", "seconds")),
        _ => format!("in {} min {} s", seconds / 60, seconds % 60),
    }
}

/// One gate, and its switch.
pub async fn one(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    done: Query<Done>,
) -> Result<HttpResponse, Problem> {
    let mut frame = Frame::new(&request, worker.to_string(), &member.signed);
    frame.note = match done.done.as_str() {
        "paused" => Some("The worker is paused: it is told so when it asks next, within 10 seconds."),
        "resumed" => Some("The worker may run from the stated time on."),
        "made" => Some("The gate is made. The worker may run."),
        "set" => Some("The gate is set anew."),
        _ => None,
    };
    one_answer(frame, &state, worker.into_inner(), None).await
}

/// Pauses one.
pub async fn pause(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
) -> Result<HttpResponse, Problem> {
    let worker = worker.into_inner();
    let asked = worker.clone();
    let work = move |state: &AppState, origin: Origin<'_>| {
        Ok(state.store().write(|conn| worker_gates::pause(conn, &asked, origin).map(drop))?)
    };
    let outcome = sent.write(&state, work).await;
    one_done(&request, &sent, &state, (worker, "paused"), outcome).await
}

/// Lets one run again, now or later.
pub async fn resume(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
) -> Result<HttpResponse, Problem> {
    let worker = worker.into_inner();
    let (asked, after) = (worker.clone(), after(sent.fields.raw("after")));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let after = after?;
        Ok(state.store().write(|conn| worker_gates::resume(conn, &asked, after, origin).map(drop))?)
    };
    let outcome = sent.write(&state, work).await;
    one_done(&request, &sent, &state, (worker, "resumed"), outcome).await
}

fn after(text: &str) -> Result<i64, Problem> {
    let seconds = if text.trim().is_empty() { Some(0) } else { text.trim().parse().ok() };
    seconds.filter(|seconds| (0..=DELAY_S_MAX).contains(seconds)).ok_or_else(|| {
        Problem::new(Code::InvalidValue, format!("Say in how many seconds as a whole number from 0 to {DELAY_S_MAX}."))
    })
}

async fn one_done(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    (worker, done): (WorkerName, &str),
    outcome: Result<(), Problem>,
) -> Result<HttpResponse, Problem> {
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/gates/{worker}?done={done}", base(request))));
    };
    let frame = Frame::new(request, worker.to_string(), sent.signed());
    let typed = (sent.fields.raw("reason").to_owned(), sent.fields.raw("after").to_owned(), problem);
    one_answer(frame, state, worker, Some(typed)).await
}

async fn one_answer(
    frame: Frame,
    state: &Data<AppState>,
    worker: WorkerName,
    typed: Option<(String, String, Problem)>,
) -> Result<HttpResponse, Problem> {
    let work = move |state: &AppState| Ok(state.store().read(|conn| worker_gates::get(conn, &worker))?);
    let found = state.blocking(work).await?;
    let status = typed.as_ref().map_or(StatusCode::OK, |(.., problem)| problem.status_code());
    let (reason, after, error) = match typed {
        Some((reason, after, problem)) => (reason, after, Some(problem.detail().to_owned())),
        None => (String::new(), String::from("0"), None),
    };
    let row = row(found.found, found.now);
    html_with(&GatePage { frame, row, after, after_max: DELAY_S_MAX, reason, error }, status)
}

fn row(one: StoredGate, now: Instant) -> Row {
    let (state, with_all) = (one.gate.state_at(now), one.gate.switch == Switch::PauseAll);
    let settings = one.gate.settings;
    let holder = one.lease.filter(|lease| lease.is_held_at(now)).map(|lease| Holder {
        name: lease.holder,
        token: lease.fencing,
        ends: in_words(seconds_until(lease.expires_at, now)),
        stopping: lease.stopped_at.is_some(),
    });
    Row {
        worker: one.worker.to_string(),
        description: settings.description,
        state: state.as_str(),
        with_all,
        until: state.until().map(|until| in_words(seconds_until(until, now))),
        order: settings.order,
        delay: counted(settings.delay_s, "second", "seconds"),
        single: settings.single_instance,
        lease_s: settings.lease_s,
        holder,
        switched: when(one.switched_at, now),
        by: one.switched_by,
        because: one.switch_reason,
    }
}
