//! How fast a backfill goes: the size of the next batch, the rate that it is held to, and what is left at this rate.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Clock};

/// What a batch should take: long enough to be worth a transaction, short enough for writers to wait.
pub const BATCH_TARGET: Duration = Duration::from_millis(100);

pub const BATCH_ROWS_FIRST: usize = 500;
const BATCH_ROWS_MAX: usize = 20_000;
const BATCH_ROWS_MIN: usize = 20;

/// Over how long the present rate is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The next batch's size: towards [`BATCH_TARGET`], at most doubling or halving.
#[must_use]
pub fn adapted(batch_rows: usize, took: Duration) -> usize {
    let next = if took < BATCH_TARGET / 2 {
        batch_rows * 2
    } else if took < BATCH_TARGET {
        batch_rows + batch_rows / 4
    } else if took < BATCH_TARGET * 2 {
        batch_rows - batch_rows / 4
    } else {
        batch_rows / 2
    };
    next.clamp(BATCH_ROWS_MIN, BATCH_ROWS_MAX)
}

/// Holds all workers together to a number of keys in a second.
#[derive(Debug)]
pub struct RateLimit {
    per_second: Option<u64>,
    /// When the keys so far will have taken as long as they should.
    free_at: Mutex<Clock>,
}

impl RateLimit {
    #[must_use]
    pub fn new(per_second: Option<u64>) -> Self {
        Self { per_second, free_at: Mutex::new(Clock::now()) }
    }

    /// At most half a second's keys in a batch, so that the rate is kept evenly.
    #[must_use]
    pub fn batch_rows(&self, wanted: usize) -> usize {
        let Some(per_second) = self.per_second else { return wanted };
        wanted.min(usize::try_from(per_second / 2).unwrap_or(usize::MAX).max(1))
    }

    /// Counts keys that have been done.
    pub fn spend(&self, keys: u64) {
        let Some(per_second) = self.per_second else { return };
        let micros = keys.saturating_mul(1_000_000) / per_second.max(1);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Clock::now()) + Duration::from_micros(micros);
    }

    /// How long to wait before the next batch.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if self.per_second.is_none() {
            return Duration::ZERO;
        }
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        free_at.saturating_duration_since(Clock::now())
    }
}

/// The rate of the last seconds.
#[derive(Debug, Default)]
pub struct Pace {
    /// When how many keys had been done.
    seen: VecDeque<(Clock, u64)>,
}

impl Pace {
    /// Notes how many keys have been done by now; returns keys in a second.
    pub fn note(&mut self, done: u64) -> f64 {
        self.note_at(Clock::now(), done)
    }

    fn note_at(&mut self, now: Clock, done: u64) -> f64 {
        self.seen.push_back((now, done));
        // The first one that is kept is the last before the window.
        while self.seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.seen.pop_front();
        }
        let Some((since, before)) = self.seen.front() else { return 0.0 };
        let seconds = now.saturating_duration_since(*since).as_secs_f64();
        let keys = u32::try_from(done.saturating_sub(*before)).map_or(f64::from(u32::MAX), f64::from);
        if seconds > 0.0 { keys / seconds } else { 0.0 }
    }
}

/// How long `left` keys take at a rate.
#[must_use]
pub fn eta(left: u64, per_second: f64) -> Option<Duration> {
    if per_second <= 0.0 {
        return None;
    }
    let left = u32::try_from(left).map_or(f64::from(u32::MAX), f64::from);
    Duration::try_from_secs_f64(left / per_second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_while_quick_and_shrink_when_slow() {
        assert_eq!(adapted(500, Duration::from_millis(10)), 1_000);
        assert_eq!(adapted(500, Duration::from_millis(80)), 625);
        assert_eq!(adapted(500, Duration::from_millis(150)), 375);
        assert_eq!(adapted(500, Duration::from_secs(1)), 250);
        assert_eq!(adapted(20, Duration::from_secs(1)), BATCH_ROWS_MIN);
        assert_eq!(adapted(BATCH_ROWS_MAX, Duration::ZERO), BATCH_ROWS_MAX);
    }

    #[test]
    fn a_rate_limit_spreads_its_keys() {
        let limit = RateLimit::new(Some(100));
        assert_eq!((limit.batch_rows(500), limit.pause()), (50, Duration::ZERO));
        limit.spend(50);
        let pause = limit.pause();
        assert!(pause > Duration::from_millis(300) && pause <= Duration::from_millis(500), "{pause:?}");
        assert_eq!(RateLimit::new(Some(1)).batch_rows(500), 1);
        let free = RateLimit::new(None);
        free.spend(1_000_000);
        assert_eq!((free.batch_rows(500), free.pause()), (500, Duration::ZERO));
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let (mut pace, start) = (Pace::default(), Clock::now());
        assert!(pace.note_at(start, 1_000) < 0.001);
        assert!((pace.note_at(start + Duration::from_secs(2), 3_000) - 1_000.0).abs() < 0.001);
        let later = pace.note_at(start + Duration::from_secs(60), 3_000);
        assert!(later < 40.0, "{later}");
        assert!(pace.note_at(start + Duration::from_secs(71), 3_000) < 0.001);
        assert_eq!(eta(500, 100.0), Some(Duration::from_secs(5)));
        assert_eq!(eta(500, 0.0), None);
    }
}
