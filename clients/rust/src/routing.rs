//! On which side a user is, many users at once, and who pays a charge.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::{ATTEMPTS, Calls};
use crate::client::Client;
use crate::clock::now;
use crate::details::ErrorCode;
use crate::error::{Error, Kind};
use crate::flags::Flags;
use crate::http::Request;
use crate::lru::Lru;
use crate::stage::Side;
use crate::sync::{read, write};
use crate::url::quoted;
use crate::warn::warning;

const SIDES_MAX: usize = 10_000;
const LAST_KNOWN_S_MAX: f64 = 3600.0;
const WARNING_S_MIN: f64 = 60.0;
/// How many users are asked about in one request.
pub(crate) const BATCH_LINES: usize = 500;

/// The side of one user of many.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SideAnswer {
    /// The user who was asked about.
    pub user: String,
    /// The user's side, or what is wrong with this question alone.
    pub side: Result<Side, Error>,
    /// The group that the user is in.
    pub group: Option<String>,
    /// Why it is that side, as the server says.
    pub because: Option<String>,
}

/// Who pays a charge by the model that is in force for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allocation {
    /// The charge.
    pub charge_id: String,
    /// Its period, such as `2026-11`.
    pub period: Option<String>,
    /// Its currency.
    pub currency: Option<String>,
    /// The model that is in force for it.
    pub side: Side,
    /// The group that the side was decided for.
    pub group_id: Option<String>,
    /// Who pays how much.
    pub parts: Vec<Part>,
}

/// A payer's part of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Who pays; none if nobody is named.
    pub payer: Option<String>,
    /// With every digit that the database has.
    pub amount: String,
}

/// A question that is kept: change, user and period, and whether it may be recorded.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) change: String,
    pub(crate) user: String,
    pub(crate) period: Option<String>,
    pub(crate) is_recorded: bool,
}

/// The sides that were asked for lately.
pub(crate) struct Routing {
    max_age: f64,
    kept: RwLock<Lru<Question, (Side, f64)>>,
    warned_at: AtomicU64,
}

impl Routing {
    pub(crate) fn new(max_age: Duration) -> Self {
        let warned_at = AtomicU64::new(f64::NEG_INFINITY.to_bits());
        Self { max_age: max_age.as_secs_f64(), kept: RwLock::new(Lru::new()), warned_at }
    }

    /// The kept side, if it is young enough.
    pub(crate) fn known(&self, question: &Question) -> Option<Side> {
        self.younger_than(question, self.max_age)
    }

    fn younger_than(&self, question: &Question, seconds: f64) -> Option<Side> {
        read(&self.kept).get(question).filter(|(_, at)| now() - at <= seconds).map(|(side, _)| *side)
    }

    fn keep(&self, question: Question, side: Side) {
        let mut kept = write(&self.kept);
        kept.insert(question.clone(), (side, now()));
        kept.touch(&question);
        if kept.len() > SIDES_MAX {
            kept.pop();
        }
    }

    /// The side as the server says it, tried again; the last known one if it cannot be asked.
    pub(crate) fn side(&self, calls: &Calls, question: Question) -> Result<Side, Error> {
        if let Some(known) = self.known(&question) {
            return Ok(known);
        }
        let asked = one(calls, &question, ATTEMPTS);
        self.settled(question, asked)
    }

    /// The same, asked once, and the default if it is not known: it stands in a request's way.
    pub(crate) fn side_or(&self, calls: &Calls, flags: &Flags, question: Question, default: Side) -> Side {
        if let Some(known) = self.known(&question) {
            return known;
        }
        let asked = once(calls, flags, &question);
        let change = question.change.clone();
        self.settled(question, asked).unwrap_or_else(|error| {
            let now = now();
            if now - f64::from_bits(self.warned_at.load(Ordering::Relaxed)) > WARNING_S_MIN {
                self.warned_at.store(now.to_bits(), Ordering::Relaxed);
                warning!("a side of {change} is not known, the default is taken: {error}");
            }
            default
        })
    }

    fn settled(&self, question: Question, asked: Result<Side, Error>) -> Result<Side, Error> {
        match asked {
            Ok(side) => {
                self.keep(question, side);
                Ok(side)
            }
            Err(error) if error.is_retried() => self.younger_than(&question, LAST_KNOWN_S_MAX).ok_or(error),
            Err(error) => Err(error),
        }
    }
}

/// As with evaluations, a server that hangs costs one caller its time, not each of them.
fn once(calls: &Calls, flags: &Flags, question: &Question) -> Result<Side, Error> {
    let server = &flags.server;
    if !server.may_be_asked() {
        return Err(Error::new(Kind::Connection, server.failure().1));
    }
    let asked = one(calls, question, 1);
    match &asked {
        Err(error) if error.is_retried() => {
            server.failed(ErrorCode::ProviderNotReady, error.to_string(), error.retry_after())
        }
        _ => server.answered(),
    }
    asked
}

fn one(calls: &Calls, question: &Question, attempts: u32) -> Result<Side, Error> {
    let Question { change, user, period, is_recorded } = question;
    let answers = batch(calls, change, std::slice::from_ref(user), period.as_deref(), *is_recorded, attempts)?;
    answers.into_iter().next().map_or_else(|| Err(broken_off()), |answer| answer.side)
}

fn broken_off() -> Error {
    Error::new(Kind::Connection, "the answers broke off")
}

/// The sides of a few users, in order.
pub(crate) fn batch(
    calls: &Calls,
    change: &str,
    users: &[String],
    period: Option<&str>,
    is_recorded: bool,
    attempts: u32,
) -> Result<Vec<SideAnswer>, Error> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let period = period.map(|period| format!("period={}", quoted(period)));
    let record = (!is_recorded).then(|| "record=false".to_owned());
    let query = period.into_iter().chain(record).collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    let path = format!("/api/v1/changes/{}/assignments/query{mark}{query}", quoted(change));
    let body: String = users.iter().map(|user| format!("{}\n", json!({"user": user}))).collect();
    let headers = [("Content-Type", "application/x-ndjson")];
    let timeout = (users.len() > 1).then(|| calls.long());
    let answer =
        calls.send(&Request { headers: &headers, timeout, ..Request::post(&path, body.as_bytes()) }, attempts)?;
    let mut lines = HashMap::new();
    for text in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let line: Value = serde_json::from_slice(text)
            .map_err(|_| Error::unexpected(answer.status, "a line of the answer is not JSON"))?;
        if let Some(number) = line.get("line").and_then(Value::as_u64) {
            lines.insert(number, line);
        }
    }
    Ok(users.iter().zip(1..).map(|(user, number)| answer_of(user, lines.get(&number))).collect())
}

fn answer_of(user: &str, line: Option<&Value>) -> SideAnswer {
    let text = |name: &str| line?.get(name)?.as_str();
    let side = match (line, text("side").and_then(Side::of)) {
        (None, _) => Err(broken_off()),
        (Some(line), _) if line.get("error").is_some() => Err(Error::of_line(
            text("error").map_or_else(|| line.get("error").map(Value::to_string).unwrap_or_default(), str::to_owned),
        )),
        (Some(_), Some(side)) => Ok(side),
        (Some(line), None) => {
            Err(Error::unexpected(200, format!("{} is no side", line.get("side").unwrap_or(&Value::Null))))
        }
    };
    let owned = |name: &str| text(name).filter(|_| side.is_ok()).map(str::to_owned);
    SideAnswer { user: user.to_owned(), group: owned("group"), because: owned("because"), side }
}

pub(crate) fn allocation(calls: &Calls, change: &str, charge: &str) -> Result<Allocation, Error> {
    let path = format!("/api/v1/changes/{}/charges/{}/explain", quoted(change), quoted(charge));
    let answer = calls.json(&Request::get(&path), ATTEMPTS)?;
    allocation_of(&answer).ok_or_else(|| Error::unexpected(200, "the answer is no charge's story"))
}

fn allocation_of(answer: &Value) -> Option<Allocation> {
    let queries = answer.get("queries")?.as_array()?;
    let rows = |wanted: &str| {
        queries.iter().find(|query| query.get("query").is_some_and(|name| name == wanted))?.get("rows")?.as_array()
    };
    let rows = rows("effective").or_else(|| rows("old"))?;
    let text = |of: &Value, name: &str| match of.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let facts = answer.get("facts")?.get("charge").unwrap_or(&Value::Null);
    let side = rows.first().and_then(|row| row.get("side")).map_or(Some(Side::Old), |side| Side::of(side.as_str()?))?;
    let parts = rows.iter().map(|row| Some(Part { payer: text(row, "payer"), amount: text(row, "amount")? }));
    Some(Allocation {
        charge_id: text(answer, "charge_id")?,
        period: text(facts, "period"),
        currency: text(facts, "currency"),
        side,
        group_id: rows.first().and_then(|row| text(row, "group_id")),
        parts: parts.collect::<Option<_>>()?,
    })
}

/// What is asked about sides: of which change, in which period, and whether a first question's answer is recorded. Made by
/// [`Client::sides`] or [`AsyncClient::sides`](crate::AsyncClient::sides).
#[derive(Clone, Debug)]
#[must_use]
pub struct Sides<C> {
    pub(crate) client: C,
    pub(crate) change: String,
    pub(crate) period: Option<String>,
    pub(crate) is_recorded: bool,
}

impl<C> Sides<C> {
    pub(crate) fn new(client: C, change: &str) -> Self {
        Self { client, change: change.to_owned(), period: None, is_recorded: true }
    }

    /// The period that is asked about, such as `2026-11`; the running one if none is named.
    pub fn period(mut self, period: impl Into<String>) -> Self {
        self.period = Some(period.into());
        self
    }

    /// Asks without recording a first question's answer.
    pub fn without_recording(mut self) -> Self {
        self.is_recorded = false;
        self
    }

    pub(crate) fn question(&self, user: impl Display) -> Question {
        Question {
            change: self.change.clone(),
            user: user.to_string(),
            period: self.period.clone(),
            is_recorded: self.is_recorded,
        }
    }
}

impl Sides<Client> {
    /// The side of a user's group; kept for `side_max_age`. Tried again where that may help, then the last known side (an hour at most),
    /// then the error.
    pub fn of(&self, user: impl Display) -> Result<Side, Error> {
        let inner = self.client.inner();
        inner.routing.side(&inner.calls, self.question(user))
    }

    /// The same for what stands in a request's way: the server is asked once, and whatever goes wrong gives the default.
    pub fn of_or(&self, user: impl Display, default: Side) -> Side {
        let inner = self.client.inner();
        inner.routing.side_or(&inner.calls, &inner.flags, self.question(user), default)
    }

    /// The sides of many, in order, asked for while they are read. An error of one user is in its answer; one of a request ends them all.
    pub fn of_many<I>(&self, users: I) -> impl Iterator<Item = Result<SideAnswer, Error>>
    where
        I: IntoIterator<Item: Display>,
    {
        let (sides, mut users, mut is_over) = (self.clone(), users.into_iter(), false);
        let batches = std::iter::from_fn(move || {
            let some: Vec<String> = users.by_ref().take(BATCH_LINES).map(|user| user.to_string()).collect();
            if is_over || some.is_empty() {
                return None;
            }
            let calls = &sides.client.inner().calls;
            let answers = batch(calls, &sides.change, &some, sides.period.as_deref(), sides.is_recorded, ATTEMPTS);
            is_over = answers.is_err();
            Some(answers)
        });
        batches.flat_map(|answers| match answers {
            Ok(answers) => answers.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }
}

impl Client {
    /// On which side users are in a change.
    ///
    /// ```no_run
    /// # use changeover_client::{Client, Side};
    /// # let client = Client::from_env().unwrap();
    /// let side = client.sides("billing-allocation").of_or(7, Side::Old);
    /// ```
    pub fn sides(&self, change: &str) -> Sides<Self> {
        Sides::new(self.clone(), change)
    }

    /// Who pays a charge by the model that is in force for it. Needs the role `viewer`.
    pub fn allocation_of(&self, change: &str, charge: impl Display) -> Result<Allocation, Error> {
        allocation(&self.inner().calls, change, &charge.to_string())
    }
}
