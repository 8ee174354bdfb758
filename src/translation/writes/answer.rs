//! What a write answers: the caller's rows as they were stored, and the rows that translation made of them.
//!
//! `operations` has for each operation its rows, in order, as its statement stored them (defaults, minted ids and generated columns
//! included); for deletes as they were. `translated` has for each block that a written row drives or feeds, directly or through what
//! another block of the same direction writes, the keys whose target rows changed: all of the key's rows at the end of the transaction,
//! and those that it had before and has no more. Rows that a foreign key's cascade or a trigger of the application writes besides are
//! translated, but not listed.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;

use super::request::Action;
use super::rows::StoredRow;
use super::tables::{Side, WritableTable, WriteModel};
use super::touched::{Touched, target_rows};
use crate::change::Stage;
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::sql::model::BlockModel;
use crate::sql::names::{literal, own};
use crate::translation::own::is_table_there;

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub change: String,
    pub stage: Stage,
    /// True if everything was rolled back again.
    pub dry_run: bool,
    pub operations: Vec<WrittenRows>,
    pub translated: Vec<TranslatedBlock>,
    /// Keys that could not be translated yet: the write holds, and a worker tries them again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PendingKey>,
}

/// One operation's rows.
#[derive(Debug, Serialize)]
pub struct WrittenRows {
    pub action: Action,
    pub table: String,
    pub side: Side,
    /// Rows that were not there before; fewer than `rows` only for an upsert.
    pub inserted: usize,
    pub rows: Vec<Box<RawValue>>,
}

/// What one block made of the write.
#[derive(Debug, Serialize)]
pub struct TranslatedBlock {
    pub block: String,
    pub table: String,
    pub side: Side,
    pub keys: Vec<TranslatedKey>,
    /// Keys that were touched as well and are not looked at one by one.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_keys: usize,
}

/// The target rows of one driving key.
#[derive(Debug, Serialize)]
pub struct TranslatedKey {
    /// As everywhere: the key's text, or a JSON array of texts.
    pub key: String,
    pub rows: Vec<Box<RawValue>>,
    pub gone: Vec<Box<RawValue>>,
}

/// A key in the queue of pending keys.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct PendingKey {
    pub block: String,
    pub key: String,
    pub error: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A row as JSON.
#[must_use]
pub fn shown(table: &WritableTable, row: &StoredRow) -> Option<Box<RawValue>> {
    RawValue::from_string(row.object(table)).ok()
}

/// Reads the target rows of all touched keys once more, at the end of the transaction.
pub fn translated(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    touched: &Touched,
) -> Result<Vec<TranslatedBlock>, DatabaseError> {
    let mut blocks = Vec::new();
    for (number, found) in &touched.blocks {
        let Some(block) = model.model.blocks.get(*number) else { continue };
        let Some(table) = model.of(&block.target.sql) else { continue };
        let keys: Vec<String> = found.keys.iter().cloned().collect();
        let rows = target_rows(connection, model, block, &keys)?;
        let mut changed = Vec::new();
        for key in keys {
            let after: Vec<&StoredRow> = rows.iter().filter(|(of, _)| *of == key).map(|(_, row)| row).collect();
            changed.extend(changed_key(block, table, (key.clone(), found.before.get(&key)), &after));
        }
        if !changed.is_empty() || found.more > 0 {
            blocks.push(TranslatedBlock {
                block: block.id.to_string(),
                table: table.table.shown(),
                side: table.side,
                keys: changed,
                more_keys: found.more,
            });
        }
    }
    Ok(blocks)
}

/// `None` if the key's rows are what they were.
fn changed_key(
    block: &BlockModel,
    table: &WritableTable,
    (key, before): (String, Option<&Vec<StoredRow>>),
    after: &[&StoredRow],
) -> Option<TranslatedKey> {
    let before = before.map_or(&[][..], Vec::as_slice);
    let unchanged =
        before.len() == after.len() && before.iter().all(|old| after.iter().any(|new| new.shown == old.shown));
    if unchanged {
        return None;
    }
    let kept: BTreeSet<Vec<String>> = after.iter().map(|row| row.identity(table, &block.identity)).collect();
    let gone = before.iter().filter(|row| !kept.contains(&row.identity(table, &block.identity)));
    Some(TranslatedKey {
        key,
        rows: after.iter().filter_map(|row| shown(table, row)).collect(),
        gone: gone.filter_map(|row| shown(table, row)).collect(),
    })
}

/// Touched keys that wait in the queue.
pub fn pending(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    touched: &Touched,
) -> Result<Vec<PendingKey>, DatabaseError> {
    if touched.blocks.is_empty() || !is_table_there(connection, "pending")? {
        return Ok(Vec::new());
    }
    let mut waiting = Vec::new();
    for (number, found) in &touched.blocks {
        let Some(block) = model.model.blocks.get(*number) else { continue };
        let keys: Vec<String> = found.keys.iter().map(|key| literal(key)).chain([literal("*")]).collect();
        let sql = format!(
            "SELECT key, max(error) AS error FROM {} WHERE change = $1 AND block = $2 AND key IN ({}) GROUP BY key ORDER BY key",
            own(connection.dialect(), "pending"),
            keys.join(", "),
        );
        let block = block.id.to_string();
        for row in connection.query(&sql, &[Value::from(model.name.as_str()), Value::from(block.as_str())])? {
            waiting.push(PendingKey { block: block.clone(), key: row.text("key")?, error: row.text("error")? });
        }
    }
    Ok(waiting)
}
