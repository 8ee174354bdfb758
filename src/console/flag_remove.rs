//! `/console/flags/{key}/remove`: what the removal of a flag will do, the reason for it, and the deed.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::change_charts::evaluations_of_a_day;
use super::cohort_history::seen;
use super::flag_facts::Known;
use super::flag_write::{Confirm, Typed};
use super::form::Sent;
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use super::words::counted;
use crate::flags::words::in_short;
use crate::http::AppState;
use crate::http::api::proposals::write_by;
use crate::http::auth::Admin;
use crate::http::problem::Problem;
use crate::primitives::FlagKey;
use crate::store::StoreError;
use crate::store::flags::{self, FlagWrite};
use crate::store::proposals::Written;

#[derive(Template)]
#[template(path = "console/flag_remove.html")]
struct RemovePage {
    frame: Frame,
    key: String,
    told: Vec<String>,
    /// Flags that ask for it, so that it cannot go.
    asked_by: Vec<String>,
    seen: i64,
    confirm: Confirm,
}

/// What the removal will do.
pub async fn page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, key.into_inner(), Typed::default()).await
}

/// Removes it.
pub async fn remove(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    let key = key.into_inner();
    match written(&request, &sent, &state, key.clone()).await {
        Ok(done) => Ok(done),
        Err(problem) => {
            let typed = Typed::refused(&sent.fields, problem);
            answer(&request, sent.signed(), &state, key, typed).await
        }
    }
}

async fn written(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    key: FlagKey,
) -> Result<HttpResponse, Problem> {
    let asked = (sent.fields.is_ticked("override"), sent.fields.reason()?);
    let (seen, token, base) = (Some(seen(&sent.fields)?), sent.signed().token.clone(), base(request));
    let written = write_by(state, token, asked, move |conn, authority, origin| {
        flags::write(conn, &key, FlagWrite::Remove { seen }, authority, origin)
    });
    Ok(match written.await? {
        Written::Done(_) => see_other(&format!("{base}/flags?done=removed")),
        Written::Proposed(proposal) => see_other(&format!("{base}/proposals/{}?done=proposed", proposal.id)),
    })
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    key: FlagKey,
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let wanted = key.clone();
    let read = state.blocking(move |state| {
        let known = Known::get(state, &wanted)?;
        let asked_by = state.store().read(|conn| {
            let all = flags::all(conn)?.into_iter().filter_map(|stored| stored.parse().ok());
            let asking = all.filter(|other| other.prerequisites().iter().any(|one| one.flag == wanted));
            Ok::<_, StoreError>(asking.map(|other| other.key().to_string()).collect::<Vec<_>>())
        })?;
        let told = consequences(state, &known)?;
        Ok((known, asked_by, told))
    });
    let (known, asked_by, told) = read.await?;
    let (status, confirm) = (typed.status(), typed.confirm(Some(&known.flag)));
    let frame = Frame::new(request, format!("Remove: {key}"), signed);
    let page = RemovePage { frame, key: key.to_string(), told, asked_by, seen: known.stored.version, confirm };
    html_with(&page, status)
}

fn consequences(state: &AppState, known: &Known) -> Result<Vec<String>, Problem> {
    let asked = evaluations_of_a_day(state, known.flag.key())?;
    let mut told = vec![
        format!(
            "Now: {}. It was evaluated {} in the last 24 hours.",
            in_short(&known.flag),
            counted(asked, "time", "times")
        ),
        String::from(
            "Applications that still ask for it get the default that stands in their own code, with the error FLAG_NOT_FOUND, on each server within a second.",
        ),
    ];
    if let Some(change) = known.flag.change() {
        told.push(format!("It routes the change {change}: groups that are asked for first can be put on no side without it. Sides that are recorded stay."));
    }
    told.push(String::from("Its history stays. A flag of the same name can be made later; versions go on counting."));
    Ok(told)
}
