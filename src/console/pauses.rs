//! `/console/changes/{name}/pause` and `…/resume`: the kill switch of translation, with what it will do.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;

use super::change_facts::Facts;
use super::form::Sent;
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use super::words::{When, counted, when};
use crate::http::AppState;
use crate::http::api::pauses::{pause_change, resume_change};
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::ChangeName;
use crate::translation::pause::Authority;

#[derive(Template)]
#[template(path = "console/pause.html")]
struct PausePage {
    frame: Frame,
    name: String,
    title: String,
    stage: &'static str,
    /// Both directions are on, so keys are noted whatever one says.
    always_notes: bool,
    waiting: String,
    on_new: Option<String>,
    reason: String,
    notes_keys: bool,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "console/resume.html")]
struct ResumePage {
    frame: Frame,
    name: String,
    title: String,
    since: When,
    by: String,
    because: String,
    waiting: String,
    notes_keys: bool,
    both_ways: bool,
    authority: &'static str,
    reason: String,
    error: Option<String>,
}

/// Which of the two pages, and what was typed on it.
#[derive(Default)]
struct Typed {
    reason: String,
    notes_keys: bool,
    authority: Option<Authority>,
    error: Option<Problem>,
}

/// What a pause will do.
pub async fn pause_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    pause_answer(&request, &member.signed, &state, name.into_inner(), Typed::default()).await
}

/// The pause.
pub async fn pause(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let (name, notes_keys) = (name.into_inner(), sent.fields.is_ticked("record_keys"));
    let outcome = match sent.fields.text("reason") {
        Ok(reason) => {
            let (name, actor) = (name.clone(), sent.signed().actor().to_owned());
            state.blocking(move |state| pause_change(state, &name, notes_keys, (&actor, &reason)).map(drop)).await
        }
        Err(problem) => Err(problem),
    };
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/changes/{name}?done=paused", base(&request))));
    };
    let reason = sent.fields.raw("reason").to_owned();
    let typed = Typed { reason, notes_keys, error: Some(problem), ..Typed::default() };
    pause_answer(&request, sent.signed(), &state, name, typed).await
}

async fn pause_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    name: ChangeName,
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let facts = state.blocking(move |state| Facts::get(state, &name)).await?;
    let (stage, (_, new)) = (facts.change.stage, facts.open_sides());
    if !stage.translates_forward() || facts.gap.is_some() {
        return Err(Problem::new(Code::Refused, "There is nothing to pause: nothing is being translated now."));
    }
    let status = typed.error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let page = PausePage {
        frame: Frame::new(request, format!("Pause: {}", facts.change.title), signed),
        name: facts.change.name.to_string(),
        title: facts.change.title.clone(),
        stage: stage.as_str(),
        always_notes: stage.translates_backward(),
        waiting: counted(facts.pending_count, "key waits", "keys wait"),
        on_new: (new > 0).then(|| counted(new, "group is", "groups are")),
        reason: typed.reason,
        notes_keys: typed.notes_keys,
        error: typed.error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

/// What a resume will do.
pub async fn resume_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    resume_answer(&request, &member.signed, &state, name.into_inner(), Typed::default()).await
}

/// The resume: answered when the gap is closed.
pub async fn resume(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let authority = match sent.fields.raw("authority") {
        "old" => Some(Authority::Old),
        "new" => Some(Authority::New),
        _ => None,
    };
    let outcome = match sent.fields.text("reason") {
        Ok(reason) => {
            let (name, actor) = (name.clone(), sent.signed().actor().to_owned());
            state.blocking(move |state| resume_change(state, &name, authority, (&actor, &reason)).map(drop)).await
        }
        Err(problem) => Err(problem),
    };
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/changes/{name}?done=resumed", base(&request))));
    };
    let reason = sent.fields.raw("reason").to_owned();
    let typed = Typed { reason, authority, error: Some(problem), ..Typed::default() };
    resume_answer(&request, sent.signed(), &state, name, typed).await
}

async fn resume_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    name: ChangeName,
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let facts = state.blocking(move |state| Facts::get(state, &name)).await?;
    let Some(gap) = &facts.gap else {
        return Err(Problem::new(Code::Refused, "There is nothing to resume: translation is not paused."));
    };
    let status = typed.error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let authority = typed.authority.unwrap_or_else(|| Authority::by_default(facts.change.stage));
    let page = ResumePage {
        frame: Frame::new(request, format!("Resume: {}", facts.change.title), signed),
        name: facts.change.name.to_string(),
        title: facts.change.title.clone(),
        since: when(gap.paused_at, state.now()),
        by: gap.paused_by.clone(),
        because: gap.reason.clone(),
        waiting: counted(facts.pending_count, "key waits", "keys wait"),
        notes_keys: gap.records_keys,
        both_ways: facts.change.stage.translates_backward(),
        authority: match authority {
            Authority::Old => "old",
            Authority::New => "new",
        },
        reason: typed.reason,
        error: typed.error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
