//! `/console/tokens`: who may ask, and in which role. A token's text is shown once, on the page behind the form that made it.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use jiff::civil::Date;
use serde::Deserialize;

use super::form::{Fields, Sent};
use super::page::{Frame, base, html, html_with, see_other};
use super::session::{Member, Signed, add, cookie, removal};
use super::words::{When, when};
use crate::http::AppState;
use crate::http::api::explanations::today;
use crate::http::api::tokens::create_token;
use crate::http::auth::{Admin, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem};
use crate::primitives::Instant;
use crate::store::tokens::{self, IssuedToken, Role, Token};
use crate::store::{Origin, PageRequest};

/// Holds a new token's id and text between the form and the page that shows it.
const MADE: &str = "changeover_made";
const ROWS: u32 = 50;
/// A token that nobody says anything else of ends after this.
const DAYS: i32 = 90;

/// Where a page of the list begins, and what has just been done.
#[derive(Deserialize)]
pub struct Place {
    #[serde(default)]
    after: String,
    #[serde(default)]
    done: String,
}

#[derive(Template)]
#[template(path = "console/tokens.html")]
struct TokensPage {
    frame: Frame,
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
    roles: Vec<RoleShown>,
    name: String,
    expires: String,
    reason: String,
    error: Option<String>,
}

struct Row {
    id: String,
    name: String,
    role: &'static str,
    by: String,
    created: When,
    expires: Option<When>,
    /// `valid`, `expired`, `revoked`.
    state: &'static str,
    is_own: bool,
}

struct RoleShown {
    name: &'static str,
    may: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "console/token_made.html")]
struct MadePage {
    frame: Frame,
    name: String,
    role: &'static str,
    /// Nothing once it was shown.
    text: Option<String>,
    expires: Option<When>,
}

#[derive(Template)]
#[template(path = "console/token_revoke.html")]
struct RevokePage {
    frame: Frame,
    row: Row,
    reason: String,
    error: Option<String>,
}

/// The list, and the form that makes one.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let mut frame = Frame::new(&request, "Tokens", &member.signed);
    if place.done == "revoked" {
        frame.note = Some("The token is revoked: what is asked with it is refused from now on.");
    }
    let after = Some(place.after.clone()).filter(|after| !after.is_empty());
    list(frame, &member.signed, &state, after, None).await
}

/// Makes a token. Its text goes to the page behind in a cookie that is taken away there: not in the address, and sending the form again
/// by a reload is impossible. The next request may reach another server, so none of them could keep it.
pub async fn create(request: HttpRequest, sent: Sent<Admin>, state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let issued = match wish(&sent.fields) {
        Ok((name, role, expires_at, reason)) => {
            let actor = sent.signed().actor().to_owned();
            let origin = move |state: &AppState| {
                create_token(state, (&name, role, expires_at), Origin { actor: &actor, reason: &reason })
            };
            state.writing(origin).await
        }
        Err(problem) => Err(problem),
    };
    match issued {
        Ok(IssuedToken { token, text }) => {
            let mut answer = see_other(&format!("{}/tokens/{}/made", base(&request), token.id));
            add(&mut answer, &cookie(&request, MADE, format!("{}.{text}", token.id)))?;
            Ok(answer)
        }
        Err(problem) => {
            let frame = Frame::new(&request, "Tokens", sent.signed());
            list(frame, sent.signed(), &state, None, Some((&sent.fields, problem))).await
        }
    }
}

/// Shows the text of a token that was just made, once.
pub async fn made(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    let kept = request.cookie(MADE).map(|cookie| cookie.value().to_owned());
    let text = kept.as_deref().and_then(|kept| kept.split_once('.')).filter(|(of, _)| *of == id.as_str());
    let text = text.map(|(_, text)| text.to_owned());
    let token = state.blocking(move |state| Ok(state.store().read(|conn| tokens::get(conn, id.as_str()))?)).await?;
    let mut answer = html(&MadePage {
        frame: Frame::new(&request, "A new token", &member.signed),
        name: token.name,
        role: token.role.as_str(),
        text,
        expires: token.expires_at.map(|at| when(at, state.now())),
    })?;
    add(&mut answer, &removal(&request, MADE))?;
    Ok(answer)
}

type Wish = (String, Role, Option<Instant>, String);

fn wish(fields: &Fields) -> Result<Wish, Problem> {
    let invalid = |detail: &str| Problem::new(Code::InvalidValue, detail);
    let role = fields.raw("role").parse().map_err(|_| invalid("Say what the token is for: choose a role."))?;
    let expires_at = match fields.raw("expires").trim() {
        "" => None,
        day => {
            let day: Option<Date> = day.parse().ok();
            // Its last day counts to the end.
            let end = day.and_then(|day| day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok());
            let end =
                end.ok_or_else(|| invalid("Say the last day as 2026-12-31, or nothing for a token without an end."))?;
            Some(Instant::from(end.timestamp()))
        }
    };
    Ok((fields.text("name")?, role, expires_at, fields.text("reason")?))
}

async fn list(
    frame: Frame,
    signed: &Signed,
    state: &Data<AppState>,
    after: Option<String>,
    refused: Option<(&Fields, Problem)>,
) -> Result<HttpResponse, Problem> {
    let is_first = after.is_none();
    let wanted = PageRequest { after, limit: Some(ROWS) };
    let page = state.blocking(move |state| Ok(state.store().read(|conn| tokens::list(conn, &wanted))?)).await?;
    let (now, typed) = (state.now(), refused.as_ref().map(|(fields, _)| *fields));
    let raw = |name: &str| typed.map_or("", |fields| fields.raw(name)).to_owned();
    let until = today(state).checked_add(jiff::Span::new().days(DAYS)).map(|day| day.to_string()).unwrap_or_default();
    let chosen = typed.map_or("viewer", |fields| fields.raw("role"));
    let role = |role: Role| RoleShown { name: role.as_str(), may: may(role), is_chosen: role.as_str() == chosen };
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    let page = TokensPage {
        frame,
        rows: page.items.into_iter().map(|token| row(token, signed, now)).collect(),
        is_first,
        next: page.next,
        roles: Role::ALL.into_iter().map(role).collect(),
        name: raw("name"),
        expires: typed.map_or(until, |fields| fields.raw("expires").to_owned()),
        reason: raw("reason"),
        error: refused.map(|(_, problem)| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

fn may(role: Role) -> &'static str {
    match role {
        Role::Evaluate => "evaluate flags: for applications",
        Role::Write => "evaluate flags and write rows through us: for applications that do",
        Role::Viewer => "evaluate flags and read everything, here as well",
        Role::Admin => "everything",
    }
}

fn row(token: Token, signed: &Signed, now: Instant) -> Row {
    let is_expired = token.expires_at.is_some_and(|expires_at| expires_at <= now);
    Row {
        state: match (token.revoked_at.is_some(), is_expired) {
            (true, _) => "revoked",
            (false, true) => "expired",
            (false, false) => "valid",
        },
        is_own: token.id == signed.token.id,
        id: token.id,
        name: token.name,
        role: token.role.as_str(),
        by: token.created_by,
        created: when(token.created_at, now),
        expires: token.expires_at.map(|at| when(at, now)),
    }
}

/// What revoking it will do.
pub async fn revoke_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    revoke_answer(&request, &member.signed, &state, id.into_inner(), (String::new(), None)).await
}

/// Revokes it, for good.
pub async fn revoke(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    let asked = id.clone();
    let work = move |state: &AppState, origin: Origin<'_>| {
        Ok(state.store().write(|conn| tokens::revoke(conn, asked.as_str(), origin).map(drop))?)
    };
    let outcome = sent.write(&state, work).await;
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/tokens?done=revoked", base(&request))));
    };
    let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
    revoke_answer(&request, sent.signed(), &state, id, typed).await
}

async fn revoke_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    id: ShortText,
    (reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let token = state.blocking(move |state| Ok(state.store().read(|conn| tokens::get(conn, id.as_str()))?)).await?;
    if token.revoked_at.is_some() {
        return Err(Problem::new(Code::Refused, "There is nothing to revoke: the token is revoked already."));
    }
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let frame = Frame::new(request, format!("Revoke: {}", token.name), signed);
    let error = error.map(|problem| problem.detail().to_owned());
    html_with(&RevokePage { frame, row: row(token, signed, state.now()), reason, error }, status)
}
