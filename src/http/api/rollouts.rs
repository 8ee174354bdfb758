//! `/api/v1/flags/{key}/rollouts/{rule}`: one step of a rollout.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::flags::FlagAnswer;
use super::proposals::{self, ProposalAnswer};
use super::versioned;
use crate::database::DatabaseConnection;
use crate::flags::{Percent, RolloutStep, ShareStep, Stepped};
use crate::http::auth::{Admin, Caller};
use crate::http::etag::IfMatch;
use crate::http::input::{OverrideQuery, ShortText};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{FlagKey, VariantName};
use crate::store::Origin;
use crate::store::flag_rollouts::{self, Stepping};
use crate::store::flags::StoredFlag;
use crate::store::protection::Authority;

/// A variant's new share of a rule.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutWish {
    /// The variant whose share changes.
    #[schema(value_type = String, example = "new")]
    pub variant: VariantName,
    /// Its share afterwards in per cent, exact to 0.001; or, as a text, by how much it grows or shrinks: `"+5"`, `"-2.5"`.
    #[schema(value_type = f64, example = 12.5)]
    pub percent: ShareStep,
    /// The variant that gives, or gets back. If not said: of two variants the other one, of more the default variant.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "old")]
    pub donor: Option<VariantName>,
    /// Why, for the history and the audit log.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "the first accounts are billed without complaint")]
    pub reason: ShortText,
}

/// A flag after a step of its rollout.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutAnswer {
    #[serde(flatten)]
    flag: FlagAnswer,
    step: StepAnswer,
}

/// What the step did.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepAnswer {
    pub rule: usize,
    pub variant: String,
    pub donor: String,
    #[schema(value_type = f64)]
    pub percent_before: Percent,
    #[schema(value_type = f64)]
    pub percent: Percent,
}

impl RolloutWish {
    #[must_use]
    pub fn step(&self, rule: usize) -> RolloutStep {
        RolloutStep { rule, variant: self.variant.clone(), share: self.percent, donor: self.donor.clone() }
    }
}

impl StepAnswer {
    #[must_use]
    pub fn new(step: &RolloutStep, stepped: &Stepped) -> Self {
        Self {
            rule: step.rule,
            variant: step.variant.to_string(),
            donor: stepped.donor.to_string(),
            percent_before: stepped.before,
            percent: stepped.after,
        }
    }
}

impl RolloutAnswer {
    #[must_use]
    pub fn new(stored: StoredFlag, step: &RolloutStep, stepped: &Stepped) -> Self {
        Self { flag: FlagAnswer::from(stored), step: StepAnswer::new(step, stepped) }
    }
}

/// Gives a variant another share of a rule. What it lacks comes from one donor, what is too much goes back there in reverse order, and
/// nobody else moves. A rule that serves one variant becomes a rollout; the index after the last rule adds a rule for everybody, which
/// begins with the default variant. With `If-Match`, only the version that was seen.
#[utoipa::path(put, path = "/api/v1/flags/{key}/rollouts/{rule}", tag = "flags",
    params(("key" = String, Path), ("rule" = usize, Path, description = "The first rule is 0"), OverrideQuery, ("If-Match" = Option<String>, Header)),
    request_body = RolloutWish,
    responses((status = 200, body = RolloutAnswer), (status = 202, body = ProposalAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 412, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn step(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(FlagKey, usize)>,
    seen: IfMatch,
    query: Query<OverrideQuery>,
    wish: Json<RolloutWish>,
) -> Result<HttpResponse, Problem> {
    let (key, rule) = path.into_inner();
    let wish = wish.into_inner();
    let step = wish.step(rule);
    let taken = step.clone();
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        flag_rollouts::step(conn, &key, Stepping { step: &step, seen: seen.0, authority }, origin)
    };
    let written = proposals::write(&state, caller, (query.overriding, wish.reason), work).await?;
    Ok(proposals::answer(written, |(stored, stepped)| {
        versioned(stored.version, &RolloutAnswer::new(stored, &taken, &stepped))
    }))
}
