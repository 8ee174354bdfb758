//! PostgreSQL's notifications, on a connection of their own.

use std::time::{Duration, Instant as Clock};

use super::connection::DatabaseConnection;
use super::error::DatabaseError;
use super::url::DatabaseUrl;

/// How often a connection on which nothing happens is asked whether it still is one.
const PING_PAUSE: Duration = Duration::from_secs(10);

/// A connection that hears what is announced. Only PostgreSQL announces.
pub struct Listener {
    connection: DatabaseConnection,
    pinged_at: Clock,
}

impl Listener {
    /// Opens a connection outside of any pool.
    pub fn open(url: &DatabaseUrl) -> Result<Self, DatabaseError> {
        Ok(Self { connection: DatabaseConnection::open(url)?, pinged_at: Clock::now() })
    }

    /// The connection, to ask what to listen to.
    pub fn connection(&mut self) -> &mut DatabaseConnection {
        &mut self.connection
    }

    /// From here on, what is announced on `channel` is heard.
    pub fn listen(&mut self, channel: &str) -> Result<(), DatabaseError> {
        self.connection.batch(&format!("LISTEN \"{}\"", channel.replace('"', "\"\"")))
    }

    /// How many announcements have come since the last time. Does not wait for one; an error means that the connection is gone.
    pub fn heard(&mut self) -> Result<usize, DatabaseError> {
        if self.pinged_at.elapsed() > PING_PAUSE {
            self.pinged_at = Clock::now();
            self.connection.batch("SELECT 1")?;
        }
        let DatabaseConnection::Postgres(connection) = &mut self.connection else { return Ok(0) };
        let mut count = 0usize;
        for notification in connection.notifications_iter() {
            notification?;
            count = count.saturating_add(1);
        }
        Ok(count)
    }
}
