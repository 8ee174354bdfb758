//! Keeps the memory up to date: looks when a new version is announced, and five times a second anyway. A write of this server is in
//! memory before its answer is sent.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::listen::{Heard, Hearing};
use crate::store::Memory;
use crate::store::tokens::IssuedToken;

/// A change reaches every server within this, and the time that reading it takes, even if nobody announces it.
const PAUSE: Duration = Duration::from_millis(200);

/// The running job; it stops when this is dropped.
pub struct Refresher {
    signals: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
    hearing: Option<Hearing>,
}

enum Signal {
    Look,
    Stop,
}

impl Refresher {
    /// Starts the threads. `on_first_token` is called if a refresh made the first admin token, because the database was away when the
    /// server started.
    pub fn start(memory: Arc<Memory>, on_first_token: impl Fn(&IssuedToken) + Send + 'static) -> std::io::Result<Self> {
        let (signals, received) = channel();
        let (announced, counted) = (signals.clone(), Arc::clone(&memory));
        let hearing = Hearing::start(memory.store().database().url().clone(), move |heard| {
            if heard == Heard::Announcements {
                counted.count_notification();
            }
            drop(announced.send(Signal::Look));
        })?;
        let thread = std::thread::Builder::new().name(String::from("refresh")).spawn(move || {
            let mut is_away = memory.is_away();
            while wait(&received) {
                is_away = refresh(&memory, is_away);
                if let Some(first) = memory.take_first_token() {
                    on_first_token(&first);
                }
            }
        })?;
        Ok(Self { signals, thread: Some(thread), hearing })
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        drop(self.hearing.take());
        drop(self.signals.send(Signal::Stop));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Until it is time to look; false if it is to stop. Announcements that came together are one look.
fn wait(signals: &Receiver<Signal>) -> bool {
    let mut signal = signals.recv_timeout(PAUSE);
    loop {
        match signal {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Signal::Look) => signal = signals.recv_timeout(Duration::ZERO),
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
