//! `/console/proposals`: writes that wait for a second person, what each would do, and the decision.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::flag_look::{Look, Whom, look};
use super::form::Sent;
use super::page::{Frame, base, html, html_with, see_other};
use super::session::{Member, Signed};
use super::words::{When, when};
use crate::database::DatabaseConnection;
use crate::flags::words::{change_text, in_short};
use crate::http::AppState;
use crate::http::api::proposals::{ProposalAnswer, ProposalDetail, ProposedWriteAnswer, read};
use crate::http::auth::{Admin, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem};
use crate::primitives::Instant;
use crate::store::proposals::{self, Person};
use crate::store::{PageRequest, StoreError};

const ROWS: u32 = 50;

/// Where a page of the list begins, and what has just been done.
#[derive(Deserialize)]
pub struct Place {
    after: Option<ShortText>,
    #[serde(default)]
    done: String,
}

#[derive(Template)]
#[template(path = "console/proposals.html")]
struct ProposalsPage {
    frame: Frame,
    waiting: Vec<Row>,
    /// All of them, the newest first.
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "console/proposal.html")]
struct ProposalPage {
    frame: Frame,
    row: Row,
    overriding: bool,
    writes: Vec<WriteShown>,
    /// A flag that it would write has changed since.
    is_stale: bool,
    may_approve: bool,
    is_own: bool,
    reason: String,
    error: Option<String>,
}

struct Row {
    id: String,
    subject: String,
    kind: String,
    state: &'static str,
    by: String,
    reason: String,
    at: When,
    until: String,
    decided: Option<Decided>,
}

struct Decided {
    by: String,
    at: Option<When>,
    reason: String,
}

struct WriteShown {
    flag: String,
    serves: String,
    changes: Vec<String>,
    moves: Vec<String>,
    look: Look,
    is_stale: bool,
}

/// Those that wait, and all others.
pub async fn list(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let wanted = PageRequest { after: place.after.as_ref().map(|after| after.as_str().to_owned()), limit: Some(ROWS) };
    let is_first = wanted.after.is_none();
    let read = move |conn: &mut DatabaseConnection| {
        let waiting = proposals::list(conn, true, &PageRequest::first())?.items;
        Ok::<_, StoreError>((waiting, proposals::list(conn, false, &wanted)?))
    };
    let (waiting, all) = state.blocking(move |state| Ok(state.store().read(read)?)).await?;
    let now = state.now();
    let shown = |proposal| row(ProposalAnswer::from(proposal), now);
    html(&ProposalsPage {
        frame: Frame::new(&request, "Proposals", &member.signed),
        waiting: waiting.into_iter().map(shown).collect(),
        rows: all.items.into_iter().map(shown).filter(|row| row.state != "pending").collect(),
        is_first,
        next: all.next,
    })
}

/// One of them: what it would do.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    id: Path<ShortText>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let note = match place.done.as_str() {
        "proposed" => Some("It is proposed: nothing changes until another person approves it."),
        "approved" => Some("The proposal is approved and applied."),
        "rejected" => Some("The proposal is turned down: nothing was changed."),
        _ => None,
    };
    answer(&request, &member.signed, &state, id.as_str().to_owned(), (note, None, String::new())).await
}

/// Applies it.
pub async fn approve(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    decide(&request, &sent, &state, (id.as_str(), true)).await
}

/// Turns it down; who made it withdraws it by that.
pub async fn reject(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    decide(&request, &sent, &state, (id.as_str(), false)).await
}

async fn decide(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    (id, approves): (&str, bool),
) -> Result<HttpResponse, Problem> {
    let outcome = match sent.fields.reason() {
        Ok(reason) => {
            let (id, token) = (id.to_owned(), sent.signed().token.clone());
            let work = move |state: &AppState| {
                let person = Person { name: &token.name, token: Some(&token) };
                state.store().write(|conn| match approves {
                    true => proposals::approve(conn, &id, person, &reason).map(drop),
                    false => proposals::reject(conn, &id, person, &reason).map(drop),
                })?;
                Ok(())
            };
            state.writing(work).await
        }
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(()) => {
            let done = if approves { "approved" } else { "rejected" };
            Ok(see_other(&format!("{}/proposals/{id}?done={done}", base(request))))
        }
        Err(problem) if problem.code() == Code::ProposalNotFound => Err(problem),
        Err(problem) => {
            let reason = sent.fields.raw("reason").to_owned();
            answer(request, sent.signed(), state, id.to_owned(), (None, Some(problem), reason)).await
        }
    }
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    id: String,
    (note, error, reason): (Option<&'static str>, Option<Problem>, String),
) -> Result<HttpResponse, Problem> {
    let read = state.blocking(move |state| {
        let ProposalDetail { proposal, writes } = state.store().read(|conn| read(conn, &id))?;
        let is_open = proposal.state == "pending";
        let writes: Vec<WriteShown> = writes.into_iter().map(|write| write_shown(state, write, is_open)).collect();
        Ok((proposal, writes))
    });
    let (proposal, writes) = read.await?;
    let mut frame = Frame::new(request, format!("Proposal: {}", proposal.subject), signed);
    frame.note = note;
    let status = error.as_ref().map_or(actix_web::http::StatusCode::OK, Problem::status_code);
    let is_pending = proposal.state == "pending";
    let is_own = proposal.proposed_by == signed.actor();
    let is_stale = is_pending && writes.iter().any(|write| write.is_stale);
    let page = ProposalPage {
        frame,
        overriding: proposal.overriding,
        may_approve: is_pending && !is_own && !is_stale,
        is_own,
        is_stale,
        writes,
        row: row(proposal, state.now()),
        reason,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

/// Who would move is counted only while it can still be decided.
fn write_shown(state: &AppState, write: ProposedWriteAnswer, is_open: bool) -> WriteShown {
    let moves = write.moves.iter().map(|one| {
        let left = one.left.map_or_else(String::new, |left| format!(" {left} % may still move within this hour."));
        format!("At most {} % of all subjects of {} get another variant.{left}", one.percent, one.flag)
    });
    let snapshot = state.snapshot();
    let now = snapshot.find_flag(&write.flag).map(|flag| flag.flag());
    let after = write.becomes.as_ref().filter(|_| is_open && !write.stale);
    let nobody = Look { is_change: false, cohorts: Vec::new(), users: String::new(), found: None, error: None };
    WriteShown {
        serves: write.becomes.as_ref().map_or_else(|| String::from("The flag is removed"), in_short),
        changes: if is_open { write.changes.iter().map(change_text).collect() } else { Vec::new() },
        moves: if is_open { moves.collect() } else { Vec::new() },
        look: match (now.or(after), after) {
            (Some(now), Some(after)) => look(state, now, Some(after), &Whom::default()),
            _ => nobody,
        },
        is_stale: write.stale,
        flag: write.flag,
    }
}

fn row(proposal: ProposalAnswer, now: Instant) -> Row {
    let decided = proposal.decided_by.map(|by| Decided {
        by,
        at: proposal.decided_at.map(|at| when(at, now)),
        reason: proposal.decided_reason.unwrap_or_default(),
    });
    Row {
        at: when(proposal.created_at, now),
        until: when(proposal.expires_at, now).text,
        id: proposal.id,
        subject: proposal.subject,
        kind: proposal.kind,
        state: proposal.state,
        by: proposal.proposed_by,
        reason: proposal.reason,
        decided,
    }
}
