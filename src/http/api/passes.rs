//! `/api/v1/changes/{name}/verify` and `/repair`: passes over a change's keys, as jobs.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Path};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::jobs::{JobAnswer, accepted, start};
use crate::http::auth::{Admin, Caller};
use crate::http::input::JSON_BYTES_MAX;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::store::jobs::{JobKind, NewJob};
use crate::translation::TranslationError;
use crate::translation::own::get_change;

/// Which keys a verify or a repair looks at, and how fast. Everything may be left out, and so may the body.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassWish {
    /// Begin with the first key although an earlier run was not finished.
    pub restart: bool,
    /// Only these blocks, such as `["f1"]`; empty: all that the stage keeps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<String>,
    /// At most this many keys a second.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Verify: only this part of the keys, in percent, chosen at random. The result is not stored beside the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_percent: Option<f64>,
    /// Repair: look only where the last verify or the sentinel found drift.
    pub found: bool,
}

impl PassWish {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.len() > JSON_BYTES_MAX {
            return Err(Problem::new(Code::TooLarge, format!("A JSON body may have {JSON_BYTES_MAX} bytes.")));
        }
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| Problem::new(Code::InvalidJson, format!("{error}.")))
    }
}

/// Compares every target row with what its block says it should be, or goes on where an earlier verify was stopped. A job: 202, and
/// where to ask how far it is and what it found.
#[utoipa::path(post, path = "/api/v1/changes/{name}/verify", tag = "changes", params(("name" = String, Path)),
    request_body = Option<PassWish>,
    responses((status = 202, body = JobAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn start_verify(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    start_pass(caller, state, name, JobKind::Verify, body).await
}

/// Compares, refreshes what differs, and compares that once more. A job: 202, and where to ask how far it is and what it did.
#[utoipa::path(post, path = "/api/v1/changes/{name}/repair", tag = "changes", params(("name" = String, Path)),
    request_body = Option<PassWish>,
    responses((status = 202, body = JobAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn start_repair(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    start_pass(caller, state, name, JobKind::Repair, body).await
}

async fn start_pass(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    kind: JobKind,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    let wish = PassWish::parse(&body)?;
    let job = state.blocking(move |state| pass(state, &name, kind, (&wish, caller.actor()))).await?;
    Ok(accepted(&job))
}

/// Starts a verify or a repair as a job of `actor`, with its audit row.
pub fn pass(
    state: &AppState,
    name: &ChangeName,
    kind: JobKind,
    (wish, actor): (&PassWish, &str),
) -> Result<JobAnswer, Problem> {
    let change = get_change(&mut *state.app().connection()?, name)?;
    let known: Vec<String> = change.file.blocks.iter().map(|block| block.id.to_string()).collect();
    if let Some(unknown) = wish.blocks.iter().find(|block| !known.contains(block)) {
        return Err(TranslationError::NoBlock(unknown.clone()).into());
    }
    if kind == JobKind::Repair && !change.stage.translates_forward() {
        let detail = format!("`{name}` is at stage `{}`: move it to `dualwrite` first.", change.stage);
        return Err(Problem::new(Code::Refused, detail));
    }
    if wish.rate == Some(0) || wish.sample_percent.is_some_and(|percent| !(percent > 0.0 && percent <= 100.0)) {
        let detail = "`rate` is at least 1, `sample_percent` above 0 and at most 100.";
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    start(state, &NewJob { kind, change: name, arguments: json!(wish), actor })
}
