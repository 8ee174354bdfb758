//! Requests of the API: typed errors, and another try where one may help.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::error::Error;
use crate::http::{Answer, Request, Transport};
use crate::random::{duration, jitter};

/// How often a request is sent at most.
pub(crate) const ATTEMPTS: u32 = 4;
const PAUSE_S: f64 = 0.1;
const PAUSE_S_MAX: f64 = 5.0;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Sends what may be sent twice.
pub(crate) struct Calls {
    transport: Arc<Transport>,
    sleep: Arc<dyn Fn(Duration) + Send + Sync>,
}

impl Calls {
    pub(crate) fn new(transport: Arc<Transport>, sleep: Arc<dyn Fn(Duration) + Send + Sync>) -> Self {
        Self { transport, sleep }
    }

    /// The time that a request with many lines may take.
    pub(crate) fn long(&self) -> Duration {
        self.transport.timeout.saturating_mul(5)
    }

    /// A success, as it came.
    pub(crate) fn send(&self, request: &Request<'_>, attempts: u32) -> Result<Answer, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.transport.request(request) {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) => Error::of(&answer),
                Err(error) => error,
            };
            let after = error.retry_after().unwrap_or_default();
            if !error.is_retried() || attempt >= attempts || after > RETRY_AFTER_MAX {
                return Err(error);
            }
            (self.sleep)(after + duration(jitter(PAUSE_S, attempt, PAUSE_S_MAX)));
        }
    }

    /// The JSON of a success; null for one without content.
    pub(crate) fn json(&self, request: &Request<'_>, attempts: u32) -> Result<Value, Error> {
        parsed(&self.send(request, attempts)?)
    }
}

pub(crate) fn parsed(answer: &Answer) -> Result<Value, Error> {
    if answer.status == 204 {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Error::unexpected(answer.status, format!("the answer is not JSON: {error}")))
}
