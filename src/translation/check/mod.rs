//! Holds a change file against the live catalogue before anything is installed. The database itself is the authority on
//! what a query reads and returns; nothing is written.
//!
//! What a change file may not do, beyond what each file here says in its own first lines, is leave a write on one side
//! unseen by the other:
//!
//! * a table that a query reads is the driving table, followed, declared constant, or the block's own target;
//! * blocks of one direction stand in the order in which they depend on one another;
//! * where a table is filled in one direction and drives in the other, every column that is filled is carried back.

mod allocation;
mod basis;
mod block;
mod foreign_keys;
mod inspect;
mod loss;
mod order;
mod plans;
mod postgres;
mod sqlite;
mod text;

use crate::change::{BlockId, ChangeFile, Mistake, nearest, shown};
use crate::database::{DatabaseConnection, DatabaseError, DatabaseUrl, Dialect};
use crate::sql::catalogue::{Catalogue, Column, Table};
use crate::translation::catalogue::{list_table_names, read_catalogue};

use inspect::Inspector;
pub use inspect::Reads;

/// The check could not be made; mistakes in the file are no error.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the application's SQLite file cannot be read")]
    Sqlite(#[from] rusqlite::Error),
}

/// What the check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The tables that the file names, as far as they exist.
    pub catalogue: Catalogue,
    /// In the order of the file. Nothing may be installed while there is one.
    pub mistakes: Vec<Mistake>,
    /// In the order of the file: slow or worth knowing, but right.
    pub warnings: Vec<Mistake>,
    /// Those of the warnings that whoever installs should see again: statements that get slower as tables grow.
    pub slow: Vec<Mistake>,
    /// One for each block whose query could be read, in the order of the file.
    pub blocks: Vec<CheckedBlock>,
}

/// What a block's query is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBlock {
    pub id: BlockId,
    /// On SQLite without types.
    pub columns: Vec<Column>,
    pub reads: Reads,
}

impl Checked {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }
}

/// Checks `file` against the database that `connection` is open on and `url` names.
pub fn check(connection: &mut DatabaseConnection, url: &DatabaseUrl, file: &ChangeFile) -> Result<Checked, CheckError> {
    match connection.dialect() {
        // Temporary views and tables come and go within the transaction.
        Dialect::Postgres => connection.in_rolled_back_transaction(|connection| checked(connection, url, file)),
        Dialect::Sqlite => checked(connection, url, file),
    }
}

fn checked(connection: &mut DatabaseConnection, url: &DatabaseUrl, file: &ChangeFile) -> Result<Checked, CheckError> {
    let dialect = connection.dialect();
    let catalogue = read_catalogue(connection, file)?;
    let table_names = list_table_names(connection)?;
    let mut checker = Checker {
        inspector: Inspector::new(connection, url)?,
        dialect,
        catalogue: &catalogue,
        table_names,
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    let mut blocks = Vec::new();
    for block in &file.blocks {
        blocks.extend(block::check(&mut checker, block)?);
    }
    order::check(&mut checker, file, &blocks);
    loss::check(&mut checker, file, &blocks);
    allocation::check(&mut checker, file)?;
    note_replace(&mut checker, file);
    let Checker { mut mistakes, mut warnings, .. } = checker;
    let mut slow = Vec::new();
    if mistakes.is_empty() {
        warnings.extend(foreign_keys::check(connection, &catalogue, file)?);
        slow = plans::check(connection, file)?;
        warnings.extend(slow.iter().cloned());
    }
    for list in [&mut mistakes, &mut warnings] {
        list.sort_by_key(|mistake| mistake.line);
        list.dedup();
    }
    Ok(Checked { mistakes, warnings, slow, blocks, catalogue })
}

/// The state of one check.
struct Checker<'c> {
    inspector: Inspector<'c>,
    dialect: Dialect,
    catalogue: &'c Catalogue,
    /// Every table of the application, for suggestions.
    table_names: Vec<String>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl<'c> Checker<'c> {
    fn mistake(&mut self, label: &str, line: usize, what: &str, remedy: &str) {
        self.mistakes.push(Mistake::new(Some(label), line, what, remedy));
    }

    fn warning(&mut self, label: &str, line: usize, what: &str, remedy: &str) {
        self.warnings.push(Mistake::new(Some(label), line, what, remedy));
    }

    /// The table, or a mistake that says that there is none.
    fn table(&mut self, label: &str, key: &str, name: &crate::change::Located<String>) -> Option<&'c Table> {
        let found = self.catalogue.find(&name.value);
        if found.is_none() {
            let what = format!("`{key}` names the table {}, which does not exist", shown(&name.value));
            let remedy = self.table_remedy(&name.value);
            self.mistake(label, name.line, &what, &remedy);
        }
        found
    }

    fn table_remedy(&self, name: &str) -> String {
        match nearest(name, self.table_names.iter().map(String::as_str)) {
            Some(near) => format!("write {} if that is meant, or create the table first", shown(near)),
            None => String::from("correct the name, or create the table first"),
        }
    }

    /// The column of `table`, or a mistake that says that there is none.
    fn column(&mut self, label: &str, line: usize, table: &Table, name: &str) -> Option<Column> {
        let found = table.find_column(name).cloned();
        if found.is_none() {
            let what = format!("{} has no column {}", shown(&table.shown()), shown(name));
            self.mistake(label, line, &what, &column_remedy(name, [table]));
        }
        found
    }
}

fn column_remedy<'t>(name: &str, tables: impl IntoIterator<Item = &'t Table>) -> String {
    let columns: Vec<&str> =
        tables.into_iter().flat_map(|table| &table.columns).map(|column| column.name.as_str()).collect();
    match nearest(name, columns.iter().copied()) {
        Some(near) if near.eq_ignore_ascii_case(name) => {
            String::from("another table has it: correct the name, or read that table here")
        }
        Some(near) => format!("write {} if that is meant, or add the column first", shown(near)),
        None => String::from("correct the name, or add the column first"),
    }
}

/// SQLite deletes what REPLACE replaces without firing delete triggers, unless the writer's connection asks for it.
fn note_replace(checker: &mut Checker<'_>, file: &ChangeFile) {
    let Some(first) = file.blocks.first().filter(|_| checker.dialect == Dialect::Sqlite) else { return };
    let what = "a writer that uses INSERT OR REPLACE without `PRAGMA recursive_triggers = ON` skips delete triggers, \
                and the rows that it replaces drift";
    checker.warning(
        &first.label(),
        first.line,
        what,
        "set the pragma in such writers, or use ON CONFLICT DO UPDATE there",
    );
}
