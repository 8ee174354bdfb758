//! `/console/cohorts/{name}/history`: what a cohort has been, what differs between two of its generations, and the way back to one.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::cohort_facts::{Asks, Difference, asks, difference, in_words};
use super::form::{Fields, Sent};
use super::page::{Frame, base, html, html_with, see_other};
use super::session::{Member, Signed};
use super::words::{When, grouped, when};
use crate::flags::CohortConditions;
use crate::http::AppState;
use crate::http::auth::{Admin, Viewer};
use crate::http::problem::{Code, Problem};
use crate::primitives::{CohortName, Instant};
use crate::store::cohort_generations::{self, Generation};
use crate::store::cohorts::{self, Edit};
use crate::store::{Origin, PageRequest, StoreError};

/// Generations on a page.
const ROWS: u32 = 50;

/// From which generation on.
#[derive(Deserialize)]
pub struct Place {
    #[serde(default)]
    after: String,
}

/// The generation that one is compared with.
#[derive(Deserialize)]
pub struct Since {
    since: Option<i64>,
}

/// One generation in a list.
pub struct Step {
    pub generation: i64,
    /// `replaced`, `ids added`, …
    pub action: &'static str,
    pub came: String,
    pub went: String,
    pub ids: String,
    pub at: When,
    pub by: String,
    pub reason: String,
    /// Its ids can still be read back.
    pub is_kept: bool,
}

#[derive(Template)]
#[template(path = "console/cohort_history.html")]
struct HistoryPage {
    frame: Frame,
    name: String,
    exists: bool,
    steps: Vec<Step>,
    is_first: bool,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "console/cohort_generation.html")]
struct GenerationPage {
    frame: Frame,
    name: String,
    step: Step,
    description: String,
    conditions: Vec<Vec<String>>,
    sha256: Option<String>,
    is_now: bool,
    /// With which one it is compared, and what differs; none if there is none that can be.
    since: Option<(i64, Difference)>,
    /// Those that it can be compared with.
    others: Vec<Step>,
}

#[derive(Template)]
#[template(path = "console/cohort_restore.html")]
struct RestorePage {
    frame: Frame,
    name: String,
    step: Step,
    difference: Difference,
    asks: Asks,
    /// The cohort's generation that the person saw.
    seen: i64,
    reason: String,
    error: Option<String>,
}

/// A generation as a row shows it.
pub fn step(found: Generation, now: Instant) -> Step {
    Step {
        action: match found.action.as_str() {
            "cohort.create" => "made",
            "cohort.describe" => "described",
            "cohort.replace" => "replaced",
            "cohort.add" => "ids added",
            "cohort.remove" => "ids removed",
            "cohort.activate" => "upload activated",
            "cohort.restore" => "restored",
            Generation::DELETE => "cohort removed",
            _ => "written",
        },
        at: when(found.at(), now),
        is_kept: found.readable && found.action != Generation::DELETE,
        came: grouped(found.added),
        went: grouped(found.removed),
        ids: grouped(found.id_count),
        generation: found.generation,
        by: found.actor,
        reason: found.reason,
    }
}

/// All generations, the newest first. A cohort that was removed still has them.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<CohortName>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&request, format!("History: {name}"), &member.signed);
    let after = Some(place.after.clone()).filter(|after| !after.is_empty());
    let (is_first, shown) = (after.is_none(), name.to_string());
    let read = state.blocking(move |state| {
        Ok(state.store().read(|conn| {
            let wanted = PageRequest { after, limit: Some(ROWS) };
            let page = cohort_generations::list(conn, &name, &wanted)?;
            if page.items.is_empty() && is_first {
                return Err(StoreError::not_found("cohort", name.as_str()));
            }
            Ok((page, cohorts::find(conn, &name)?.is_some()))
        })?)
    });
    let (page, exists) = read.await?;
    let now = state.now();
    html(&HistoryPage {
        frame,
        name: shown,
        exists,
        steps: page.items.into_iter().map(|generation| step(generation, now)).collect(),
        is_first,
        next: page.next,
    })
}

/// One generation, and what differs from another one: the one before, if nobody says which.
pub async fn one(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    path: Path<(CohortName, i64)>,
    since: Query<Since>,
) -> Result<HttpResponse, Problem> {
    let (name, number) = path.into_inner();
    let frame = Frame::new(&request, format!("Generation {number}: {name}"), &member.signed);
    let shown = name.to_string();
    let since = since.since;
    let read = state.blocking(move |state| {
        Ok(state.store().read(|conn| {
            let found = cohort_generations::get(conn, &name, number)?;
            let is_now = cohorts::find(conn, &name)?.is_some_and(|cohort| cohort.generation == number);
            let others = cohort_generations::list(conn, &name, &PageRequest { after: None, limit: Some(ROWS) })?.items;
            let before = PageRequest { after: Some(number.to_string()), limit: Some(1) };
            let before = cohort_generations::list(conn, &name, &before)?.items.pop().filter(can_be_read);
            let since = match since.or(before.map(|before| before.generation)).filter(|_| can_be_read(&found)) {
                Some(since) => Some((since, cohort_generations::compare(conn, &name, (since, number))?)),
                None => None,
            };
            Ok((found, is_now, others, since))
        })?)
    });
    let (found, is_now, others, since) = read.await?;
    let now = state.now();
    let others = others.into_iter().filter(|other| other.generation != number && can_be_read(other));
    html(&GenerationPage {
        frame,
        name: shown,
        others: others.map(|other| step(other, now)).collect(),
        description: found.description.clone(),
        conditions: CohortConditions::parse(&found.conditions).map(|all| in_words(&all)).unwrap_or_default(),
        sha256: found.sha256.clone(),
        is_now,
        since: since.map(|(since, comparison)| (since, difference(comparison))),
        step: step(found, now),
    })
}

fn can_be_read(found: &Generation) -> bool {
    found.readable && found.action != Generation::DELETE
}

/// What bringing its ids back will do.
pub async fn restore_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, i64)>,
) -> Result<HttpResponse, Problem> {
    restore_answer(&request, &member.signed, &state, path.into_inner(), (String::new(), None)).await
}

/// Brings its ids back.
pub async fn restore(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, i64)>,
) -> Result<HttpResponse, Problem> {
    let (name, earlier) = path.into_inner();
    let (asked, seen) = (name.clone(), seen(&sent.fields));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let seen = seen?;
        Ok(state.store().write(|conn| cohorts::edit(conn, &asked, Edit::Restore(earlier), Some(seen), origin))?)
    };
    let outcome = sent.write(&state, work).await;
    match outcome {
        Ok(_) => Ok(see_other(&format!("{}/cohorts/{name}?done=restored", base(&request)))),
        Err(problem) => {
            let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
            restore_answer(&request, sent.signed(), &state, (name, earlier), typed).await
        }
    }
}

/// The generation of the cohort that a form was made for.
pub fn seen(fields: &Fields) -> Result<i64, Problem> {
    let invalid = || Problem::new(Code::InvalidValue, "The form is not whole: open its page again.");
    fields.raw("seen").parse().map_err(|_| invalid())
}

async fn restore_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, earlier): (CohortName, i64),
    (reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(request, format!("Restore: {name}"), signed);
    let shown = name.to_string();
    let read = state.blocking(move |state| {
        Ok(state.store().read(|conn| {
            let now = cohorts::get(conn, &name)?.generation;
            let found = cohort_generations::get_readable(conn, &name, earlier)?;
            let comparison = cohort_generations::compare(conn, &name, (now, earlier))?;
            Ok((found, now, comparison, asks(conn, &name)?))
        })?)
    });
    let (found, seen, comparison, asks) = read.await?;
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let page = RestorePage {
        frame,
        name: shown,
        step: step(found, state.now()),
        difference: difference(comparison),
        asks,
        seen,
        reason,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
