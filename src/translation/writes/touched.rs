//! Which keys of which blocks a write touches, found by the blocks' own queries as the triggers find them, and the target rows of
//! those keys before and after it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::rows::{Image, ROW, StoredRow, portions, read, select_list, with_changed};
use super::tables::WriteModel;
use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError};
use crate::sql::keys::{KeyRange, columns, in_range, is_there, parts_of, text_sql, variables};
use crate::sql::model::{BlockModel, trimmed};

/// Keys of one block that are looked at, at most. More are counted.
pub const KEYS_MAX: usize = 1_000;
/// Keys looked up by one statement.
const LOOKUP_KEYS: usize = 200;

/// When a row is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    After,
}

/// Keys that a write touches, by the block's place in the model.
#[derive(Debug, Default)]
pub struct Touched {
    pub blocks: BTreeMap<usize, TouchedBlock>,
}

/// The keys of one block.
#[derive(Debug, Default)]
pub struct TouchedBlock {
    pub keys: BTreeSet<String>,
    /// The target rows that keys had before they were first touched. A key that was found only afterwards is not there.
    pub before: BTreeMap<String, Vec<StoredRow>>,
    /// Keys beyond [`KEYS_MAX`].
    pub more: usize,
}

/// Rows of a table, on their way through the blocks of a direction.
struct Wave {
    direction: Direction,
    table: String,
    images: Vec<Image>,
}

impl Touched {
    /// Adds what rows of a table touch, through every block of the active directions that the table drives or feeds, and on through
    /// what those blocks write.
    pub fn follow(
        &mut self,
        connection: &mut DatabaseConnection,
        model: &WriteModel,
        active: &[Direction],
        (table, images): (&str, Vec<Image>),
        moment: Moment,
    ) -> Result<(), DatabaseError> {
        let mut waves: Vec<Wave> = active
            .iter()
            .map(|direction| Wave { direction: *direction, table: table.to_owned(), images: images.clone() })
            .collect();
        let mut seen: HashSet<(usize, String)> = HashSet::new();
        while let Some(wave) = waves.pop() {
            for (number, block) in model.blocks().filter(|(_, block)| block.id.direction == wave.direction) {
                let mut keys = keys_of(connection, model, block, &wave)?;
                keys.retain(|key| seen.insert((number, key.clone())));
                let rows = self.look(connection, model, (number, &keys), moment)?;
                if !rows.is_empty() {
                    let images = rows.into_iter().map(|row| row.image).collect();
                    waves.push(Wave { direction: wave.direction, table: block.target.sql.clone(), images });
                }
            }
        }
        Ok(())
    }

    fn look(
        &mut self,
        connection: &mut DatabaseConnection,
        model: &WriteModel,
        (number, keys): (usize, &[String]),
        moment: Moment,
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        let Some(block) = model.model.blocks.get(number).filter(|_| !keys.is_empty()) else { return Ok(Vec::new()) };
        let touched = self.blocks.entry(number).or_default();
        let mut looked: Vec<String> = Vec::new();
        for key in keys {
            if touched.keys.contains(key) || touched.keys.len() < KEYS_MAX {
                touched.keys.insert(key.clone());
                looked.push(key.clone());
            } else {
                touched.more += 1;
            }
        }
        let found = target_rows(connection, model, block, &looked)?;
        if moment == Moment::Before {
            for key in looked {
                let rows: Vec<StoredRow> =
                    found.iter().filter(|(of, _)| *of == key).map(|(_, row)| row.clone()).collect();
                touched.before.entry(key).or_insert(rows);
            }
        }
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }
}

/// The driving keys that rows of a table touch in one block: their own, and those that `follows` derives.
fn keys_of(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    block: &BlockModel,
    wave: &Wave,
) -> Result<Vec<String>, DatabaseError> {
    let mut sources: Vec<String> = Vec::new();
    let dialect = model.model.dialect;
    let names = variables("key", &block.driving.key).join(", ");
    if block.driving.table.sql == wave.table {
        sources.push(format!("SELECT {} FROM changed", block.driving.key_of("changed").join(", ")));
    }
    let follows = block.follows.iter().filter(|follow| follow.table.sql == wave.table);
    sources.extend(follows.map(|follow| format!("SELECT * FROM (\n{}\n) AS f", trimmed(&follow.keys))));
    let (Some(table), false) = (model.of(&wave.table), sources.is_empty()) else { return Ok(Vec::new()) };
    let parts = parts_of("k", &block.driving.key);
    let mut keys: Vec<String> = Vec::new();
    for images in portions(table, &wave.images) {
        let mut statement = with_changed(table, images);
        statement.push(&format!(
            ", keys ({names}) AS ({}) SELECT DISTINCT {} AS key FROM keys k WHERE {}",
            sources.join("\nUNION ALL\n"),
            text_sql(dialect, &parts),
            is_there(&parts),
        ));
        for row in connection.query(&statement.sql, &statement.values)? {
            keys.push(row.text("key")?);
        }
    }
    Ok(keys)
}

/// The target rows of some keys, each with its key. Rows that the block does not own are not its.
pub fn target_rows(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    block: &BlockModel,
    keys: &[String],
) -> Result<Vec<(String, StoredRow)>, DatabaseError> {
    let Some(table) = model.of(&block.target.sql) else { return Ok(Vec::new()) };
    let key = block.key_of(ROW);
    let owned = block.owns.as_ref().map(|owns| format!(" AND ({owns})")).unwrap_or_default();
    let mut rows = Vec::new();
    for portion in keys.chunks(LOOKUP_KEYS) {
        let sql = format!(
            "SELECT {} AS co_key, {} FROM {} AS {ROW} WHERE {}{owned} ORDER BY {}",
            text_sql(model.model.dialect, &key),
            select_list(table),
            block.target.sql,
            in_range(&block.driving.key, &key, &KeyRange::Among(portion.to_vec())),
            columns(ROW, &block.identity).join(", "),
        );
        for row in connection.query(&sql, &[])? {
            rows.push((row.text("co_key")?, read(table, &row)?));
        }
    }
    Ok(rows)
}

/// The keys that rows of a block's target hold in its key columns.
pub fn target_keys(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    block: &BlockModel,
    images: &[Image],
) -> Result<Vec<String>, DatabaseError> {
    let Some(table) = model.of(&block.target.sql) else { return Ok(Vec::new()) };
    let key = block.key_of("changed");
    let mut keys = Vec::new();
    for portion in portions(table, images) {
        let mut statement = with_changed(table, portion);
        statement.push(&format!(
            "SELECT DISTINCT {} AS key FROM changed WHERE {}",
            text_sql(model.model.dialect, &key),
            is_there(&key)
        ));
        for row in connection.query(&statement.sql, &statement.values)? {
            keys.push(row.text("key")?);
        }
    }
    Ok(keys)
}
