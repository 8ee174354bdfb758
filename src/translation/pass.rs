//! A pass over all keys of a change: verify, or repair, range by range. What it has found is stored after each range, so that a pass
//! that was killed or cancelled goes on where it was, with what it had found; memory holds one range.

use std::time::{Duration, Instant as Clock};

use serde::Serialize;

use crate::change::{BlockId, Direction};
use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::Instant;
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::KeyRange;

use super::backfill::estimated_keys;
use super::error::TranslationError;
use super::look::Look;
use super::own::{InstalledChange, get_change};
use super::progress::{Verification, store_verification};
use super::ranges::{Range, Run, RunState, add_range, finish_block, forget_run, run_state, since};
use super::verify::{BlockDrift, VerifyOptions};

/// Tells how far a pass is and returns false to stop after this range: (block, keys done, keys in all as estimated at its start).
pub type OnRange<'a> = &'a mut dyn FnMut(&BlockModel, u64, u64) -> bool;

/// A pass that was left alone for so long begins anew: too much may have changed since.
const RESUME_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Which keys are looked at, and how.
#[derive(Debug, Clone)]
pub struct Pass<'a> {
    pub model: &'a ChangeModel,
    pub options: VerifyOptions,
    /// Begin with the first key although an earlier pass was not finished.
    pub restart: bool,
    /// Only these blocks; empty: all that the stage keeps.
    pub blocks: Vec<BlockId>,
    /// At most this many keys a second.
    pub rate: Option<u32>,
    /// Only this part of the ranges, chosen at random, in percent. What such a pass finds is not stored.
    pub sample_percent: Option<f64>,
}

/// What a pass found.
#[derive(Debug, Clone, Serialize)]
pub struct PassOutcome {
    pub blocks: Vec<BlockDrift>,
    /// Target rows put right.
    pub repaired: u64,
    /// False: it was stopped, and the next one goes on from here.
    pub finished: bool,
    /// When the pass began that this one went on with; none: this one began with the first key.
    pub resumed: Option<Instant>,
}

impl PassOutcome {
    /// Target rows that differed when they were looked at.
    #[must_use]
    pub fn drift(&self) -> u64 {
        self.blocks.iter().map(BlockDrift::drift).sum()
    }
}

impl<'a> Pass<'a> {
    /// Over everything that the stage keeps, as fast as it goes.
    #[must_use]
    pub fn new(model: &'a ChangeModel) -> Self {
        let options = VerifyOptions::default();
        Self { model, options, restart: false, blocks: Vec::new(), rate: None, sample_percent: None }
    }

    /// Compares, and stores the result of each block beside the change.
    pub fn verify(
        &self,
        connection: &mut DatabaseConnection,
        on_range: OnRange<'_>,
    ) -> Result<PassOutcome, TranslationError> {
        let change = get_change(connection, &self.model.name)?;
        self.run(connection, &change, Run::Verify, on_range)
    }

    /// Compares, and refreshes what differs, in block order, since what one repair writes may be what the next block reads.
    pub(super) fn run(
        &self,
        connection: &mut DatabaseConnection,
        change: &InstalledChange,
        run: Run,
        on_range: OnRange<'_>,
    ) -> Result<PassOutcome, TranslationError> {
        let blocks = self.blocks_at(change)?;
        let stored = self.sample_percent.is_none();
        let resumed = if stored { self.resume(connection, run, &blocks)? } else { None };
        let mut outcome = PassOutcome { blocks: Vec::new(), repaired: 0, finished: true, resumed };
        let began = resumed.unwrap_or_else(|| Instant::from(jiff::Timestamp::now()));
        for block in &blocks {
            let mut walk = Walk { pass: self, run, block, began, stored, random: random() };
            let (drift, repaired, finished) = walk.run(connection, on_range)?;
            outcome.repaired += repaired;
            outcome.blocks.push(drift);
            outcome.finished = finished;
            if !finished {
                return Ok(outcome);
            }
        }
        for block in blocks.iter().filter(|_| stored) {
            forget_run(connection, &self.model.name, run, &block.id.to_string())?;
        }
        Ok(outcome)
    }

    /// The blocks that the stage keeps, or those of them that were asked for.
    pub(super) fn blocks_at(&self, change: &InstalledChange) -> Result<Vec<&'a BlockModel>, TranslationError> {
        if let Some(unknown) = self.blocks.iter().find(|id| self.model.blocks.iter().all(|block| block.id != **id)) {
            return Err(TranslationError::NoBlock(unknown.to_string()));
        }
        let is_kept = |block: &&BlockModel| match block.id.direction {
            Direction::Forward => true,
            Direction::Backward => change.stage.translates_backward(),
        };
        let is_wanted = |block: &&BlockModel| self.blocks.is_empty() || self.blocks.contains(&block.id);
        Ok(self.model.blocks.iter().filter(is_kept).filter(is_wanted).collect())
    }

    /// When the pass began that is to be gone on with. Otherwise what is left of earlier ones is forgotten.
    fn resume(
        &self,
        connection: &mut DatabaseConnection,
        run: Run,
        blocks: &[&BlockModel],
    ) -> Result<Option<Instant>, DatabaseError> {
        let found = since(connection, &self.model.name, run)?;
        let oldest = Instant::from(jiff::Timestamp::now() - RESUME_WITHIN);
        if let Some(began) = found.filter(|began| *began > oldest && !self.restart) {
            return Ok(Some(began));
        }
        for block in blocks {
            forget_run(connection, &self.model.name, run, &block.id.to_string())?;
        }
        Ok(None)
    }
}

/// A pass's way through one block.
struct Walk<'p> {
    pass: &'p Pass<'p>,
    run: Run,
    block: &'p BlockModel,
    began: Instant,
    stored: bool,
    random: u64,
}

impl Walk<'_> {
    /// Returns what was found, the rows repaired, and whether the block is finished.
    fn run(
        &mut self,
        connection: &mut DatabaseConnection,
        on_range: OnRange<'_>,
    ) -> Result<(BlockDrift, u64, bool), TranslationError> {
        let (name, id) = (&self.pass.model.name, self.block.id.to_string());
        let mut drift = BlockDrift::new(self.block);
        let samples_max = self.pass.options.samples_max;
        let state =
            if self.stored { run_state(connection, name, self.run, &id, samples_max)? } else { RunState::default() };
        let RunState { mut next_number, mut after, done, keys, mut repaired, .. } = state;
        drift.keys = keys;
        drift.add(state.drift);
        drift.samples = state.samples;
        let total = estimated_keys(connection, self.block)?;
        let mut finished = done;
        let clock = Clock::now();
        let mut looked_keys: u64 = 0;
        while !finished {
            let rest = KeyRange::Between { after: after.clone(), until: None };
            let room = samples_max.saturating_sub(drift.samples.len());
            let look = Look { block: self.block, samples_max: room, repair: self.run.repairs(self.pass.model) };
            let (until, keys) = look.next_bound(connection, &rest, self.range_keys())?;
            let range = KeyRange::Between { after: after.clone(), until: until.clone() };
            if self.is_chosen() {
                let found = look.at(connection, &range)?;
                if self.stored {
                    let range = Range {
                        number: next_number,
                        after,
                        until: until.clone(),
                        keys,
                        found: &found,
                        since: self.began,
                    };
                    add_range(connection, name, self.run, &id, &range)?;
                }
                drift.keys = drift.keys.saturating_add(keys);
                drift.add(found.drift);
                drift.samples.extend(found.samples);
                repaired += found.repaired;
                looked_keys = looked_keys.saturating_add(keys);
            }
            next_number += 1;
            finished = until.is_none();
            after = until;
            let goes_on = on_range(self.block, drift.keys, total.max(drift.keys));
            if !goes_on && !finished {
                return Ok((drift, u64::try_from(repaired).unwrap_or(0), false));
            }
            self.keep_rate(clock, looked_keys);
        }
        if self.stored && !done {
            self.finish(connection, &drift)?;
        }
        Ok((drift, u64::try_from(repaired).unwrap_or(0), true))
    }

    /// The block's ranges become the current ones; a verify's result is stored beside the change.
    fn finish(&self, connection: &mut DatabaseConnection, drift: &BlockDrift) -> Result<(), TranslationError> {
        let (name, id) = (&self.pass.model.name, self.block.id.to_string());
        finish_block(connection, name, self.run, &id)?;
        if self.run == Run::Verify {
            store_verification(connection, name, &stored(drift, self.began))?;
        }
        Ok(())
    }

    /// Smaller ranges at a low rate, so that it is kept within a second.
    fn range_keys(&self) -> usize {
        let rate = self.pass.rate.and_then(|rate| usize::try_from(rate).ok()).unwrap_or(usize::MAX);
        self.pass.options.range_keys.min(rate).max(1)
    }

    fn keep_rate(&self, began: Clock, keys: u64) {
        let Some(rate) = self.pass.rate else { return };
        let due = Duration::from_millis(keys.saturating_mul(1_000) / u64::from(rate.max(1)));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }

    fn is_chosen(&mut self) -> bool {
        let Some(percent) = self.pass.sample_percent else { return true };
        // xorshift64: which ranges a sample looks at needs no better randomness.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let thousandths = u32::try_from(self.random % 100_000).unwrap_or(0);
        f64::from(thousandths) < percent * 1_000.0
    }
}

fn random() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond() & 0x7fff_ffff_ffff).unwrap_or(0) | 1
}

fn stored(drift: &BlockDrift, started_at: Instant) -> Verification {
    let count = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    Verification {
        block: drift.block.clone(),
        started_at,
        finished_at: jiff::Timestamp::now().into(),
        keys: count(drift.keys),
        missing: count(drift.missing),
        extra: count(drift.extra),
        different: count(drift.different),
    }
}
