//! `/api/v1/flags/{key}/preview`: who would move if a flag were another. Nothing is written.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, Data, Json, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::flags::{Context, Flag, FlagDraft, Rejected, RolloutStep, ShareStep, context_of_line};
use crate::http::auth::{Caller, Viewer};
use crate::http::input::BODY_BYTES_MAX;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{CohortName, FlagKey, VariantName};
use crate::routing::{Counted, Plan, Preview};
use crate::store::{StoreError, flag_versions};

/// Subjects that are counted at a time.
const BATCH_SUBJECTS: usize = 10_000;
/// Lines that are no subjects: so many are told, all are counted.
const REJECTIONS_MAX: usize = 20;

/// What a flag would be, and over whom it is to be previewed. Of each exactly one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewWish {
    /// What it would be: a whole flag,
    flag: Option<FlagDraft>,
    /// or a step of a rollout,
    rollout: Option<RolloutProposal>,
    /// or the flag with its kill switch thrown (`false`) or released,
    enabled: Option<bool>,
    /// or what it was at this version.
    version: Option<i64>,
    /// Over whom: the ids of a cohort,
    #[schema(value_type = Option<String>)]
    cohort: Option<CohortName>,
    /// or these: ids, or contexts with `targetingKey`. More of them go on lines of their own: see above,
    #[schema(value_type = Option<Vec<Object>>, example = json!(["42", {"targetingKey": "43", "plan": "pro"}]))]
    subjects: Option<Vec<Value>>,
    /// or, for the flag of a change, every group.
    #[serde(default)]
    groups: bool,
}

/// A step of a rollout that is to be previewed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutProposal {
    /// The first rule is 0; if not said, the only rollout.
    rule: Option<usize>,
    #[schema(value_type = String, example = "new")]
    variant: VariantName,
    /// Its share afterwards in per cent, or, as a text, a step: `"+5"`.
    #[schema(value_type = f64, example = 12.5)]
    percent: ShareStep,
    #[schema(value_type = Option<String>)]
    donor: Option<VariantName>,
}

/// Who would move.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewAnswer {
    #[serde(flatten)]
    pub preview: Preview,
    /// How many of the subjects that were sent are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub rejected: u64,
    /// The first of them, with what is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejected>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Who would move if a flag were another: counted by variant before and after, with up to 20 of each move. Nothing is written.
///
/// Subjects may also come as `application/x-ndjson`: this body without subjects on the first line, then an id or a context a line.
/// The flag of a change is previewed over groups: users are taken to the groups that they belong to.
#[utoipa::path(post, path = "/api/v1/flags/{key}/preview", tag = "flags", params(("key" = String, Path)),
    request_body = PreviewWish,
    responses((status = 200, body = PreviewAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn preview(
    _: Caller<Viewer>,
    state: Data<AppState>,
    request: HttpRequest,
    key: Path<FlagKey>,
    body: Result<Bytes, actix_web::Error>,
) -> Result<Json<PreviewAnswer>, Problem> {
    let body = body.map_err(|error| {
        let is_large = error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE;
        let detail = format!("The body could not be read (at most {BODY_BYTES_MAX} bytes): {error}.");
        Problem::new(if is_large { Code::TooLarge } else { Code::InvalidRequest }, detail)
    })?;
    let is_lines = is_lines(&request)?;
    state
        .blocking(move |state| {
            let (first, rest) = if is_lines { first_line(&body) } else { (&body[..], &b""[..]) };
            let wish: PreviewWish = serde_json::from_slice(first).map_err(|error| {
                let what = if is_lines { "The first line" } else { "The body" };
                Problem::new(Code::InvalidJson, format!("{what} is not what is expected: {error}."))
            })?;
            Ok(Json(run(state, &key, wish, is_lines.then_some(rest))?))
        })
        .await
}

/// How the flag of a change, as it is, divides all groups. Nothing is written.
pub fn preview_sides(state: &AppState, key: &FlagKey) -> Result<Preview, Problem> {
    let snapshot = state.snapshot();
    let missing = || StoreError::NotFound { what: "flag", name: key.to_string() };
    let flag = snapshot.find_flag(key.as_str()).ok_or_else(missing)?.flag().clone();
    let plan = Plan::new(snapshot, flag, state.now());
    if plan.change().is_none() {
        return Err(invalid("The flag routes no change."));
    }
    let mut counted = Counted::default();
    plan.count_all_groups(state.app(), &mut counted)?;
    Ok(plan.finish(state.app(), counted, state.now())?)
}

fn is_lines(request: &HttpRequest) -> Result<bool, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(false),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(true),
        _ => {
            let detail =
                "Send application/json, or application/x-ndjson with the wish on the first line and a subject a line.";
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

fn first_line(body: &[u8]) -> (&[u8], &[u8]) {
    let at = body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len());
    let (first, rest) = body.split_at(at);
    (first, rest.strip_prefix(b"\n").unwrap_or(rest))
}

fn run(state: &AppState, key: &FlagKey, wish: PreviewWish, lines: Option<&[u8]>) -> Result<PreviewAnswer, Problem> {
    let named = [wish.cohort.is_some(), wish.subjects.is_some(), wish.groups, lines.is_some()];
    if named.iter().filter(|is_named| **is_named).count() != 1 {
        return Err(invalid("Say over whom: one of `cohort`, `subjects` and `groups`, or a line for each subject."));
    }
    let snapshot = state.snapshot();
    let plan = Plan::new(snapshot, proposed(state, key, &wish)?, state.now());
    let mut counting = Counting::new(state, &plan);
    if let Some(name) = &wish.cohort {
        counting.add_cohort(name)?;
    }
    for (line, subject) in (1..).zip(wish.subjects.unwrap_or_default()) {
        counting.add_line(line, context_of_line(&subject.to_string()))?;
    }
    for (line, text) in (2..).zip(lines.unwrap_or_default().split(|byte| *byte == b'\n')) {
        counting.add_line(line, context_of_line(&String::from_utf8_lossy(text)))?;
    }
    if wish.groups {
        counting.add_groups()?;
    }
    counting.finish()
}

/// Over whom a flag is previewed.
#[derive(Debug, Clone)]
pub enum Over {
    /// The ids of a cohort.
    Cohort(CohortName),
    /// These: a line each, an id as it is or a context as JSON.
    Lines(String),
    /// Every group of the flag's change.
    Groups,
}

/// Who would move if `after` were the flag with its key. Nothing is written.
pub fn preview_over(state: &AppState, after: Flag, over: &Over) -> Result<PreviewAnswer, Problem> {
    let plan = Plan::new(state.snapshot(), after, state.now());
    let mut counting = Counting::new(state, &plan);
    match over {
        Over::Cohort(name) => counting.add_cohort(name)?,
        Over::Groups => counting.add_groups()?,
        Over::Lines(text) => {
            for (line, text) in (1..).zip(text.lines()) {
                let text = text.trim();
                let context = match text {
                    "" => Ok(None),
                    text if text.starts_with('{') => context_of_line(text),
                    text => Ok(Some(Context::of(text))),
                };
                counting.add_line(line, context)?;
            }
        }
    }
    counting.finish()
}

/// The flag as it would be.
fn proposed(state: &AppState, key: &FlagKey, wish: &PreviewWish) -> Result<Flag, Problem> {
    let current = || {
        let missing = || Problem::from(StoreError::NotFound { what: "flag", name: key.to_string() });
        state.snapshot().find_flag(key.as_str()).map(|flag| flag.flag().clone()).ok_or_else(missing)
    };
    match (&wish.flag, &wish.rollout, wish.enabled, wish.version) {
        (Some(draft), None, None, None) => {
            let flag = Flag::try_from(draft.clone())?;
            if flag.key() != key {
                return Err(invalid(&format!("The path says `{key}`, the flag `{}`.", flag.key())));
            }
            Ok(flag)
        }
        (None, Some(rollout), None, None) => {
            let flag = current()?;
            let rule = rollout.rule.map_or_else(|| flag.only_rollout(), Ok).map_err(StoreError::from)?;
            let RolloutProposal { variant, percent, donor, .. } = rollout;
            let step = RolloutStep { rule, variant: variant.clone(), share: *percent, donor: donor.clone() };
            Ok(flag.with_step(&step).map_err(StoreError::from)?.flag)
        }
        (None, None, Some(enabled), None) => Ok(current()?.with_enabled(enabled)),
        (None, None, None, Some(version)) => {
            let past = state.store().read(|conn| flag_versions::get(conn, key, version))?;
            let removed = || StoreError::RemovedThen { flag: key.to_string(), version };
            Ok(Flag::parse(&past.data.ok_or_else(removed)?)?)
        }
        _ => Err(invalid("Say what the flag would be: one of `flag`, `rollout`, `enabled` and `version`.")),
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Code::InvalidValue, detail)
}

/// Lines that are no subjects.
#[derive(Debug, Default)]
struct Rejections {
    count: u64,
    first: Vec<Rejected>,
}

/// A preview that is under way.
struct Counting<'a> {
    state: &'a AppState,
    plan: &'a Plan,
    counted: Counted,
    batch: Vec<Context>,
    rejections: Rejections,
}

impl<'a> Counting<'a> {
    fn new(state: &'a AppState, plan: &'a Plan) -> Self {
        let (counted, rejections) = (Counted::default(), Rejections::default());
        Self { state, plan, counted, batch: Vec::new(), rejections }
    }

    fn add_cohort(&mut self, name: &CohortName) -> Result<(), Problem> {
        let snapshot = self.state.snapshot();
        let missing = || StoreError::NotFound { what: "cohort", name: name.to_string() };
        let cohort = snapshot.find_cohort(name.as_str()).and_then(|at| snapshot.cohort(at)).ok_or_else(missing)?;
        cohort.ids().iter().try_for_each(|id| self.add(Context::of(&id)))
    }

    fn add_groups(&mut self) -> Result<(), Problem> {
        if self.plan.change().is_none() {
            return Err(invalid(
                "The flag routes no change, so it has no groups: name a `cohort`, or send `subjects`.",
            ));
        }
        Ok(self.plan.count_all_groups(self.state.app(), &mut self.counted)?)
    }

    fn add_line(&mut self, line: u64, context: Result<Option<Context>, String>) -> Result<(), Problem> {
        match context {
            Ok(None) => Ok(()),
            Ok(Some(context)) => self.add(context),
            Err(what) => {
                self.rejections.count += 1;
                if self.rejections.first.len() < REJECTIONS_MAX {
                    self.rejections.first.push(Rejected { line, what });
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, context: Context) -> Result<(), Problem> {
        self.batch.push(context);
        if self.batch.len() == BATCH_SUBJECTS { self.count() } else { Ok(()) }
    }

    fn count(&mut self) -> Result<(), Problem> {
        self.plan.count(self.state.app(), &mut self.counted, &self.batch)?;
        self.batch.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<PreviewAnswer, Problem> {
        if !self.batch.is_empty() {
            self.count()?;
        }
        let preview = self.plan.finish(self.state.app(), self.counted, self.state.now())?;
        Ok(PreviewAnswer { preview, rejected: self.rejections.count, rejections: self.rejections.first })
    }
}
