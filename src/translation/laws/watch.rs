//! The tables of a change as the laws see them: on which side they are, what identifies a row, what is mapped, what may be written.

use super::journal::Image;
use crate::change::{ChangeFile, Direction};
use crate::database::DatabaseConnection;
use crate::sql::catalogue::{Catalogue, Table};
use crate::sql::model::ChangeModel;
use crate::sql::names::quoted;
use crate::sql::scan::find_identifier;
use crate::translation::catalogue::read_catalogue;
use crate::translation::error::TranslationError;

/// A table of the change.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub table: Table,
    /// True for a table of the new model.
    pub is_new: bool,
    /// What a row is known by across a delete and an insert: the identity of the block that fills the table, else the key.
    identity: Vec<String>,
    /// What finds a row: the primary key, else a unique NOT NULL index.
    pub key: Vec<String>,
    /// Columns that some block fills.
    mapped: Vec<String>,
    /// Columns outside of the key that a writer may change and that the change file mentions.
    pub movable: Vec<String>,
    /// True if some block is driven by the table or follows it.
    pub is_source: bool,
    /// True if some backward block is.
    pub leads_back: bool,
    /// (block, column, reason) of the losses that are declared here.
    pub declared: Vec<(String, String, String)>,
}

impl Watch {
    /// What the row is known by.
    pub fn name_of(&self, image: &Image) -> Vec<String> {
        self.identity.iter().map(|column| image.get(column).cloned().unwrap_or_default()).collect()
    }

    /// The key of a row.
    pub fn key_of(&self, image: &Image) -> Vec<String> {
        self.key.iter().map(|column| image.get(column).cloned().unwrap_or_default()).collect()
    }

    /// The mapped columns in which two images differ.
    pub fn differing<'a>(&'a self, one: &'a Image, other: &'a Image) -> impl Iterator<Item = &'a String> {
        self.mapped.iter().filter(move |column| one.get(*column) != other.get(*column))
    }

    /// The column that stands for a whole row in a declaration of loss.
    pub fn row_column(&self) -> Option<&String> {
        let declared = self.declared.iter().map(|(_, column, _)| column);
        declared.filter(|column| self.identity.contains(column)).chain(self.identity.last()).next()
    }

    /// A column that a writer may set to what it is.
    pub fn touchable(&self) -> Option<&String> {
        let is_free =
            |name: &&String| self.table.columns.iter().any(|column| column.name == **name && !column.generated);
        let all = self.table.columns.iter().map(|column| &column.name);
        self.key.iter().chain(all).find(is_free)
    }

    /// Columns that an INSERT names.
    pub fn insertable(&self) -> impl Iterator<Item = &String> {
        self.table.columns.iter().filter(|column| !column.generated).map(|column| &column.name)
    }

    /// True if a row can be put back with the key that it had.
    pub fn can_be_put_back(&self) -> bool {
        self.key.iter().all(|name| self.insertable().any(|column| column == name))
    }
}

/// Every table that a block fills, is driven by or follows, in the order of the blocks.
pub(super) fn watches(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    model: &ChangeModel,
) -> Result<Vec<Watch>, TranslationError> {
    let catalogue = read_catalogue(connection, file)?;
    let mut found: Vec<Watch> = Vec::new();
    for direction in [Direction::Forward, Direction::Backward] {
        let targets = model.blocks_of(direction).map(|block| block.target.clone());
        for table in model.sources_of(direction).into_iter().chain(targets) {
            if found.iter().any(|watch| watch.table.sql_name() == table.sql) {
                continue;
            }
            let Some(entry) = catalogue.tables.values().find(|entry| entry.sql_name() == table.sql) else { continue };
            found.push(watch(file, model, &catalogue, entry, model.is_new(&table)));
        }
    }
    Ok(found)
}

fn watch(file: &ChangeFile, model: &ChangeModel, catalogue: &Catalogue, table: &Table, is_new: bool) -> Watch {
    let filling: Vec<_> = model.blocks.iter().filter(|block| block.target.sql == table.sql_name()).collect();
    let not_null = |name: &String| table.columns.iter().any(|column| column.name == *name && column.not_null);
    let unique = || table.unique_indexes.iter().find(|index| index.iter().all(not_null)).cloned().unwrap_or_default();
    let key = if table.primary_key.is_empty() { unique() } else { table.primary_key.clone() };
    let mut mapped: Vec<String> = filling.iter().flat_map(|block| block.mapped.clone()).collect();
    mapped.sort();
    mapped.dedup();
    let movable: Vec<String> = table
        .columns
        .iter()
        .filter(|column| !column.generated && !key.contains(&column.name))
        .map(|column| column.name.clone())
        .filter(|name| find_identifier(&file.text, name).is_some() || file.text.contains(&quoted(name)))
        .collect();
    let ids: Vec<_> = filling.iter().map(|block| block.id).collect();
    let losses = file.blocks.iter().filter(|block| ids.contains(&block.id)).flat_map(|block| {
        block.loss.iter().filter_map(|loss| {
            let column = catalogue.find(&block.into.value)?.find_column(&loss.column)?;
            Some((block.id.to_string(), column.name.clone(), loss.reason.clone()))
        })
    });
    let feeds = |direction| model.sources_of(direction).iter().any(|source| source.sql == table.sql_name());
    Watch {
        is_new,
        identity: filling.first().map_or_else(|| key.clone(), |block| block.identity.clone()),
        key,
        mapped,
        movable,
        is_source: feeds(Direction::Forward) || feeds(Direction::Backward),
        leads_back: feeds(Direction::Backward),
        declared: losses.collect(),
        table: table.clone(),
    }
}
