//! The journal as effects: what a row was before, and what it is now.

use std::collections::BTreeMap;

use super::watch::Watch;
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::journal::{FORGET, READ};
use crate::sql::names::literal;

/// A row's columns; each value is an SQL literal.
pub(super) type Image = BTreeMap<String, String>;

/// One change of one row.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub table: usize,
    pub old: Option<Image>,
    pub new: Option<Image>,
}

/// What became of a row over some changes.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub table: usize,
    pub before: Option<Image>,
    pub after: Option<Image>,
}

/// The entries since the last call, in the order of the changes.
pub(super) fn take(connection: &mut DatabaseConnection) -> Result<Vec<Entry>, DatabaseError> {
    let dialect = connection.dialect();
    let rows = connection.query(READ, &[])?;
    connection.batch(FORGET)?;
    rows.iter()
        .map(|row| {
            Ok(Entry {
                table: usize::try_from(row.integer("tab")?).unwrap_or(usize::MAX),
                old: row.find_text("old")?.map(|text| image(dialect, &text)),
                new: row.find_text("new")?.map(|text| image(dialect, &text)),
            })
        })
        .collect()
}

fn image(dialect: Dialect, text: &str) -> Image {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) else { return Image::new() };
    let value = |value: serde_json::Value| match (value, dialect) {
        (serde_json::Value::String(text), Dialect::Postgres) => literal(&text),
        // SQLite's `quote` has made a literal of it already.
        (serde_json::Value::String(text), Dialect::Sqlite) => text,
        _ => String::from("NULL"),
    };
    object.into_iter().map(|(column, found)| (column, value(found))).collect()
}

/// A row by its table and its name, with its image before and after.
type Images = BTreeMap<(usize, Vec<String>), (Option<Image>, Option<Image>)>;

/// Folds entries into one effect a row; rows that are as they were, as far as the blocks map them, are left out.
pub(super) fn effects<'e>(tables: &[Watch], entries: impl IntoIterator<Item = &'e Entry>) -> Vec<Effect> {
    let mut rows = Images::new();
    for entry in entries {
        let Some(table) = tables.get(entry.table) else { continue };
        let (old, new) = (entry.old.as_ref(), entry.new.as_ref());
        let (old_name, new_name) = (old.map(|image| table.name_of(image)), new.map(|image| table.name_of(image)));
        if let (Some(name), Some(old)) = (&old_name, old) {
            let row = rows.entry((entry.table, name.clone())).or_insert_with(|| (Some(old.clone()), None));
            row.1 = None;
        }
        if let (Some(name), Some(new)) = (new_name, new) {
            rows.entry((entry.table, name)).or_insert((None, None)).1 = Some(new.clone());
        }
    }
    let changed = |(table, before, after): &(usize, Option<Image>, Option<Image>)| match (before, after) {
        (None, None) => false,
        (Some(before), Some(after)) => {
            tables.get(*table).is_some_and(|watch| watch.differing(before, after).next().is_some())
        }
        _ => true,
    };
    rows.into_iter()
        .map(|((table, _), (before, after))| (table, before, after))
        .filter(changed)
        .map(|(table, before, after)| Effect { table, before, after })
        .collect()
}
