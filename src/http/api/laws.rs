//! `/api/v1/changes/{name}/gates` and `…/laws`: what keeps a change from its next stage, and the round-trip laws.

use actix_web::web::{Data, Json, Path};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::changes::record;
use crate::change::Stage;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::routing::evaluate_gates;
use crate::translation::own::{get_change, record as record_history};
use crate::translation::{Deed, LawOptions, last_laws, laws, store_laws};

/// Rows of a table that one request may try: more take longer than a request should.
const SAMPLE_MAX: usize = 1_000;

/// The gates of the next stage.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatesAnswer {
    #[schema(value_type = String)]
    stage: Stage,
    /// None once the change is complete.
    #[schema(value_type = Option<String>)]
    next: Option<Stage>,
    /// True if all hold.
    hold: bool,
    #[schema(value_type = Vec<Object>)]
    gates: Value,
}

/// How much is tried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LawsWish {
    /// Random rows of each table, 100 if not said, 1000 at most.
    #[serde(default = "hundred")]
    sample: usize,
    /// The same seed tries the same again.
    #[serde(default)]
    seed: u32,
}

fn hundred() -> usize {
    100
}

/// The gates of the next stage, with their evidence.
#[utoipa::path(get, path = "/api/v1/changes/{name}/gates", tag = "changes", params(("name" = String, Path)),
    responses((status = 200, body = GatesAnswer), (status = 404, body = ProblemDocument)))]
pub async fn gates(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<Json<GatesAnswer>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = get_change(&mut connection, &name)?;
            let next = change.stage.next();
            let gates = match next {
                Some(next) => evaluate_gates(state.store(), &mut connection, &change, next, state.now())?,
                None => Vec::new(),
            };
            let hold = gates.iter().all(|gate| gate.holds);
            Ok(Json(GatesAnswer { stage: change.stage, next, hold, gates: json!(gates) }))
        })
        .await
}

/// The last run of the round-trip laws.
#[utoipa::path(get, path = "/api/v1/changes/{name}/laws", tag = "changes", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument)))]
pub async fn last(_: Caller<Viewer>, state: Data<AppState>, name: Path<ChangeName>) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            get_change(&mut connection, &name)?;
            Ok(Json(json!({ "last": last_laws(&mut connection, &name)? })))
        })
        .await
}

/// Tries the round-trip laws on random rows, in transactions that are rolled back, and keeps what was found. Answers when it is done.
#[utoipa::path(post, path = "/api/v1/changes/{name}/laws", tag = "changes", params(("name" = String, Path)), request_body = LawsWish,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn run(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<LawsWish>,
) -> Result<Json<Value>, Problem> {
    if wish.sample == 0 || wish.sample > SAMPLE_MAX {
        return Err(Problem::new(Code::InvalidValue, format!("`sample` is a number from 1 to {SAMPLE_MAX}.")));
    }
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = get_change(&mut connection, &name)?;
            let options = LawOptions { sample: wish.sample, seed: u64::from(wish.seed) };
            let found = laws(&mut connection, &change.file, options, &mut |_, _| {})?;
            store_laws(&mut connection, &found)?;
            let detail = json!({ "held": found.held, "seed": found.seed, "sample": found.sample });
            let deed = Deed { actor: caller.actor(), at: state.now(), reason: "" };
            record_history(&mut connection, &name, deed, "laws", &detail)?;
            record(state, caller.actor(), "change.laws", &name, "", &detail)?;
            Ok(Json(json!(found)))
        })
        .await
}
