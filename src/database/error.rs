//! What can go wrong at a database, and whether trying again can help.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// A constraint that refused a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    Unique,
    ForeignKey,
    NotNull,
    Check,
    Exclusion,
}

/// An error of a database or of the way to it. The source chain keeps Diesel's own error.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("cannot open {url}: {reason}")]
    Open { url: String, reason: String },
    #[error("no connection to {url} could be had in time: {reason}")]
    Pool { url: String, reason: String },
    #[error("{}", sentence(.0))]
    Query(#[source] DieselError),
    #[error("the result has no column `{0}`")]
    MissingColumn(String),
    #[error("column `{column}` holds {found}, not {wanted}")]
    UnexpectedValue { column: String, found: String, wanted: &'static str },
    #[error("the query returned no row")]
    NoRow,
    /// What generated SQL found and said instead of failing.
    #[error("{0}")]
    Refused(String),
}

impl From<DieselError> for DatabaseError {
    fn from(error: DieselError) -> Self {
        Self::Query(error)
    }
}

/// The database's own message with its detail and hint, in one sentence.
fn sentence(error: &DieselError) -> String {
    let DieselError::DatabaseError(_, information) = error else { return error.to_string() };
    let mut text = information.message().to_owned();
    for more in [information.details(), information.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

impl DatabaseError {
    /// True if the same transaction may succeed when it is run again: a serialization failure, a deadlock, a lock that
    /// was not to be had in time, or a busy SQLite file.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let Self::Query(DieselError::DatabaseError(kind, information)) = self else { return false };
        let message = information.message();
        matches!(kind, DatabaseErrorKind::SerializationFailure)
            || message.contains("deadlock detected")
            || message.contains("could not serialize access")
            || message.contains("lock timeout")
            || message.contains("database is locked")
            || message.contains("database table is locked")
    }

    /// The database's own message, without detail and hint.
    #[must_use]
    pub fn primary_message(&self) -> String {
        match self {
            Self::Query(DieselError::DatabaseError(_, information)) => information.message().to_owned(),
            other => other.to_string(),
        }
    }

    /// Where in the statement PostgreSQL stumbled: characters from 1.
    #[must_use]
    pub fn statement_position(&self) -> Option<usize> {
        let Self::Query(DieselError::DatabaseError(_, information)) = self else { return None };
        usize::try_from(information.statement_position()?).ok()
    }

    /// True if a unique constraint refused the write.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Query(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
    }

    /// Which kind of constraint refused the write, if one did.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        let Self::Query(DieselError::DatabaseError(kind, _)) = self else { return None };
        match kind {
            DatabaseErrorKind::UniqueViolation => Some(Violation::Unique),
            DatabaseErrorKind::ForeignKeyViolation | DatabaseErrorKind::RestrictViolation => {
                Some(Violation::ForeignKey)
            }
            DatabaseErrorKind::NotNullViolation => Some(Violation::NotNull),
            DatabaseErrorKind::CheckViolation => Some(Violation::Check),
            DatabaseErrorKind::ExclusionViolation => Some(Violation::Exclusion),
            _ => None,
        }
    }

    /// The constraint that refused the write. SQLite names only the columns, or the CHECK.
    #[must_use]
    pub fn constraint_name(&self) -> Option<String> {
        let Self::Query(DieselError::DatabaseError(_, information)) = self else { return None };
        let named = information.constraint_name().map(str::to_owned);
        named.or_else(|| Some(information.message().split_once(" constraint failed: ")?.1.to_owned()))
    }

    /// The table that the error is about, where the database says so.
    #[must_use]
    pub fn table_name(&self) -> Option<String> {
        let Self::Query(DieselError::DatabaseError(_, information)) = self else { return None };
        let named = information.table_name().map(str::to_owned);
        named.or_else(|| Some(sqlite_column(information.message())?.0))
    }

    /// The column that the error is about, where the database says so.
    #[must_use]
    pub fn column_name(&self) -> Option<String> {
        let Self::Query(DieselError::DatabaseError(_, information)) = self else { return None };
        let named = information.column_name().map(str::to_owned);
        named.or_else(|| Some(sqlite_column(information.message())?.1))
    }

    /// True if the connection is gone, so that another one is needed.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Pool { .. } => true,
            Self::Query(DieselError::DatabaseError(kind, information)) => {
                matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand)
                    || information.message().contains("server closed the connection")
                    || information.message().contains("terminating connection")
            }
            Self::Query(DieselError::BrokenTransactionManager) => true,
            _ => false,
        }
    }
}

/// `NOT NULL constraint failed: users.name` → users, name.
fn sqlite_column(message: &str) -> Option<(String, String)> {
    let (_, columns) = message.split_once(" constraint failed: ")?;
    let (table, column) = columns.split(", ").next()?.split_once('.')?;
    Some((table.to_owned(), column.to_owned()))
}
