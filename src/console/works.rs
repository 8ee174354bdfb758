//! `/console/changes/{name}/start/{kind}`: backfill, verify, repair and the retry of what waits: what each will do, and its start.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;

use super::change_facts::Facts;
use super::form::{Fields, Sent};
use super::page::{Frame, base, html_with, see_other};
use super::session::{Member, Signed};
use super::words::counted;
use crate::http::AppState;
use crate::http::api::backfills::{BackfillWish, fill};
use crate::http::api::passes::{PassWish, pass};
use crate::http::api::pauses::retry_change;
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::ChangeName;
use crate::store::jobs::JobKind;

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    Backfill,
    Verify,
    Repair,
    Retry,
}

#[derive(Template)]
#[template(path = "console/work.html")]
struct WorkPage {
    frame: Frame,
    name: String,
    title: String,
    work: &'static str,
    heading: &'static str,
    consequences: Vec<String>,
    /// Keys in a second at most; nothing where that cannot be said.
    rate: Option<String>,
    restart: Option<&'static str>,
    is_restart: bool,
    can_look_where_found: bool,
    only_found: bool,
    asks_reason: bool,
    reason: String,
    error: Option<String>,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Retry => "retry",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Backfill => "Fill the new model",
            Self::Verify => "Verify",
            Self::Repair => "Repair",
            Self::Retry => "Try again what waits",
        }
    }

    fn restart(self) -> Option<&'static str> {
        match self {
            Self::Backfill => Some("Begin with the first key, although an earlier backfill was not finished."),
            Self::Verify | Self::Repair => Some("Begin with the first key, although an earlier run was not finished."),
            Self::Retry => None,
        }
    }

    /// What it will do, in numbers.
    fn consequences(self, facts: &Facts) -> Vec<String> {
        let blocks = facts.health.blocks.len();
        let all = counted(i64::try_from(blocks).unwrap_or(i64::MAX), "block", "blocks");
        let filled = facts.backfills.iter().filter(|backfill| backfill.finished).count();
        let keys: i64 = facts.backfills.iter().map(|backfill| backfill.keys_done).sum();
        let drift = facts.drift().map_or_else(
            || String::from("Nobody has looked for drift yet"),
            |rows| format!("By the last look {}", counted(rows, "row differs", "rows differ")),
        );
        let aside = String::from(
            "It runs as a job in batches beside everything else, and can be cancelled; writers wait for a batch at most where they write the same rows.",
        );
        match self {
            Self::Backfill => vec![
                format!(
                    "The rows of the new model that follow from the old one are written: {} so far, {filled} of {all} complete.",
                    counted(keys, "key", "keys")
                ),
                String::from(
                    "Rows that are right already are left alone, so it may run twice. It slows down by itself while standbys are behind.",
                ),
                aside,
            ],
            Self::Verify => vec![
                format!(
                    "Each key of {all} is compared with what its block says should be there. Nothing is written to either model."
                ),
                format!("{drift}."),
                aside,
            ],
            Self::Repair => vec![
                format!(
                    "Keys of {all} are compared, and where rows differ they are refreshed and compared once more. {drift}."
                ),
                String::from(
                    "What stands in the target of a block is overwritten by what follows from its source; each repair stands in the history.",
                ),
                aside,
            ],
            Self::Retry => vec![
                format!(
                    "{} to be translated, and each is tried now, whatever its pause. What fails again goes on waiting, with its error.",
                    counted(facts.pending_count, "key waits", "keys wait")
                ),
                String::from("The page answers when all have been tried."),
            ],
        }
    }

    /// Starts it; of what is a job the id.
    fn start(self, state: &AppState, name: &ChangeName, wish: &Wish, actor: &str) -> Result<Option<String>, Problem> {
        let job = match self {
            Self::Backfill => {
                let rows_per_second = wish.rate.map(u64::from);
                let asked = BackfillWish { rows_per_second, restart: wish.restart, ..BackfillWish::default() };
                fill(state, name, &asked.options()?, actor)?
            }
            Self::Verify | Self::Repair => {
                let kind = if self == Self::Verify { JobKind::Verify } else { JobKind::Repair };
                let found = self == Self::Repair && wish.found;
                let asked = PassWish { restart: wish.restart, rate: wish.rate, found, ..PassWish::default() };
                pass(state, name, kind, (&asked, actor))?
            }
            Self::Retry => {
                retry_change(state, name, (actor, &wish.reason))?;
                return Ok(None);
            }
        };
        Ok(Some(job.id))
    }
}

/// How it is to run.
struct Wish {
    rate: Option<u32>,
    restart: bool,
    found: bool,
    reason: String,
}

impl Wish {
    fn of(fields: &Fields) -> Result<Self, Problem> {
        let rate = match fields.raw("rate").trim() {
            "" => None,
            text => {
                let detail =
                    || Problem::new(Code::InvalidValue, "Say how many keys in a second as a number, or nothing.");
                Some(text.parse().map_err(|_| detail())?)
            }
        };
        let (restart, found) = (fields.is_ticked("restart"), fields.is_ticked("found"));
        Ok(Self { rate, restart, found, reason: fields.text("reason")? })
    }
}

/// What it will do.
pub async fn page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, Work)>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, path.into_inner(), None).await
}

/// Its start.
pub async fn start(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, Work)>,
) -> Result<HttpResponse, Problem> {
    let (name, work) = path.into_inner();
    let started = match Wish::of(&sent.fields) {
        Ok(wish) => {
            let (name, actor) = (name.clone(), sent.signed().actor().to_owned());
            state.blocking(move |state| work.start(state, &name, &wish, &actor)).await
        }
        Err(problem) => Err(problem),
    };
    let base = base(&request);
    match started {
        Ok(Some(job)) => Ok(see_other(&format!("{base}/jobs/{job}"))),
        Ok(None) => Ok(see_other(&format!("{base}/changes/{name}?done=retried"))),
        Err(problem) => answer(&request, sent.signed(), &state, (name, work), Some((&sent.fields, problem))).await,
    }
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (name, work): (ChangeName, Work),
    refused: Option<(&Fields, Problem)>,
) -> Result<HttpResponse, Problem> {
    let facts = state.blocking(move |state| Facts::get(state, &name)).await?;
    let raw = |field: &str| refused.as_ref().map_or("", |(fields, _)| fields.raw(field)).to_owned();
    let status = refused.as_ref().map_or(StatusCode::OK, |(_, problem)| problem.status_code());
    let page = WorkPage {
        frame: Frame::new(request, format!("{}: {}", work.heading(), facts.change.title), signed),
        name: facts.change.name.to_string(),
        title: facts.change.title.clone(),
        work: work.name(),
        heading: work.heading(),
        consequences: work.consequences(&facts),
        rate: (work != Work::Retry).then(|| raw("rate")),
        restart: work.restart(),
        is_restart: !raw("restart").is_empty(),
        can_look_where_found: work == Work::Repair,
        only_found: !raw("found").is_empty(),
        asks_reason: work == Work::Retry,
        reason: raw("reason"),
        error: refused.map(|(_, problem)| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
