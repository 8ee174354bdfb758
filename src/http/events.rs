//! The event streams that are open: how many there may be, how their events are spread over time, and how they end. What is sent on
//! them is `ofrep/events.rs`'s.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Each open stream adds this to the window over which a change's events are spread: four thousand answers a second.
const SPREAD_OF_ONE: Duration = Duration::from_micros(250);

/// How streams are offered and kept.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Where clients reach us, without a slash at its end, if it is not where they send their other requests.
    pub public_url: Option<String>,
    /// Open streams on this server; with 0 none is offered.
    pub streams_max: usize,
    /// Open streams for one token.
    pub streams_per_token_max: usize,
    /// The longest that an event waits so that not all clients come back at once.
    pub spread_max: Duration,
    /// A comment is sent after so long a silence.
    pub heartbeat: Duration,
    /// A stream ends after this at the latest, and its client connects anew: to another server perhaps.
    pub lifetime: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            public_url: None,
            streams_max: 10_000,
            streams_per_token_max: 10_000,
            spread_max: Duration::from_secs(1),
            heartbeat: Duration::from_secs(15),
            lifetime: Duration::from_secs(60 * 60),
        }
    }
}

/// All streams of a server.
#[derive(Debug)]
pub struct Streams {
    pub settings: StreamSettings,
    open: Mutex<Open>,
    closing: watch::Sender<bool>,
    sent: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_token: HashMap<Box<str>, usize>,
}

/// Why a stream is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    #[error("this server has as many event streams open as it takes")]
    Full,
    #[error("this token has as many event streams open as it may")]
    TokenFull,
    #[error("this server is stopping")]
    Closing,
}

impl Streams {
    #[must_use]
    pub fn new(settings: StreamSettings) -> Self {
        Self { settings, open: Mutex::default(), closing: watch::Sender::new(false), sent: AtomicU64::new(0) }
    }

    /// Counts a stream in, until what is returned is dropped.
    pub fn enter(self: &Arc<Self>, token_id: &str) -> Result<Seat, NoSeat> {
        if *self.closing.borrow() {
            return Err(NoSeat::Closing);
        }
        let mut open = self.open();
        if open.count >= self.settings.streams_max {
            return Err(NoSeat::Full);
        }
        let of_token = open.by_token.entry(token_id.into()).or_default();
        if *of_token >= self.settings.streams_per_token_max {
            return Err(NoSeat::TokenFull);
        }
        *of_token += 1;
        open.count += 1;
        Ok(Seat { streams: Arc::clone(self), token_id: token_id.into() })
    }

    /// Ends all streams, for good: a server that stops does not wait for them.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.open().count
    }

    /// Events sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open stream's place.
#[derive(Debug)]
pub struct Seat {
    pub streams: Arc<Streams>,
    pub token_id: Box<str>,
}

impl Seat {
    /// Turns true when the stream is to end.
    #[must_use]
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.streams.closing.subscribe()
    }

    /// How long this stream's next event waits: any time up to a window that grows with the number of streams, so that a handful
    /// hear of a change at once and thousands do not come back at once.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let streams = u32::try_from(self.streams.count()).unwrap_or(u32::MAX);
        let window = SPREAD_OF_ONE.saturating_mul(streams).min(self.streams.settings.spread_max);
        part_of(window)
    }

    /// How long this stream lasts: the lifetime, less up to a quarter.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        let lifetime = self.streams.settings.lifetime;
        lifetime.saturating_sub(part_of(lifetime / 4))
    }

    pub fn count_sent(&self) {
        self.streams.sent.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        open.count = open.count.saturating_sub(1);
        if let Some(of_token) = open.by_token.get_mut(&self.token_id) {
            *of_token = of_token.saturating_sub(1);
            if *of_token == 0 {
                open.by_token.remove(&self.token_id);
            }
        }
    }
}

/// A random part of a duration.
#[must_use]
pub fn part_of(whole: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let nanos = whole.as_nanos().saturating_mul(u128::from(random)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(streams_max: usize, streams_per_token_max: usize) -> Arc<Streams> {
        Arc::new(Streams::new(StreamSettings { streams_max, streams_per_token_max, ..StreamSettings::default() }))
    }

    #[test]
    fn a_seat_is_free_again_once_it_is_left() {
        let streams = streams(2, 1);
        let one = streams.enter("one").unwrap();
        assert_eq!(streams.enter("one").unwrap_err(), NoSeat::TokenFull);
        let two = streams.enter("two").unwrap();
        assert_eq!(streams.enter("three").unwrap_err(), NoSeat::Full);
        drop((one, two));
        assert_eq!(streams.count(), 0);
        assert!(streams.open().by_token.is_empty());
        let seat = streams.enter("one").unwrap();
        streams.close();
        assert!(*seat.closing().borrow());
        assert_eq!(streams.enter("two").unwrap_err(), NoSeat::Closing);
    }

    #[test]
    fn events_are_spread_over_a_window_that_grows_with_the_streams() {
        let streams = streams(100_000, 100_000);
        let first = streams.enter("one").unwrap();
        assert!(first.delay() < Duration::from_millis(1));
        let _seats: Vec<Seat> = (0..20_000).map(|_| streams.enter("one").unwrap()).collect();
        let delays: Vec<Duration> = (0..1_000).map(|_| first.delay()).collect();
        assert!(delays.iter().all(|delay| *delay < Duration::from_secs(1)));
        assert!(delays.iter().filter(|delay| **delay > Duration::from_millis(500)).count() > 300);
        assert!((0..100).all(|_| first.lifetime() > Duration::from_secs(44 * 60)));
    }
}
