//! Refreshing the keys that verify found to differ, under their driving rows' locks. What a repair writes cascades as any write does.

use serde::Serialize;

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::keys::{arrays, literals};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::KeyRange;
use crate::sql::{postgres, sqlite};

use super::current_ranges::{Looked, drifting, store_look};
use super::error::TranslationError;
use super::look::Look;
use super::own::{Deed, InstalledChange, get_change, record};
use super::pass::{OnRange, Pass, PassOutcome};
use super::ranges::{Run, ensure_tables};
use super::verify::{BlockDrift, DriftRow, VerifyOptions, lock_driving};

/// Samples of a repair that go into the change's history.
const SAMPLES_RECORDED: usize = 20;

/// What a repair did.
#[derive(Debug, Clone, Serialize)]
pub struct Repaired {
    /// What differed before, block by block.
    #[serde(flatten)]
    pub found: PassOutcome,
    /// What still differs in the ranges in which something did: all of them were compared once more at the end.
    pub left: Vec<BlockDrift>,
}

/// Compares each block and refreshes what differs. Returns what was found before the repair; `on_keys` is told the block and the keys
/// compared so far.
pub fn repair(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    options: VerifyOptions,
    on_keys: &mut dyn FnMut(&BlockModel, u64),
) -> Result<Vec<BlockDrift>, TranslationError> {
    let pass = Pass { options, restart: true, ..Pass::new(model) };
    let deed = Deed { actor: "changeover", at: jiff::Timestamp::now().into(), reason: "" };
    let mut tell = |block: &BlockModel, done: u64, _: u64| {
        on_keys(block, done);
        true
    };
    Ok(pass.repair(connection, false, deed, &mut tell)?.found.blocks)
}

impl Pass<'_> {
    /// Compares each block's keys and refreshes what differs; compares once more what had drifted; writes it all into the change's
    /// history. `only_found`: looks only at the ranges in which the last looks found drift.
    pub fn repair(
        &self,
        connection: &mut DatabaseConnection,
        only_found: bool,
        deed: Deed<'_>,
        on_range: OnRange<'_>,
    ) -> Result<Repaired, TranslationError> {
        let change = get_change(connection, &self.model.name)?;
        refuse_stage(&change)?;
        let found = if only_found {
            self.repair_drifting(connection, &change, on_range)?
        } else {
            self.run(connection, &change, Run::Repair, on_range)?
        };
        let left = if found.finished { self.look_at_found(connection, &mut |_, _, _| true)? } else { Vec::new() };
        if found.drift() > 0 {
            record(connection, &change.name, deed, "repair", &summary(&found, &left))?;
        }
        Ok(Repaired { found, left })
    }

    /// Refreshes what differs in the ranges in which the last looks found drift.
    fn repair_drifting(
        &self,
        connection: &mut DatabaseConnection,
        change: &InstalledChange,
        on_range: OnRange<'_>,
    ) -> Result<PassOutcome, TranslationError> {
        let mut outcome = PassOutcome { blocks: Vec::new(), repaired: 0, finished: true, resumed: None };
        for block in self.blocks_at(change)? {
            let (drift, repaired, finished) = self.look_at_drifting(connection, block, Some(self.model), on_range)?;
            outcome.blocks.push(drift);
            outcome.repaired += repaired;
            outcome.finished = finished;
            if !finished {
                break;
            }
        }
        Ok(outcome)
    }

    /// Compares once more the ranges in which the last looks found drift.
    pub fn look_at_found(
        &self,
        connection: &mut DatabaseConnection,
        on_range: OnRange<'_>,
    ) -> Result<Vec<BlockDrift>, TranslationError> {
        let change = get_change(connection, &self.model.name)?;
        let mut left = Vec::new();
        for block in self.blocks_at(&change)? {
            left.push(self.look_at_drifting(connection, block, None, on_range)?.0);
        }
        Ok(left)
    }

    fn look_at_drifting(
        &self,
        connection: &mut DatabaseConnection,
        block: &BlockModel,
        repair: Option<&ChangeModel>,
        on_range: OnRange<'_>,
    ) -> Result<(BlockDrift, u64, bool), TranslationError> {
        ensure_tables(connection)?;
        let mut drift = BlockDrift::new(block);
        let mut repaired: i64 = 0;
        for range in drifting(connection, &self.model.name, &block.id.to_string())? {
            let samples_max = self.options.samples_max.saturating_sub(drift.samples.len());
            let look = Look { block, samples_max, repair };
            let keys = KeyRange::Between { after: range.after.clone(), until: range.until.clone() };
            let found = look.at(connection, &keys)?;
            let count = look.count(connection, &keys)?;
            store_look(
                connection,
                &self.model.name,
                &Looked { range: &range, bound: None, keys: count, found: &found },
            )?;
            drift.keys += count;
            drift.add(found.drift);
            drift.samples.extend(found.samples);
            repaired += found.repaired;
            if !on_range(block, drift.keys, drift.keys) {
                return Ok((drift, u64::try_from(repaired).unwrap_or(0), false));
            }
        }
        Ok((drift, u64::try_from(repaired).unwrap_or(0), true))
    }
}

pub(super) fn refuse_stage(change: &InstalledChange) -> Result<(), TranslationError> {
    if change.stage.translates_forward() {
        return Ok(());
    }
    Err(TranslationError::WrongStage {
        name: change.name.clone(),
        stage: change.stage,
        what: "a repair",
        remedy: "nothing keeps the rows right at this stage; move it to `dualwrite` and run a backfill",
    })
}

fn summary(found: &PassOutcome, left: &[BlockDrift]) -> serde_json::Value {
    let samples: Vec<_> = found
        .blocks
        .iter()
        .flat_map(|block| block.samples.iter().map(move |row| sample(&block.block, row)))
        .take(SAMPLES_RECORDED)
        .collect();
    serde_json::json!({
        "found": found.drift(), "repaired": found.repaired, "left": left.iter().map(BlockDrift::drift).sum::<u64>(),
        "samples": samples,
    })
}

/// A row as the history keeps it: with both images, as they were when it was confirmed.
pub(super) fn sample(block: &str, row: &DriftRow) -> serde_json::Value {
    let mut value = serde_json::json!(row);
    if let Some(object) = value.as_object_mut() {
        object.insert(String::from("block"), block.into());
    }
    value
}

/// Refreshes the target rows of some driving keys in one transaction.
pub fn refresh_keys(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    keys: &[String],
) -> Result<(), DatabaseError> {
    connection.in_transaction_with_retry(10, DatabaseError::is_retryable, |connection| match connection.dialect() {
        Dialect::Postgres => refresh_on_postgres(connection, model, block, keys),
        Dialect::Sqlite => refresh_on_sqlite(connection, model, block, keys),
    })
}

fn refresh_on_postgres(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    keys: &[String],
) -> Result<(), DatabaseError> {
    in_direction(connection, model, block, |connection| {
        lock_driving(connection, block, &KeyRange::Among(keys.to_vec()))?;
        connection.batch(&format!(
            "SELECT {}({})",
            postgres::block_function(model, block, "refresh"),
            arrays(&block.driving.key, keys).join(", "),
        ))
    })
}

fn refresh_on_sqlite(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    keys: &[String],
) -> Result<(), DatabaseError> {
    let view = sqlite::refresh_view(model, block);
    in_direction(connection, model, block, |connection| {
        for key in keys {
            let values = literals(&block.driving.key, key).join(", ");
            connection.batch(&format!("INSERT INTO {view} VALUES ({values}, 0)"))?;
        }
        Ok(())
    })
}

/// SQLite: refreshes a key without leaving out what the target refuses: the error says what it is.
pub(super) fn refresh_strictly(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    key: &str,
) -> Result<(), DatabaseError> {
    connection.in_transaction(|connection| {
        in_direction(connection, model, block, |connection| {
            sqlite::strict_statements(block, key).iter().try_for_each(|statement| connection.batch(statement))
        })
    })
}

/// Runs `work`, in the caller's transaction, as translation in the block's direction: the other direction's triggers stay quiet.
pub(super) fn in_direction<T>(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    work: impl FnOnce(&mut DatabaseConnection) -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    let (word, mode) = match block.id.direction {
        Direction::Forward => ("forward", 1),
        Direction::Backward => ("backward", -1),
    };
    if connection.dialect() == Dialect::Postgres {
        let values = [
            Value::from(postgres::direction_setting(model)),
            Value::from(word),
            Value::from(model.search_path.as_str()),
        ];
        connection.query("SELECT set_config($1, $2, true), set_config('search_path', $3, true)", &values)?;
        return work(connection);
    }
    let control = sqlite::control_table(model);
    connection.batch(&format!("UPDATE {control} SET mode = {mode}"))?;
    let done = work(connection)?;
    connection.batch(&format!("UPDATE {control} SET mode = 0"))?;
    Ok(done)
}
