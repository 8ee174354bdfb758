//! How translation is, as the application's database tells it: what metrics and pages show of each change. Bounded by the installed
//! blocks, and cheap enough to be read every few seconds: it reads Changeover's own tables, never the application's.

use std::collections::HashMap;

use serde::Serialize;

use crate::change::Stage;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::names::own;

use super::error::TranslationError;
use super::own::{InstalledChange, is_table_there, list_changes};
use super::pending;
use super::progress::{BackfillProgress, Verification, backfill_progress, last_verifications};
use super::ranges::{RangeSummary, SentinelTally, sentinel_tallies, summarize};
use super::verify::DriftClass;

/// Every installed change, at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Health {
    /// When this was read; none: it never was.
    pub at: Option<Instant>,
    /// Translations that failed, of all changes together, since the first was installed.
    pub translation_errors: i64,
    pub changes: Vec<ChangeHealth>,
}

/// One change.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeHealth {
    pub change: ChangeName,
    pub stage: Stage,
    /// Nothing is translated until somebody resumes it.
    pub paused: bool,
    pub blocks: Vec<BlockHealth>,
}

/// One block.
#[derive(Debug, Clone, Serialize)]
pub struct BlockHealth {
    /// `f1`, `b2`, …
    pub block: String,
    /// The target, as the change file writes it.
    pub into: String,
    /// What the newest look at each range of keys found and did not repair. None: nobody has looked yet.
    pub drift: Option<Drift>,
    /// Keys in the ranges that have been looked at.
    pub verified_keys: i64,
    /// Since when the range that has been waiting longest has not been looked at.
    pub oldest_range_at: Option<Instant>,
    /// Keys whose translation failed and that wait to be refreshed.
    pub pending_keys: i64,
    /// What the sentinel has done so far.
    pub sentinel: SentinelTally,
    /// None: no backfill has begun.
    pub backfill: Option<BackfillHealth>,
}

/// Target rows that differ, by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    pub missing: i64,
    pub extra: i64,
    pub different: i64,
}

/// A block's backfill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BackfillHealth {
    pub keys_done: i64,
    pub finished: bool,
    /// Between this reading and the one before; 0 where there was none.
    pub keys_per_second: f64,
}

impl Drift {
    pub(super) fn add(&mut self, class: DriftClass) {
        match class {
            DriftClass::Missing => self.missing += 1,
            DriftClass::Extra => self.extra += 1,
            DriftClass::Different => self.different += 1,
        }
    }

    #[must_use]
    pub fn rows(self) -> i64 {
        self.missing + self.extra + self.different
    }
}

/// Reads the health of every installed change. `before` is the reading before this one, for rates.
pub fn health(connection: &mut DatabaseConnection, before: &Health) -> Result<Health, TranslationError> {
    let at = Instant::from(jiff::Timestamp::now());
    let changes = list_changes(connection)?;
    let read = |change: &InstalledChange| change_health(connection, change, before, at);
    let changes = changes.iter().map(read).collect::<Result<_, DatabaseError>>()?;
    Ok(Health { at: Some(at), translation_errors: count_errors(connection)?, changes })
}

fn change_health(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    before: &Health,
    at: Instant,
) -> Result<ChangeHealth, DatabaseError> {
    let ranges = by_block(summarize(connection, &change.name)?, |summary| summary.block.clone());
    let verified = by_block(last_verifications(connection, &change.name)?, |found| found.block.clone());
    let tallies = by_block(sentinel_tallies(connection, &change.name)?, |tally| tally.block.clone());
    let backfills = by_block(backfill_progress(connection, &change.name)?, |state| state.block.clone());
    let pending: HashMap<String, i64> = pending::count_by_block(connection, &change.name)?.into_iter().collect();
    let paused = is_paused(connection, &change.name)?;
    let blocks = change.file.blocks.iter().map(|block| {
        let id = block.id.to_string();
        let range = ranges.get(&id);
        BlockHealth {
            into: block.into.value.clone(),
            drift: drift_of(range, verified.get(&id)),
            verified_keys: range.map_or_else(|| verified.get(&id).map_or(0, |found| found.keys), |range| range.keys),
            oldest_range_at: range
                .map(|range| range.oldest_at)
                .or_else(|| verified.get(&id).map(|found| found.started_at)),
            pending_keys: pending.get(&id).copied().unwrap_or(0),
            sentinel: tallies.get(&id).cloned().unwrap_or_default(),
            backfill: backfills
                .get(&id)
                .map(|state| backfill_health(state, before.find_backfill(&change.name, &id), at)),
            block: id,
        }
    });
    Ok(ChangeHealth { change: change.name.clone(), stage: change.stage, paused, blocks: blocks.collect() })
}

fn is_paused(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<bool, DatabaseError> {
    if !is_table_there(connection, "gap")? {
        return Ok(false);
    }
    let sql = format!(
        "SELECT count(*) AS gaps FROM {} WHERE change = $1 AND resumed_at IS NULL",
        own(connection.dialect(), "gap")
    );
    connection.get_row(&sql, &[Value::from(change.as_str())])?.boolean("gaps")
}

/// Each failure appends a row to the queue; how many ever were is the last number given out, however many have been healed.
fn count_errors(connection: &mut DatabaseConnection) -> Result<i64, DatabaseError> {
    if !is_table_there(connection, "pending")? {
        return Ok(0);
    }
    let sql = match connection.dialect() {
        Dialect::Postgres => {
            "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('changeover.pending', 'id')::regclass), 0) AS errors"
        }
        Dialect::Sqlite => {
            "SELECT coalesce(max(seq), 0) AS errors FROM sqlite_sequence WHERE name = 'changeover_pending'"
        }
    };
    connection.get_row(sql, &[])?.integer("errors")
}

fn by_block<T>(found: Vec<T>, block: impl Fn(&T) -> String) -> HashMap<String, T> {
    found.into_iter().map(|one| (block(&one), one)).collect()
}

/// The ranges know best: they are newer than a full verify, or they are what it found.
fn drift_of(ranges: Option<&RangeSummary>, verified: Option<&Verification>) -> Option<Drift> {
    let of_ranges = ranges.filter(|range| range.seen > 0).map(|range| range.drift);
    of_ranges.or_else(|| {
        verified.map(|found| Drift { missing: found.missing, extra: found.extra, different: found.different })
    })
}

fn backfill_health(state: &BackfillProgress, before: Option<(i64, Instant)>, at: Instant) -> BackfillHealth {
    let keys_per_second = before.map_or(0.0, |(keys, then)| per_second(state.keys_done - keys, then, at));
    BackfillHealth { keys_done: state.keys_done, finished: state.finished, keys_per_second }
}

/// A restarted backfill has fewer keys than before: that is no rate.
fn per_second(keys: i64, from: Instant, until: Instant) -> f64 {
    let seconds = std::time::Duration::from_micros(
        u64::try_from(until.as_micros().saturating_sub(from.as_micros())).unwrap_or(0),
    )
    .as_secs_f64();
    let keys = f64::from(u32::try_from(keys.max(0)).unwrap_or(u32::MAX));
    if seconds > 0.0 { keys / seconds } else { 0.0 }
}

impl ChangeHealth {
    /// Reads the health of one change. Rates need two readings: here they are 0.
    pub fn read(connection: &mut DatabaseConnection, change: &InstalledChange) -> Result<Self, DatabaseError> {
        change_health(connection, change, &Health::default(), jiff::Timestamp::now().into())
    }
}

impl Health {
    /// The keys that a block's backfill had done at this reading, and when that was.
    fn find_backfill(&self, change: &ChangeName, block: &str) -> Option<(i64, Instant)> {
        let at = self.at?;
        let change = self.changes.iter().find(|candidate| candidate.change == *change)?;
        let block = change.blocks.iter().find(|candidate| candidate.block == block)?;
        Some((block.backfill?.keys_done, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_came_in_between() {
        let (from, until) = (Instant::from_micros(1_000_000), Instant::from_micros(3_000_000));
        assert_eq!(per_second(5_000, from, until), 2_500.0);
        assert_eq!(per_second(-5_000, from, until), 0.0, "a backfill that was restarted");
        assert_eq!(per_second(5_000, until, from), 0.0, "a clock that went back");
        assert_eq!(per_second(5_000, from, from), 0.0);
    }
}
