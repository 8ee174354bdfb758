//! Writes down what charts show of the changes, on one server by lease: how many rows differ, how many keys wait, how many groups are on
//! which side. What it writes the server has read already, for its metrics. Evaluations each server adds for itself, in `usage`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::lease::{LeasedLoop, Leases};
use crate::primitives::Instant;
use crate::routing::Overview;
use crate::store::StoreError;
use crate::store::series::{self, Measure, Reading, Writing};

/// A chart's newest value is this old at most.
const PAUSE: Duration = Duration::from_secs(30);

/// Starts the thread; it stops when what is returned is dropped.
pub fn start(leases: Leases, overview: Arc<ArcSwap<Overview>>) -> std::io::Result<LeasedLoop> {
    let store = leases.store().clone();
    LeasedLoop::start(leases, "series", PAUSE, move |_| -> Result<(), StoreError> {
        let now: Instant = jiff::Timestamp::now().into();
        let readings = readings(&overview.load());
        store.write(|connection| {
            series::write(connection, &readings, Writing::Level, now)?;
            series::prune(connection, now)
        })
    })
}

/// What has been read of each change. A change whose drift nobody has looked for has none.
#[must_use]
pub fn readings(overview: &Overview) -> Vec<Reading> {
    let mut readings = Vec::new();
    for change in &overview.health.changes {
        let subject = format!("change/{}", change.change);
        let mut read = |measure, value| readings.push(Reading { subject: subject.clone(), measure, value });
        let drift: Vec<i64> = change.blocks.iter().filter_map(|block| Some(block.drift?.rows())).collect();
        if !drift.is_empty() {
            read(Measure::Drift, drift.iter().sum());
        }
        read(Measure::Pending, change.blocks.iter().map(|block| block.pending_keys).sum());
        let sides = overview.sides.iter().find(|sides| sides.change == change.change);
        if let Some(newest) = sides.and_then(|sides| sides.periods.first()) {
            read(Measure::OnOld, newest.old);
            read(Measure::OnNew, newest.new);
        }
    }
    readings
}
