//! Keeps memory up to date: asks the database for its versions several times a second, on a thread of its own. While the database
//! is away memory stays as it is; when it comes back the next question finds it.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::store::Memory;

/// A change reaches every server within this, and the time that reading it takes.
const PAUSE: Duration = Duration::from_millis(200);

/// The running job; it stops when this is dropped.
pub struct Refresher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Refresher {
    /// Starts the thread.
    pub fn start(memory: Arc<Memory>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name(String::from("refresh")).spawn(move || {
            let mut is_away = false;
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                is_away = refresh(&memory, is_away);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Logs when the database goes away and when it comes back, not each time in between.
fn refresh(memory: &Memory, was_away: bool) -> bool {
    match memory.refresh() {
        Ok(changed) => {
            if was_away {
                tracing::info!("the database is back");
            }
            if changed {
                tracing::debug!(version = memory.snapshot().version(), "a new configuration is in memory");
            }
            false
        }
        Err(error) => {
            if !was_away {
                tracing::warn!(%error, "the database cannot be read; flags are evaluated from memory");
            }
            true
        }
    }
}
