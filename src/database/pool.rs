//! A pool of connections to one database.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::r2d2;

use super::connection::DatabaseConnection;
use super::error::DatabaseError;
use super::url::DatabaseUrl;
use crate::primitives::Dialect;

/// A pooled connection; it goes back to the pool when it is dropped.
pub type PooledConnection = r2d2::PooledConnection<Manager>;

/// One database: its URL and a pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    url: Arc<DatabaseUrl>,
    pool: r2d2::Pool<Manager>,
}

impl Database {
    /// Makes a pool without connecting, so that a server can start while its database is away. `connections_max` is the
    /// size of the pool; a connection that cannot be had within `timeout` is an error.
    pub fn new(url: DatabaseUrl, connections_max: u32, timeout: Duration) -> Result<Self, DatabaseError> {
        let pool = r2d2::Pool::builder()
            .max_size(connections_max)
            .min_idle(Some(0))
            .connection_timeout(timeout)
            .test_on_check_out(true)
            .error_handler(Box::new(QuietHandler))
            .build_unchecked(Manager { url: url.clone() });
        Ok(Self { url: Arc::new(url), pool })
    }

    /// A pool for a command: a few connections, ten seconds' patience, and an error at once if the database is not there.
    pub fn open(url: DatabaseUrl) -> Result<Self, DatabaseError> {
        drop(DatabaseConnection::open(&url)?);
        Self::new(url, 8, Duration::from_secs(10))
    }

    #[must_use]
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.url.dialect()
    }

    /// A connection from the pool; waits for one up to the pool's timeout.
    pub fn connection(&self) -> Result<PooledConnection, DatabaseError> {
        self.pool.get().map_err(|error| DatabaseError::Pool { url: self.url.to_string(), reason: error.to_string() })
    }

    /// Connections in the pool and how many of them are idle.
    #[must_use]
    pub fn pool_state(&self) -> (u32, u32) {
        let state = self.pool.state();
        (state.connections, state.idle_connections)
    }
}

/// Opens and tests connections for the pool.
#[derive(Debug)]
pub struct Manager {
    url: DatabaseUrl,
}

impl r2d2::ManageConnection for Manager {
    type Connection = DatabaseConnection;
    type Error = DatabaseError;

    fn connect(&self) -> Result<DatabaseConnection, DatabaseError> {
        DatabaseConnection::open(&self.url)
    }

    fn is_valid(&self, connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
        connection.batch("SELECT 1")
    }

    fn has_broken(&self, connection: &mut DatabaseConnection) -> bool {
        // A transaction that is still open when the connection comes back means that a rollback failed.
        let depth = match connection {
            DatabaseConnection::Postgres(connection) => {
                AnsiTransactionManager::transaction_manager_status_mut(connection).transaction_depth()
            }
            DatabaseConnection::Sqlite(connection) => {
                AnsiTransactionManager::transaction_manager_status_mut(connection).transaction_depth()
            }
        };
        !matches!(depth, Ok(None))
    }
}

/// The pool's own errors are reported to whoever asks for a connection; logging each attempt as well would flood the log.
#[derive(Debug)]
struct QuietHandler;

impl r2d2::HandleError<DatabaseError> for QuietHandler {
    fn handle_error(&self, error: DatabaseError) {
        tracing::debug!(%error, "a pooled connection failed");
    }
}
