//! `/console/cohorts/{name}/staged/{id}`: an upload that waits, who would come and go, and its activation or its end.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;

use super::cohort_facts::{Asks, Difference, Use, asks, difference, uses};
use super::cohort_history::seen;
use super::form::Sent;
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use super::words::{When, counted, grouped, when};
use crate::http::AppState;
use crate::http::auth::{Admin, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::Problem;
use crate::primitives::CohortName;
use crate::store::cohort_merge::Action;
use crate::store::cohorts::{self, Edit};
use crate::store::upload::Rejection;
use crate::store::{Origin, StoreError, cohort_staging};

#[derive(Template)]
#[template(path = "console/cohort_staged.html")]
struct StagedPage {
    frame: Frame,
    name: String,
    id: String,
    what: &'static str,
    by: String,
    at: When,
    expires: When,
    reason: String,
    read: String,
    duplicates: String,
    rejected: String,
    rejected_count: u64,
    rejections: Vec<Rejection>,
    /// Not all rejected lines are listed.
    is_cut: bool,
    ids: String,
    sha256: String,
    before: String,
    after: String,
    difference: Difference,
    uses: Vec<Use>,
    asks: Asks,
    /// Who looks at it has uploaded it, and another person has to activate it.
    waits_for_another: bool,
    has_changed: bool,
    seen: i64,
    typed_reason: String,
    error: Option<String>,
}

/// What it would do now.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, path.into_inner(), (String::new(), None)).await
}

/// Does what it was sent for.
pub async fn activate(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let all_the_same = sent.fields.is_ticked("even_if_changed");
    let (asked, wanted, seen) = (name.clone(), id.clone(), seen(&sent.fields));
    let work = move |state: &AppState, origin: Origin<'_>| {
        let seen = seen?;
        Ok(state.store().write(|conn| {
            let staged = cohort_staging::get(conn, &asked, wanted.as_str())?;
            // Never on another cohort than the one whose difference was shown.
            let seen = if all_the_same { seen } else { staged.base_generation };
            cohorts::edit(conn, &asked, Edit::Activate(&staged), Some(seen), origin).map(drop)
        })?)
    };
    let outcome = sent.write(&state, work).await;
    done(&request, &sent, &state, (name, id), ("activated", outcome)).await
}

/// Drops it.
pub async fn drop_it(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    path: Path<(CohortName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let (asked, wanted) = (name.clone(), id.clone());
    let work = move |state: &AppState, origin: Origin<'_>| {
        Ok(state.store().write(|conn| cohort_staging::drop_one(conn, &asked, wanted.as_str(), origin))?)
    };
    let outcome = sent.write(&state, work).await;
    done(&request, &sent, &state, (name, id), ("dropped", outcome)).await
}

async fn done(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    (name, id): (CohortName, ShortText),
    (done, outcome): (&str, Result<(), Problem>),
) -> Result<HttpResponse, Problem> {
    let Err(problem) = outcome else {
        return Ok(see_other(&format!("{}/cohorts/{name}?done={done}", base(request))));
    };
    let typed = (sent.fields.raw("reason").to_owned(), Some(problem));
    answer(request, sent.signed(), state, (name, id), typed).await
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, id): (CohortName, ShortText),
    (typed_reason, error): (String, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(request, format!("Upload that waits: {name}"), signed);
    let uses = uses(&state.snapshot(), &name);
    let read = state.blocking(move |state| {
        Ok(state.store().read(|conn| {
            let staged = cohort_staging::get(conn, &name, id.as_str())?;
            let comparison = cohort_staging::preview(conn, &staged)?;
            Ok::<_, StoreError>((staged, cohorts::get(conn, &name)?, comparison, asks(conn, &name)?))
        })?)
    });
    let (staged, cohort, comparison, asks) = read.await?;
    let status = error.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let ids = |count: i64| counted(count, "id", "ids");
    let (now, receipt) = (state.now(), staged.receipt);
    let page = StagedPage {
        frame,
        what: match staged.action {
            Action::Replace => "to replace all ids that are there",
            Action::Add => "to add its ids",
            Action::Remove => "to remove its ids",
        },
        at: when(staged.created_at, now),
        expires: when(staged.expires_at, now),
        read: grouped(count(receipt.read)),
        duplicates: grouped(count(receipt.duplicates)),
        rejected: counted(count(receipt.rejected), "line", "lines"),
        rejected_count: receipt.rejected,
        is_cut: count(receipt.rejected) > i64::try_from(receipt.rejections.len()).unwrap_or(i64::MAX),
        rejections: receipt.rejections,
        ids: grouped(staged.id_count),
        sha256: staged.sha256,
        before: ids(cohort.id_count),
        after: ids(cohort.id_count + count(comparison.added) - count(comparison.removed)),
        difference: difference(comparison),
        uses,
        waits_for_another: !asks.two_persons.is_empty() && staged.actor == signed.actor(),
        asks,
        has_changed: cohort.generation != staged.base_generation,
        seen: cohort.generation,
        name: cohort.name,
        id: staged.id,
        by: staged.actor,
        reason: staged.reason,
        typed_reason,
        error: error.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
