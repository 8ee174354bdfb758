//! `/console/changes/{name}/assignments/move`: a group is put on the other side for one open period, with a reason.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::form::Sent;
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use super::words::in_address;
use crate::http::AppState;
use crate::http::api::changes::put_on_side;
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::{ChangeName, Period};
use crate::routing::{BulkMove, GroupId, RoutedChange, Side, move_groups};
use crate::translation::own::get_change;

/// Which group, and whereto.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    group: String,
    period: String,
    side: String,
}

#[derive(Template)]
#[template(path = "console/assignment_move.html")]
struct MovePage {
    frame: Frame,
    name: String,
    title: String,
    group: String,
    address: String,
    period: String,
    side: &'static str,
    running: String,
    /// What the move would do to what is recorded.
    told: String,
    reason: String,
    error: Option<String>,
}

/// What the move will do.
pub async fn page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    asked: Query<Asked>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, (name.into_inner(), asked.into_inner()), (String::new(), None)).await
}

/// The move.
pub async fn run(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let raw = |field: &str| sent.fields.raw(field).trim().to_owned();
    let asked = Asked { group: raw("group"), period: raw("period"), side: raw("side") };
    let parsed = || -> Result<(GroupId, Period, Side, String), Problem> {
        Ok((GroupId::new(&asked.group)?, period(&asked.period)?, asked.side.parse()?, sent.fields.reason()?))
    };
    let moved = match parsed() {
        Ok((group, period, side, reason)) => {
            let (name, actor) = (name.clone(), sent.signed().actor().to_owned());
            let put = move |state: &AppState| put_on_side(state, &name, (&group, period, side), (&actor, &reason));
            state.blocking(put).await.map(drop)
        }
        Err(problem) => Err(problem),
    };
    let Err(problem) = moved else {
        let group = in_address(&asked.group);
        return Ok(see_other(&format!("{}/changes/{name}/assignments/group?id={group}&done=moved", base(&request))));
    };
    let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
    answer(&request, sent.signed(), &state, (name, asked), typed).await
}

fn period(text: &str) -> Result<Period, Problem> {
    let detail = || Problem::new(Code::InvalidValue, "Say in which period: such as 2026-12.");
    text.parse().map_err(|_| detail())
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, asked): (ChangeName, Asked),
    (reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let is_refused = error.is_some();
    let read = state.blocking(move |state| {
        let group = GroupId::new(&asked.group)?;
        let mut connection = state.app().connection()?;
        let change = get_change(&mut connection, &name)?;
        let routed = RoutedChange::get(&mut connection, &name)?;
        let at = state.now();
        let side = asked.side.parse().unwrap_or(Side::New);
        let period =
            if asked.period.is_empty() { routed.next_period(at).map_err(Problem::from) } else { period(&asked.period) };
        // What was refused is shown again with why, whatever it was.
        let told = period.and_then(|period| {
            let groups = BTreeSet::from([group.clone()]);
            let wanted = BulkMove { groups: &groups, period, side, actor: "", reason: "", at };
            let receipt = move_groups(&mut connection, &routed, &wanted, true)?;
            Ok((period.to_string(), told(receipt.moved, receipt.recorded, side)))
        });
        let (period, told) = match told {
            Err(problem) if !is_refused => return Err(problem),
            told => told.unwrap_or((asked.period, String::from("It cannot be moved so."))),
        };
        let running = routed.period_at(at)?.to_string();
        Ok((change, group, (period, side, running), told))
    });
    let (change, group, (period, side, running), told) = read.await?;
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let page = MovePage {
        frame: Frame::new(request, format!("Move group {group}"), signed),
        name: change.name.to_string(),
        title: change.title,
        address: in_address(group.as_str()),
        group: group.to_string(),
        period,
        side: side.as_str(),
        running,
        told,
        reason,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

fn told(moved: usize, recorded: usize, side: Side) -> String {
    match (moved, recorded) {
        (0, 0) => format!("It is recorded on the {side} side already: nothing would change."),
        (0, _) => format!(
            "Nothing is recorded for it yet, so it counts as old: from now on it is recorded on the {side} side."
        ),
        _ => format!(
            "It is recorded on the other side: all its charges of that period are billed by the {side} model from now on."
        ),
    }
}
