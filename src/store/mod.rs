//! The service's own database: flags, cohorts, tokens, reports and the audit log, one file a table. The only place with
//! typed Diesel. Functions take a connection, so that several of them make one transaction; [`Store::write`] opens it,
//! and every write appends its own audit row in it.

mod as_of;
pub mod audit;
pub mod cohort_export;
pub mod cohort_generations;
pub mod cohort_leaves;
pub mod cohort_memory;
pub mod cohort_merge;
pub mod cohort_staging;
pub mod cohorts;
pub mod dependents;
mod edge_memory;
pub mod edges;
mod error;
pub mod explanations;
pub mod exposures;
mod flag_relations;
pub mod flag_rollouts;
pub mod flag_usage;
pub mod flag_versions;
pub mod flags;
pub mod imports;
pub mod job_runs;
pub mod jobs;
pub mod leases;
mod memory;
pub mod migrations;
pub mod observation_rules;
pub mod observations;
mod page;
pub mod proposals;
pub mod protection;
pub mod report_exceptions;
pub mod report_standing;
pub mod reports;
mod schema;
pub mod series;
pub mod sessions;
mod snapshot_file;
pub mod sorted_ids;
pub mod stale;
pub mod state;
pub mod stream_tokens;
pub mod tokens;
pub mod upload;
mod upload_records;
mod upload_sort;
pub mod worker_gates;
pub mod worker_leases;

use crate::database::{Database, DatabaseConnection};
use crate::primitives::Instant;

pub use as_of::as_of;
pub use error::StoreError;
pub use memory::{Behind, Contents, Counts, Freshness, Memory, Saved, UnreadableFlag};
pub use page::{Page, PageRequest};
pub use snapshot_file::{SnapshotFile, SnapshotFileError};

/// How often a transaction is tried when the database asks for it.
const ATTEMPTS: u32 = 8;

/// Who writes, and why: it stands in the history and in the audit log.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub actor: &'a str,
    pub reason: &'a str,
}

/// The service's own database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Brings the schema up to date, under a lock, and returns the store.
    pub fn open(database: Database) -> Result<Self, StoreError> {
        let store = Self::unprepared(database);
        store.prepare()?;
        Ok(store)
    }

    /// A store whose database may be away: [`Store::prepare`] it before anything else.
    #[must_use]
    pub fn unprepared(database: Database) -> Self {
        Self { database }
    }

    /// Brings the schema up to date, under a lock.
    pub fn prepare(&self) -> Result<(), StoreError> {
        migrations::run(&mut *self.database.connection()?)
    }

    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Runs `work` on one consistent view of the database.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&mut DatabaseConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.database.connection()?.in_snapshot(work)
    }

    /// Runs `work` in a transaction; all of it happens, with its audit rows, or nothing.
    pub fn write<T>(
        &self,
        work: impl FnMut(&mut DatabaseConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.database.connection()?.in_transaction_with_retry(ATTEMPTS, StoreError::is_retryable, work)
    }
}

fn now() -> Instant {
    jiff::Timestamp::now().into()
}

/// An id that sorts by when it was made: sixteen hexadecimal digits of time, sixteen random ones.
fn new_id() -> Result<String, StoreError> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|_| StoreError::NoRandomness)?;
    Ok(format!("{:016x}{}", now().as_micros(), hexadecimal(&random)))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// The sha-256 of a text, in hexadecimal.
#[must_use]
pub fn sha256(text: &str) -> String {
    use sha2::Digest;
    hexadecimal(&sha2::Sha256::digest(text.as_bytes()))
}
