//! Writes to a cohort from a form: ids that are typed in, what it is called and who belongs to it by conditions, and its removal.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde_json::Value;

use super::cohort::{Place, answer};
use super::cohort_facts::{Asks, Use, asks, uses};
use super::cohort_history::seen;
use super::form::{Fields, Sent};
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use super::words::counted;
use crate::flags::{CohortConditions, FlagMistake};
use crate::http::AppState;
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::CohortName;
use crate::store::Origin;
use crate::store::cohorts::{self, Changes, Edit, StoredCohort};
use crate::store::upload::{self, Upload, UploadFormat};

/// An example, where there are no conditions yet.
const EXAMPLE: &str = r#"[[{"attribute": "plan", "operator": "equals", "value": "pro"}]]"#;

#[derive(Template)]
#[template(path = "console/cohort_edit.html")]
struct EditPage {
    frame: Frame,
    name: String,
    uses: Vec<Use>,
    asks: Asks,
    description: String,
    conditions: String,
    example: &'static str,
    seen: i64,
    reason: String,
    error: Option<String>,
    mistakes: Vec<FlagMistake>,
}

#[derive(Template)]
#[template(path = "console/cohort_remove.html")]
struct RemovePage {
    frame: Frame,
    name: String,
    ids: String,
    has_conditions: bool,
    uses: Vec<Use>,
    staged: i64,
    seen: i64,
    reason: String,
    error: Option<String>,
}

/// Adds or removes the ids that are typed in.
pub async fn ids(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let (asked, upload) = (name.clone(), typed_ids(&sent.fields));
    let removes = sent.fields.raw("mode") == "remove";
    let work = move |state: &AppState, origin: Origin<'_>| {
        let ids = upload?.ids;
        let edit = if removes { Edit::Remove(&ids) } else { Edit::Add(&ids) };
        Ok(state.store().write(|conn| cohorts::edit(conn, &asked, edit, None, origin))?)
    };
    let outcome = sent.write(&state, work).await;
    match outcome {
        Ok(_) => Ok(see_other(&format!("{}/cohorts/{name}?done=edited", base(&request)))),
        Err(problem) => {
            let frame = Frame::new(&request, format!("Cohort {name}"), sent.signed());
            answer(frame, &state, name, Place::default(), Some((&sent.fields, problem))).await
        }
    }
}

fn typed_ids(fields: &Fields) -> Result<Upload, Problem> {
    let unusable =
        |error: &dyn std::fmt::Display| Problem::new(Code::InvalidValue, format!("Nothing was changed: {error}."));
    if fields.raw("ids").trim().is_empty() {
        return Err(unusable(&"write the ids, one a line"));
    }
    let read = upload::read(fields.raw("ids").as_bytes(), UploadFormat::Lines);
    let read = read.and_then(|read| read.with_at_most_rejected(Some(0)));
    read.map_err(|error| unusable(&error))
}

/// What the page that describes a cohort was sent back with.
struct Refused {
    description: String,
    conditions: String,
    reason: String,
    problem: Problem,
    mistakes: Vec<FlagMistake>,
}

/// The form for its description and its conditions.
pub async fn edit_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<HttpResponse, Problem> {
    edit_answer(&request, &member.signed, &state, name.into_inner(), None).await
}

/// Writes both.
pub async fn edit(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let conditions = conditions(sent.fields.raw("conditions"));
    let (outcome, mistakes) = match conditions {
        Err(mistakes) => {
            let detail = "The conditions have mistakes, so nothing was changed.";
            (Err(Problem::new(Code::InvalidValue, detail)), mistakes)
        }
        Ok(conditions) => (describe(&sent, &state, &name, conditions).await, Vec::new()),
    };
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/cohorts/{name}?done=described", base(&request))));
    };
    let raw = |field: &str| sent.fields.raw(field).to_owned();
    let refused = Refused {
        description: raw("description"),
        conditions: raw("conditions"),
        reason: raw("reason"),
        problem,
        mistakes,
    };
    edit_answer(&request, sent.signed(), &state, name, Some(refused)).await
}

async fn describe(
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    name: &CohortName,
    conditions: String,
) -> Result<StoredCohort, Problem> {
    let (name, description, seen) = (name.clone(), sent.fields.text("description")?, seen(&sent.fields)?);
    let work = move |state: &AppState, origin: Origin<'_>| {
        Ok(state.store().write(|conn| {
            // What stays as it is written is no change of the conditions.
            let stored = cohorts::get(conn, &name)?.conditions;
            let conditions = (conditions != stored).then_some(conditions.as_str());
            let changes = Changes { description: Some(&description), conditions };
            cohorts::describe(conn, &name, changes, Some(seen), origin)
        })?)
    };
    sent.write(state, work).await
}

/// Conditions as they are stored, or everything that is wrong with them. Nothing stands for none.
fn conditions(json: &str) -> Result<String, Vec<FlagMistake>> {
    let json = if json.trim().is_empty() { "[]" } else { json };
    let parsed = CohortConditions::parse(json).map_err(|error| error.mistakes)?;
    serde_json::to_string(&parsed).map_err(|error| vec![FlagMistake { at: String::new(), what: error.to_string() }])
}

/// JSON over several lines, as people read it.
fn spread(json: &str) -> String {
    let value: Option<Value> = serde_json::from_str(json).ok();
    match value {
        Some(Value::Array(groups)) if groups.is_empty() => String::new(),
        Some(value) => serde_json::to_string_pretty(&value).unwrap_or_else(|_| json.to_owned()),
        None => json.to_owned(),
    }
}

async fn edit_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    name: CohortName,
    refused: Option<Refused>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(request, format!("Describe: {name}"), signed);
    let uses = uses(&state.snapshot(), &name);
    let read = state.blocking(move |state| {
        Ok(state
            .store()
            .read(|conn| Ok::<_, crate::store::StoreError>((cohorts::get(conn, &name)?, asks(conn, &name)?)))?)
    });
    let (cohort, asks) = read.await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |refused| refused.problem.status_code());
    let mut page = EditPage {
        frame,
        uses,
        asks,
        description: cohort.description,
        conditions: spread(&cohort.conditions),
        example: EXAMPLE,
        name: cohort.name,
        seen: cohort.generation,
        reason: String::new(),
        error: None,
        mistakes: Vec::new(),
    };
    if let Some(refused) = refused {
        page.error = Some(refused.problem.detail().to_owned());
        (page.description, page.conditions) = (refused.description, refused.conditions);
        (page.reason, page.mistakes) = (refused.reason, refused.mistakes);
    }
    html_with(&page, status)
}

/// What the removal of the cohort will do.
pub async fn remove_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<HttpResponse, Problem> {
    remove_answer(&request, &member.signed, &state, name.into_inner(), (String::new(), None)).await
}

/// Removes the cohort.
pub async fn remove(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let (asked, seen) = (name.clone(), seen(&sent.fields));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let seen = seen?;
        Ok(state.store().write(|conn| cohorts::remove(conn, &asked, Some(seen), origin))?)
    };
    let outcome = sent.write(&state, work).await;
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/cohorts?done=removed", base(&request))));
    };
    let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
    remove_answer(&request, sent.signed(), &state, name, typed).await
}

async fn remove_answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    name: CohortName,
    (reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(request, format!("Remove: {name}"), signed);
    let uses = uses(&state.snapshot(), &name);
    let read = state.blocking(move |state| {
        Ok(state.store().read(|conn| {
            let staged = crate::store::cohort_staging::list(conn, &name)?.len();
            Ok::<_, crate::store::StoreError>((cohorts::get(conn, &name)?, staged))
        })?)
    });
    let (cohort, staged) = read.await?;
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let page = RemovePage {
        frame,
        ids: counted(cohort.id_count, "id", "ids"),
        has_conditions: cohort.conditions != "[]",
        name: cohort.name,
        uses,
        staged: i64::try_from(staged).unwrap_or(i64::MAX),
        seen: cohort.generation,
        reason,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
