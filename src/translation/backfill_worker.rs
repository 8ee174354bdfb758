//! A worker of a backfill: claims a part, fills a batch of it, stores how far it is, waits where it is told to.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant as Clock};

use super::backfill::Filling;
use super::backfill_batch::Batch;
use super::backfill_pace::{BATCH_ROWS_FIRST, adapted};
use super::backfill_ranges::FillRange;
use super::error::TranslationError;
use super::pending::enqueue;
use crate::change::{OnError, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::names::own;

/// SQLite has one writer, and who waits for it asks every now and then, up to 100 ms apart: a backfill that took the lock back at
/// once would let nobody in. So the application has its turn after each batch, as long as the batch took.
const WRITERS_TURN_MAX: Duration = Duration::from_millis(100);

/// The longest pause after an attempt that the database aborted: a deadlock, or a row that somebody holds.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a worker sleeps before it looks again whether it may go on.
const NAP: Duration = Duration::from_millis(50);

/// Keys in a row that cannot be refreshed before it is taken for more than a few bad rows.
const REFUSED_MAX: u32 = 20;

/// What a worker tells.
#[derive(Debug)]
pub enum Told {
    Batch,
    /// It waits, for this reason.
    Waits(String),
    /// It still waits.
    Nap,
}

/// `T` is told what happens, on the worker's own thread.
pub struct Worker<'a, T> {
    filling: &'a Filling<'a>,
    /// The part that it filled last.
    preferred: i64,
    batch_rows: usize,
    aborted: u32,
    refused: u32,
    told: T,
}

/// What came of a batch's transaction.
enum Outcome {
    Filled {
        range: FillRange,
        keys: usize,
    },
    /// Every part is filled, or another worker's.
    NothingFree,
}

impl<'a, T: FnMut(Told)> Worker<'a, T> {
    #[must_use]
    pub fn new(filling: &'a Filling<'a>, number: usize, told: T) -> Self {
        let batch_rows = filling.options.batch_rows.unwrap_or(BATCH_ROWS_FIRST);
        let preferred = i64::try_from(number).unwrap_or(0);
        Self { filling, preferred, batch_rows, aborted: 0, refused: 0, told }
    }

    /// Fills batches until no part is free or the backfill is stopped. Its error stops the other workers.
    pub fn run(&mut self, connection: &mut DatabaseConnection) -> Result<(), TranslationError> {
        let outcome = self.fill(connection);
        if outcome.is_err() {
            self.filling.stop.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn fill(&mut self, connection: &mut DatabaseConnection) -> Result<(), TranslationError> {
        while self.may_go_on(connection)? {
            let began = Clock::now();
            let rows = self.filling.rate.batch_rows(self.batch_rows);
            match self.batch(connection, rows) {
                Ok(Outcome::NothingFree) => return Ok(()),
                Ok(Outcome::Filled { range, keys }) => {
                    (self.aborted, self.refused) = (0, 0);
                    self.preferred = range.number;
                    self.account(connection, keys, began.elapsed())?;
                }
                Err(TranslationError::Database(error)) if error.is_retryable() => self.pause(&error, rows),
                Err(TranslationError::Database(error)) => self.refused(connection, error, rows)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits while the backfill is held back; false once it is stopped.
    fn may_go_on(&mut self, connection: &mut DatabaseConnection) -> Result<bool, TranslationError> {
        let mut said: Option<String> = None;
        while !self.filling.is_stopped() {
            let pause = self.filling.rate.pause();
            let reason = match self.filling.throttle.reason(connection)? {
                None if pause.is_zero() => return Ok(true),
                // A pause between batches is what the limit asks for, and no news.
                None => None,
                reason => reason,
            };
            if let Some(reason) = reason.filter(|reason| said.as_ref() != Some(reason)) {
                (self.told)(Told::Waits(reason.clone()));
                said = Some(reason);
            }
            (self.told)(Told::Nap);
            std::thread::sleep(if pause.is_zero() { NAP } else { pause.min(NAP) });
        }
        Ok(false)
    }

    /// The next batch and how far its part is then, in one transaction.
    fn batch(&self, connection: &mut DatabaseConnection, rows: usize) -> Result<Outcome, TranslationError> {
        let filling = self.filling;
        connection.in_transaction(|connection| {
            let Some(range) = filling.ranges.claim(connection, self.preferred)? else {
                return Ok(Outcome::NothingFree);
            };
            self.refuse_ended(connection)?;
            let batch = filling.batches.run(connection, &range.rest(), rows)?;
            let range = advanced(range, &batch);
            filling.ranges.store(connection, &range, batch.keys < rows)?;
            Ok(Outcome::Filled { range, keys: batch.keys })
        })
    }

    /// A change that was moved back to `off` meanwhile no longer translates what is written, so what is filled would go stale.
    fn refuse_ended(&self, connection: &mut DatabaseConnection) -> Result<Stage, TranslationError> {
        let name = &self.filling.ranges.model.name;
        let sql = format!("SELECT stage FROM {} WHERE name = $1", own(connection.dialect(), "change"));
        let row = connection.find_row(&sql, &[Value::from(name.as_str())])?;
        let stage = row.map(|row| row.text("stage")).transpose()?.and_then(|stage| stage.parse::<Stage>().ok());
        match stage {
            Some(stage) if stage.translates_forward() => Ok(stage),
            stage => Err(TranslationError::WrongStage {
                name: name.clone(),
                stage: stage.unwrap_or(Stage::Off),
                what: "a backfill",
                remedy: "it was moved there while the backfill ran; move it to `dualwrite` and start the backfill with --restart",
            }),
        }
    }

    fn account(
        &mut self,
        connection: &mut DatabaseConnection,
        keys: usize,
        took: Duration,
    ) -> Result<(), DatabaseError> {
        let filling = self.filling;
        let count = u64::try_from(keys).unwrap_or(0);
        filling.rate.spend(count);
        let done = filling.keys.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        (self.told)(Told::Batch);
        let due = filling.analyze_at.load(Ordering::Relaxed);
        let next = done.saturating_mul(4);
        let is_mine =
            done >= due && filling.analyze_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine {
            filling.analyze(connection)?;
        }
        if connection.dialect() == Dialect::Sqlite {
            std::thread::sleep(took.min(WRITERS_TURN_MAX));
        }
        self.batch_rows = match filling.options.batch_rows {
            None => adapted(self.batch_rows, took),
            // Back to what was asked for, after a batch had to be made smaller.
            Some(asked) => self.batch_rows.saturating_mul(2).min(asked),
        };
        Ok(())
    }

    /// The database aborted the batch, so that others pass; it is tried again for as long as it takes. Each time with half the keys: where
    /// many write the same few rows, one transaction that wants all of those might never get them.
    fn pause(&mut self, error: &DatabaseError, rows: usize) {
        self.batch_rows = (rows / 2).max(1);
        self.aborted = self.aborted.saturating_add(1);
        let pause = PAUSE_MAX.min(Duration::from_millis(1 << self.aborted.min(10)));
        if self.aborted > 4 {
            (self.told)(Told::Waits(format!("waits for other transactions: {}", error.primary_message())));
        }
        tracing::debug!(attempt = self.aborted, %error, "a batch is tried again");
        let until = Clock::now() + pause;
        while Clock::now() < until && !self.filling.is_stopped() {
            std::thread::sleep(NAP.min(pause));
        }
    }

    /// The batch has a key that cannot be refreshed. Where the change says that such keys are queued, the batch is made smaller until it is
    /// that key alone, which is queued; all others are filled.
    fn refused(
        &mut self,
        connection: &mut DatabaseConnection,
        error: DatabaseError,
        rows: usize,
    ) -> Result<(), TranslationError> {
        let stage = self.refuse_ended(connection)?;
        let is_queued = self.filling.block().on_error(stage) == OnError::Queue;
        if error.is_disconnected() || !is_queued || self.refused >= REFUSED_MAX {
            return Err(error.into());
        }
        self.batch_rows = rows / 8;
        if rows <= 1 {
            self.batch_rows = 1;
            self.queue_one(connection)?;
        }
        self.batch_rows = self.batch_rows.max(1);
        Ok(())
    }

    /// Tries one key once more; queues it if it cannot be refreshed, and goes past it.
    fn queue_one(&mut self, connection: &mut DatabaseConnection) -> Result<(), TranslationError> {
        let filling = self.filling;
        let queued = connection.in_transaction(|connection| {
            let Some(range) = filling.ranges.claim(connection, self.preferred)? else { return Ok(false) };
            let rest = range.rest();
            let tried = connection.in_transaction(|connection| filling.batches.run(connection, &rest, 1));
            let (batch, error) = match tried {
                Ok(batch) => (batch, None),
                Err(error) if error.is_retryable() || error.is_disconnected() => return Err(error.into()),
                Err(error) => match filling.batches.end_of_batch(connection, &rest, 1)? {
                    Some((key, keys)) => (Batch { last_key: Some(key), keys }, Some(error)),
                    None => return Err(error.into()),
                },
            };
            if let (Some(key), Some(error)) = (&batch.last_key, &error) {
                let keys = std::slice::from_ref(key);
                enqueue(connection, filling.ranges.model, filling.block(), keys, &error.to_string())?;
            }
            let finished = batch.keys < 1;
            filling.ranges.store(connection, &advanced(range, &batch), finished)?;
            Ok::<_, TranslationError>(error.is_some())
        })?;
        self.refused = if queued { self.refused.saturating_add(1) } else { 0 };
        filling.keys.fetch_add(1, Ordering::Relaxed);
        (self.told)(Told::Batch);
        Ok(())
    }
}

fn advanced(range: FillRange, batch: &Batch) -> FillRange {
    let keys = i64::try_from(batch.keys).unwrap_or(i64::MAX);
    FillRange {
        last_key: batch.last_key.clone().or(range.last_key),
        keys_done: range.keys_done.saturating_add(keys),
        ..range
    }
}
