//! Refreshing pending keys: in block order, in small batches, and one by one where a batch fails, so that a poisoned key holds up
//! nobody else.
//!
//! An entry's rows are deleted *first*, in the transaction that then refreshes the key: what is deleted is what was committed before,
//! and each later statement sees at least that. A failure recorded meanwhile is another row, and stays.

use serde::Serialize;

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::ChangeName;
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::names::own;
use crate::sql::pending::{WHOLE_BLOCK, clock};

use super::error::TranslationError;
use super::own::{get_change, is_table_there};
use super::pending::count;
use super::repair::{refresh_keys, refresh_strictly};
use super::verify::{VerifyOptions, verify_block};
use super::writers::wait_for_writers;

/// Keys refreshed in one transaction: short, since old code may wait for it.
const BATCH_KEYS: i64 = 50;

/// Batches of one block in one run; the next block and the next run follow.
const BATCHES_MAX: usize = 200;

/// Pause before the second attempt, doubled for each one after it.
const BACKOFF_FIRST_MS: u64 = 1_000;
const BACKOFF_MAX_MS: u64 = 300_000;

/// Which keys a run tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Those whose pause is over.
    Now,
    /// All of them: somebody has mended what was wrong.
    All,
}

impl Due {
    fn condition(self, dialect: Dialect) -> String {
        match self {
            Self::Now => format!(" AND next_at <= {}", clock(dialect)),
            Self::All => String::new(),
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Retried {
    /// Keys refreshed, which have left the queue.
    pub healed: u64,
    /// Keys that failed again.
    pub failed: u64,
    /// Keys that still wait, of all blocks.
    pub pending: i64,
}

/// Tries the pending keys of every block that the change's stage keeps, in block order, since what one refresh writes may be what the
/// next block reads. Those of other blocks leave the queue: nothing keeps their rows right, and a backfill will come first.
pub fn retry_pending(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    due: Due,
) -> Result<Retried, TranslationError> {
    let change = get_change(connection, &model.name)?;
    let mut retried = Retried::default();
    if !is_table_there(connection, "pending")? {
        return Ok(retried);
    }
    // Entries written from now on are left to the next run: a key that fails again at once would never end this one.
    let until = last_entry(connection, &model.name)?;
    for block in &model.blocks {
        let is_kept = match block.id.direction {
            Direction::Forward => change.stage.translates_forward(),
            Direction::Backward => change.stage.translates_backward(),
        };
        let run = Run { model, block, due, until };
        if is_kept {
            run.whole(connection, &mut retried)?;
            run.keys(connection, &mut retried)?;
        } else {
            run.forget(connection, None)?;
        }
    }
    retried.pending = count(connection, &model.name)?;
    Ok(retried)
}

fn last_entry(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<i64, DatabaseError> {
    let sql =
        format!("SELECT coalesce(max(id), 0) AS last FROM {} WHERE change = $1", own(connection.dialect(), "pending"));
    connection.get_row(&sql, &[Value::from(change.as_str())])?.integer("last")
}

/// True if some key of an installed change is due.
pub fn is_any_due(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<bool, DatabaseError> {
    if !is_table_there(connection, "pending")? {
        return Ok(false);
    }
    let dialect = connection.dialect();
    let sql = format!(
        "SELECT count(*) AS n FROM (SELECT 1 FROM {} WHERE change = $1 AND next_at <= {} LIMIT 1) d",
        own(dialect, "pending"),
        clock(dialect)
    );
    Ok(connection.get_row(&sql, &[Value::from(change.as_str())])?.integer("n")? > 0)
}

/// One block's part of a run.
#[derive(Clone, Copy)]
struct Run<'a> {
    model: &'a ChangeModel,
    block: &'a BlockModel,
    due: Due,
    until: i64,
}

impl Run<'_> {
    /// Entries for the whole block: every key is compared, and those that differ are refreshed. A transaction that was still open when
    /// an entry was written may have missed what it stands for, so those are waited for. Only the entries that were there before leave.
    fn whole(self, connection: &mut DatabaseConnection, retried: &mut Retried) -> Result<(), TranslationError> {
        let entries = self.whole_block_entries(connection)?;
        let sources = self.model.sources_of(self.block.id.direction);
        if entries.is_empty() || !wait_for_writers(connection, &sources)? {
            return Ok(());
        }
        match verify_block(connection, self.block, VerifyOptions::default(), &mut |_, _| {}) {
            Ok(drift) => {
                for keys in drift.keys_differing.chunks(usize::try_from(BATCH_KEYS).unwrap_or(1)) {
                    self.refresh(connection, keys, retried)?;
                }
                let list: Vec<String> = entries.iter().map(ToString::to_string).collect();
                let table = own(connection.dialect(), "pending");
                connection.batch(&format!("DELETE FROM {table} WHERE id IN ({})", list.join(", ")))?;
                retried.healed += 1;
            }
            Err(error) if error.is_disconnected() => return Err(error.into()),
            Err(error) => {
                self.failed(connection, WHOLE_BLOCK, &error)?;
                retried.failed += 1;
            }
        }
        Ok(())
    }

    fn whole_block_entries(self, connection: &mut DatabaseConnection) -> Result<Vec<i64>, DatabaseError> {
        let dialect = connection.dialect();
        let sql = format!(
            "SELECT id FROM {} WHERE change = $1 AND block = $2 AND key = $3{} AND id <= $4 ORDER BY id LIMIT 1000",
            own(dialect, "pending"),
            self.due.condition(dialect),
        );
        let values = [self.change(), self.id(), Value::from(WHOLE_BLOCK), Value::from(self.until)];
        connection.query(&sql, &values)?.iter().map(|row| row.integer("id")).collect()
    }

    /// The keys that are due, batch by batch.
    fn keys(self, connection: &mut DatabaseConnection, retried: &mut Retried) -> Result<(), TranslationError> {
        let mut after = String::new();
        for _ in 0..BATCHES_MAX {
            let mut keys = self.select(connection, &after)?;
            let Some(last) = keys.last().cloned() else { break };
            after = last;
            keys.retain(|key| key != WHOLE_BLOCK);
            if !keys.is_empty() {
                self.refresh(connection, &keys, retried)?;
            }
        }
        Ok(())
    }

    /// The next keys after `after` that are due, in the order of their text.
    fn select(self, connection: &mut DatabaseConnection, after: &str) -> Result<Vec<String>, DatabaseError> {
        let dialect = connection.dialect();
        let collate = if dialect == Dialect::Postgres { " COLLATE \"C\"" } else { "" };
        let sql = format!(
            "SELECT DISTINCT key{collate} AS key FROM {} WHERE change = $1 AND block = $2 AND key{collate} > $3{} AND id <= $4
             ORDER BY 1 LIMIT {BATCH_KEYS}",
            own(dialect, "pending"),
            self.due.condition(dialect),
        );
        let values = [self.change(), self.id(), Value::from(after), Value::from(self.until)];
        connection.query(&sql, &values)?.iter().map(|row| row.text("key")).collect()
    }

    /// Refreshes some keys, all at once or, if that fails, one by one.
    fn refresh(
        self,
        connection: &mut DatabaseConnection,
        keys: &[String],
        retried: &mut Retried,
    ) -> Result<(), TranslationError> {
        if self.attempt(connection, keys).is_ok() {
            retried.healed += u64::try_from(keys.len()).unwrap_or(0);
            return Ok(());
        }
        for key in keys {
            match self.attempt(connection, std::slice::from_ref(key)) {
                Ok(()) => retried.healed += 1,
                Err(error) if error.is_disconnected() => return Err(error.into()),
                Err(error) => {
                    self.failed(connection, key, &error)?;
                    retried.failed += 1;
                }
            }
        }
        Ok(())
    }

    fn attempt(self, connection: &mut DatabaseConnection, keys: &[String]) -> Result<(), DatabaseError> {
        connection.in_transaction(|connection| {
            if connection.dialect() == Dialect::Postgres {
                // Gives up before the application's own deadlock detection would look at a circle with us in it.
                connection.batch("SET LOCAL lock_timeout = '300ms'")?;
            }
            for key in keys {
                self.forget(connection, Some(key))?;
            }
            refresh_keys(connection, self.model, self.block, keys)?;
            if connection.dialect() == Dialect::Sqlite { self.ask_why(connection, keys) } else { Ok(()) }
        })
    }

    /// SQLite: a refresh that left something out has queued its key again. Done once more without leaving anything out, it fails with the
    /// reason; if it does not, the key is healed.
    fn ask_why(self, connection: &mut DatabaseConnection, keys: &[String]) -> Result<(), DatabaseError> {
        let sql = format!(
            "SELECT error FROM {} WHERE change = $1 AND block = $2 AND key = $3 ORDER BY id DESC LIMIT 1",
            own(connection.dialect(), "pending")
        );
        for key in keys {
            let entry = [self.change(), self.id(), Value::from(key.as_str())];
            let Some(row) = connection.find_row(&sql, &entry)? else { continue };
            if self.block.split.is_some() {
                // A division that is not exact is no error of the database.
                return Err(DatabaseError::Refused(row.text("error")?));
            }
            refresh_strictly(connection, self.model, self.block, key)?;
            Self { until: i64::MAX, ..self }.forget(connection, Some(key))?;
        }
        Ok(())
    }

    /// Takes a key's entries, or all of the block's, out of the queue.
    fn forget(self, connection: &mut DatabaseConnection, key: Option<&str>) -> Result<(), DatabaseError> {
        let mut sql = format!(
            "DELETE FROM {} WHERE change = $1 AND block = $2 AND id <= $3",
            own(connection.dialect(), "pending")
        );
        let mut values = vec![self.change(), self.id(), Value::from(self.until)];
        if let Some(key) = key {
            sql.push_str(" AND key = $4");
            values.push(Value::from(key));
        }
        connection.execute(&sql, &values)?;
        Ok(())
    }

    /// Makes one entry of a key's rows, with the new error, one more attempt and a longer pause.
    fn failed(
        self,
        connection: &mut DatabaseConnection,
        key: &str,
        error: &DatabaseError,
    ) -> Result<(), DatabaseError> {
        let dialect = connection.dialect();
        let table = own(dialect, "pending");
        let now = clock(dialect);
        connection.in_transaction(|connection| {
            let of_key = [self.change(), self.id(), Value::from(key)];
            let row = connection.get_row(
                &format!(
                    "SELECT coalesce(max(attempts), 0) AS attempts, coalesce(min(first_at), {now}) AS first_at, \
                     coalesce(max(sqlstate), '') AS sqlstate FROM {table} WHERE change = $1 AND block = $2 AND key = $3"
                ),
                &of_key,
            )?;
            let attempts = row.integer("attempts")?.saturating_add(1);
            self.forget(connection, Some(key))?;
            let pause = Value::from(backoff_micros(attempts, jiff::Timestamp::now().subsec_nanosecond()));
            connection.execute(
                &format!(
                    "INSERT INTO {table} (change, block, key, error, sqlstate, attempts, first_at, last_at, next_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, {now}, {now} + $8)"
                ),
                &[
                    self.change(),
                    self.id(),
                    Value::from(key),
                    Value::from(error.to_string()),
                    Value::from(row.text("sqlstate")?),
                    Value::from(attempts),
                    Value::from(row.integer("first_at")?),
                    pause,
                ],
            )?;
            Ok(())
        })
    }

    fn change(self) -> Value {
        Value::from(self.model.name.as_str())
    }

    fn id(self) -> Value {
        Value::from(self.block.id.to_string())
    }
}

/// Exponential, with jitter: between half the pause and all of it, so that keys that failed together do not come back together.
fn backoff_micros(attempts: i64, random: i32) -> i64 {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(20);
    let pause = BACKOFF_FIRST_MS.saturating_mul(1 << doublings).min(BACKOFF_MAX_MS).saturating_mul(1_000);
    let part = u64::from(random.unsigned_abs() / 1_000 % 1_000);
    i64::try_from(pause / 2 + pause / 2 * part / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_five_minutes() {
        for (attempts, at_most) in
            [(1, 1_000_000), (2, 2_000_000), (5, 16_000_000), (9, 256_000_000), (60, 300_000_000)]
        {
            for random in [0, 1_000, 500_000_000, 999_999_999] {
                let pause = backoff_micros(attempts, random);
                assert!((at_most / 2..=at_most).contains(&pause), "{attempts} {random}: {pause}");
            }
        }
    }
}
