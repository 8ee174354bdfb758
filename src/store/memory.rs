//! What a server keeps in memory of the store: the snapshot that flags are evaluated on and the tokens that requests are checked
//! against. While the database is away both stay as they were last seen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::state::{self, Versions};
use super::tokens::Keyring;
use super::{Store, StoreError, cohort_leaves, cohorts, flags, now};
use crate::database::DatabaseConnection;
use crate::flags::{Cohort, Flag, Snapshot, VersionedFlag};
use crate::primitives::{CohortName, Instant};

/// The store's contents in memory. [`Memory::refresh`] brings them up to date; everything else only reads memory.
pub struct Memory {
    store: Store,
    snapshot: ArcSwap<Snapshot>,
    keyring: ArcSwap<Keyring>,
    /// The versions in memory; its lock lets one refresh run at a time, so that no older snapshot follows a newer one.
    versions: Mutex<Versions>,
    confirmed_at: AtomicI64,
}

impl Memory {
    /// Reads everything.
    pub fn load(store: Store) -> Result<Self, StoreError> {
        let nothing = Versions { config: -1, config_changed_at: Instant::from_micros(0), tokens: -1 };
        let memory = Self {
            store,
            snapshot: ArcSwap::from_pointee(Snapshot::empty()),
            keyring: ArcSwap::from_pointee(Keyring::default()),
            versions: Mutex::new(nothing),
            confirmed_at: AtomicI64::new(0),
        };
        memory.refresh()?;
        Ok(memory)
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// When the database last said that this is its state.
    #[must_use]
    pub fn confirmed_at(&self) -> Instant {
        Instant::from_micros(self.confirmed_at.load(Ordering::Relaxed))
    }

    /// Asks the database for its versions and reads what is newer than memory. True if something was.
    pub fn refresh(&self) -> Result<bool, StoreError> {
        let mut held = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let asked_at = now();
        let before = *held;
        let current = self.store.read(|connection| {
            let current = state::versions(connection)?;
            if current.config != before.config {
                let snapshot = read_snapshot(connection, current, &self.snapshot())?;
                self.snapshot.store(Arc::new(snapshot));
            }
            if current.tokens != before.tokens {
                self.keyring.store(Arc::new(Keyring::load(connection)?));
            }
            Ok(current)
        })?;
        *held = current;
        self.confirmed_at.store(asked_at.as_micros(), Ordering::Relaxed);
        Ok(current != before)
    }
}

/// Builds the snapshot of one version. Cohorts whose generation is in memory already are taken from there.
fn read_snapshot(
    connection: &mut DatabaseConnection,
    versions: Versions,
    previous: &Snapshot,
) -> Result<Snapshot, StoreError> {
    let known: HashMap<&CohortName, &Arc<Cohort>> =
        previous.cohorts().iter().map(|cohort| (cohort.name(), cohort)).collect();
    let mut found = Vec::new();
    for stored in cohorts::all(connection)? {
        let Ok(name) = CohortName::new(&stored.name) else { continue };
        match known.get(&name) {
            Some(cohort) if cohort.generation() == stored.generation => found.push(Arc::clone(cohort)),
            _ => {
                let leaves = cohort_leaves::load(connection, &name)?;
                let ids = leaves.iter().flat_map(|leaf| leaf.lines()).collect();
                found.push(Arc::new(Cohort::new(name, stored.generation, ids)));
            }
        }
    }
    let flags = flags::all(connection)?.into_iter().filter_map(readable).collect();
    Ok(Snapshot::build(versions.config, versions.config_changed_at, flags, found))
}

/// A stored flag that cannot be read is left out (its callers get their own default, as for a flag that is not there) rather
/// than holding up every other flag.
fn readable(stored: flags::StoredFlag) -> Option<VersionedFlag> {
    match Flag::parse(&stored.data) {
        Ok(flag) => Some(VersionedFlag { flag, version: stored.version }),
        Err(error) => {
            tracing::error!(flag = stored.key, version = stored.version, %error, "a stored flag cannot be read and is left out");
            None
        }
    }
}
