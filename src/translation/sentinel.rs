//! The sentinel's step: a look at the range of keys that has been waiting longest, in any block that the change's stage keeps. What it
//! finds feeds the ranges' ages and drift; it repairs if it is told to, and writes that into the change's history.

use crate::change::Direction;
use crate::database::DatabaseConnection;
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::KeyRange;

use super::current_ranges::{CurrentRange, Looked, ensure_ranges, merge, oldest, store_look, tally};
use super::error::TranslationError;
use super::look::{Found, Look};
use super::own::{Deed, InstalledChange, record};
use super::pause::open_gap;
use super::progress::backfill_progress;
use super::ranges::ensure_tables;
use super::repair::sample;

/// How the sentinel looks.
#[derive(Debug, Clone, Copy)]
pub struct SentinelOptions {
    /// Keys in a look.
    pub range_keys: usize,
    /// Refresh what differs.
    pub repair: bool,
}

/// Rows that a look keeps, with both images.
const SAMPLES_MAX: usize = 20;

/// A range with fewer keys than this part of a look's is given to its neighbour.
const SMALL_PART: u64 = 8;

/// What a step did.
#[derive(Debug, Clone)]
pub struct SentinelStep {
    pub block: String,
    pub keys: u64,
    /// Target rows that differed, and those of them put right.
    pub drift: i64,
    pub repaired: i64,
}

/// Looks at one range. `None` if there is nothing to look at: nothing has been filled yet, or translation is paused.
pub fn sentinel_step(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    change: &InstalledChange,
    options: SentinelOptions,
    deed: Deed<'_>,
) -> Result<Option<SentinelStep>, TranslationError> {
    ensure_tables(connection)?;
    if open_gap(connection, &change.name)?.is_some() {
        return Ok(None);
    }
    let blocks = kept_blocks(connection, model, change)?;
    let names: Vec<String> = blocks.iter().map(|block| block.id.to_string()).collect();
    for name in &names {
        ensure_ranges(connection, &change.name, name)?;
    }
    let Some(range) = oldest(connection, &change.name, &names)? else { return Ok(None) };
    let Some(block) = blocks.into_iter().find(|block| block.id.to_string() == range.block) else { return Ok(None) };
    let look = Look { block, samples_max: SAMPLES_MAX, repair: options.repair.then_some(model) };
    let (keys, found) = look_at(connection, change, look, &range, options.range_keys)?;
    tally(connection, &change.name, &range.block, (keys, &found))?;
    if found.repaired > 0 {
        let samples: Vec<_> = found.samples.iter().map(|row| sample(&range.block, row)).collect();
        let detail = serde_json::json!({
            "by": "sentinel", "block": range.block, "found": found.drift.rows(), "repaired": found.repaired, "samples": samples,
        });
        record(connection, &change.name, deed, "repair", &detail)?;
    }
    Ok(Some(SentinelStep { block: range.block, keys, drift: found.drift.rows(), repaired: found.repaired }))
}

/// What the stage keeps and a backfill has filled. Before that everything would be missing.
fn kept_blocks<'m>(
    connection: &mut DatabaseConnection,
    model: &'m ChangeModel,
    change: &InstalledChange,
) -> Result<Vec<&'m BlockModel>, TranslationError> {
    let filled = backfill_progress(connection, &change.name)?;
    let is_filled =
        |block: &BlockModel| filled.iter().any(|state| state.finished && state.block == block.id.to_string());
    let is_kept = |block: &&BlockModel| match block.id.direction {
        Direction::Forward => change.stage.translates_forward() && is_filled(block),
        Direction::Backward => change.stage.translates_backward(),
    };
    Ok(model.blocks.iter().filter(is_kept).collect())
}

fn look_at(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    look: Look<'_>,
    range: &CurrentRange,
    range_keys: usize,
) -> Result<(u64, Found), TranslationError> {
    let whole = KeyRange::Between { after: range.after.clone(), until: range.until.clone() };
    let (bound, keys) = look.next_bound(connection, &whole, range_keys)?;
    let until = bound.clone().or_else(|| range.until.clone());
    let found = look.at(connection, &KeyRange::Between { after: range.after.clone(), until })?;
    store_look(connection, &change.name, &Looked { range, bound: bound.as_deref(), keys, found: &found })?;
    let is_small = keys.saturating_mul(SMALL_PART) < u64::try_from(range_keys).unwrap_or(u64::MAX);
    if bound.is_none() && is_small && found.drift.rows() == 0 {
        merge(connection, &change.name, range)?;
    }
    Ok((keys, found))
}
