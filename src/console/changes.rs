//! `/console/changes`: every installed change at a glance.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::change_facts::Facts;
use super::page::{Frame, html};
use super::session::Member;
use super::words::{StepShown, When, counted, stepper, when};
use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::Problem;
use crate::translation::own::list_changes;

#[derive(Template)]
#[template(path = "console/changes.html")]
struct ChangesPage {
    frame: Frame,
    changes: Vec<ChangeCard>,
}

/// A change in the overview.
struct ChangeCard {
    name: String,
    title: String,
    stage: &'static str,
    steps: Vec<StepShown>,
    stage_at: When,
    is_paused: bool,
    drift: Option<String>,
    has_drift: bool,
    pending: String,
    has_pending: bool,
    report: Option<(bool, String)>,
}

/// The overview.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let changes = state.blocking(|state| {
        let mut connection = state.app().connection()?;
        let installed = list_changes(&mut connection)?;
        installed.into_iter().map(|change| Ok(card(&Facts::read(state, &mut connection, change)?, state))).collect()
    });
    html(&ChangesPage { changes: changes.await?, frame: Frame::new(&request, "Changes", &member.signed) })
}

fn card(facts: &Facts, state: &AppState) -> ChangeCard {
    let (change, drift) = (&facts.change, facts.drift());
    let report = facts.report.as_ref().map(|last| {
        let report = &last.report;
        let text = match (report.clean, report.unexplained) {
            (true, _) => String::from("clean"),
            (false, 0) => String::from("totals differ"),
            (false, some) => counted(some, "difference nobody explains", "differences nobody explains"),
        };
        (report.clean, text)
    });
    ChangeCard {
        name: change.name.to_string(),
        title: change.title.clone(),
        stage: change.stage.as_str(),
        steps: stepper(change.stage),
        stage_at: when(change.stage_at, state.now()),
        is_paused: facts.is_paused(),
        has_drift: drift.is_some_and(|rows| rows > 0),
        drift: drift.map(|rows| counted(rows, "row differs", "rows differ")),
        pending: counted(facts.pending_count, "key waits", "keys wait"),
        has_pending: facts.pending_count > 0,
        report,
    }
}
