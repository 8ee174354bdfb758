//! What handlers of observations share, whatever is observed.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{created, versioned};
use crate::http::input::{JSON_BYTES_MAX, ShortText};
use crate::http::problem::{Code, Problem};
use crate::http::state::AppState;
use crate::observations::{InvalidRule, Rule, read_batch};
use crate::store::observations::{self, RefusedLine, Subject};
use crate::store::{Origin, observation_rules};

/// How far back to look.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SpanQuery {
    /// The last so many hours; 24 if not said, 720 at most.
    #[param(minimum = 1, maximum = 720)]
    hours: Option<u32>,
}

/// Which mismatches.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SamplesQuery {
    /// Only of this operation.
    #[param(value_type = Option<String>)]
    operation: Option<ShortText>,
    /// At most so many; 50 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// An answer on its way from the thread that may wait: the framework's own cannot leave its thread.
pub enum Reply {
    Found(Value),
    Created(i64, String, Value),
    Versioned(i64, Value),
    Nothing,
}

impl Reply {
    fn of(body: &impl Serialize) -> Self {
        Self::Found(json!(body))
    }

    pub fn respond(self) -> HttpResponse {
        match self {
            Self::Found(body) => HttpResponse::Ok().json(body),
            Self::Created(version, location, body) => created(version, location, &body),
            Self::Versioned(version, body) => versioned(version, &body),
            Self::Nothing => HttpResponse::NoContent().finish(),
        }
    }
}

impl SpanQuery {
    fn hours(&self) -> u32 {
        self.hours.unwrap_or(24).clamp(1, 720)
    }
}

pub fn post(state: &AppState, subject: &Subject, body: &[u8]) -> Result<Reply, Problem> {
    if body.len() > JSON_BYTES_MAX {
        return Err(Problem::new(Code::TooLarge, format!("A body of observations may have {JSON_BYTES_MAX} bytes.")));
    }
    let text = std::str::from_utf8(body).map_err(|_| Problem::new(Code::InvalidJson, "The body is not UTF-8."))?;
    let read = read_batch(text).map_err(|detail| Problem::new(Code::InvalidJson, detail))?;
    let (mut batch, mut refused) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(one) => batch.push(one),
            Err(line) => refused.push(RefusedLine { line: line.line, detail: line.detail }),
        }
    }
    let mut posted = observations::post(state.store(), subject, &batch)?;
    posted.refused.extend(refused);
    posted.refused.sort_by_key(|refused| refused.line);
    state.metrics().observed(subject.as_str(), &posted);
    Ok(Reply::of(&posted))
}

pub fn summary(state: &AppState, subject: &Subject, span: &SpanQuery) -> Result<Reply, Problem> {
    let hours = span.hours();
    let span = observations::last_hours(hours);
    let items = state.store().read(|conn| observations::summary(conn, subject, span))?;
    Ok(Reply::of(&json!({ "hours": hours, "items": items })))
}

pub fn series(state: &AppState, subject: &Subject, span: &SpanQuery) -> Result<Reply, Problem> {
    let span = observations::last_hours(span.hours());
    let items = state.store().read(|conn| observations::series(conn, subject, span))?;
    Ok(Reply::of(&json!({ "items": items })))
}

pub fn samples(state: &AppState, subject: &Subject, wanted: &SamplesQuery) -> Result<Reply, Problem> {
    let operation = wanted.operation.as_ref().map(ShortText::as_str);
    let limit = wanted.limit.unwrap_or(50);
    let items = state.store().read(|conn| observations::samples(conn, subject, operation, limit))?;
    Ok(Reply::of(&json!({ "items": items })))
}

pub fn rules(state: &AppState, subject: &Subject) -> Result<Reply, Problem> {
    let items = state.store().read(|conn| observation_rules::list(conn, subject))?;
    Ok(Reply::of(&json!({ "items": items })))
}

pub fn create_rule(state: &AppState, subject: &Subject, rule: Rule, origin: Origin<'_>) -> Result<Reply, Problem> {
    let rule = checked(state, rule)?;
    let stored = state.store().write(|conn| observation_rules::create(conn, subject, &rule, origin))?;
    let (kind, name) = subject.as_str().split_once('/').unwrap_or_default();
    let location = format!("/api/v1/{kind}s/{name}/observation-rules/{}", stored.id);
    Ok(Reply::Created(stored.version, location, json!(stored)))
}

pub fn replace_rule(
    state: &AppState,
    subject: &Subject,
    seen: (&str, Option<i64>),
    rule: Rule,
    origin: Origin<'_>,
) -> Result<Reply, Problem> {
    let rule = checked(state, rule)?;
    let stored = state.store().write(|conn| observation_rules::replace(conn, subject, seen, &rule, origin))?;
    Ok(Reply::Versioned(stored.version, json!(stored)))
}

pub fn remove_rule(
    state: &AppState,
    subject: &Subject,
    seen: (&str, Option<i64>),
    origin: Origin<'_>,
) -> Result<Reply, Problem> {
    state.store().write(|conn| observation_rules::remove(conn, subject, seen, origin))?;
    Ok(Reply::Nothing)
}

fn checked(state: &AppState, rule: Rule) -> Result<Rule, Problem> {
    let today = state.now().timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
    Ok(rule.checked(today)?)
}

impl From<InvalidRule> for Problem {
    fn from(error: InvalidRule) -> Self {
        Self::new(Code::InvalidValue, format!("{error}."))
    }
}
