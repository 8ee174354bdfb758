//! Hears of new versions as they are committed, on PostgreSQL. It only makes a refresh come sooner: what is missed is found by asking.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::database::{DatabaseUrl, Dialect, Listener};
use crate::store::{StoreError, state};

/// How often the connection is looked at: a look costs one call of the system.
const STEP: Duration = Duration::from_millis(10);

/// The pause before the connection is opened again: from the first to the last of these, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The running job; it stops when this is dropped.
pub(super) struct Hearing {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The connection is there from now on; what was announced before was missed.
    Connected,
    Announcements,
}

impl Hearing {
    /// Starts the thread; `None` where the database announces nothing.
    pub(super) fn start(url: DatabaseUrl, tell: impl Fn(Heard) + Send + 'static) -> std::io::Result<Option<Self>> {
        if url.dialect() == Dialect::Sqlite {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name(String::from("listen")).spawn(move || {
            listen_until_stopped(&url, &stopped, &tell);
        })?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Opens the connection again and again; logs when it is lost and when it is back, not each attempt in between.
fn listen_until_stopped(url: &DatabaseUrl, stopped: &Receiver<()>, tell: &impl Fn(Heard)) {
    let (mut pause, mut is_lost) = (PAUSE_MIN, false);
    loop {
        let connected = || {
            if is_lost {
                tracing::info!("new versions are announced again");
            }
            tell(Heard::Connected);
        };
        let (error, was_connected) = match connect(url) {
            Ok(mut listener) => {
                connected();
                match hear(&mut listener, stopped, tell) {
                    Ok(()) => return,
                    Err(error) => (error, true),
                }
            }
            Err(error) => (error, false),
        };
        if was_connected || !is_lost {
            tracing::warn!(%error, "new versions are not announced for now; the database is asked for them");
        }
        is_lost = true;
        pause = if was_connected { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        if stopped.recv_timeout(with_jitter(pause)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn connect(url: &DatabaseUrl) -> Result<Listener, StoreError> {
    let mut listener = Listener::open(url)?;
    let channel = state::channel(listener.connection())?
        .ok_or_else(|| StoreError::NotFound { what: "table", name: String::from("svc_changeover_state") })?;
    listener.listen(&channel)?;
    Ok(listener)
}

/// Returns when it is to stop; an error when the connection is lost.
fn hear(listener: &mut Listener, stopped: &Receiver<()>, tell: &impl Fn(Heard)) -> Result<(), StoreError> {
    while stopped.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
        for _ in 0..listener.heard()? {
            tell(Heard::Announcements);
        }
    }
    Ok(())
}

/// Between half of it and all of it, so that many servers do not come back at once.
fn with_jitter(pause: Duration) -> Duration {
    let mut random = [0u8; 1];
    // Without randomness there is no jitter, and nothing else is lost.
    let _ = getrandom::fill(&mut random);
    let [random] = random;
    pause / 2 + pause * u32::from(random) / 512
}
