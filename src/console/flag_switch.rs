//! `/console/flags/{key}/kill` and `/enable`: what throwing or releasing the kill switch will do, the reason for it, and the deed.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::change_charts::evaluations_of_a_day;
use super::flag_facts::{Known, moves};
use super::flag_look::{Look, Whom, look};
use super::flag_write::{Confirm, Typed, write};
use super::form::Sent;
use super::page::{Frame, html_with};
use super::session::{Member, Signed};
use super::words::counted;
use crate::database::DatabaseConnection;
use crate::flags::words::in_short;
use crate::http::AppState;
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::FlagKey;
use crate::store::protection::Authority;
use crate::store::{Origin, StoreError, flags};

#[derive(Template)]
#[template(path = "console/flag_switch.html")]
struct SwitchPage {
    frame: Frame,
    key: String,
    /// The switch is thrown, not released.
    is_kill: bool,
    told: Vec<String>,
    look: Look,
    confirm: Confirm,
}

/// What throwing it will do.
pub async fn kill_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, (key.into_inner(), false), Typed::default()).await
}

/// What releasing it will do.
pub async fn enable_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, (key.into_inner(), true), Typed::default()).await
}

/// Throws it.
pub async fn kill(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    switch(&request, &sent, &state, (key.into_inner(), false)).await
}

/// Releases it.
pub async fn enable(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    switch(&request, &sent, &state, (key.into_inner(), true)).await
}

async fn switch(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    (key, enabled): (FlagKey, bool),
) -> Result<HttpResponse, Problem> {
    let asked = key.clone();
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        flags::set_enabled_as(conn, &asked, enabled, authority, origin)
    };
    let done = if enabled { "enabled" } else { "killed" };
    match write(request, sent, state, (&key, done), work).await {
        Ok(done) => Ok(done),
        Err(problem) => {
            let typed = Typed::refused(&sent.fields, problem);
            answer(request, sent.signed(), state, (key, enabled), typed).await
        }
    }
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (key, enabled): (FlagKey, bool),
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let asked = key.clone();
    let read = state.blocking(move |state| {
        let known = Known::get(state, &asked)?;
        if known.flag.is_enabled() == enabled {
            let how = if enabled { "on" } else { "off" };
            return Err(Problem::new(Code::Refused, format!("There is nothing to do: the flag is {how} already.")));
        }
        let after = known.flag.clone().with_enabled(enabled);
        let look = look(state, &known.flag, Some(&after), &Whom::default());
        let told = consequences(state, &known, enabled)?;
        Ok((known, look, told))
    });
    let (known, look, told) = read.await?;
    let status = typed.status();
    let mut confirm = typed.confirm(Some(&known.flag));
    // Safety never waits.
    confirm.is_proposed &= enabled;
    let title = if enabled { format!("Turn on: {key}") } else { format!("Turn off: {key}") };
    let frame = Frame::new(request, title, signed);
    html_with(&SwitchPage { frame, key: key.to_string(), is_kill: !enabled, told, look, confirm }, status)
}

fn consequences(state: &AppState, known: &Known, enabled: bool) -> Result<Vec<String>, Problem> {
    let flag = &known.flag;
    let after = flag.clone().with_enabled(enabled);
    let mut told = vec![if enabled {
        format!("Its rules decide again, on each server within a second: {}.", in_short(&after))
    } else {
        let off = flag.find_variant(flag.off_variant().as_str());
        let value = off.map_or_else(String::new, |off| format!(" = {}", off.value.to_json()));
        format!("Everybody gets {}{value} from now on, on each server within a second.", flag.off_variant())
    }];
    let (bounds, others) = state.store().read(|conn| {
        let others = flags::all(conn)?.into_iter().filter_map(|stored| stored.parse().ok());
        let asks = others.filter(|other| other.prerequisites().iter().any(|one| one.flag == *flag.key()));
        let others: Vec<String> = asks.map(|other| other.key().to_string()).collect();
        Ok::<_, StoreError>((moves(conn, flag.key(), Some(&after))?, others))
    })?;
    told.extend(bounds);
    let asked = evaluations_of_a_day(state, flag.key())?;
    told.push(format!("It was evaluated {} in the last 24 hours.", counted(asked, "time", "times")));
    if !others.is_empty() {
        told.push(format!("What these flags serve may change with it, since they ask for it: {}.", others.join(", ")));
    }
    Ok(told)
}
