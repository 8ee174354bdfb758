//! The old application as a process: starts it, reads how much it has written, stops it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::example::Example;
use super::old_code::Written;
use crate::database::DatabaseUrl;
use crate::primitives::Period;

/// The running process. Dropping it stops it.
pub struct Writer {
    child: Child,
    input: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy)]
struct State {
    written: Written,
    ended: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Starts this very binary as the old application. The URL goes through the environment, where a password is safer than
    /// on a command line.
    pub fn start(url: &DatabaseUrl, example: Example, period: Period) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("where this program's own file is, is not known")?;
        let mut child = Command::new(binary)
            .args(["demo", "old-code", "--example", example.name(), "--period", &period.to_string()])
            .env("CHANGEOVER_DATABASE_URL", url.secret())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the process of the old application could not be started")?;
        let progress = Arc::new(Progress::default());
        let reader = child.stdout.take().map(|stdout| {
            let progress = Arc::clone(&progress);
            std::thread::spawn(move || follow(stdout, &progress))
        });
        Ok(Self { input: child.stdin.take(), child, reader, progress })
    }

    /// What has been written so far.
    pub fn written(&self) -> Written {
        self.progress.lock().written
    }

    /// Waits until `rows` rows have been written in all, but no longer than `patience`. An error if the process ends before.
    pub fn wait_for(&self, rows: u64, patience: Duration) -> anyhow::Result<Written> {
        let pending = |state: &mut State| state.written.rows < rows && !state.ended;
        let waited = self.progress.changed.wait_timeout_while(self.progress.lock(), patience, pending);
        let state = *waited.unwrap_or_else(PoisonError::into_inner).0;
        anyhow::ensure!(!state.ended, "the old application has stopped by itself: its message stands above");
        Ok(state.written)
    }

    /// Lets it finish its transaction and end; returns what it has written in all.
    pub fn stop(&mut self) -> anyhow::Result<Written> {
        self.input = None;
        let status = self.child.wait().context("the old application cannot be waited for")?;
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        anyhow::ensure!(status.success(), "the old application failed ({status}): its message stands above");
        Ok(self.written())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.input = None;
        // Ended already, or to be ended now: both are fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn follow(stdout: ChildStdout, progress: &Progress) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Ok(written) = serde_json::from_str(&line) {
            progress.lock().written = written;
            progress.changed.notify_all();
        }
    }
    progress.lock().ended = true;
    progress.changed.notify_all();
}
