//! Notes now and then which flags have been evaluated and how often, so that those that nobody asks any more can be found and charts be
//! drawn. Evaluating costs nothing
//! more for it: the counts that are kept for the metrics are compared.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::store::series::{self, Measure, Reading, Writing};
use crate::store::{Store, flag_usage};

/// How often it is noted.
const PAUSE: Duration = Duration::from_secs(60);

/// The running thread; it notes a last time and stops when this is dropped.
pub struct UsageNoter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl UsageNoter {
    /// Starts the thread. `count` says how often each flag has been evaluated so far.
    pub fn start(store: Store, count: impl Fn() -> HashMap<String, f64> + Send + 'static) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name(String::from("usage")).spawn(move || {
            let mut noted = HashMap::new();
            loop {
                let is_over = stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout);
                note(&store, &mut noted, count());
                if is_over {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for UsageNoter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Notes the flags whose counts have grown. While the database is away they are noted later.
fn note(store: &Store, noted: &mut HashMap<String, f64>, counts: HashMap<String, f64>) {
    let has_grown = |flag: &str, count: f64| noted.get(flag).is_none_or(|noted| *noted < count);
    let grown: Vec<String> =
        counts.iter().filter(|(flag, count)| has_grown(flag, **count)).map(|(flag, _)| flag.clone()).collect();
    if grown.is_empty() {
        return;
    }
    let evaluations = more(noted, &counts);
    let at = jiff::Timestamp::now().into();
    let written = store.write(|conn| {
        flag_usage::note(conn, &grown)?;
        series::write(conn, &evaluations, Writing::Count, at)
    });
    match written {
        Ok(()) => *noted = counts,
        Err(error) => tracing::debug!(%error, "which flags were evaluated is noted later"),
    }
}

/// How often each flag has been evaluated since it was noted last.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a counter holds whole numbers")]
fn more(noted: &HashMap<String, f64>, counts: &HashMap<String, f64>) -> Vec<Reading> {
    let grown = counts.iter().map(|(flag, count)| (flag, count - noted.get(flag).copied().unwrap_or(0.0)));
    let grown = grown.filter(|(_, more)| *more >= 1.0);
    let reading = |(flag, more): (&String, f64)| Reading {
        subject: format!("flag/{flag}"),
        measure: Measure::Evaluations,
        value: more as i64,
    };
    grown.map(reading).collect()
}
