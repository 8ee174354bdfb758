//! Names of the database objects that Changeover adds to the application's database, and quoting.

use crate::change::Direction;
use crate::primitives::Dialect;

/// One of Changeover's own tables, views or functions: `changeover.assignment` on PostgreSQL,
/// `changeover_assignment` on SQLite.
#[must_use]
pub fn own(dialect: Dialect, object: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("changeover.{}", quoted(object)),
        Dialect::Sqlite => quoted(&format!("changeover_{object}")),
    }
}

/// An identifier in double quotes; quotes inside are doubled.
#[must_use]
pub fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A text as an SQL string literal.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `f` or `b`.
#[must_use]
pub fn letter(direction: Direction) -> char {
    match direction {
        Direction::Forward => 'f',
        Direction::Backward => 'b',
    }
}
