//! `/api/v1/flags/{key}/explain`: why a flag answers what it answers, now or as of an earlier version. Nothing is recorded by asking.

use actix_web::web::{Data, Json, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::flags::{Asked, Context, Evaluation, Failure, FlagTrace, Snapshot, SnapshotFlag};
use crate::http::auth::{Caller, Viewer};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, FlagKey, Instant, Period};
use crate::routing::{Peek, Question, RoutedExplanation, Router, is_not_installed};
use crate::store::as_of;

/// What is to be explained.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainWish {
    /// As in an evaluation.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"targetingKey": "42", "plan": "pro"}))]
    context: Value,
    /// As of this version of the configuration. Default: the newest.
    #[serde(default)]
    version: Option<i64>,
    /// When it is asked, for schedules. Default: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Instant>,
    /// Of a change's flag: the period. Default: the one that it is asked in.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "2026-12")]
    period: Option<Period>,
}

/// Why a flag answers what it answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainAnswer {
    #[serde(flatten)]
    pub trace: FlagTrace,
    /// Of a change's flag: the user's group, what is recorded of it, and what the rules say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutedExplanation>,
}

/// A question to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Explaining<'a> {
    pub context: &'a Context,
    pub at: Instant,
    /// Default: the one that `at` is in.
    pub period: Option<Period>,
}

/// Why a flag answers what it answers: every prerequisite, rule and clause with the values that were compared, the bucket and its range,
/// each cohort's generation; of a change's flag first what is recorded of the user's group. Nothing is recorded by asking.
#[utoipa::path(post, path = "/api/v1/flags/{key}/explain", tag = "flags", params(("key" = String, Path)), request_body = ExplainWish,
    responses((status = 200, body = ExplainAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub async fn explain(
    _: Caller<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    wish: Json<ExplainWish>,
) -> Result<Json<ExplainAnswer>, Problem> {
    state
        .blocking(move |state| {
            let ExplainWish { context, version, at, period } = wish.into_inner();
            let context =
                Context::from_json(context).map_err(|error| Problem::new(Code::InvalidValue, format!("{error}.")))?;
            let asked = Explaining { context: &context, at: at.unwrap_or_else(|| state.now()), period };
            Ok(Json(match version {
                Some(version) => {
                    let past = state.store().read(|conn| as_of(conn, version, &key))?;
                    explained(&past, state.router(), &key, asked)?
                }
                None => explained(&state.snapshot(), state.router(), &key, asked)?,
            }))
        })
        .await
}

/// Explains what a flag of a snapshot answers.
pub fn explained(
    snapshot: &Snapshot,
    router: &Router,
    key: &FlagKey,
    asked: Explaining<'_>,
) -> Result<ExplainAnswer, Problem> {
    let missing = || {
        let detail = format!("At version {} of the configuration there is no flag `{key}`.", snapshot.version());
        Problem::new(Code::FlagNotFound, detail)
    };
    let flag = snapshot.find_flag(key.as_str()).ok_or_else(missing)?;
    let Explaining { context, at, period } = asked;
    if let Some(change) = flag.flag().change() {
        return routed(snapshot, router, flag, (change, context, period, at));
    }
    let world = Peek { router, snapshot, period, at };
    let trace = snapshot.explain_in(flag, Asked { context, now: at }, &world).trace;
    Ok(ExplainAnswer { trace, routing: None })
}

fn routed(
    snapshot: &Snapshot,
    router: &Router,
    flag: &SnapshotFlag,
    (change, context, period, at): (&ChangeName, &Context, Option<Period>, Instant),
) -> Result<ExplainAnswer, Problem> {
    let answer = |evaluation: &Evaluation<'_>, routing| ExplainAnswer {
        trace: FlagTrace::of(snapshot, flag, evaluation),
        routing,
    };
    let Some(user) = context.targeting_key() else {
        let failure = Failure::TargetingKeyMissing { flag: flag.flag().key().to_string() };
        return Ok(answer(&Evaluation::Failed(failure), None));
    };
    match router.explain(snapshot, &Question { change, user, period, actor: "", at }) {
        Ok(routing) => Ok(answer(&routing.evaluation(flag), Some(routing))),
        Err(error) if is_not_installed(&error) => {
            let world = Peek { router, snapshot, period, at };
            let evaluation = crate::flags::World::routed(&world, flag, context);
            evaluation.map(|evaluation| answer(&evaluation, None)).ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}
