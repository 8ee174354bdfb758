//! `/api/v1/changes/{name}/backfill`

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Path};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::jobs::{JobAnswer, accepted, start};
use crate::http::auth::{Admin, Caller};
use crate::http::input::JSON_BYTES_MAX;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::store::jobs::{JobKind, NewJob};
use crate::translation::BackfillOptions;
use crate::translation::own::get_change;

/// How a backfill runs. Everything may be left out, and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackfillWish {
    /// Connections that fill at once, from 1 to 16; 1 if not said. SQLite has one writer.
    pub workers: Option<usize>,
    /// Keys in a batch; adapted to about 100 ms if not said.
    pub batch_rows: Option<usize>,
    /// At most this many keys in a second, of all workers together.
    pub rows_per_second: Option<u64>,
    /// Wait while a standby is further behind; 10 if not said, 0: never wait for standbys.
    pub lag_seconds_max: Option<u64>,
    /// Wait while a replication slot keeps that much more WAL than at the beginning; 1024 if not said, 0: never wait for slots.
    pub slot_megabytes_max: Option<u64>,
    /// Wait while more connections of others run a statement.
    pub active_backends_max: Option<u64>,
    /// Only this block, such as `f2`.
    pub block: Option<String>,
    /// Start from the first key although an earlier backfill was not finished.
    pub restart: bool,
}

impl BackfillWish {
    /// The most connections that one job takes from the application's database.
    const WORKERS_MAX: usize = 16;

    fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.len() > JSON_BYTES_MAX {
            return Err(Problem::new(Code::TooLarge, format!("A JSON body may have {JSON_BYTES_MAX} bytes.")));
        }
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| Problem::new(Code::InvalidJson, format!("{error}.")))
    }

    pub fn options(self) -> Result<BackfillOptions, Problem> {
        let refused = |detail: String| Err(Problem::new(Code::InvalidValue, detail));
        let workers = self.workers.unwrap_or(1);
        if !(1..=Self::WORKERS_MAX).contains(&workers) {
            return refused(format!("`workers` is from 1 to {}.", Self::WORKERS_MAX));
        }
        if self.batch_rows.is_some_and(|rows| !(1..=1_000_000).contains(&rows)) {
            return refused(String::from("`batch_rows` is from 1 to 1000000."));
        }
        if self.rows_per_second == Some(0) {
            return refused(String::from("`rows_per_second` is at least 1: to stop a backfill cancel its job."));
        }
        let unless_zero = |given: Option<u64>, default: Option<u64>| match given {
            None => default,
            Some(0) => None,
            given => given,
        };
        let default = BackfillOptions::default();
        Ok(BackfillOptions {
            batch_rows: self.batch_rows,
            workers,
            rows_per_second: self.rows_per_second,
            lag_seconds_max: unless_zero(self.lag_seconds_max, default.lag_seconds_max),
            slot_megabytes_max: unless_zero(self.slot_megabytes_max, default.slot_megabytes_max),
            active_backends_max: self.active_backends_max,
            block: self.block,
            restart: self.restart,
            only_rest: false,
        })
    }
}

/// Starts filling the new model, or goes on where an earlier backfill was stopped. Answers at once with a job.
#[utoipa::path(post, path = "/api/v1/changes/{name}/backfill", tag = "changes", params(("name" = String, Path)),
    request_body(content = Option<BackfillWish>, content_type = "application/json"),
    responses((status = 202, body = JobAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub async fn start_backfill(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    let options = BackfillWish::parse(&body)?.options()?;
    let job = state.blocking(move |state| fill(state, &name, &options, caller.actor())).await?;
    Ok(accepted(&job))
}

/// Starts a backfill as a job of `actor`, with its audit row.
pub fn fill(state: &AppState, name: &ChangeName, options: &BackfillOptions, actor: &str) -> Result<JobAnswer, Problem> {
    let change = get_change(&mut *state.app().connection()?, name)?;
    if !change.stage.translates_forward() {
        let detail = format!("`{name}` is at stage `{}`: move it to `dualwrite` first.", change.stage);
        return Err(Problem::new(Code::Refused, detail));
    }
    start(state, &NewJob { kind: JobKind::Backfill, change: name, arguments: json!(options), actor })
}
