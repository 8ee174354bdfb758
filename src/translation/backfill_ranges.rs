//! The parts into which a block's keys are cut for a backfill, as the application's database keeps them. A worker claims a part by its
//! row's lock, in the transaction that fills some of it, so a killed worker's part is free at once and goes on exactly where it was; it
//! makes no difference whether workers are threads of one process or of several.

use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::keys::{KeyRange, in_range, text_sql};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::names::own;

use super::own::{BACKFILL_RANGE, is_table_there};

/// Parts for each worker, so that a worker whose parts were quick takes over from one whose parts are slow.
const RANGES_PER_WORKER: usize = 4;

/// Keys below which a part is not worth being cut.
const KEYS_WORTH_A_CUT: u64 = 2_000;

/// Keys looked at to find where to cut a large table.
const SAMPLE_KEYS: u64 = 20_000;

/// A part that has not been filled to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillRange {
    pub number: i64,
    pub after: Option<String>,
    pub until: Option<String>,
    /// The last key that has been filled.
    pub last_key: Option<String>,
    pub keys_done: i64,
}

impl FillRange {
    /// The keys that are left.
    #[must_use]
    pub fn rest(&self) -> KeyRange {
        KeyRange::Between { after: self.last_key.clone().or_else(|| self.after.clone()), until: self.until.clone() }
    }
}

/// A block's parts.
#[derive(Clone, Copy)]
pub struct Ranges<'a> {
    pub model: &'a ChangeModel,
    pub block: &'a BlockModel,
}

impl Ranges<'_> {
    /// Makes the parts of a block that has none, and more of them if there are fewer than workers. False if the block is finished.
    pub fn prepare(
        self,
        connection: &mut DatabaseConnection,
        workers: usize,
        keys: u64,
    ) -> Result<bool, DatabaseError> {
        create_table(connection)?;
        connection.in_transaction_with_retry(12, DatabaseError::is_retryable, |connection| {
            let begun = self.begin(connection)?;
            if begun.boolean("finished")? {
                return Ok(false);
            }
            let mut open = self.open(connection)?;
            if open.is_empty() && self.count_all(connection)? == 0 {
                let keys_done = begun.integer("keys_done")?;
                let whole = FillRange {
                    number: 0,
                    after: None,
                    until: None,
                    last_key: begun.find_text("last_key")?,
                    keys_done,
                };
                self.insert(connection, &whole)?;
                open = vec![whole];
            }
            if open.len() < workers && keys >= KEYS_WORTH_A_CUT {
                let pieces = (workers * RANGES_PER_WORKER).div_ceil(open.len().max(1));
                self.cut_all(connection, &open, pieces, keys)?;
            }
            Ok(true)
        })
    }

    /// Locks the block's row, so that one process at a time cuts and finishes.
    fn begin(self, connection: &mut DatabaseConnection) -> Result<Row, DatabaseError> {
        let dialect = connection.dialect();
        let table = own(dialect, "backfill");
        let sql = format!(
            "INSERT INTO {table} (change, block, keys_done, finished, started_at, updated_at) VALUES ($1, $2, 0, 0, $3, $4)
             ON CONFLICT (change, block) DO NOTHING"
        );
        connection.execute(&sql, &[self.change(), self.id(), now(), now()])?;
        let sql = format!(
            "SELECT last_key, keys_done, finished FROM {table} WHERE change = $1 AND block = $2{}",
            for_update(dialect, "")
        );
        connection.get_row(&sql, &[self.change(), self.id()])
    }

    fn open(self, connection: &mut DatabaseConnection) -> Result<Vec<FillRange>, DatabaseError> {
        let dialect = connection.dialect();
        let sql = format!(
            "SELECT * FROM {} WHERE change = $1 AND block = $2 AND finished = 0 ORDER BY number{}",
            own(dialect, "backfill_range"),
            for_update(dialect, "")
        );
        connection.query(&sql, &[self.change(), self.id()])?.iter().map(fill_range).collect()
    }

    fn count_all(self, connection: &mut DatabaseConnection) -> Result<i64, DatabaseError> {
        self.count(connection, "1 = 1")
    }

    /// The number of parts that are not filled to their end, whoever fills them.
    pub fn count_open(self, connection: &mut DatabaseConnection) -> Result<i64, DatabaseError> {
        self.count(connection, "finished = 0")
    }

    fn count(self, connection: &mut DatabaseConnection, condition: &str) -> Result<i64, DatabaseError> {
        let table = own(connection.dialect(), "backfill_range");
        let sql = format!("SELECT count(*) AS n FROM {table} WHERE change = $1 AND block = $2 AND {condition}");
        connection.get_row(&sql, &[self.change(), self.id()])?.integer("n")
    }

    /// Finished parts have numbers too.
    fn last_number(self, connection: &mut DatabaseConnection) -> Result<i64, DatabaseError> {
        let table = own(connection.dialect(), "backfill_range");
        let sql = format!("SELECT max(number) AS n FROM {table} WHERE change = $1 AND block = $2");
        Ok(connection.get_row(&sql, &[self.change(), self.id()])?.find_integer("n")?.unwrap_or(0))
    }

    fn cut_all(
        self,
        connection: &mut DatabaseConnection,
        open: &[FillRange],
        pieces: usize,
        keys: u64,
    ) -> Result<(), DatabaseError> {
        let mut number = self.last_number(connection)?;
        for range in open {
            let bounds = self.bounds(connection, &range.rest(), pieces, keys)?;
            let (Some(first), last) = (bounds.first().cloned(), range.until.clone()) else { continue };
            let sql = format!(
                "UPDATE {} SET until_key = $1 WHERE change = $2 AND block = $3 AND number = $4",
                own(connection.dialect(), "backfill_range")
            );
            connection.execute(&sql, &[Value::from(first), self.change(), self.id(), Value::from(range.number)])?;
            let ends = bounds.iter().skip(1).cloned().map(Some).chain(std::iter::once(last));
            for (after, until) in bounds.iter().zip(ends) {
                number += 1;
                let part = FillRange { number, after: Some(after.clone()), until, last_key: None, keys_done: 0 };
                self.insert(connection, &part)?;
            }
        }
        Ok(())
    }

    /// At most `pieces - 1` keys that cut a range into parts of about the same number of keys: keys that are there, so that gaps, clusters
    /// and keys that are no numbers make no difference.
    fn bounds(
        self,
        connection: &mut DatabaseConnection,
        range: &KeyRange,
        pieces: usize,
        keys: u64,
    ) -> Result<Vec<String>, DatabaseError> {
        let driving = &self.block.driving;
        let sample = match connection.dialect() {
            Dialect::Postgres if keys > SAMPLE_KEYS * 4 => {
                format!(" TABLESAMPLE SYSTEM ({})", (SAMPLE_KEYS * 100).div_ceil(keys.max(1)))
            }
            Dialect::Postgres | Dialect::Sqlite => String::new(),
        };
        let sql = format!(
            "SELECT {text} AS key FROM (SELECT s.*, row_number() OVER (ORDER BY {ordered}) AS co_n, count(*) OVER () AS co_total
               FROM (SELECT DISTINCT {key} FROM {table} d{sample} WHERE {condition}) s) k
             WHERE co_n < co_total AND (co_n - 1) * {pieces} / co_total <> co_n * {pieces} / co_total ORDER BY co_n",
            text = text_sql(connection.dialect(), &driving.key_of("k")),
            ordered = driving.key_of("s").join(", "),
            key = driving.key_of("d").join(", "),
            table = driving.table.sql,
            condition = in_range(&driving.key, &driving.key_of("d"), range),
        );
        connection.query(&sql, &[])?.iter().map(|row| row.text("key")).collect()
    }

    fn insert(self, connection: &mut DatabaseConnection, range: &FillRange) -> Result<(), DatabaseError> {
        let sql = format!(
            "INSERT INTO {} (change, block, number, after_key, until_key, last_key, keys_done, finished, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8)",
            own(connection.dialect(), "backfill_range")
        );
        let values = [
            self.change(),
            self.id(),
            Value::from(range.number),
            Value::from(range.after.clone()),
            Value::from(range.until.clone()),
            Value::from(range.last_key.clone()),
            Value::from(range.keys_done),
            now(),
        ];
        connection.execute(&sql, &values)?;
        Ok(())
    }

    /// Claims a part until the transaction ends: `preferred` if nobody else has it. `None` if every part is filled or claimed.
    pub fn claim(
        self,
        connection: &mut DatabaseConnection,
        preferred: i64,
    ) -> Result<Option<FillRange>, DatabaseError> {
        let dialect = connection.dialect();
        let sql = format!(
            "SELECT * FROM {} WHERE change = $1 AND block = $2 AND finished = 0
             ORDER BY CASE WHEN number = $3 THEN 0 ELSE 1 END, number LIMIT 1{}",
            own(dialect, "backfill_range"),
            for_update(dialect, " SKIP LOCKED")
        );
        let row = connection.find_row(&sql, &[self.change(), self.id(), Value::from(preferred)])?;
        row.as_ref().map(fill_range).transpose()
    }

    /// Stores how far a claimed part is.
    pub fn store(
        self,
        connection: &mut DatabaseConnection,
        range: &FillRange,
        finished: bool,
    ) -> Result<(), DatabaseError> {
        let sql = format!(
            "UPDATE {} SET last_key = $1, keys_done = $2, finished = $3, updated_at = $4
             WHERE change = $5 AND block = $6 AND number = $7",
            own(connection.dialect(), "backfill_range")
        );
        let values = [
            Value::from(range.last_key.clone()),
            Value::from(range.keys_done),
            Value::from(i64::from(finished)),
            now(),
            self.change(),
            self.id(),
            Value::from(range.number),
        ];
        connection.execute(&sql, &values)?;
        Ok(())
    }

    /// Marks the block as finished if no part is left, and forgets its parts. The keys that were done are their sum.
    pub fn finish(self, connection: &mut DatabaseConnection) -> Result<bool, DatabaseError> {
        connection.in_transaction_with_retry(12, DatabaseError::is_retryable, |connection| {
            if self.begin(connection)?.boolean("finished")? {
                return Ok(true);
            }
            if self.count_open(connection)? > 0 {
                return Ok(false);
            }
            let (table, ranges) = (own(connection.dialect(), "backfill"), own(connection.dialect(), "backfill_range"));
            let sql = format!(
                "UPDATE {table} SET finished = 1, updated_at = $1,
                   keys_done = (SELECT CAST(coalesce(sum(r.keys_done), 0) AS bigint) FROM {ranges} r WHERE r.change = $2 AND r.block = $3),
                   last_key = (SELECT max(r.last_key) FROM {ranges} r WHERE r.change = $2 AND r.block = $3 AND r.until_key IS NULL)
                 WHERE change = $2 AND block = $3"
            );
            connection.execute(&sql, &[now(), self.change(), self.id()])?;
            let sql = format!("DELETE FROM {ranges} WHERE change = $1 AND block = $2");
            connection.execute(&sql, &[self.change(), self.id()])?;
            Ok(true)
        })
    }

    fn change(self) -> Value {
        Value::from(self.model.name.as_str())
    }

    fn id(self) -> Value {
        Value::from(self.block.id.to_string())
    }
}

/// An installation made by an earlier version lacks the table.
fn create_table(connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
    if is_table_there(connection, "backfill_range")? {
        return Ok(());
    }
    let table = own(connection.dialect(), "backfill_range");
    connection.batch(&format!("CREATE TABLE IF NOT EXISTS {table} ({BACKFILL_RANGE})"))
}

/// SQLite's one writer has all rows.
fn for_update(dialect: Dialect, more: &str) -> String {
    match dialect {
        Dialect::Postgres => format!(" FOR UPDATE{more}"),
        Dialect::Sqlite => String::new(),
    }
}

fn now() -> Value {
    Value::from(Instant::from(jiff::Timestamp::now()).as_micros())
}

fn fill_range(row: &Row) -> Result<FillRange, DatabaseError> {
    Ok(FillRange {
        number: row.integer("number")?,
        after: row.find_text("after_key")?,
        until: row.find_text("until_key")?,
        last_key: row.find_text("last_key")?,
        keys_done: row.integer("keys_done")?,
    })
}

/// Forgets how far the backfills of some blocks of a change are, so that the next one begins with their first keys.
pub fn forget(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    blocks: &[&BlockModel],
) -> Result<(), DatabaseError> {
    create_table(connection)?;
    connection.in_transaction(|connection| {
        for block in blocks {
            for table in ["backfill_range", "backfill"] {
                let sql = format!("DELETE FROM {} WHERE change = $1 AND block = $2", own(connection.dialect(), table));
                connection.execute(&sql, &[Value::from(change.as_str()), Value::from(block.id.to_string())])?;
            }
        }
        Ok(())
    })
}
