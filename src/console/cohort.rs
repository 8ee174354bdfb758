//! `/console/cohorts/{name}`: what a cohort is, who uses it and how far it reaches, its ids page by page, a look-up, and its ids as a file.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::cohort_facts::{Asks, Use, asks, in_words, uses};
use super::cohort_history::{Step, step};
use super::form::Fields;
use super::page::{Frame, html_with};
use super::session::Member;
use super::words::{When, counted, in_address, when};
use crate::flags::{Cohort, CohortConditions, Snapshot};
use crate::http::AppState;
use crate::http::api::cohort_ids::{export, format_named};
use crate::http::auth::Viewer;
use crate::http::problem::Problem;
use crate::primitives::{ChangeName, CohortName, Instant};
use crate::routing::{self, RoutingError, WidenedCohort, is_not_installed};
use crate::store::cohort_generations::{self, Generation};
use crate::store::cohort_leaves::{self, AsOf};
use crate::store::cohort_staging::{self, Staged};
use crate::store::cohorts::{self, StoredCohort};
use crate::store::upload::id_of;
use crate::store::{Page, PageRequest};

/// Ids on a page, and of the history what is shown at once.
const IDS: u32 = 60;
const STEPS: u32 = 5;
/// A cohort with more ids is widened only when somebody asks for it: each id is looked up in the application's database.
const WIDENED_IDS_MAX: i64 = 20_000;

/// Which ids, whom one looks for, and what has just been done.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Place {
    after: String,
    id: String,
    widen: String,
    done: String,
}

#[derive(Template)]
#[template(path = "console/cohort.html")]
struct CohortPage {
    frame: Frame,
    name: String,
    description: String,
    ids_total: String,
    is_empty: bool,
    generation: i64,
    at: When,
    by: String,
    conditions: Vec<Vec<String>>,
    uses: Vec<Use>,
    reaches: Vec<Reach>,
    asks: Asks,
    looked_up: Option<LookedUp>,
    ids: Vec<String>,
    is_first: bool,
    next: Option<String>,
    staged: Vec<StagedShown>,
    steps: Vec<Step>,
    typed: Typed,
    error: Option<String>,
}

/// How far the cohort reaches in a change.
struct Reach {
    change: String,
    flag: String,
    /// None: nobody has asked for it yet.
    told: Option<String>,
}

/// Whether an id is listed.
struct LookedUp {
    id: String,
    is_listed: bool,
    /// Why it is no id.
    mistake: Option<&'static str>,
}

/// An upload that waits.
struct StagedShown {
    id: String,
    what: String,
    by: String,
    at: When,
    reason: String,
}

/// What stands in the form for ids.
#[derive(Default)]
struct Typed {
    ids: String,
    reason: String,
}

/// Everything that the store knows of it.
struct Read {
    cohort: StoredCohort,
    ids: Page<String>,
    looked_up: Option<LookedUp>,
    staged: Vec<Staged>,
    steps: Vec<Generation>,
    asks: Asks,
}

/// The page.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<CohortName>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let place = place.into_inner();
    let mut frame = Frame::new(&request, format!("Cohort {name}"), &member.signed);
    frame.note = match place.done.as_str() {
        "created" => Some("The cohort is made. It has no ids yet: upload some, or type them below."),
        "edited" => Some("The ids are written. The history says how many came and went."),
        "described" => Some("The cohort is changed."),
        "activated" => Some("The upload is activated. The history says how many came and went."),
        "dropped" => Some("The upload is dropped. The cohort is what it was."),
        "restored" => Some("The earlier ids are back, in a new generation."),
        _ => None,
    };
    answer(frame, &state, name.into_inner(), place, None).await
}

/// The page, perhaps with a form for ids that was refused.
pub async fn answer(
    frame: Frame,
    state: &Data<AppState>,
    name: CohortName,
    place: Place,
    refused: Option<(&Fields, Problem)>,
) -> Result<HttpResponse, Problem> {
    let snapshot = state.snapshot();
    let uses = uses(&snapshot, &name);
    let is_first = place.after.is_empty();
    let widens = !place.widen.is_empty();
    let changes: Vec<(String, String)> =
        uses.iter().filter_map(|used| Some((used.change.clone()?, used.flag.clone()))).collect();
    let read = state.blocking(move |state| {
        let read = state.store().read(|conn| read(conn, &name, &place))?;
        let is_counted = widens || read.cohort.id_count <= WIDENED_IDS_MAX;
        let reaches = changes.into_iter().map(|(change, flag)| Reach {
            told: is_counted.then(|| reach(state, &snapshot, &name, &change)),
            change,
            flag,
        });
        let reaches = reaches.collect::<Vec<_>>();
        Ok((read, reaches))
    });
    let (Read { cohort, ids, looked_up, staged, steps, asks }, reaches) = read.await?;
    let now = state.now();
    let typed = refused
        .as_ref()
        .map(|(fields, _)| Typed { ids: fields.raw("ids").to_owned(), reason: fields.raw("reason").to_owned() });
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    let page = CohortPage {
        frame,
        ids_total: counted(cohort.id_count, "id", "ids"),
        is_empty: cohort.id_count == 0,
        generation: cohort.generation,
        at: when(cohort.updated_at(), now),
        conditions: CohortConditions::parse(&cohort.conditions).map(|all| in_words(&all)).unwrap_or_default(),
        by: cohort.updated_by,
        name: cohort.name,
        description: cohort.description,
        uses,
        reaches,
        asks,
        looked_up,
        ids: ids.items,
        is_first,
        next: ids.next.map(|next| in_address(&next)),
        staged: staged.into_iter().map(|staged| shown(staged, now)).collect(),
        steps: steps.into_iter().map(|generation| step(generation, now)).collect(),
        typed: typed.unwrap_or_default(),
        error: refused.map(|(_, problem)| problem.detail().to_owned()),
    };
    html_with(&page, status)
}

fn read(
    connection: &mut crate::database::DatabaseConnection,
    name: &CohortName,
    place: &Place,
) -> Result<Read, crate::store::StoreError> {
    let cohort = cohorts::get(connection, name)?;
    let after = Some(place.after.clone()).filter(|after| !after.is_empty() && !after.contains('\0'));
    let ids = PageRequest { after, limit: Some(IDS) };
    let steps = PageRequest { after: None, limit: Some(STEPS) };
    let looked_up = match (place.id.trim().is_empty(), id_of(&place.id)) {
        (true, _) => None,
        (false, Ok(id)) => {
            Some(LookedUp { is_listed: cohort_leaves::contains(connection, name, &id)?, id, mistake: None })
        }
        (false, Err(mistake)) => {
            Some(LookedUp { id: place.id.chars().take(300).collect(), is_listed: false, mistake: Some(mistake) })
        }
    };
    Ok(Read {
        ids: cohort_leaves::list(connection, name, AsOf::Version(cohort.generation), &ids)?,
        looked_up,
        staged: cohort_staging::list(connection, name)?,
        steps: cohort_generations::list(connection, name, &steps)?.items,
        asks: asks(connection, name)?,
        cohort,
    })
}

/// How far the cohort reaches in a change, as a sentence; also what stands in the way of counting it.
fn reach(state: &AppState, snapshot: &Snapshot, name: &CohortName, change: &str) -> String {
    let cohort = snapshot.find_cohort(name.as_str()).and_then(|at| snapshot.cohort(at));
    let (Some(cohort), Ok(change)) = (cohort, change.parse::<ChangeName>()) else { return String::from("nobody") };
    match widened(state, &change, cohort) {
        Ok(reach) => reach_in_words(&reach),
        Err(error) if is_not_installed(&error) => {
            String::from("nobody, because the change is not installed in the application's database")
        }
        Err(error) => {
            tracing::warn!(%error, cohort = %name, %change, "a cohort could not be widened to groups");
            String::from("it could not be counted: the server's log says why")
        }
    }
}

fn widened(state: &AppState, change: &ChangeName, cohort: &Cohort) -> Result<WidenedCohort, RoutingError> {
    routing::reach(&mut *state.app().connection()?, change, cohort)
}

/// `3 users widened to 2 groups of 7 payers, 1 user without a group`
fn reach_in_words(reach: &WidenedCohort) -> String {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let users = number(reach.users.saturating_sub(reach.users_without_group));
    let mut told =
        format!("{} widened to {}", counted(users, "user", "users"), counted(number(reach.groups), "group", "groups"));
    if let Some(payers) = reach.payers {
        told.push_str(&format!(" of {}", counted(payers, "payer", "payers")));
    }
    if reach.users_without_group > 0 {
        told.push_str(&format!(", {} without a group", counted(number(reach.users_without_group), "user", "users")));
    }
    told
}

fn shown(staged: Staged, now: Instant) -> StagedShown {
    let ids = counted(staged.id_count, "id", "ids");
    StagedShown {
        what: match staged.action.as_str() {
            "replace" => format!("{ids} instead of all that are there"),
            "add" => format!("{ids} to add"),
            _ => format!("{ids} to remove"),
        },
        id: staged.id,
        by: staged.actor,
        at: when(staged.created_at, now),
        reason: staged.reason,
    }
}

/// In which form all ids are wanted, and of which generation.
#[derive(Deserialize)]
pub struct FileQuery {
    #[serde(default)]
    format: String,
    generation: Option<i64>,
}

/// All ids as a file.
pub async fn download(
    _: Member<Viewer>,
    state: Data<AppState>,
    name: Path<CohortName>,
    query: Query<FileQuery>,
) -> Result<HttpResponse, Problem> {
    let format = format_named(if query.format.is_empty() { "lines" } else { &query.format })?;
    let (cohort, wanted) = (name.clone(), query.generation);
    let generation = state.blocking(move |state| {
        Ok(state.store().read(|conn| match wanted {
            Some(wanted) => Ok(cohort_generations::get_readable(conn, &cohort, wanted)?.generation),
            None => Ok(cohorts::get(conn, &cohort)?.generation),
        })?)
    });
    Ok(export(&state, name.into_inner(), generation.await?, format))
}
