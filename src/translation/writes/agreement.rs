//! Both models must agree after a write. Old code's writes are translated by construction; a row of the new model that a forward block
//! owns is another matter: unless a backward block carries what was written to the old model, the next refresh would undo it.

use std::collections::BTreeMap;

use super::fault::{Fault, Refusal, WriteError};
use super::rows::Image;
use super::tables::WriteModel;
use super::touched::target_keys;
use crate::change::Direction;
use crate::database::DatabaseConnection;
use crate::sql::verify::{KeyRange, differing_rows};

/// Keys compared by one statement.
const KEYS: usize = 200;

/// Rows written to targets of forward blocks, by the table's quoted name.
#[derive(Debug, Default)]
pub struct Written {
    images: BTreeMap<String, Vec<Image>>,
}

impl Written {
    /// Remembers rows of a table, as they were and as they are.
    pub fn note(&mut self, model: &WriteModel, table: &str, images: &[Image]) {
        let is_target = |number: &crate::sql::model::BlockModel| {
            number.id.direction == Direction::Forward && number.target.sql == table
        };
        if model.model.blocks.iter().any(is_target) {
            self.images.entry(table.to_owned()).or_default().extend_from_slice(images);
        }
    }

    /// Compares what forward blocks expect of the written rows' keys with what the tables hold at the end of the transaction.
    ///
    /// # Errors
    /// [`Refusal::Untranslated`] with the first rows that differ.
    pub fn check(&self, connection: &mut DatabaseConnection, model: &WriteModel) -> Result<(), WriteError> {
        for (table, images) in &self.images {
            let blocks = model.model.blocks_of(Direction::Forward).filter(|block| block.target.sql == *table);
            for block in blocks {
                let keys = target_keys(connection, model, block, images)?;
                for portion in keys.chunks(KEYS) {
                    let sql = differing_rows(block, model.model.dialect, &KeyRange::Among(portion.to_vec()));
                    let differing = connection.query(&sql, &[])?;
                    let mut faults = Vec::new();
                    for row in differing.iter().take(10) {
                        faults.push(Fault {
                            table: Some(block.target.name.clone()),
                            block: Some(block.id.to_string()),
                            detail: format!(
                                "block {} would undo the write, for nothing translates it back to the old model: key {} is to be {}, and would be {}",
                                block.label(),
                                row.text("key")?,
                                row.find_text("expected")?.unwrap_or_else(|| String::from("no row")),
                                row.find_text("actual")?.unwrap_or_else(|| String::from("no row")),
                            ),
                            ..Fault::default()
                        });
                    }
                    if !faults.is_empty() {
                        return Err(WriteError::Refused { refusal: Refusal::Untranslated, faults });
                    }
                }
            }
        }
        Ok(())
    }
}
