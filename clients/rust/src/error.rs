//! What a request of the API may come to: one kind for each way to handle it, whatever the code. Evaluations return none of them.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock;
use crate::http::Answer;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The token is missing, unknown, expired or revoked.
    Unauthenticated,
    /// The token's role does not allow it.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It is not any more what it was when it was seen.
    PreconditionFailed,
    /// The state of things does not allow it now.
    Conflict,
    /// Another holder has the worker's lease.
    GateHeld,
    /// The worker is paused.
    GatePaused,
    /// The lease has run out, and perhaps somebody else has one by now.
    LeaseLost,
    /// Too many requests.
    RateLimited,
    /// The request itself is wrong.
    Invalid,
    /// The server, or what it needs, cannot answer now.
    Unavailable,
    /// The server failed.
    Server,
    /// An answer that the API does not give: a proxy's page perhaps, or a redirect.
    Unexpected,
    /// The server gave no whole answer.
    Connection,
    /// The server gave no whole answer in time.
    Timeout,
}

impl Kind {
    /// Its name, the same in the clients of all languages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::PreconditionFailed => "precondition_failed",
            Self::Conflict => "conflict",
            Self::GateHeld => "gate_held",
            Self::GatePaused => "gate_paused",
            Self::LeaseLost => "lease_lost",
            Self::RateLimited => "rate_limited",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Server => "server",
            Self::Unexpected => "unexpected",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A request that did not succeed.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: String,
    status: Option<u16>,
    code: Option<String>,
    detail: Option<String>,
    faults: Vec<Value>,
    retry_after: Option<Duration>,
    body: Map<String, Value>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            status: None,
            code: None,
            detail: None,
            faults: Vec::new(),
            retry_after: None,
            body: Map::new(),
        }))
    }

    /// A success that is not what it should be.
    pub(crate) fn unexpected(status: u16, message: impl Into<String>) -> Self {
        let mut error = Self::new(Kind::Unexpected, message);
        error.0.status = Some(status);
        error
    }

    /// What a line of many says of itself.
    pub(crate) fn of_line(detail: String) -> Self {
        let mut error = Self::new(Kind::Invalid, detail.clone());
        (error.0.status, error.0.detail) = (Some(200), Some(detail));
        error
    }

    /// The error that an answer which is no success stands for.
    pub(crate) fn of(answer: &Answer) -> Self {
        let body = match serde_json::from_slice(&answer.body) {
            Ok(Value::Object(problem)) => problem,
            _ => Map::new(),
        };
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let (code, detail) = (text("code"), text("detail"));
        let what = code.as_ref().map_or_else(|| answer.status.to_string(), |code| format!("{} {code}", answer.status));
        let why = detail.as_deref().unwrap_or("the answer does not say why");
        let faults = body.get("faults").and_then(Value::as_array);
        Self(Box::new(Inner {
            kind: kind_of(answer.status, code.as_deref()),
            message: format!("{what}: {why}"),
            status: Some(answer.status),
            faults: faults
                .map(|faults| faults.iter().filter(|fault| fault.is_object()).cloned().collect())
                .unwrap_or_default(),
            retry_after: answer.header("retry-after").and_then(clock::retry_after),
            code,
            detail,
            body,
        }))
    }

    /// What can be done about it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The answer's status; none if there was no answer.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The problem's stable code, such as `row_differs`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The problem's sentence.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The places of a write that are not valid.
    pub fn faults(&self) -> &[Value] {
        &self.0.faults
    }

    /// After which time the server says to come again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The problem as the server sent it; empty if it sent none.
    pub fn body(&self) -> &Map<String, Value> {
        &self.0.body
    }

    /// Whether the same request may succeed a little later.
    pub fn is_retried(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout | Kind::Connection)
            || matches!(self.0.status, Some(408 | 425 | 429 | 500 | 502 | 503 | 504))
            || self.0.code.as_deref() == Some("idempotency_key_in_flight")
    }
}

fn kind_of(status: u16, code: Option<&str>) -> Kind {
    match code {
        Some("unauthenticated") => return Kind::Unauthenticated,
        Some("forbidden" | "own_proposal") => return Kind::Forbidden,
        Some("stale" | "row_differs") => return Kind::PreconditionFailed,
        Some("gate_held" | "lease_held") => return Kind::GateHeld,
        Some("gate_paused") => return Kind::GatePaused,
        Some("lease_lost") => return Kind::LeaseLost,
        Some("rate_limited") => return Kind::RateLimited,
        Some("busy" | "database_unavailable" | "version_not_reached") => return Kind::Unavailable,
        Some(code) if code == "not_found" || code.ends_with("_not_found") => return Kind::NotFound,
        _ => {}
    }
    match status {
        401 => Kind::Unauthenticated,
        403 => Kind::Forbidden,
        404 | 410 => Kind::NotFound,
        409 => Kind::Conflict,
        412 => Kind::PreconditionFailed,
        429 => Kind::RateLimited,
        502..=504 => Kind::Unavailable,
        ..400 => Kind::Unexpected,
        400..500 => Kind::Invalid,
        _ => Kind::Server,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        let mut shown = formatter.debug_struct("Error");
        shown.field("kind", &inner.kind).field("message", &inner.message).field("status", &inner.status);
        shown.field("code", &inner.code).field("faults", &inner.faults).finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}
