//! Many rows a statement: what makes loading an example a matter of seconds.

use std::fmt::Write as _;

use crate::database::{DatabaseConnection, DatabaseError};
use crate::sql::names::literal;

/// Rows of a statement: enough that the statement's own cost vanishes, few enough for any limit on its length.
const ROWS_A_STATEMENT: usize = 1_000;

/// A value of a row that is to be inserted.
#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
}

impl<'a> From<Option<&'a str>> for Field<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl From<Option<i64>> for Field<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Integer)
    }
}

/// Collects rows of one table and writes them many at a time. Call [`Insert::finish`] after the last row.
#[derive(Debug)]
pub struct Insert {
    head: String,
    rows: String,
    pending: usize,
    written: u64,
}

impl Insert {
    /// `columns` as they stand in SQL: `id, name`.
    #[must_use]
    pub fn into(table: &str, columns: &str) -> Self {
        Self { head: format!("INSERT INTO {table} ({columns}) VALUES"), rows: String::new(), pending: 0, written: 0 }
    }

    pub fn push(&mut self, connection: &mut DatabaseConnection, row: &[Field<'_>]) -> Result<(), DatabaseError> {
        self.rows.push_str(if self.pending == 0 { "\n(" } else { ",\n(" });
        for (position, field) in row.iter().enumerate() {
            if position > 0 {
                self.rows.push_str(", ");
            }
            // Writing to a String cannot fail.
            let _ = match field {
                Field::Null => self.rows.write_str("NULL"),
                Field::Integer(number) => write!(self.rows, "{number}"),
                Field::Text(text) => self.rows.write_str(&literal(text)),
            };
        }
        self.rows.push(')');
        self.pending += 1;
        if self.pending == ROWS_A_STATEMENT { self.flush(connection) } else { Ok(()) }
    }

    /// Writes what is left; returns how many rows have been written in all.
    pub fn finish(mut self, connection: &mut DatabaseConnection) -> Result<u64, DatabaseError> {
        self.flush(connection)?;
        Ok(self.written)
    }

    fn flush(&mut self, connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
        if self.pending > 0 {
            connection.batch(&format!("{}{}", self.head, self.rows))?;
            self.written += u64::try_from(self.pending).unwrap_or(0);
            self.rows.clear();
            self.pending = 0;
        }
        Ok(())
    }
}
