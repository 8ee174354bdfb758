//! Observations on their way to the server: in batches, off the caller's path, bounded, with a count of what was dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::calls::{Calls, parsed};
use crate::http::Request;
use crate::random::{duration, jitter};
use crate::sync::{left, lock, wait_while};
use crate::warn::warning;
use crate::workers::spawn;

const BATCH_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 900 << 10;
const WAITING_BYTES_MAX: usize = 32 << 20;
const GATHER: Duration = Duration::from_secs(1);
const PAUSE_S: f64 = 0.25;
const PAUSE_S_MAX: f64 = 30.0;
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// What became of a client's observations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Taken by the server.
    pub sent: u64,
    /// Too many waited, or the client was closed.
    pub dropped: u64,
    /// The server did not want them.
    pub refused: u64,
    /// Differences that the client itself found.
    pub mismatches: u64,
    /// Differences that an `ignore` took for none.
    pub ignored: u64,
    /// Waiting, or under way.
    pub pending: u64,
}

/// What an observation is made of, for a function of a test.
#[cfg(test)]
pub(crate) type Observer = Arc<dyn Fn(&str, &str) + Send + Sync>;

pub(crate) struct Observations {
    calls: Calls,
    waiting_max: usize,
    state: Mutex<State>,
    changed: Condvar,
    #[cfg(test)]
    pub(crate) observer: Mutex<Option<Observer>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Arc<str>, String)>,
    bytes: usize,
    under_way: usize,
    is_started: bool,
    is_closed: bool,
    is_flushed: bool,
    stats: Stats,
}

impl Observations {
    pub(crate) fn new(calls: Calls, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self {
            calls,
            waiting_max,
            state: Mutex::default(),
            changed: Condvar::new(),
            #[cfg(test)]
            observer: Mutex::default(),
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = lock(&self.state);
        Stats { pending: count(state.waiting.len() + state.under_way), ..state.stats }
    }

    pub(crate) fn count_mismatch(&self) {
        lock(&self.state).stats.mismatches += 1;
    }

    pub(crate) fn count_ignored(&self) {
        lock(&self.state).stats.ignored += 1;
    }

    pub(crate) fn add(self: &Arc<Self>, path: &Arc<str>, observation: String) {
        #[cfg(test)]
        if let Some(observer) = &*lock(&self.observer) {
            return observer(path, &observation);
        }
        let mut state = lock(&self.state);
        let is_full = state.waiting.len() + state.under_way >= self.waiting_max;
        if state.is_closed || is_full || state.bytes + observation.len() > WAITING_BYTES_MAX {
            state.stats.dropped += 1;
            return;
        }
        state.bytes += observation.len();
        state.waiting.push_back((Arc::clone(path), observation));
        if !state.is_started {
            let observations = Arc::clone(self);
            state.is_started = spawn("changeover-observations", move || observations.run());
        } else if matches!(state.waiting.len(), 1 | BATCH_MAX) {
            self.changed.notify_all();
        }
    }

    /// Sends what waits, now; false if something is left after the time.
    pub(crate) fn flush(&self, time: Duration) -> bool {
        let mut state = lock(&self.state);
        state.is_flushed = true;
        self.changed.notify_all();
        let state = wait_while(&self.changed, state, time, |state| !state.waiting.is_empty() || state.under_way > 0);
        state.waiting.is_empty() && state.under_way == 0
    }

    pub(crate) fn close(&self, time: Duration) {
        let stats = self.stats();
        if stats.pending > 0 {
            self.flush(time);
        }
        let mut state = lock(&self.state);
        state.is_closed = true;
        state.stats.dropped += count(state.waiting.len());
        state.waiting.clear();
        self.changed.notify_all();
    }

    fn run(&self) {
        let mut failures = 0;
        while let Some((path, texts)) = self.next() {
            let Some(after) = self.send(&path, texts) else {
                failures = 0;
                continue;
            };
            let pause = duration(jitter(PAUSE_S, failures, PAUSE_S_MAX)).max(after);
            failures += 1;
            let mut state = lock(&self.state);
            state.is_flushed = false;
            drop(wait_while(&self.changed, state, pause, |state| !state.is_closed && !state.is_flushed));
        }
    }

    /// The next batch of one place, as soon as it is full or its first one has waited long enough.
    fn next(&self) -> Option<(Arc<str>, Vec<String>)> {
        let mut state = lock(&self.state);
        loop {
            state = wait_while(&self.changed, state, FOR_EVER, |state| state.waiting.is_empty() && !state.is_closed);
            let until = Instant::now() + GATHER;
            let gathers = |state: &mut State| !state.is_closed && !state.is_flushed && state.waiting.len() < BATCH_MAX;
            while gathers(&mut state) {
                let Some(time) = left(until) else { break };
                state = wait_while(&self.changed, state, time, gathers);
            }
            let Some((path, _)) = state.waiting.front() else {
                if state.is_closed {
                    return None;
                }
                state.is_flushed = false;
                continue;
            };
            let path = Arc::clone(path);
            let texts = state.batch(&path);
            state.under_way = texts.len();
            return Some((path, texts));
        }
    }

    /// None if the batch is done with, otherwise how long to wait at least before it is sent again.
    fn send(&self, path: &Arc<str>, texts: Vec<String>) -> Option<Duration> {
        let body = texts.join("\n");
        let headers = [("Content-Type", "application/x-ndjson")];
        let request =
            Request { headers: &headers, timeout: Some(self.calls.long()), ..Request::post(path, body.as_bytes()) };
        let answer = self.calls.send(&request, 1).and_then(|answer| parsed(&answer));
        let mut state = lock(&self.state);
        let (mut refused, mut after) = (0, None);
        match answer {
            Ok(answer) => {
                let lines = answer.get("refused").and_then(Value::as_array);
                if let Some(first) = lines.and_then(|lines| lines.first()) {
                    refused = lines.map_or(0, Vec::len).min(texts.len());
                    warning!("{refused} of {} observations were refused: {first}", texts.len());
                }
            }
            Err(error) if error.is_retried() && !state.is_closed => {
                after = Some(error.retry_after().unwrap_or_default())
            }
            Err(error) => {
                refused = texts.len();
                warning!("{refused} observations were refused: {error}");
            }
        }
        state.under_way = 0;
        if after.is_none() {
            state.bytes = state.bytes.saturating_sub(texts.iter().map(String::len).sum());
            state.stats.refused += count(refused);
            state.stats.sent += count(texts.len() - refused);
        } else {
            for text in texts.into_iter().rev() {
                state.waiting.push_front((Arc::clone(path), text));
            }
        }
        self.changed.notify_all();
        after
    }
}

impl State {
    /// Takes out what goes to one place together; the others keep their order.
    fn batch(&mut self, path: &Arc<str>) -> Vec<String> {
        let (mut texts, mut size, mut later) = (Vec::new(), 0, VecDeque::new());
        while texts.len() < BATCH_MAX
            && let Some((place, text)) = self.waiting.pop_front()
        {
            if size + text.len() > BATCH_BYTES_MAX {
                later.push_back((place, text));
                break;
            }
            if place == *path {
                size += text.len();
                texts.push(text);
            } else {
                later.push_back((place, text));
            }
        }
        later.append(&mut self.waiting);
        self.waiting = later;
        texts
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
