//! The old application's own connection: bare Diesel, ordinary SQL text.

use diesel::connection::SimpleConnection as _;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::BigInt;
use diesel::{
    Connection as _, PgConnection, QueryResult, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query,
};

pub enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

impl Connection {
    /// `postgres://…`, or the path of an SQLite file.
    pub fn open(url: &str) -> anyhow::Result<Self> {
        if url.starts_with("postgres") {
            return Ok(Self::Postgres(PgConnection::establish(url)?));
        }
        let mut connection = SqliteConnection::establish(url)?;
        connection.batch_execute("PRAGMA busy_timeout = 20000; PRAGMA foreign_keys = ON")?;
        Ok(Self::Sqlite(connection))
    }

    /// Runs one statement; returns how many rows it wrote.
    pub fn execute(&mut self, sql: &str) -> QueryResult<usize> {
        match self {
            Self::Postgres(connection) => sql_query(sql).execute(connection),
            Self::Sqlite(connection) => sql_query(sql).execute(connection),
        }
    }

    /// The column `id` of the first row that the statement returns.
    pub fn find_id(&mut self, sql: &str) -> QueryResult<Option<i64>> {
        let rows: Vec<Id> = match self {
            Self::Postgres(connection) => sql_query(sql).load(connection)?,
            Self::Sqlite(connection) => sql_query(sql).load(connection)?,
        };
        Ok(rows.first().map(|row| row.id))
    }

    pub fn in_transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T> {
        self.batch(match self {
            Self::Postgres(_) => "BEGIN",
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
        })?;
        let outcome = work(self).and_then(|value| self.batch("COMMIT").map(|()| value));
        if outcome.is_err() {
            // After a failed COMMIT there may be nothing left to roll back.
            drop(self.batch("ROLLBACK"));
        }
        outcome
    }

    fn batch(&mut self, sql: &str) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => connection.batch_execute(sql),
            Self::Sqlite(connection) => connection.batch_execute(sql),
        }
    }
}

/// What every concurrent writer meets now and then, and tries again.
pub fn is_retryable(error: &Error) -> bool {
    let Error::DatabaseError(kind, information) = error else { return false };
    matches!(kind, DatabaseErrorKind::SerializationFailure)
        || information.message().contains("deadlock detected")
        || information.message().contains("database is locked")
}
