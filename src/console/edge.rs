//! `/console/changes/{name}/edge`: which copy of the application serves whom, as reverse proxies are told, and maintenance.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::form::{Fields, Sent};
use super::page::{Frame, base, html_with, see_other};
use super::session::Member;
use super::words::{When, counted, when};
use crate::edge::{Maintenance, Settings};
use crate::http::AppState;
use crate::http::api::edges::{write_maintenance, write_settings};
use crate::http::auth::{Admin, Viewer};
use crate::http::problem::{Code, Problem};
use crate::primitives::{ChangeName, Instant};
use crate::store::Origin;
use crate::store::edges::{self, StoredEdge};

/// What `Retry-After` says unless somebody wishes otherwise.
const RETRY_AFTER_S: u32 = 300;

/// What has just been done.
#[derive(Deserialize)]
pub struct Done {
    #[serde(default)]
    done: String,
}

#[derive(Template)]
#[template(path = "console/edge.html")]
struct EdgePage {
    frame: Frame,
    name: String,
    is_set: bool,
    updated: Option<(When, String)>,
    /// What is set, in sentences.
    told: Vec<String>,
    maintenance: Option<MaintenanceShown>,
    /// Who passes maintenance, in words.
    passes: String,
    typed: Typed,
    error: Option<Refused>,
}

struct MaintenanceShown {
    since: When,
    by: String,
    reason: String,
    retry_after: String,
    message: String,
}

/// What was refused, at which form.
struct Refused {
    at: &'static str,
    text: String,
}

/// What stands in the fields.
#[derive(Default)]
struct Typed {
    retry_after: String,
    message: String,
    settings: String,
    seen: String,
    reason: String,
}

/// The page.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    done: Query<Done>,
) -> Result<HttpResponse, Problem> {
    let mut frame = Frame::new(&request, format!("Edge: {name}"), &member.signed);
    frame.note = match done.done.as_str() {
        "begun" => Some("Maintenance has begun: proxies keep visitors out from their next question on."),
        "ended" => Some("Maintenance is over: visitors are let in again from the next question on."),
        "set" => Some("The settings are written: proxies follow from their next question on."),
        _ => None,
    };
    answer(frame, &state, name.into_inner(), None).await
}

/// Begins maintenance, or ends it.
pub async fn maintenance(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let (name, begins) = (name.into_inner(), sent.fields.raw("wish") == "begin");
    let (asked, wish) = (name.clone(), begins.then(|| beginning(&sent.fields)).transpose());
    let work = move |state: &AppState, origin: Origin<'_>| {
        let wanted = wish?;
        let wanted = wanted.as_ref().map(|(seconds, message)| (*seconds, message.as_str()));
        write_maintenance(state, &asked, wanted, origin).map(drop)
    };
    let outcome = sent.write(&state, work).await;
    let done = if begins { "begun" } else { "ended" };
    written(&request, &sent, &state, (name, "maintenance", done), outcome).await
}

fn beginning(fields: &Fields) -> Result<(u32, String), Problem> {
    let detail = "Say in how many seconds visitors may come again, from 1 to 86400.";
    let seconds = fields.raw("retry_after").trim().parse();
    Ok((seconds.map_err(|_| Problem::new(Code::InvalidValue, detail))?, fields.text("message")?))
}

/// Writes the settings.
pub async fn settings(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let (asked, wish) = (name.clone(), settings_wish(&sent.fields));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let (settings, seen) = wish?;
        write_settings(state, &asked, &settings, seen, origin).map(drop)
    };
    let outcome = sent.write(&state, work).await;
    written(&request, &sent, &state, (name, "settings", "set"), outcome).await
}

fn settings_wish(fields: &Fields) -> Result<(Settings, Option<i64>), Problem> {
    let wrong = |error| Problem::new(Code::InvalidValue, format!("The settings cannot be used: {error}."));
    let settings = serde_json::from_str(fields.raw("settings")).map_err(wrong)?;
    let seen = fields.raw("seen");
    let stale = |_| Problem::new(Code::InvalidValue, "The form is not whole: open its page again.");
    Ok((settings, (!seen.is_empty()).then(|| seen.parse().map_err(stale)).transpose()?))
}

async fn written(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    (name, at, done): (ChangeName, &'static str, &str),
    outcome: Result<(), Problem>,
) -> Result<HttpResponse, Problem> {
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/changes/{name}/edge?done={done}", base(request))));
    };
    let frame = Frame::new(request, format!("Edge: {name}"), sent.signed());
    answer(frame, state, name, Some((at, problem, &sent.fields))).await
}

async fn answer(
    frame: Frame,
    state: &Data<AppState>,
    name: ChangeName,
    refused: Option<(&'static str, Problem, &Fields)>,
) -> Result<HttpResponse, Problem> {
    let wanted = name.clone();
    let stored = state.blocking(move |state| Ok(state.store().read(|conn| edges::find(conn, &wanted))?)).await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem, _)| problem.status_code());
    let typed = match &refused {
        Some((at, _, fields)) => typed_again(at, fields, stored.as_ref())?,
        None => typed(stored.as_ref())?,
    };
    let error = refused.map(|(at, problem, _)| Refused { at, text: problem.detail().to_owned() });
    let now = state.now();
    let settings = stored.as_ref().map(|edge| edge.settings.clone()).unwrap_or_default();
    let page = EdgePage {
        frame,
        name: name.to_string(),
        is_set: stored.is_some(),
        told: told(&settings),
        passes: passes(&settings),
        maintenance: stored.as_ref().and_then(|edge| edge.maintenance.as_ref()).map(|found| shown(found, now)),
        updated: stored.map(|edge| (when(edge.updated_at, now), edge.updated_by)),
        typed,
        error,
    };
    html_with(&page, status)
}

fn typed(stored: Option<&StoredEdge>) -> Result<Typed, Problem> {
    let settings = stored.map(|edge| edge.settings.clone()).unwrap_or_default();
    Ok(Typed {
        retry_after: RETRY_AFTER_S.to_string(),
        settings: serde_json::to_string_pretty(&settings).map_err(|error| Problem::internal(&error))?,
        seen: stored.map(|edge| edge.version.to_string()).unwrap_or_default(),
        ..Typed::default()
    })
}

/// The form that was refused as it was sent, the other one as it is.
fn typed_again(at: &str, fields: &Fields, stored: Option<&StoredEdge>) -> Result<Typed, Problem> {
    let raw = |name: &str| fields.raw(name).to_owned();
    let fresh = Typed { reason: raw("reason"), ..typed(stored)? };
    Ok(match at {
        "settings" => Typed { settings: raw("settings"), seen: raw("seen"), ..fresh },
        _ => Typed { retry_after: raw("retry_after"), message: raw("message"), ..fresh },
    })
}

fn shown(maintenance: &Maintenance, now: Instant) -> MaintenanceShown {
    MaintenanceShown {
        since: when(maintenance.since, now),
        by: maintenance.by.clone(),
        reason: maintenance.reason.clone(),
        retry_after: counted(i64::from(maintenance.retry_after_s), "second", "seconds"),
        message: maintenance.message.clone(),
    }
}

fn told(settings: &Settings) -> Vec<String> {
    let mut told = vec![match settings.subject.len() {
        0 => String::from(
            "No visitor is known, so everybody gets the old upstream: name a source of the visitor's id under subject.",
        ),
        _ => counted(
            i64::try_from(settings.subject.len()).unwrap_or(i64::MAX),
            "source of the visitor's id is asked",
            "sources of the visitor's id are asked, in order",
        ),
    }];
    told.push(match &settings.flag {
        Some(flag) => format!("The flag {flag} decides, anew for each request."),
        None => String::from("The recorded side of the visitor's group decides, for the whole period."),
    });
    let upstreams = &settings.upstreams;
    told.push(format!("The old side is served by the upstream {}, the new one by {}.", upstreams.old, upstreams.new));
    if let Some(choice) = &settings.choice {
        let others: Vec<&str> = upstreams.others.iter().map(|name| name.as_str()).collect();
        let also = if others.is_empty() { String::new() } else { format!(", {} among them", others.join(", ")) };
        told.push(format!("Members of the cohort {} may choose an upstream for themselves{also}.", choice.cohort));
    }
    told
}

fn passes(settings: &Settings) -> String {
    let cohort = settings.pass.cohort.as_ref().map(|cohort| format!("members of the cohort {cohort}"));
    let claim = settings.pass.claim.as_ref();
    let claim = claim.map(|claim| format!("whoever's token says {} = {}", claim.name, claim.value));
    let all: Vec<String> = cohort.into_iter().chain(claim).collect();
    if all.is_empty() {
        String::from("nobody, as long as the settings name neither a cohort nor a claim for that")
    } else {
        all.join(" and ")
    }
}
