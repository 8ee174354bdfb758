//! What a backfill will take: keys, bytes and time, from a sample of each block that is filled, timed and rolled back.

use std::time::Instant as Clock;

use serde::Serialize;

use super::backfill::estimated_keys;
use super::backfill_batch::Batches;
use super::error::TranslationError;
use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::keys::KeyRange;
use crate::sql::model::ChangeModel;

/// Keys of each block that are filled for the sample, the second batch of two: the first one pays for plans and cold pages.
const SAMPLE_KEYS: usize = 1_000;

/// What one block's backfill is expected to take.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    pub block: String,
    pub target: String,
    /// Roughly.
    pub keys: u64,
    /// Keys that were timed.
    pub sample_keys: u64,
    /// With one worker, if nobody else needs the database. Nothing to go by where there is no key.
    pub seconds: Option<f64>,
    /// On PostgreSQL the WAL, on SQLite the growth of the file.
    pub bytes: Option<i64>,
    /// `WAL` or `file`.
    pub bytes_of: &'static str,
}

/// Fills a sample of every forward block, in order, since a block may read what the ones before it write, and rolls all of it back. The
/// sample's driving rows are locked meanwhile, as in a backfill.
pub fn estimate_backfill(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
) -> Result<Vec<Estimate>, TranslationError> {
    let blocks: Vec<_> = model.blocks_of(Direction::Forward).collect();
    for block in &blocks {
        Batches { model, block }.create_function(connection)?;
    }
    connection.in_rolled_back_transaction(|connection| {
        blocks.iter().map(|block| Ok(sample(connection, Batches { model, block })?)).collect()
    })
}

fn sample(connection: &mut DatabaseConnection, batches: Batches<'_>) -> Result<Estimate, DatabaseError> {
    let block = batches.block;
    let keys = estimated_keys(connection, block)?;
    let first = timed(connection, batches, None)?;
    let second = timed(connection, batches, first.last_key.clone())?;
    // The second one has warm pages and plans; a small table has none.
    let timed = if second.keys > 0 { second } else { first };
    let sampled = u32::try_from(timed.keys).unwrap_or(u32::MAX);
    let share = f64::from(u32::try_from(keys).unwrap_or(u32::MAX)) / f64::from(sampled.max(1));
    let whole = i64::try_from(keys).unwrap_or(i64::MAX);
    Ok(Estimate {
        block: block.id.to_string(),
        target: block.target.name.clone(),
        keys,
        sample_keys: u64::from(sampled),
        seconds: (sampled > 0).then_some(timed.seconds * share),
        bytes: (sampled > 0).then(|| timed.bytes.saturating_mul(whole) / i64::from(sampled)),
        bytes_of: if connection.dialect() == Dialect::Postgres { "WAL" } else { "file" },
    })
}

struct Timed {
    last_key: Option<String>,
    keys: usize,
    seconds: f64,
    bytes: i64,
}

fn timed(
    connection: &mut DatabaseConnection,
    batches: Batches<'_>,
    after: Option<String>,
) -> Result<Timed, DatabaseError> {
    let before = position(connection)?;
    let began = Clock::now();
    let batch = batches.run(connection, &KeyRange::Between { after, until: None }, SAMPLE_KEYS)?;
    let seconds = began.elapsed().as_secs_f64();
    let bytes = position(connection)?.saturating_sub(before);
    Ok(Timed { last_key: batch.last_key, keys: batch.keys, seconds, bytes })
}

/// Something in bytes that grows with what is written.
fn position(connection: &mut DatabaseConnection) -> Result<i64, DatabaseError> {
    let sql = match connection.dialect() {
        Dialect::Postgres => "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS bytes",
        Dialect::Sqlite => {
            "SELECT p.page_count * s.page_size AS bytes FROM pragma_page_count() p CROSS JOIN pragma_page_size() s"
        }
    };
    connection.get_row(sql, &[])?.integer("bytes")
}
