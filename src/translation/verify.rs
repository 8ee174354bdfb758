//! Comparing every target row with what its block says it should be, range by range: each range is one statement and so one
//! snapshot, and what it finds is looked at again under the driving rows' locks before it is reported.

use serde::Serialize;

use crate::database::{DatabaseConnection, DatabaseError, Row};
use crate::sql::keys::in_range;
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::KeyRange;

use super::error::TranslationError;
use super::health::Drift;
use super::look::Look;
use super::pass::Pass;

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

    pub(super) fn read(text: &str) -> Self {
        match text {
            "missing" => Self::Missing,
            "extra" => Self::Extra,
            _ => Self::Different,
        }
    }
}

/// A target row that differs, with both images.
#[derive(Debug, Clone, Serialize)]
pub struct DriftRow {
    pub class: DriftClass,
    /// The driving key, as the database prints it; `NULL` for a row without one.
    pub key: String,
    pub expected: Option<serde_json::Value>,
    pub actual: Option<serde_json::Value>,
    /// Why the expected row cannot be computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// A refresh has put it right since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repaired: bool,
}

impl DriftRow {
    pub(super) fn read(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            class: DriftClass::read(&row.text("class")?),
            key: row.text("key")?,
            expected: image(row.find_text("expected")?),
            actual: image(row.find_text("actual")?),
            error: None,
            repaired: false,
        })
    }

    /// For a key whose expected rows cannot be computed.
    pub(super) fn failing(key: &str, error: &DatabaseError) -> Self {
        Self {
            class: DriftClass::Different,
            key: key.to_owned(),
            expected: None,
            actual: None,
            error: Some(error.to_string()),
            repaired: false,
        }
    }
}

pub(super) fn image(text: Option<String>) -> Option<serde_json::Value> {
    text.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
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
    /// Driving keys with a differing row, each once; only [`verify_block`] keeps them.
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
        Self { range_keys: 50_000, samples_max: 20 }
    }
}

/// Compares all keys of the blocks that the change's stage keeps, from the first: forward ones, and backward ones from `live` on. The
/// result is stored beside the change. `on_range` is told the block and the keys compared so far.
pub fn verify(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    options: VerifyOptions,
    on_range: &mut dyn FnMut(&BlockModel, u64),
) -> Result<Vec<BlockDrift>, TranslationError> {
    let mut tell = |block: &BlockModel, done: u64, _: u64| {
        on_range(block, done);
        true
    };
    let pass = Pass { options, restart: true, ..Pass::new(model) };
    Ok(pass.verify(connection, &mut tell)?.blocks)
}

/// Compares one block's keys; writes nothing.
pub fn verify_block(
    connection: &mut DatabaseConnection,
    block: &BlockModel,
    options: VerifyOptions,
    on_range: &mut dyn FnMut(&BlockModel, u64),
) -> Result<BlockDrift, DatabaseError> {
    let mut drift = BlockDrift::new(block);
    let mut after: Option<String> = None;
    loop {
        let look = Look { block, samples_max: options.samples_max.saturating_sub(drift.samples.len()), repair: None };
        let rest = KeyRange::Between { after: after.clone(), until: None };
        let (until, keys) = look.next_bound(connection, &rest, options.range_keys)?;
        let found = look.at(connection, &KeyRange::Between { after, until: until.clone() })?;
        drift.keys = drift.keys.saturating_add(keys);
        drift.add(found.drift);
        drift.samples.extend(found.samples);
        drift.keys_differing.extend(found.keys_differing);
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

/// Compares just these keys of a block; writes nothing.
pub fn verify_keys(
    connection: &mut DatabaseConnection,
    block: &BlockModel,
    keys: &[String],
    samples_max: usize,
) -> Result<BlockDrift, DatabaseError> {
    let found = Look { block, samples_max, repair: None }.at(connection, &KeyRange::Among(keys.to_vec()))?;
    let mut drift = BlockDrift::new(block);
    drift.keys = u64::try_from(keys.len()).unwrap_or(u64::MAX);
    drift.add(found.drift);
    drift.samples = found.samples;
    drift.keys_differing = found.keys_differing;
    Ok(drift)
}

impl BlockDrift {
    pub(super) fn new(block: &BlockModel) -> Self {
        Self {
            block: block.id.to_string(),
            target: block.target.name.clone(),
            keys: 0,
            missing: 0,
            extra: 0,
            different: 0,
            samples: Vec::new(),
            keys_differing: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, drift: Drift) {
        let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
        self.missing += count(drift.missing);
        self.extra += count(drift.extra);
        self.different += count(drift.different);
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
