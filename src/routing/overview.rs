//! What a server knows of the installed changes without asking: a job reads it every few seconds, metrics and pages show it.

use serde::Serialize;

use super::list::SideCounts;
use crate::allocation::ChargeClass;
use crate::primitives::{ChangeName, Instant};
use crate::store::worker_gates::GateCounts;
use crate::translation::Health;

/// The installed changes at one moment. Empty until the first reading.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overview {
    /// How translation is.
    pub health: Health,
    /// The recorded sides of each change, the newest periods first.
    pub sides: Vec<ChangeSides>,
    /// What the newest report of each change found.
    pub reports: Vec<ReportFindings>,
    /// The gates of background workers; `None` until they have been read.
    pub worker_gates: Option<GateCounts>,
}

/// How many groups of a change are on each side.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeSides {
    pub change: ChangeName,
    pub periods: Vec<SideCounts>,
}

/// What a change's newest report found.
#[derive(Debug, Clone, Serialize)]
pub struct ReportFindings {
    pub change: ChangeName,
    /// Its id.
    pub report: String,
    pub as_of: Instant,
    /// Charges in each class that is wrong.
    pub exceptions: Vec<(ChargeClass, u64)>,
    /// Charges in all of them that nobody explains.
    pub unexplained: u64,
}
