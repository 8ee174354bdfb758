//! Refreshing the keys that verify found to differ, under their driving rows' locks. What a repair writes cascades as any write does.

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::keys::{arrays, literals};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::KeyRange;
use crate::sql::{postgres, sqlite};

use super::error::TranslationError;
use super::own::get_change;
use super::verify::{BlockDrift, VerifyOptions, lock_driving, verify_block};

/// Keys refreshed in one transaction.
const REPAIR_KEYS: usize = 200;

/// Verifies each block and refreshes what differs, in block order, since what one repair writes may be what the next block reads.
/// Returns what was found before the repair; `on_keys` is told the block and the keys refreshed so far.
pub fn repair(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    options: VerifyOptions,
    on_keys: &mut dyn FnMut(&BlockModel, u64),
) -> Result<Vec<BlockDrift>, TranslationError> {
    let change = get_change(connection, &model.name)?;
    if !change.stage.translates_forward() {
        return Err(TranslationError::WrongStage {
            name: change.name,
            stage: change.stage,
            what: "a repair",
            remedy: "nothing keeps the rows right at this stage; move it to `dualwrite` and run a backfill",
        });
    }
    let mut found = Vec::new();
    for block in &model.blocks {
        if block.id.direction == Direction::Backward && !change.stage.translates_backward() {
            continue;
        }
        let drift = verify_block(connection, block, options, &mut |_, _| {})?;
        let mut done: u64 = 0;
        for keys in drift.keys_differing.chunks(REPAIR_KEYS) {
            refresh_keys(connection, model, block, keys)?;
            done = done.saturating_add(u64::try_from(keys.len()).unwrap_or(0));
            on_keys(block, done);
        }
        found.push(drift);
    }
    Ok(found)
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
    let direction = match block.id.direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    };
    connection.query(
        "SELECT set_config($1, $2, true), set_config('search_path', $3, true)",
        &[
            Value::from(postgres::direction_setting(model)),
            Value::from(direction),
            Value::from(model.search_path.as_str()),
        ],
    )?;
    lock_driving(connection, block, &KeyRange::Among(keys.to_vec()))?;
    connection.batch(&format!(
        "SELECT {}({})",
        postgres::block_function(model, block, "refresh"),
        arrays(&block.driving.key, keys).join(", "),
    ))
}

fn refresh_on_sqlite(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    keys: &[String],
) -> Result<(), DatabaseError> {
    let view = sqlite::refresh_view(model, block);
    let refresh =
        |key: &String| format!("INSERT INTO {view} VALUES ({}, 0)", literals(&block.driving.key, key).join(", "));
    translating(connection, model, block, &keys.iter().map(refresh).collect::<Vec<_>>())
}

/// SQLite: refreshes a key without leaving out what the target refuses: the error says what it is.
pub(super) fn refresh_strictly(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    key: &str,
) -> Result<(), DatabaseError> {
    connection
        .in_transaction(|connection| translating(connection, model, block, &sqlite::strict_statements(block, key)))
}

/// SQLite: runs statements as the block's direction does, so that the other direction stays quiet.
fn translating(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
    statements: &[String],
) -> Result<(), DatabaseError> {
    let control = sqlite::control_table(model);
    let mode = match block.id.direction {
        Direction::Forward => 1,
        Direction::Backward => -1,
    };
    connection.batch(&format!("UPDATE {control} SET mode = {mode}"))?;
    for statement in statements {
        connection.batch(statement)?;
    }
    connection.batch(&format!("UPDATE {control} SET mode = 0"))
}
