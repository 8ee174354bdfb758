//! How far a backfill is, as it is told to whoever began it.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant as Clock};

use super::backfill::Filling;
use super::backfill_pace::{Pace, eta};
use super::backfill_worker::Told;
use crate::sql::model::BlockModel;

/// How far a block's backfill is, told after each batch and while it waits.
#[derive(Debug)]
pub struct BackfillStep<'a> {
    pub block: &'a BlockModel,
    pub keys_done: u64,
    /// As estimated when the block began; never less than `keys_done`.
    pub keys_total: u64,
    /// Of the last seconds.
    pub keys_per_second: f64,
    /// Until the end of this block.
    pub eta: Option<Duration>,
    /// Why it waits, while it does.
    pub throttled: Option<String>,
}

/// Tells how far it is; false stops the backfill after the batches that are being written.
pub type OnStep<'a> = &'a mut dyn FnMut(&BackfillStep<'_>) -> bool;

/// How often it is told how far a backfill is while no batch ends.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What is told of a block, by the thread that began the backfill.
pub struct Telling<'a, 'b> {
    filling: &'a Filling<'a>,
    before: u64,
    total: u64,
    pace: Pace,
    throttled: Option<String>,
    told_at: Clock,
    on_step: OnStep<'b>,
}

impl<'a, 'b> Telling<'a, 'b> {
    pub fn new(filling: &'a Filling<'a>, (before, total): (u64, u64), on_step: OnStep<'b>) -> Self {
        Self { filling, before, total, pace: Pace::default(), throttled: None, told_at: Clock::now(), on_step }
    }

    /// Until every worker has ended.
    pub fn follow(&mut self, events: &Receiver<Told>) {
        loop {
            match events.recv_timeout(TELL_EVERY) {
                Ok(told) => self.take(told),
                Err(RecvTimeoutError::Timeout) => self.take(Told::Nap),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    pub fn take(&mut self, told: Told) {
        match told {
            Told::Batch => self.throttled = None,
            Told::Waits(reason) => self.throttled = Some(reason),
            Told::Nap if self.told_at.elapsed() < TELL_EVERY => return,
            Told::Nap => {}
        }
        self.told_at = Clock::now();
        let done = self.before.saturating_add(self.filling.keys.load(Ordering::Relaxed));
        let total = self.total.max(done);
        let keys_per_second = self.pace.note(done);
        let step = BackfillStep {
            block: self.filling.block(),
            keys_done: done,
            keys_total: total,
            keys_per_second,
            eta: eta(total - done, keys_per_second),
            throttled: self.throttled.clone(),
        };
        if !(self.on_step)(&step) {
            self.filling.stop.store(true, Ordering::Relaxed);
        }
    }
}
