//! Whether the server may be asked: after a failure one caller tries again after a pause; the others do not wait.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::now;
use crate::details::ErrorCode;
use crate::random::{between, jitter};
use crate::sync::lock;

const PAUSE_S: f64 = 0.25;
const PAUSE_S_MAX: f64 = 30.0;
const RETRY_AFTER_S_MAX: f64 = 300.0;

pub(crate) struct Availability {
    failures: AtomicU32,
    state: Mutex<State>,
}

struct State {
    until: f64,
    is_tried: bool,
    failure: (ErrorCode, String),
}

impl Availability {
    pub(crate) fn new() -> Self {
        let failure = (ErrorCode::ProviderNotReady, "the server has not been asked yet".to_owned());
        Self { failures: AtomicU32::new(0), state: Mutex::new(State { until: 0.0, is_tried: false, failure }) }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failures.load(Ordering::Acquire) > 0
    }

    /// Why it may not be asked, or why it gave no answer.
    pub(crate) fn failure(&self) -> (ErrorCode, String) {
        lock(&self.state).failure.clone()
    }

    /// Whoever is told yes tells what came of it: `answered`, `failed` or `given_up`.
    pub(crate) fn may_be_asked(&self) -> bool {
        if !self.has_failed() {
            return true;
        }
        let mut state = lock(&self.state);
        if state.is_tried || now() < state.until {
            return !self.has_failed();
        }
        state.is_tried = true;
        true
    }

    pub(crate) fn answered(&self) {
        if self.has_failed() {
            let mut state = lock(&self.state);
            state.is_tried = false;
            self.failures.store(0, Ordering::Release);
        }
    }

    pub(crate) fn failed(&self, code: ErrorCode, message: String, retry_after: Option<Duration>) {
        let mut state = lock(&self.state);
        let failures = self.failures.load(Ordering::Acquire);
        let pause = match retry_after {
            None => jitter(PAUSE_S, failures, PAUSE_S_MAX),
            Some(after) => after.as_secs_f64().min(RETRY_AFTER_S_MAX) + between(0.0, PAUSE_S),
        };
        self.failures.store(failures.saturating_add(1), Ordering::Release);
        *state = State { until: now() + pause, is_tried: false, failure: (code, message) };
    }

    /// The one who tried did not.
    pub(crate) fn given_up(&self) {
        lock(&self.state).is_tried = false;
    }

    #[cfg(test)]
    pub(crate) fn set_until(&self, until: f64) {
        lock(&self.state).until = until;
    }
}
