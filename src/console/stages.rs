//! `/console/changes/{name}/stage`: what a move of the stage will do, the reason for it, and the move.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::change_facts::Facts;
use super::form::Sent;
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use super::words::meaning;
use crate::change::Stage;
use crate::http::AppState;
use crate::http::api::changes::{Step, move_stage};
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::ChangeName;
use crate::translation::Gate;

/// Where to.
#[derive(Deserialize)]
pub struct Target {
    to: Stage,
}

#[derive(Template)]
#[template(path = "console/stage.html")]
struct StagePage {
    frame: Frame,
    name: String,
    title: String,
    from: &'static str,
    to: &'static str,
    is_forward: bool,
    is_last: bool,
    meaning: &'static str,
    consequences: Vec<String>,
    gates: Vec<Gate>,
    failing: usize,
    reason: String,
    is_forced: bool,
    error: Option<String>,
}

/// What was typed, and what came of it.
#[derive(Default)]
struct Typed {
    reason: String,
    is_forced: bool,
    error: Option<Problem>,
}

/// The page that says what will happen.
pub async fn page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    target: Query<Target>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, (name.into_inner(), target.to), Typed::default()).await
}

/// The move.
pub async fn change(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let stage = |field: &str| -> Result<Stage, Problem> {
        sent.fields.raw(field).parse().map_err(|_| Problem::new(Code::InvalidValue, "The form names no stage."))
    };
    let step = Step { from: Some(stage("from")?), to: stage("to")?, force: sent.fields.is_ticked("force") };
    let outcome = match sent.fields.text("reason") {
        Ok(reason) => {
            let (name, actor) = (name.clone(), sent.signed().actor().to_owned());
            state.blocking(move |state| move_stage(state, &name, step, (&actor, &reason)).map(drop)).await
        }
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(()) => Ok(see_other(&format!("{}/changes/{name}?done=moved", base(&request)))),
        Err(problem) => {
            let reason = sent.fields.raw("reason").to_owned();
            let typed = Typed { reason, is_forced: step.force, error: Some(problem) };
            answer(&request, sent.signed(), &state, (name, step.to), typed).await
        }
    }
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, to): (ChangeName, Stage),
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let facts = state.blocking(move |state| Facts::get(state, &name)).await?;
    if !facts.change.stage.moves().contains(&to) {
        let (name, stage) = (&facts.change.name, facts.change.stage);
        let impossible = || {
            Problem::new(
                Code::Refused,
                format!("`{name}` is at {stage}: from there it cannot move to {to} in one step."),
            )
        };
        return Err(typed.error.unwrap_or_else(impossible));
    }
    let asked = state.blocking(move |state| {
        let gates = facts.gates(state, to)?;
        let mut consequences = facts.consequences(to);
        consequences.extend(facts.division(state, to));
        Ok((facts, gates, consequences))
    });
    let (facts, gates, consequences) = asked.await?;
    let from = facts.change.stage;
    let status = typed.error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let page = StagePage {
        frame: Frame::new(request, format!("{from} → {to}: {}", facts.change.title), signed),
        name: facts.change.name.to_string(),
        title: facts.change.title.clone(),
        from: from.as_str(),
        to: to.as_str(),
        is_forward: to > from,
        is_last: to == Stage::Complete,
        meaning: meaning(to),
        consequences,
        failing: gates.iter().filter(|gate| !gate.holds).count(),
        gates,
        reason: typed.reason,
        is_forced: typed.is_forced,
        error: typed.error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
