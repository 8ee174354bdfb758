//! Filling the targets from the source model: every key of every block, in key order, in short transactions. A killed backfill goes on
//! where it was: the last key is stored in the transaction that refreshed it. Never writes a source table.

use std::time::{Duration, Instant as Clock};

use crate::change::{Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::Instant;
use crate::sql::keys::{columns, parts, text_sql};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::{KeyRange, keys_in_order};
use crate::sql::{postgres, sqlite};

use super::error::TranslationError;
use super::own::get_change;
use super::progress::{BackfillProgress, backfill_progress, forget_backfills, store_backfill};

/// How a backfill runs.
#[derive(Debug, Clone, Copy)]
pub struct BackfillOptions {
    /// Keys in a batch; `None` adapts it so that a batch takes about [`BATCH_TARGET`].
    pub batch_rows: Option<usize>,
    /// Start from the first key of the first block, even if an earlier backfill was not finished.
    pub restart: bool,
}

/// What a batch should take: long enough to be worth a transaction, short enough for writers to wait.
pub const BATCH_TARGET: Duration = Duration::from_millis(100);

/// SQLite has one writer, and who waits for it asks every now and then, up to 100 ms apart: a backfill that took the lock back at
/// once would let nobody in. So the application has its turn after each batch, as long as the batch took.
const WRITERS_TURN_MAX: Duration = Duration::from_millis(100);

const BATCH_ROWS_FIRST: usize = 500;
const BATCH_ROWS_MAX: usize = 20_000;
const BATCH_ROWS_MIN: usize = 20;

/// Attempts at a batch whose transaction the database aborted as a deadlock victim.
const BATCH_ATTEMPTS: u32 = 12;

/// Tells how far a block is and returns false to stop after this batch: (block, keys done, keys in all as estimated at its start).
pub type OnBatch<'a> = &'a mut dyn FnMut(&BlockModel, u64, u64) -> bool;

/// Fills every forward block. Returns the state of each; a block that is not `finished` was stopped by `on_batch`.
pub fn backfill(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    options: BackfillOptions,
    on_batch: OnBatch<'_>,
) -> Result<Vec<BackfillProgress>, TranslationError> {
    let change = get_change(connection, &model.name)?;
    if !change.stage.translates_forward() {
        return Err(TranslationError::WrongStage {
            name: change.name,
            stage: change.stage,
            what: "a backfill",
            remedy: if change.stage == Stage::Off {
                "move it to `dualwrite` first, so that writes made meanwhile are translated too"
            } else {
                "its translation has ended"
            },
        });
    }
    let blocks: Vec<&BlockModel> = model.blocks_of(Direction::Forward).collect();
    let mut states = backfill_progress(connection, &model.name)?;
    let all_finished =
        blocks.iter().all(|block| states.iter().any(|state| state.block == block.id.to_string() && state.finished));
    if options.restart || all_finished {
        forget_backfills(connection, &model.name)?;
        states.clear();
    }
    for block in blocks {
        let stored = states.iter().position(|state| state.block == block.id.to_string()).map(|at| states.remove(at));
        let state = stored.unwrap_or_else(|| fresh(block));
        if state.finished {
            continue;
        }
        let finished = Filling { model, block, options }.run(connection, state, on_batch)?;
        if !finished {
            break;
        }
    }
    Ok(backfill_progress(connection, &model.name)?)
}

fn fresh(block: &BlockModel) -> BackfillProgress {
    let now = Instant::from(jiff::Timestamp::now());
    BackfillProgress {
        block: block.id.to_string(),
        last_key: None,
        keys_done: 0,
        finished: false,
        started_at: now,
        updated_at: now,
    }
}

struct Filling<'a> {
    model: &'a ChangeModel,
    block: &'a BlockModel,
    options: BackfillOptions,
}

impl Filling<'_> {
    /// Runs batches until no key is left or `on_batch` says stop. Returns whether the block is finished.
    fn run(
        &self,
        connection: &mut DatabaseConnection,
        mut state: BackfillProgress,
        on_batch: OnBatch<'_>,
    ) -> Result<bool, TranslationError> {
        let total = self.estimate(connection)?;
        let mut batch_rows = self.options.batch_rows.unwrap_or(BATCH_ROWS_FIRST);
        let mut analyze_at: u64 = 1_000;
        loop {
            let began = Clock::now();
            state =
                connection.in_transaction_with_retry(BATCH_ATTEMPTS, DatabaseError::is_retryable, |connection| {
                    let next = self.batch(connection, &state, batch_rows)?;
                    store_backfill(connection, &self.model.name, &next)?;
                    Ok(next)
                })?;
            let took = began.elapsed();
            let done = u64::try_from(state.keys_done).unwrap_or(0);
            let goes_on = on_batch(self.block, done, total.max(done));
            if state.finished || done >= analyze_at {
                self.analyze(connection)?;
                analyze_at = done.saturating_mul(4);
            }
            if state.finished {
                return Ok(true);
            }
            if !goes_on {
                return Ok(false);
            }
            if connection.dialect() == Dialect::Sqlite {
                std::thread::sleep(took.min(WRITERS_TURN_MAX));
            }
            if self.options.batch_rows.is_none() {
                batch_rows = adapted(batch_rows, took);
            }
        }
    }

    /// The next batch, inside the caller's transaction.
    fn batch(
        &self,
        connection: &mut DatabaseConnection,
        state: &BackfillProgress,
        batch_rows: usize,
    ) -> Result<BackfillProgress, DatabaseError> {
        let (last_key, count) = match connection.dialect() {
            Dialect::Postgres => self.batch_on_postgres(connection, state.last_key.as_deref(), batch_rows)?,
            Dialect::Sqlite => self.batch_on_sqlite(connection, state.last_key.as_deref(), batch_rows)?,
        };
        let key_count = i64::try_from(count).unwrap_or(i64::MAX);
        Ok(BackfillProgress {
            last_key: last_key.or_else(|| state.last_key.clone()),
            keys_done: state.keys_done.saturating_add(key_count),
            finished: count < batch_rows,
            updated_at: jiff::Timestamp::now().into(),
            ..state.clone()
        })
    }

    fn batch_on_postgres(
        &self,
        connection: &mut DatabaseConnection,
        after: Option<&str>,
        batch_rows: usize,
    ) -> Result<(Option<String>, usize), DatabaseError> {
        connection
            .batch(&format!("SELECT set_config('{}', 'backfill', true)", postgres::direction_setting(self.model)))?;
        let key = &self.block.driving.key;
        let after = match after.and_then(|after| parts(key, after)) {
            Some(parts) => parts.into_iter().map(Value::from).collect(),
            None => vec![Value::Null; key.len()],
        };
        let casts: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(index, column)| format!("${}::text::{}", index + 2, column.sql_type))
            .collect();
        let sql = format!(
            "SELECT last_key, key_count FROM {}({}, $1::integer)",
            postgres::block_function(self.model, self.block, "batch"),
            casts.join(", "),
        );
        let values: Vec<Value> = std::iter::once(Value::from(rows_value(batch_rows))).chain(after).collect();
        let row = connection.get_row(&sql, &values)?;
        Ok((row.find_text("last_key")?, usize::try_from(row.integer("key_count")?).unwrap_or(0)))
    }

    fn batch_on_sqlite(
        &self,
        connection: &mut DatabaseConnection,
        after: Option<&str>,
        batch_rows: usize,
    ) -> Result<(Option<String>, usize), DatabaseError> {
        let block = self.block;
        let key = columns("k", block.driving.key.iter().map(|column| &column.name));
        let last_first: Vec<String> = key.iter().map(|column| format!("{column} DESC")).collect();
        let rest = KeyRange::Between { after: after.map(str::to_owned), until: None };
        let next = format!("({} LIMIT {batch_rows})", keys_in_order(block, &rest));
        let found = connection.query(
            &format!(
                "SELECT {} AS last_key, (SELECT count(*) FROM {next}) AS keys FROM {next} k ORDER BY {} LIMIT 1",
                text_sql(Dialect::Sqlite, &key),
                last_first.join(", "),
            ),
            &[],
        )?;
        let Some(row) = found.first() else { return Ok((None, 0)) };
        let Some(last_key) = row.find_text("last_key")? else { return Ok((None, 0)) };
        let range = KeyRange::Between { after: after.map(str::to_owned), until: Some(last_key.clone()) };
        let control = sqlite::control_table(self.model);
        connection.batch(&format!("UPDATE {control} SET mode = {}", sqlite::BACKFILL))?;
        connection.batch(&format!(
            "INSERT INTO {} SELECT {}, 0 FROM ({}) k WHERE 1 = 1{}",
            sqlite::refresh_view(self.model, block),
            key.join(", "),
            keys_in_order(block, &range),
            sqlite::and_thawed(block, &key),
        ))?;
        connection.batch(&format!("UPDATE {control} SET mode = 0"))?;
        Ok((Some(last_key), usize::try_from(row.integer("keys")?).unwrap_or(0)))
    }

    /// How many keys there are, roughly and at once.
    fn estimate(&self, connection: &mut DatabaseConnection) -> Result<u64, DatabaseError> {
        let table = &self.block.driving.table.sql;
        let sql = match connection.dialect() {
            Dialect::Postgres => format!(
                "SELECT CASE WHEN reltuples > 0 THEN reltuples::bigint ELSE (SELECT count(*) FROM {table}) END AS keys \
                 FROM pg_class WHERE oid = '{}'::regclass",
                table.replace('\'', "''")
            ),
            Dialect::Sqlite => format!("SELECT count(*) AS keys FROM {table}"),
        };
        Ok(u64::try_from(connection.get_row(&sql, &[])?.integer("keys")?).unwrap_or(0))
    }

    /// A plan made while a target was empty would scan it as it grows.
    fn analyze(&self, connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
        match connection.dialect() {
            Dialect::Postgres => connection.batch(&format!("ANALYZE {}", self.block.target.sql)),
            Dialect::Sqlite => Ok(()),
        }
    }
}

fn rows_value(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// The next batch's size: towards [`BATCH_TARGET`], at most doubling or halving.
fn adapted(batch_rows: usize, took: Duration) -> usize {
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

/// Fills every forward block's target in the current transaction, which the caller will roll back: for comparisons before
/// anything is installed.
pub fn fill_in_transaction(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<(), DatabaseError> {
    for block in model.blocks_of(Direction::Forward) {
        let key = columns("k", block.driving.key.iter().map(|column| &column.name));
        let all = keys_in_order(block, &KeyRange::Between { after: None, until: None });
        let sql = match connection.dialect() {
            Dialect::Postgres => {
                let arrays: Vec<String> = key.iter().map(|column| format!("array_agg({column})")).collect();
                let apply = postgres::block_function(model, block, "apply");
                format!("SELECT {apply}({}) FROM ({all}) k HAVING count(*) > 0", arrays.join(", "))
            }
            Dialect::Sqlite => format!(
                "INSERT INTO {} SELECT {}, 0 FROM ({all}) k WHERE 1 = 1{}",
                sqlite::refresh_view(model, block),
                key.join(", "),
                sqlite::and_thawed(block, &key),
            ),
        };
        connection.batch(&sql)?;
    }
    Ok(())
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
}
