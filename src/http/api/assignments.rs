//! `/api/v1/changes/{name}/assignments`: who is on which side, who was, and moving many at once.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;

use actix_web::HttpResponse;
use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Data, Json, Path, Payload, Query};
use futures_core::Stream as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};
use utoipa::{IntoParams, ToSchema};

use super::changes::record;
use super::jobs::{JobAnswer, accepted, start};
use crate::http::auth::{Admin, Caller, Evaluate, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::http::streamed::Streamed;
use crate::primitives::{ChangeName, Instant, Period};
use crate::routing::{
    AnswerLine, Asking, BATCH_LINES, BulkMove, GroupId, LINE_BYTES_MAX, RoutedChange, Side, SplitOf, count_sides,
    history, inherit, move_groups, side_at,
};
use crate::store::jobs::{JobKind, NewJob};

/// The period that opens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignWish {
    /// Such as `2026-12`, as the change counts its periods.
    #[schema(value_type = String)]
    period: Period,
}

/// Groups that are to be on a side.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MovesWish {
    #[schema(value_type = Vec<String>)]
    groups: Vec<ShortText>,
    /// `old` or `new`.
    #[schema(value_type = String)]
    side: Side,
    /// Default: the next one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    period: Option<Period>,
    #[serde(default)]
    #[schema(value_type = String)]
    reason: ShortText,
    /// Only count.
    #[serde(default)]
    preview: bool,
}

/// Groups that came out of a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitWish {
    #[schema(value_type = String)]
    from: ShortText,
    #[schema(value_type = Vec<String>)]
    into: Vec<ShortText>,
    /// Default: the running one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    period: Option<Period>,
    #[schema(value_type = String)]
    reason: ShortText,
}

/// Whose side, and when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AtQuery {
    /// The group; or a `user`, who is in the group that the application names today.
    #[param(value_type = Option<String>)]
    group: Option<ShortText>,
    #[param(value_type = Option<String>)]
    user: Option<ShortText>,
    /// Default: now.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Instant>,
    /// Default: the one that contains `at`.
    #[param(value_type = Option<String>)]
    period: Option<Period>,
}

/// How to ask.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AskQuery {
    /// Default: the running one.
    #[param(value_type = Option<String>)]
    period: Option<Period>,
    /// Record the answer of a first question, as an evaluation does. Default: true.
    record: Option<bool>,
}

/// Records the side of every group for a period; those that are recorded already stay. Answers at once with a job.
#[utoipa::path(post, path = "/api/v1/changes/{name}/assignments", tag = "changes", params(("name" = String, Path)), request_body = AssignWish,
    responses((status = 202, body = JobAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub async fn assign_period(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<AssignWish>,
) -> Result<HttpResponse, Problem> {
    let job = state
        .blocking(move |state| {
            RoutedChange::get(&mut *state.app().connection()?, &name)?.check_period(wish.period)?;
            let arguments = json!({ "period": wish.period });
            start(state, &NewJob { kind: JobKind::Assign, change: &name, arguments, actor: caller.actor() })
        })
        .await?;
    Ok(accepted(&job))
}

/// How many groups are on each side, by period.
#[utoipa::path(get, path = "/api/v1/changes/{name}/assignments/counts", tag = "changes", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument)))]
pub async fn counts(_: Caller<Viewer>, state: Data<AppState>, name: Path<ChangeName>) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = RoutedChange::get(&mut connection, &name)?;
            Ok(Json(json!({ "change": change.name, "periods": count_sides(&mut connection, &name)? })))
        })
        .await
}

/// Everything that happened to a group.
#[utoipa::path(get, path = "/api/v1/changes/{name}/assignments/groups/{group}", tag = "changes",
    params(("name" = String, Path), ("group" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument)))]
pub async fn group_history(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<Json<Value>, Problem> {
    let (name, group) = path.into_inner();
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = RoutedChange::get(&mut connection, &name)?;
            let group = GroupId::new(group.as_str())?;
            let events = history(&mut connection, &name, &group)?;
            Ok(Json(json!({ "change": change.name, "group": group, "events": events })))
        })
        .await
}

/// On which side a group was at a time, and why.
#[utoipa::path(get, path = "/api/v1/changes/{name}/assignments/at", tag = "changes", params(("name" = String, Path), AtQuery),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn at(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    query: Query<AtQuery>,
) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = RoutedChange::get(&mut connection, &name)?;
            let group = match (&query.group, &query.user) {
                (Some(group), None) => GroupId::new(group.as_str())?,
                (None, Some(user)) => change.group_of_user(&mut connection, user.as_str())?,
                _ => return Err(Problem::new(Code::InvalidValue, "Say whose side: one of `group` and `user`.")),
            };
            let at = query.at.unwrap_or_else(|| state.now());
            Ok(Json(json!(side_at(&mut connection, &change, &group, (at, query.period))?)))
        })
        .await
}

/// Puts many groups on a side for one open period, all or none; with `preview` it only counts.
#[utoipa::path(post, path = "/api/v1/changes/{name}/assignments/moves", tag = "changes", params(("name" = String, Path)),
    request_body = MovesWish,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub async fn move_many(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<MovesWish>,
) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let groups = ids(&wish.groups)?;
            let mut connection = state.app().connection()?;
            let change = RoutedChange::get(&mut connection, &name)?;
            let period = match wish.period {
                Some(period) => period,
                None => change.next_period(state.now())?,
            };
            let (reason, at) = (wish.reason.as_str(), state.now());
            let wanted = BulkMove { groups: &groups, period, side: wish.side, actor: caller.actor(), reason, at };
            let receipt = move_groups(&mut connection, &change, &wanted, wish.preview)?;
            if !wish.preview {
                record(state, caller.actor(), "change.move", &name, reason, &json!(receipt))?;
            }
            Ok(Json(json!(receipt)))
        })
        .await
}

/// Puts the groups that came out of a group on its side, so that its users stay where they were told to be.
#[utoipa::path(post, path = "/api/v1/changes/{name}/assignments/splits", tag = "changes", params(("name" = String, Path)),
    request_body = SplitWish,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub async fn split(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<SplitWish>,
) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let (from, into) = (GroupId::new(wish.from.as_str())?, ids(&wish.into)?);
            let mut connection = state.app().connection()?;
            let change = RoutedChange::get(&mut connection, &name)?;
            let at = state.now();
            let period = match wish.period {
                Some(period) => period,
                None => change.period_at(at)?,
            };
            let reason = wish.reason.as_str();
            let split = SplitOf { from: &from, into: &into, period, actor: caller.actor(), reason, at };
            let receipts = inherit(&mut connection, &change, &split)?;
            record(state, caller.actor(), "change.split", &name, reason, &json!({ "from": from, "moves": receipts }))?;
            Ok(Json(json!({ "change": change.name, "from": from, "moves": receipts })))
        })
        .await
}

fn ids(texts: &[ShortText]) -> Result<BTreeSet<GroupId>, Problem> {
    texts.iter().map(|text| GroupId::new(text.as_str()).map_err(Problem::from)).collect()
}

/// Many questions: a line `{"user": "ID"}` or `{"group": "ID"}` each; a line of answer each, in the same order, while they are read.
#[utoipa::path(post, path = "/api/v1/changes/{name}/assignments/query", tag = "changes", params(("name" = String, Path), AskQuery),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = AnswerLine, content_type = "application/x-ndjson"), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub async fn query(
    caller: Caller<Evaluate>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    query: Query<AskQuery>,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let (change, period) = (name.clone(), query.period);
    // What is wrong with the question as a whole is told before the first line.
    state
        .blocking(move |state| {
            let change = RoutedChange::get(&mut *state.app().connection()?, &change)?;
            Ok(period.map_or(Ok(()), |period| change.check_period(period))?)
        })
        .await?;
    let (sender, mut pieces) = channel(2);
    let stream =
        Questions { state, name, period, record: query.record.unwrap_or(true), actor: caller.actor().to_owned() };
    actix_web::rt::spawn(async move {
        if let Err(broken) = stream.answer(body, &sender).await {
            tracing::warn!(error = %broken, "bulk questions broke off");
            drop(sender.send(Err(broken)).await);
        }
    });
    // Until the first answers are there, whatever is wrong can still be said.
    let first = match pieces.recv().await.transpose() {
        Ok(first) => first,
        Err(broken) => return Err(broken.into()),
    };
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(Streamed::after(first, pieces)))
}

/// Why answering ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the questions cannot be read: {0}")]
    Body(PayloadError),
    #[error("{0}")]
    Refused(Problem),
    #[error("an answer cannot be written: {0}")]
    Answer(serde_json::Error),
    #[error("nobody reads the answers any more")]
    Unread,
}

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Refused(problem) => problem,
            Broken::Body(_) => Self::new(Code::InvalidRequest, format!("{broken}.")),
            Broken::Answer(_) | Broken::Unread => Self::new(Code::Internal, format!("{broken}.")),
        }
    }
}

/// Questions that are being answered.
struct Questions {
    state: Data<AppState>,
    name: ChangeName,
    period: Option<Period>,
    record: bool,
    actor: String,
}

impl Questions {
    async fn answer(&self, mut body: Payload, sender: &Sender<Result<Bytes, Broken>>) -> Result<(), Broken> {
        let (mut line, mut lines, mut before) = (Vec::new(), Vec::new(), 0);
        while let Some(piece) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
            for byte in piece.map_err(Broken::Body)? {
                if byte == b'\n' {
                    lines.push(std::mem::take(&mut line));
                } else if line.len() <= LINE_BYTES_MAX {
                    // One byte more than is allowed tells that the line is too long; the rest is not kept.
                    line.push(byte);
                }
                if lines.len() == BATCH_LINES {
                    before = self.send(std::mem::take(&mut lines), before, sender).await?;
                }
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
        if !lines.is_empty() {
            self.send(lines, before, sender).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        lines: Vec<Vec<u8>>,
        before: u64,
        sender: &Sender<Result<Bytes, Broken>>,
    ) -> Result<u64, Broken> {
        let (name, period, record, actor) = (self.name.clone(), self.period, self.record, self.actor.clone());
        let answered = self.state.blocking(move |state| {
            let asking = Asking { change: &name, period, actor: &actor, at: state.now(), record };
            Ok(state.router().ask(&state.snapshot(), asking, before, &lines)?)
        });
        let answers = answered.await.map_err(Broken::Refused)?;
        let mut text = Vec::new();
        for answer in &answers {
            serde_json::to_writer(&mut text, answer).map_err(Broken::Answer)?;
            text.push(b'\n');
        }
        sender.send(Ok(Bytes::from(text))).await.map_err(|_| Broken::Unread)?;
        Ok(before + u64::try_from(answers.len()).unwrap_or(0))
    }
}
