//! What runs by itself inside the server: the memory's refresh on every server; all else on one of them, by lease.

mod assign;
mod backfill;
mod lease;
mod listen;
mod pending;
mod refresh;
mod report;
mod runner;
pub mod sentinel;
pub mod series;
mod snapshot;
mod usage;
mod verify;
mod watch;

use crate::store::jobs::JobKind;

pub use lease::{Held, LeasedLoop, Leases, Turn, holder};
pub use pending::PendingWorker;
pub use refresh::Refresher;
pub use runner::{Outcome, Run, Runner, Surroundings, Work, WorkError};
pub use snapshot::Saver;
pub use usage::UsageNoter;
pub use watch::Watcher;

/// Every kind of job that a server does.
#[must_use]
pub fn kinds() -> Vec<(JobKind, Work)> {
    vec![
        (JobKind::Backfill, backfill::run),
        (JobKind::Verify, verify::verify),
        (JobKind::Repair, verify::repair),
        (JobKind::Report, report::run),
        (JobKind::Assign, assign::assign),
    ]
}
