//! A connection in either dialect, and SQL written at run time over it.

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::pg::Pg;
use diesel::serialize::{IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, PgConnection, RunQueryDsl, SqliteConnection, sql_query};

use super::error::DatabaseError;
use super::row::{Cells, Row};
use super::url::DatabaseUrl;
use crate::primitives::Dialect;

/// A value that goes into or comes out of SQL written at run time.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Real(f64),
    Text(String),
}

impl Value {
    /// The value as the database prints it; NULL is `None`.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Boolean(truth) => Some(truth.to_string()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Real(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.clone()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A connection to PostgreSQL or SQLite. Typed queries go through Diesel's derive; SQL written at run time goes through
/// [`DatabaseConnection::query`] and [`DatabaseConnection::execute`], whose parameters are `$1`, `$2`, … in both dialects, **in order of
/// first appearance** (SQLite numbers them so).
#[derive(diesel::MultiConnection)]
pub enum DatabaseConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl DatabaseConnection {
    /// Opens a database. A missing SQLite file is created. Connections to SQLite use WAL, `foreign_keys`,
    /// `recursive_triggers`, `synchronous = NORMAL` and wait up to ten seconds for a lock.
    pub fn open(url: &DatabaseUrl) -> Result<Self, DatabaseError> {
        let failed =
            |error: diesel::ConnectionError| DatabaseError::Open { url: url.to_string(), reason: error.to_string() };
        match url {
            DatabaseUrl::Postgres(_) => {
                let mut connection = PgConnection::establish(&url.connecting()).map_err(failed)?;
                // Compiling a comparison takes longer than running it: 50,000 charges took 9.5 s with JIT and 2.8 s without.
                connection.batch_execute("SET application_name = 'changeover'; SET TIME ZONE 'UTC'; SET jit = off")?;
                Ok(Self::Postgres(connection))
            }
            DatabaseUrl::Sqlite(_) => {
                let mut connection = SqliteConnection::establish(&url.secret()).map_err(failed)?;
                connection.batch_execute(
                    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                     PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON",
                )?;
                super::hash::register(&mut connection)?;
                Ok(Self::Sqlite(connection))
            }
        }
    }

    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs any number of statements without parameters.
    pub fn batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(connection) => connection.batch_execute(sql)?,
            Self::Sqlite(connection) => connection.batch_execute(sql)?,
        }
        Ok(())
    }

    /// Runs one statement and returns the number of rows it wrote.
    pub fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize, DatabaseError> {
        Ok(match self {
            Self::Postgres(connection) => bound_postgres(sql, values).execute(connection)?,
            Self::Sqlite(connection) => bound_sqlite(sql, values).execute(connection)?,
        })
    }

    /// Runs one query and returns all of its rows.
    pub fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        Ok(match self {
            Self::Postgres(connection) => bound_postgres(sql, values).load::<Row>(connection)?,
            Self::Sqlite(connection) => bound_sqlite(sql, values).load::<Row>(connection)?,
        })
    }

    /// Runs one query and hands over each row as it arrives, so that no more than one is held.
    pub fn query_each<E: From<DatabaseError>>(
        &mut self,
        sql: &str,
        mut each: impl FnMut(Cells) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: diesel::result::Error| E::from(DatabaseError::from(error));
        match self {
            Self::Postgres(connection) => {
                let rows = sql_query(sql).load_iter::<Cells, diesel::pg::PgRowByRowLoadingMode>(connection);
                for row in rows.map_err(failed)? {
                    each(row.map_err(failed)?)?;
                }
            }
            Self::Sqlite(connection) => {
                let rows = sql_query(sql).load_iter::<Cells, diesel::connection::DefaultLoadingMode>(connection);
                for row in rows.map_err(failed)? {
                    each(row.map_err(failed)?)?;
                }
            }
        }
        Ok(())
    }

    /// True between the beginning and the end of a transaction.
    pub fn is_in_transaction(&mut self) -> Result<bool, DatabaseError> {
        let depth = match self {
            Self::Postgres(connection) => {
                <PgConnection as diesel::Connection>::TransactionManager::transaction_manager_status_mut(connection)
                    .transaction_depth()?
            }
            Self::Sqlite(connection) => {
                <SqliteConnection as diesel::Connection>::TransactionManager::transaction_manager_status_mut(connection)
                    .transaction_depth()?
            }
        };
        Ok(depth.is_some())
    }

    /// The first row of a query, if there is one.
    pub fn find_row(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>, DatabaseError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// The first row of a query that always has one.
    pub fn get_row(&mut self, sql: &str, values: &[Value]) -> Result<Row, DatabaseError> {
        self.find_row(sql, values)?.ok_or(DatabaseError::NoRow)
    }

    /// Runs `work` in a transaction that writes: BEGIN on PostgreSQL, BEGIN IMMEDIATE on SQLite, where a transaction that
    /// begins by reading cannot always become a writer. Commits if `work` returns `Ok`, rolls back otherwise. Inside a
    /// transaction it is a savepoint.
    pub fn in_transaction<T, E: From<DatabaseError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.begin()?;
        match work(self) {
            Ok(value) => match self.commit() {
                Ok(()) => Ok(value),
                Err(error) => {
                    // A failed COMMIT leaves nothing to roll back on PostgreSQL; SQLite may still be inside.
                    drop(self.rollback());
                    Err(E::from(error))
                }
            },
            Err(error) => {
                if let Err(rollback) = self.rollback() {
                    tracing::warn!(%rollback, "a transaction could not be rolled back; its connection will be dropped");
                }
                Err(error)
            }
        }
    }

    /// [`DatabaseConnection::in_transaction`], tried again up to `attempts` times while the error is retryable, with a growing pause.
    pub fn in_transaction_with_retry<T, E: From<DatabaseError>>(
        &mut self,
        attempts: u32,
        is_retryable: impl Fn(&E) -> bool,
        mut work: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut attempt: u32 = 1;
        loop {
            match self.in_transaction(&mut work) {
                Err(error) if attempt < attempts && is_retryable(&error) => {
                    let pause_ms =
                        2u64.saturating_pow(attempt.min(8)).saturating_add(u64::from(std::process::id() % 7));
                    tracing::debug!(attempt, pause_ms, "transaction is tried again");
                    std::thread::sleep(std::time::Duration::from_millis(pause_ms));
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Runs `work` in a transaction that is rolled back whatever it returns.
    pub fn in_rolled_back_transaction<T, E: From<DatabaseError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.begin()?;
        let outcome = work(self);
        self.rollback()?;
        outcome
    }

    /// Runs `work`, which only reads, on one consistent view: what others commit meanwhile stays out of sight, and nobody
    /// waits for it. Not inside another transaction.
    pub fn in_snapshot<T, E: From<DatabaseError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::begin_transaction_sql(
                connection,
                "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            ),
            Self::Sqlite(connection) => AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN DEFERRED"),
        }
        .map_err(DatabaseError::from)?;
        let outcome = work(self);
        self.rollback()?;
        outcome
    }

    fn begin(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::begin_transaction(connection)?,
            Self::Sqlite(connection) => {
                let depth =
                    <SqliteConnection as diesel::Connection>::TransactionManager::transaction_manager_status_mut(
                        connection,
                    )
                    .transaction_depth()?;
                if depth.is_none() {
                    AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")?;
                } else {
                    AnsiTransactionManager::begin_transaction(connection)?;
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::commit_transaction(connection)?,
            Self::Sqlite(connection) => AnsiTransactionManager::commit_transaction(connection)?,
        }
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::rollback_transaction(connection)?,
            Self::Sqlite(connection) => AnsiTransactionManager::rollback_transaction(connection)?,
        }
        Ok(())
    }
}

/// The type of a NULL on PostgreSQL: none (object id 0), so that the server infers it from where the NULL goes. A NULL sent
/// as text is refused by a column of any other type.
#[derive(diesel::SqlType)]
#[diesel(postgres_type(oid = 0, array_oid = 0))]
struct Untyped;

#[derive(Debug)]
struct Null;

impl ToSql<Untyped, Pg> for Null {
    fn to_sql<'b>(&'b self, _out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        Ok(IsNull::Yes)
    }
}

impl ToSql<Nullable<Text>, Sqlite> for Null {
    fn to_sql<'b>(&'b self, _out: &mut Output<'b, '_, Sqlite>) -> diesel::serialize::Result {
        Ok(IsNull::Yes)
    }
}

macro_rules! bind_values {
    ($function:ident, $backend:ty, $null:ty) => {
        fn $function<'a>(
            sql: &str,
            values: &'a [Value],
        ) -> diesel::query_builder::BoxedSqlQuery<'a, $backend, diesel::query_builder::SqlQuery> {
            let mut query = sql_query(sql).into_boxed::<$backend>();
            for value in values {
                query = match value {
                    Value::Null => query.bind::<$null, _>(Null),
                    Value::Boolean(truth) => query.bind::<Bool, _>(*truth),
                    Value::Integer(number) => query.bind::<BigInt, _>(*number),
                    Value::Real(number) => query.bind::<Double, _>(*number),
                    Value::Text(text) => query.bind::<Text, _>(text.as_str()),
                };
            }
            query
        }
    };
}

bind_values!(bound_postgres, Pg, Untyped);
bind_values!(bound_sqlite, Sqlite, Nullable<Text>);
