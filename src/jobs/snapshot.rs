//! Keeps the snapshot file up to date with memory. It never holds up a refresh, and a file that cannot be written stops nothing.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use crate::primitives::Instant;
use crate::store::state::Versions;
use crate::store::{Memory, SnapshotFile};

/// How often memory is looked at, and so how long a change takes to be saved. Writing takes at most this part of the time.
const PAUSE: Duration = Duration::from_millis(250);
const SHARE: u32 = 10;

/// A file that did not change is written again after this long, so that it says when the database confirmed it.
const CONFIRM_AFTER_MICROS: i64 = 10 * 60 * 1_000_000;

/// The running job; it stops when this is dropped, after what is in memory has been saved.
pub struct Saver {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts the thread.
    pub fn start(memory: Arc<Memory>, file: SnapshotFile) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name(String::from("snapshot"))
            .spawn(move || Saving { memory, file, last: None, is_failing: false }.run(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Saving {
    memory: Arc<Memory>,
    file: SnapshotFile,
    /// What the file holds: its versions, and when they were confirmed.
    last: Option<(Versions, Instant)>,
    is_failing: bool,
}

impl Saving {
    fn run(mut self, stopped: &Receiver<()>) {
        self.file.clean();
        loop {
            let began = Clock::now();
            self.save();
            let pause = PAUSE.max(began.elapsed() * SHARE);
            if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                self.save();
                return;
            }
        }
    }

    /// Logs when saving begins to fail and when it works again, not each time in between.
    fn save(&mut self) {
        let contents = self.memory.contents();
        // Memory that came from the file, and nothing since, is not written back.
        if contents.versions.epoch.is_empty() || !self.memory.is_prepared() || !self.is_news(&contents.versions) {
            return;
        }
        match self.file.write(&contents) {
            Ok(()) => {
                if self.is_failing {
                    tracing::info!(path = %self.file.path().display(), "the snapshot file can be written again");
                }
                self.is_failing = false;
                self.last = Some((contents.versions, contents.confirmed_at));
            }
            Err(error) => {
                if !self.is_failing {
                    let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, reason, "a server that starts while the database is away will find an older state");
                }
                self.is_failing = true;
            }
        }
    }

    fn is_news(&self, versions: &Versions) -> bool {
        let Some((last, confirmed_at)) = &self.last else { return true };
        let age_micros = self.memory.confirmed_at().as_micros().saturating_sub(confirmed_at.as_micros());
        last != versions || age_micros > CONFIRM_AFTER_MICROS
    }
}
