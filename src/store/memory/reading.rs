//! Reads the configuration of one version out of the database. What is in memory already is not read again, and a flag that cannot be
//! read stays what it was.

use std::collections::HashMap;
use std::sync::Arc;

use crate::database::DatabaseConnection;
use crate::flags::{Cohort, Flag, Snapshot, VersionedFlag};
use crate::primitives::CohortName;
use crate::store::edge_memory::Edges;
use crate::store::state::Versions;
use crate::store::{StoreError, cohort_memory, cohorts, flags};

/// A stored flag that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableFlag {
    pub key: String,
    /// The version that cannot be read.
    pub version: i64,
    /// The version that is served in its place; `None` if no other has been seen, so that the flag is not there at all.
    pub served: Option<i64>,
    pub reason: String,
}

/// A configuration that was read, and what of it could not be.
pub(super) struct Configuration {
    pub(super) snapshot: Snapshot,
    pub(super) edges: Edges,
    pub(super) unreadable: Vec<UnreadableFlag>,
}

/// Reads the configuration of these versions. `previous` is an older one of the same history, `edges` what was set for edges until now.
pub(super) fn configuration(
    connection: &mut DatabaseConnection,
    versions: &Versions,
    previous: Option<&Snapshot>,
    edges: &Edges,
) -> Result<Configuration, StoreError> {
    let edges = Edges::read(connection, edges)?;
    let cohorts = read_cohorts(connection, previous)?;
    let mut unreadable = Vec::new();
    let mut found = Vec::new();
    for stored in flags::all(connection)? {
        match Flag::parse(&stored.data) {
            Ok(flag) => found.push(VersionedFlag { flag, version: stored.version }),
            Err(error) => {
                let last_good = previous.and_then(|previous| previous.find_flag(&stored.key));
                let last_good =
                    last_good.map(|flag| VersionedFlag { flag: flag.flag().clone(), version: flag.version() });
                let served = last_good.as_ref().map(|flag| flag.version);
                found.extend(last_good);
                let (key, version, reason) = (stored.key, stored.version, error.to_string());
                unreadable.push(UnreadableFlag { key, version, served, reason });
            }
        }
    }
    let snapshot = Snapshot::build(versions.config, versions.config_changed_at, found, cohorts);
    Ok(Configuration { snapshot, edges, unreadable })
}

/// Every cohort. Those whose generation is in memory already are taken from there.
fn read_cohorts(
    connection: &mut DatabaseConnection,
    previous: Option<&Snapshot>,
) -> Result<Vec<Arc<Cohort>>, StoreError> {
    let known: HashMap<&CohortName, &Arc<Cohort>> = previous
        .map(|previous| previous.cohorts().iter().map(|cohort| (cohort.name(), cohort)).collect())
        .unwrap_or_default();
    let mut found = Vec::new();
    for stored in cohorts::all(connection)? {
        let held = CohortName::new(&stored.name).ok().and_then(|name| known.get(&name).copied());
        // One that cannot be read stays what it was, as a flag does.
        found.extend(cohort_memory::read(connection, &stored, held)?.or_else(|| held.cloned()));
    }
    Ok(found)
}
