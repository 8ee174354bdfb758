//! Ranges of driving keys and when each was last compared: the memory of verify, repair and the sentinel, in the application's
//! database. A run of verify or repair appends its ranges in key order and so knows where it was; when it is done its ranges become
//! the ones that the sentinel keeps young.

use serde::Serialize;

use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::model::ChangeModel;
use crate::sql::names::own;

use super::error::TranslationError;
use super::health::Drift;
use super::look::Found;
use super::own::{create_tables, is_table_there};
use super::verify::{DriftClass, DriftRow, image};

/// Tables of this file, each with its columns. `run` is `verify` or `repair` while one is under way, `current` for what the newest
/// look at each range found.
pub(super) fn tables(dialect: Dialect) -> [(&'static str, String); 3] {
    let id = match dialect {
        Dialect::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        Dialect::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
    };
    [
        (
            "range",
            String::from(
                "change TEXT NOT NULL, run TEXT NOT NULL, block TEXT NOT NULL, number BIGINT NOT NULL, after_key TEXT, until_key TEXT, \
                 keys BIGINT NOT NULL, missing BIGINT NOT NULL, extra BIGINT NOT NULL, differing BIGINT NOT NULL, repaired BIGINT NOT NULL, \
                 since BIGINT NOT NULL, verified_at BIGINT, PRIMARY KEY (change, run, block, number)",
            ),
        ),
        (
            "drift",
            format!(
                "id {id}, change TEXT NOT NULL, run TEXT NOT NULL, block TEXT NOT NULL, key TEXT, class TEXT NOT NULL, \
                 expected TEXT, actual TEXT, found_at BIGINT NOT NULL, repaired BIGINT NOT NULL"
            ),
        ),
        (
            "sentinel",
            String::from(
                "change TEXT NOT NULL, block TEXT NOT NULL, verified BIGINT NOT NULL, found BIGINT NOT NULL, repaired BIGINT NOT NULL, \
                 pass_began_at BIGINT NOT NULL, pass_ended_at BIGINT, PRIMARY KEY (change, block)",
            ),
        ),
    ]
}

/// A pass that stores its ranges as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    Verify,
    Repair,
}

impl Run {
    fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Repair => "repair",
        }
    }

    /// The model, if this run refreshes what differs.
    pub fn repairs(self, model: &ChangeModel) -> Option<&ChangeModel> {
        (self == Self::Repair).then_some(model)
    }
}

/// A range of a run, when it has been compared.
pub(super) struct Range<'a> {
    pub number: i64,
    pub after: Option<String>,
    pub until: Option<String>,
    pub keys: u64,
    pub found: &'a Found,
    /// When the run began: what tells it from another of its kind.
    pub since: Instant,
}

/// How far a run is in a block, and what it has found there.
#[derive(Debug, Default)]
pub(super) struct RunState {
    pub next_number: i64,
    /// The last key compared.
    pub after: Option<String>,
    pub done: bool,
    pub keys: u64,
    pub drift: Drift,
    pub repaired: i64,
    pub samples: Vec<DriftRow>,
}

/// Samples kept of a run's block, or of what the sentinel has found in it.
const SAMPLES_MAX: usize = 1_000;

/// Creates the tables that an installation made by an earlier version lacks.
pub(super) fn ensure_tables(connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
    if is_table_there(connection, "range")?
        && is_table_there(connection, "drift")?
        && is_table_there(connection, "sentinel")?
    {
        return Ok(());
    }
    let statements = create_tables(connection.dialect());
    connection.in_transaction(|connection| statements.iter().try_for_each(|statement| connection.batch(statement)))
}

/// When the unfinished run of this kind began.
pub(super) fn since(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    run: Run,
) -> Result<Option<Instant>, DatabaseError> {
    ensure_tables(connection)?;
    let sql = format!(
        "SELECT max(since) AS since FROM {} WHERE change = $1 AND run = $2",
        own(connection.dialect(), "range")
    );
    let row = connection.get_row(&sql, &[Value::from(change.as_str()), Value::from(run.as_str())])?;
    Ok(row.find_integer("since")?.map(Instant::from_micros))
}

/// How far a run is in a block.
pub(super) fn run_state(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    run: Run,
    block: &str,
    samples_max: usize,
) -> Result<RunState, DatabaseError> {
    let of_run = [Value::from(change.as_str()), Value::from(run.as_str()), Value::from(block)];
    let dialect = connection.dialect();
    let (range, drift) = (own(dialect, "range"), own(dialect, "drift"));
    let sql = format!(
        "SELECT number, until_key FROM {range} WHERE change = $1 AND run = $2 AND block = $3 ORDER BY number DESC LIMIT 1"
    );
    let Some(last) = connection.find_row(&sql, &of_run)? else { return Ok(RunState::default()) };
    let sql = format!(
        "SELECT {}, {}, {}, {}, {} FROM {range} WHERE change = $1 AND run = $2 AND block = $3",
        sum(dialect, "keys"),
        sum(dialect, "missing"),
        sum(dialect, "extra"),
        sum(dialect, "differing"),
        sum(dialect, "repaired"),
    );
    let sums = connection.get_row(&sql, &of_run)?;
    let sql =
        format!("SELECT * FROM {drift} WHERE change = $1 AND run = $2 AND block = $3 ORDER BY id LIMIT {samples_max}");
    let samples = connection.query(&sql, &of_run)?;
    let after = last.find_text("until_key")?;
    Ok(RunState {
        next_number: last.integer("number")? + 1,
        done: after.is_none(),
        after,
        keys: u64::try_from(sums.integer("keys")?).unwrap_or(0),
        drift: drift_in(&sums)?,
        repaired: sums.integer("repaired")?,
        samples: samples.iter().map(sample).collect::<Result<_, _>>()?,
    })
}

/// Stores a range that a run has compared, with samples. An error if another run of this kind has begun since.
pub(super) fn add_range(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    run: Run,
    block: &str,
    range: &Range<'_>,
) -> Result<(), TranslationError> {
    let sql = format!(
        "INSERT INTO {table} (change, run, block, number, after_key, until_key, keys, missing, extra, differing, repaired, since, verified_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
         WHERE NOT EXISTS (SELECT 1 FROM {table} o WHERE o.change = $1 AND o.run = $2 AND o.block = $3 AND o.since <> $12)
         ON CONFLICT (change, run, block, number) DO NOTHING",
        table = own(connection.dialect(), "range")
    );
    let found = range.found;
    let now = jiff::Timestamp::now().as_microsecond();
    let values = [
        Value::from(change.as_str()),
        Value::from(run.as_str()),
        Value::from(block),
        Value::from(range.number),
        Value::from(range.after.clone()),
        Value::from(range.until.clone()),
        Value::from(i64::try_from(range.keys).unwrap_or(i64::MAX)),
        Value::from(found.drift.missing),
        Value::from(found.drift.extra),
        Value::from(found.drift.different),
        Value::from(found.repaired),
        Value::from(range.since.as_micros()),
        Value::from(now),
    ];
    connection.in_transaction_with_retry(10, TranslationError::is_retryable, |connection| {
        if connection.execute(&sql, &values)? == 0 {
            return Err(TranslationError::PassOvertaken { name: change.clone(), what: run.as_str() });
        }
        Ok(add_samples(connection, change, run.as_str(), block, &found.samples)?)
    })
}

pub(super) fn add_samples(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    run: &str,
    block: &str,
    samples: &[DriftRow],
) -> Result<(), DatabaseError> {
    let sql = format!(
        "INSERT INTO {table} (change, run, block, key, class, expected, actual, found_at, repaired)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
         WHERE (SELECT count(*) FROM {table} o WHERE o.change = $1 AND o.run = $2 AND o.block = $3) < {SAMPLES_MAX}",
        table = own(connection.dialect(), "drift")
    );
    let now = jiff::Timestamp::now().as_microsecond();
    for row in samples {
        let text = |image: &Option<serde_json::Value>| Value::from(image.as_ref().map(ToString::to_string));
        let values = [
            Value::from(change.as_str()),
            Value::from(run),
            Value::from(block),
            Value::from(row.key.as_str()),
            Value::from(row.class.as_str()),
            text(&row.expected),
            text(&row.actual),
            Value::from(now),
            Value::from(i64::from(row.repaired)),
        ];
        connection.execute(&sql, &values)?;
    }
    Ok(())
}

/// A block's ranges of a finished run become the current ones.
pub(super) fn finish_block(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    run: Run,
    block: &str,
) -> Result<(), DatabaseError> {
    let dialect = connection.dialect();
    let values = [Value::from(change.as_str()), Value::from(block), Value::from(run.as_str())];
    let columns = [
        ("range", "number, after_key, until_key, keys, missing, extra, differing, repaired, since, verified_at"),
        ("drift", "key, class, expected, actual, found_at, repaired"),
    ];
    connection.in_transaction_with_retry(10, DatabaseError::is_retryable, |connection| {
        for (table, columns) in columns {
            let table = own(dialect, table);
            let old = format!("DELETE FROM {table} WHERE change = $1 AND block = $2 AND run = 'current'");
            connection.execute(&old, &values[..2])?;
            let new = format!(
                "INSERT INTO {table} (change, block, run, {columns})
                 SELECT change, block, 'current', {columns} FROM {table} WHERE change = $1 AND block = $2 AND run = $3"
            );
            connection.execute(&new, &values)?;
        }
        Ok(())
    })
}

/// Forgets how far a run was in a block.
pub(super) fn forget_run(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    run: Run,
    block: &str,
) -> Result<(), DatabaseError> {
    let values = [Value::from(change.as_str()), Value::from(run.as_str()), Value::from(block)];
    for table in ["range", "drift"] {
        let sql =
            format!("DELETE FROM {} WHERE change = $1 AND run = $2 AND block = $3", own(connection.dialect(), table));
        connection.execute(&sql, &values)?;
    }
    Ok(())
}

fn sample(row: &Row) -> Result<DriftRow, DatabaseError> {
    Ok(DriftRow {
        class: DriftClass::read(&row.text("class")?),
        key: row.find_text("key")?.unwrap_or_default(),
        expected: image(row.find_text("expected")?),
        actual: image(row.find_text("actual")?),
        error: None,
        repaired: row.boolean("repaired")?,
    })
}

fn sum(dialect: Dialect, column: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("CAST(sum({column}) AS bigint) AS {column}"),
        Dialect::Sqlite => format!("sum({column}) AS {column}"),
    }
}

/// What a block's current ranges say together.
#[derive(Debug, Clone)]
pub struct RangeSummary {
    pub block: String,
    /// Ranges that have been compared at least once.
    pub seen: i64,
    /// Driving keys in them when they were compared.
    pub keys: i64,
    pub drift: Drift,
    /// When the oldest was compared; for one that never was, since when it has been waiting.
    pub oldest_at: Instant,
}

/// What the sentinel has done for a block since the change was installed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SentinelTally {
    #[serde(skip)]
    pub block: String,
    /// Driving keys compared.
    pub verified_keys: i64,
    /// Target rows that differed.
    pub drift_found: i64,
    /// Of these, the rows that it put right.
    pub repaired: i64,
    /// When every range had been compared once more. None: never yet.
    pub last_pass_at: Option<Instant>,
}

/// The current ranges of each block, summed up.
pub fn summarize(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Vec<RangeSummary>, DatabaseError> {
    if !is_table_there(connection, "range")? {
        return Ok(Vec::new());
    }
    let dialect = connection.dialect();
    let sql = format!(
        "SELECT block, count(verified_at) AS seen, {keys}, {missing}, {extra}, {differing},
           min(coalesce(verified_at, since)) AS oldest_at
         FROM {range} WHERE change = $1 AND run = 'current' GROUP BY block ORDER BY block",
        keys = sum(dialect, "keys"),
        missing = sum(dialect, "missing"),
        extra = sum(dialect, "extra"),
        differing = sum(dialect, "differing"),
        range = own(dialect, "range"),
    );
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    rows.iter()
        .map(|row| {
            Ok(RangeSummary {
                block: row.text("block")?,
                seen: row.integer("seen")?,
                keys: row.integer("keys")?,
                drift: drift_in(row)?,
                oldest_at: Instant::from_micros(row.integer("oldest_at")?),
            })
        })
        .collect()
}

/// What the sentinel has done for each block.
pub fn sentinel_tallies(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Vec<SentinelTally>, DatabaseError> {
    if !is_table_there(connection, "sentinel")? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT * FROM {} WHERE change = $1 ORDER BY block", own(connection.dialect(), "sentinel"));
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    rows.iter()
        .map(|row| {
            Ok(SentinelTally {
                block: row.text("block")?,
                verified_keys: row.integer("verified")?,
                drift_found: row.integer("found")?,
                repaired: row.integer("repaired")?,
                last_pass_at: row.find_integer("pass_ended_at")?.map(Instant::from_micros),
            })
        })
        .collect()
}

fn drift_in(row: &Row) -> Result<Drift, DatabaseError> {
    Ok(Drift { missing: row.integer("missing")?, extra: row.integer("extra")?, different: row.integer("differing")? })
}
