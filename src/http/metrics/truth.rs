//! Whether this server's memory is what the database holds, as numbers.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge};

use super::catalogue::{
    DATABASE_BEHIND, NOTIFICATIONS, REFRESH_FAILURES, SNAPSHOT_AGE, SNAPSHOT_VERSION, STALE, UNREADABLE_FLAGS,
};
use crate::http::state::AppState;

/// The gauges and counters of memory. Cheap to clone: clones show the same numbers.
#[derive(Clone)]
pub(super) struct Truth {
    version: IntGauge,
    age_seconds: IntGauge,
    stale: IntGauge,
    behind: IntGauge,
    unreadable: IntGauge,
    notifications: IntCounter,
    refresh_failures: IntCounter,
}

impl Truth {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            version: IntGauge::with_opts(SNAPSHOT_VERSION.opts())?,
            age_seconds: IntGauge::with_opts(SNAPSHOT_AGE.opts())?,
            stale: IntGauge::with_opts(STALE.opts())?,
            behind: IntGauge::with_opts(DATABASE_BEHIND.opts())?,
            unreadable: IntGauge::with_opts(UNREADABLE_FLAGS.opts())?,
            notifications: IntCounter::with_opts(NOTIFICATIONS.opts())?,
            refresh_failures: IntCounter::with_opts(REFRESH_FAILURES.opts())?,
        })
    }

    /// Brings the numbers up to date.
    pub(super) fn look(&self, state: &AppState) {
        let memory = state.memory();
        let freshness = memory.freshness(state.now());
        self.version.set(state.snapshot().version());
        self.age_seconds.set(i64::try_from(freshness.age.as_secs()).unwrap_or(i64::MAX));
        self.stale.set(i64::from(freshness.is_stale));
        self.behind.set(i64::from(memory.behind().is_some()));
        self.unreadable.set(i64::try_from(memory.unreadable().len()).unwrap_or(i64::MAX));
        let counts = memory.counts();
        raise(&self.notifications, counts.notifications);
        raise(&self.refresh_failures, counts.refresh_failures);
    }

    fn collectors(&self) -> [&dyn Collector; 7] {
        [
            &self.version,
            &self.age_seconds,
            &self.stale,
            &self.behind,
            &self.unreadable,
            &self.notifications,
            &self.refresh_failures,
        ]
    }
}

pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

impl Collector for Truth {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}
