//! Comparing every target row with what its block says it should be, range by range: each range is one statement and so one
//! snapshot, and what it finds is looked at again under the driving rows' locks before it is reported.

use serde::Serialize;

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::primitives::Instant;
use crate::sql::keys::in_range;
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::{KeyRange, count_keys, differing_rows, range_end};

use super::error::TranslationError;
use super::own::get_change;
use super::progress::{Verification, store_verification};

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftClass {
    /// Expected, but not in the target.
    Missing,
    /// In the target, but not expected.
    Extra,
    /// In both, with other values.
    Different,
}

impl DriftClass {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
        }
    }
}

/// A target row that differs, with both images.
#[derive(Debug, Clone, Serialize)]
pub struct DriftRow {
    pub class: DriftClass,
    /// The driving key, as the database prints it.
    pub key: String,
    pub expected: Option<serde_json::Value>,
    pub actual: Option<serde_json::Value>,
}

/// What verify found of one block.
#[derive(Debug, Clone, Serialize)]
pub struct BlockDrift {
    pub block: String,
    pub target: String,
    pub keys: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    /// The first differing rows, at most as many as were asked for.
    pub samples: Vec<DriftRow>,
    /// Driving keys with a differing row, each once.
    #[serde(skip)]
    pub keys_differing: Vec<String>,
}

impl BlockDrift {
    /// Target rows that differ.
    #[must_use]
    pub fn drift(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// How a verify runs.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Driving keys compared by one statement.
    pub range_keys: usize,
    /// Differing rows kept as samples for each block.
    pub samples_max: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { range_keys: 20_000, samples_max: 20 }
    }
}

/// Keys looked at again in one transaction.
const CONFIRM_KEYS: usize = 200;

/// Compares all keys of the blocks that the change's stage keeps: forward ones, and backward ones from `live` on. The result is
/// stored beside the change. `on_range` is told the block and the keys compared so far.
pub fn verify(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    options: VerifyOptions,
    on_range: &mut dyn FnMut(&BlockModel, u64),
) -> Result<Vec<BlockDrift>, TranslationError> {
    let change = get_change(connection, &model.name)?;
    let mut found = Vec::new();
    for block in &model.blocks {
        if block.id.direction == Direction::Backward && !change.stage.translates_backward() {
            continue;
        }
        let started_at = Instant::from(jiff::Timestamp::now());
        let drift = verify_block(connection, block, options, on_range)?;
        store_verification(connection, &model.name, &stored(&drift, started_at))?;
        found.push(drift);
    }
    Ok(found)
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

/// Compares one block's keys; writes nothing.
pub fn verify_block(
    connection: &mut DatabaseConnection,
    block: &BlockModel,
    options: VerifyOptions,
    on_range: &mut dyn FnMut(&BlockModel, u64),
) -> Result<BlockDrift, DatabaseError> {
    let mut drift = BlockDrift {
        block: block.id.to_string(),
        target: block.target.name.clone(),
        keys: 0,
        missing: 0,
        extra: 0,
        different: 0,
        samples: Vec::new(),
        keys_differing: Vec::new(),
    };
    let mut after: Option<String> = None;
    loop {
        let end =
            connection.find_row(&range_end(block, connection.dialect(), after.as_deref(), options.range_keys), &[])?;
        let until = end.map(|row| row.text("key")).transpose()?;
        let range = KeyRange::Between { after: after.clone(), until: until.clone() };
        let suspects = keys_of(&rows(connection, block, &range)?);
        for keys in suspects.chunks(CONFIRM_KEYS) {
            for row in confirm(connection, block, keys)? {
                drift.add(row, options.samples_max);
            }
        }
        let keys = connection.get_row(&count_keys(block, &range), &[])?.integer("keys")?;
        drift.keys = drift.keys.saturating_add(u64::try_from(keys).unwrap_or(0));
        on_range(block, drift.keys);
        match until {
            Some(until) => after = Some(until),
            None => break,
        }
    }
    drift.keys_differing.sort_unstable();
    drift.keys_differing.dedup();
    Ok(drift)
}

impl BlockDrift {
    fn add(&mut self, row: DriftRow, samples_max: usize) {
        match row.class {
            DriftClass::Missing => self.missing += 1,
            DriftClass::Extra => self.extra += 1,
            DriftClass::Different => self.different += 1,
        }
        self.keys_differing.push(row.key.clone());
        if self.samples.len() < samples_max {
            self.samples.push(row);
        }
    }
}

/// Looks at suspects again while no one can change their driving rows: a row that was being written is no drift.
fn confirm(
    connection: &mut DatabaseConnection,
    block: &BlockModel,
    keys: &[String],
) -> Result<Vec<DriftRow>, DatabaseError> {
    let among = KeyRange::Among(keys.to_vec());
    // Writers lock rows in any order, so under load many locks at once meet a deadlock again and again. A single one cannot.
    let attempts = if keys.len() > 1 { 2 } else { 20 };
    let looked = connection.in_transaction_with_retry(attempts, DatabaseError::is_retryable, |connection| {
        if connection.dialect() == Dialect::Postgres {
            lock_driving(connection, block, &among)?;
        }
        rows(connection, block, &among)
    });
    match looked {
        Err(error) if error.is_retryable() && keys.len() > 1 => {
            let (first, second) = keys.split_at(keys.len() / 2);
            let mut found = confirm(connection, block, first)?;
            found.extend(confirm(connection, block, second)?);
            Ok(found)
        }
        looked => looked,
    }
}

/// PostgreSQL: locks driving rows, in key order, against updates and deletes until the transaction ends.
pub(super) fn lock_driving(
    connection: &mut DatabaseConnection,
    block: &BlockModel,
    range: &KeyRange,
) -> Result<(), DatabaseError> {
    let key = block.driving.key_of("d");
    let sql = format!(
        "SELECT 1 FROM {} d WHERE {} ORDER BY {} FOR NO KEY UPDATE",
        block.driving.table.sql,
        in_range(&block.driving.key, &key, range),
        key.join(", "),
    );
    connection.batch(&sql)
}

fn rows(
    connection: &mut DatabaseConnection,
    block: &BlockModel,
    range: &KeyRange,
) -> Result<Vec<DriftRow>, DatabaseError> {
    let found = connection.query(&differing_rows(block, connection.dialect(), range), &[])?;
    found
        .iter()
        .map(|row| {
            Ok(DriftRow {
                class: match row.text("class")?.as_str() {
                    "missing" => DriftClass::Missing,
                    "extra" => DriftClass::Extra,
                    _ => DriftClass::Different,
                },
                key: row.text("key")?,
                expected: image(row.find_text("expected")?),
                actual: image(row.find_text("actual")?),
            })
        })
        .collect()
}

fn image(text: Option<String>) -> Option<serde_json::Value> {
    text.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
}

fn keys_of(rows: &[DriftRow]) -> Vec<String> {
    let mut keys: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
