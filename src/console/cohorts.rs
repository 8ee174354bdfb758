//! `/console/cohorts`: every cohort with what it holds and who uses it, and the form that makes one.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::cohort_facts::all_uses;
use super::form::{Fields, Sent};
use super::page::{Frame, base, html_with, see_other};
use super::session::Member;
use super::words::{When, grouped, in_address, when};
use crate::http::AppState;
use crate::http::auth::{Admin, Viewer};
use crate::http::problem::{Code, Problem};
use crate::primitives::CohortName;
use crate::store::cohorts::{self, Changes, StoredCohort};
use crate::store::{Origin, PageRequest};

/// Cohorts on a page.
const ROWS: u32 = 50;

/// Which cohorts, and what has just been done.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Place {
    text: String,
    after: String,
    done: String,
}

#[derive(Template)]
#[template(path = "console/cohorts.html")]
struct CohortsPage {
    frame: Frame,
    text: String,
    /// How many there are, whatever is searched for.
    total: usize,
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
    typed: Typed,
    error: Option<String>,
}

struct Row {
    name: String,
    description: String,
    ids: String,
    has_conditions: bool,
    flags: Vec<String>,
    at: When,
    by: String,
}

/// What stands in the form.
#[derive(Default)]
struct Typed {
    name: String,
    description: String,
    reason: String,
}

/// The list.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let mut frame = Frame::new(&request, "Cohorts", &member.signed);
    frame.note = (place.done == "removed").then_some("The cohort is removed. Its history stays.");
    list(frame, &state, place.into_inner(), None).await
}

/// Makes a cohort without ids.
pub async fn create(request: HttpRequest, sent: Sent<Admin>, state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let outcome = match wish(&sent.fields) {
        Ok((name, description, reason)) => {
            let actor = sent.signed().actor().to_owned();
            let made = move |state: &AppState| {
                let origin = Origin { actor: &actor, reason: &reason };
                let described = Changes { description: Some(&description), conditions: None };
                Ok(state.store().write(|conn| cohorts::create_as(conn, &name, described, origin))?)
            };
            state.writing(made).await
        }
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(made) => Ok(see_other(&format!("{}/cohorts/{}?done=created", base(&request), made.name))),
        Err(problem) => {
            let frame = Frame::new(&request, "Cohorts", sent.signed());
            list(frame, &state, Place::default(), Some((&sent.fields, problem))).await
        }
    }
}

fn wish(fields: &Fields) -> Result<(CohortName, String, String), Problem> {
    let name = fields.raw("name").trim();
    if name.is_empty() {
        return Err(Problem::new(Code::InvalidValue, "Give the cohort a name."));
    }
    let name = CohortName::new(name).map_err(|error| Problem::new(Code::InvalidValue, format!("{error}.")))?;
    Ok((name, fields.text("description")?, fields.text("reason")?))
}

async fn list(
    frame: Frame,
    state: &Data<AppState>,
    place: Place,
    refused: Option<(&Fields, Problem)>,
) -> Result<HttpResponse, Problem> {
    let wanted = place.text.trim().to_lowercase();
    let all = state.blocking(|state| Ok(state.store().read(cohorts::all)?)).await?;
    let total = all.len();
    let found = all.into_iter().filter(|cohort| is_found(cohort, &wanted)).collect();
    let after = Some(place.after).filter(|after| !after.is_empty());
    let (is_first, request) = (after.is_none(), PageRequest { after, limit: Some(ROWS) });
    let page = request.page_of(found, |cohort: &StoredCohort| cohort.name.clone());
    let (snapshot, now) = (state.snapshot(), state.now());
    let uses = all_uses(&snapshot);
    let row = |cohort: StoredCohort| Row {
        flags: uses.get(cohort.name.as_str()).into_iter().flatten().map(|flag| (*flag).to_owned()).collect(),
        ids: grouped(cohort.id_count),
        has_conditions: cohort.conditions != "[]",
        at: when(cohort.updated_at(), now),
        by: cohort.updated_by,
        name: cohort.name,
        description: cohort.description,
    };
    let typed = refused.as_ref().map(|(fields, _)| Typed {
        name: fields.raw("name").to_owned(),
        description: fields.raw("description").to_owned(),
        reason: fields.raw("reason").to_owned(),
    });
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    let page = CohortsPage {
        frame,
        total,
        rows: page.items.into_iter().map(row).collect(),
        is_first,
        next: page.next.map(|next| format!("text={}&after={}", in_address(place.text.trim()), in_address(&next))),
        text: place.text,
        typed: typed.unwrap_or_default(),
        error: refused.map(|(_, problem)| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

/// By a part of its name or of its description, in large or small letters.
fn is_found(cohort: &StoredCohort, wanted: &str) -> bool {
    cohort.name.to_lowercase().contains(wanted) || cohort.description.to_lowercase().contains(wanted)
}
