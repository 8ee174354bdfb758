//! Asks the database what a query is: one SELECT or not, which columns it returns, which tables and columns it reads.

use std::collections::{BTreeMap, BTreeSet};

use super::CheckError;
use super::sqlite::SqliteInspector;
use crate::database::{DatabaseConnection, DatabaseUrl};
use crate::sql::catalogue::{Column, Table};

/// Tables by their SQL name, each with the columns that are read of it; views count as the tables below them.
pub type Reads = BTreeMap<String, BTreeSet<String>>;

/// What a query returns and reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// On SQLite a result column's type is not known: its kind is `Other` and its type empty.
    pub columns: Vec<Column>,
    pub reads: Reads,
}

impl Described {
    /// True if both databases would call the column `name`.
    pub fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// Why the database will not have a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    /// Byte offset in the query, if the database says where.
    pub offset: Option<usize>,
}

impl Refusal {
    pub fn new(message: &str) -> Self {
        Self { message: message.to_owned(), offset: None }
    }
}

/// A way to ask one of the two databases.
pub enum Inspector<'c> {
    Postgres(&'c mut DatabaseConnection),
    Sqlite(SqliteInspector),
}

impl<'c> Inspector<'c> {
    pub fn new(connection: &'c mut DatabaseConnection, url: &DatabaseUrl) -> Result<Self, CheckError> {
        Ok(match url {
            DatabaseUrl::Postgres(_) => Self::Postgres(connection),
            DatabaseUrl::Sqlite(path) => Self::Sqlite(SqliteInspector::open(path)?),
        })
    }

    /// What `sql` is. With `changed`, a table of that name and with the columns of the given table exists meanwhile.
    pub fn describe(&mut self, sql: &str, changed: Option<&Table>) -> Result<Result<Described, Refusal>, CheckError> {
        match self {
            Self::Postgres(connection) => Ok(super::postgres::describe(connection, sql, changed)?),
            Self::Sqlite(inspector) => inspector.describe(sql, changed),
        }
    }

    /// Whether a statement that writes would be accepted, without running it.
    pub fn try_write(&mut self, sql: &str) -> Result<Result<(), Refusal>, CheckError> {
        match self {
            Self::Postgres(connection) => Ok(super::postgres::try_write(connection, sql)?),
            Self::Sqlite(inspector) => Ok(inspector.try_write(sql)),
        }
    }
}
