//! Every metric: its name, kind, labels and meaning, in one place. `docs/reference/metrics.md` is generated from here.

use prometheus::Opts;

/// What a metric's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as it is described.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Metric {
    pub(super) fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal $labels:expr, $help:literal;)+) => {
        $(pub(super) const $constant: Metric = Metric { name: $name, kind: Kind::$kind, labels: &$labels, help: $help };)+

        /// All metrics, in the order of the reference.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics! {
    EVALUATIONS = Counter "changeover_evaluations_total" ["flag", "variant"],
        "Evaluations by flag and variant served.";
    EVALUATION_SECONDS = Histogram "changeover_evaluation_seconds" [],
        "Time to evaluate one flag for one context; for a change's flag with the question for the group's side.";
    EVENT_STREAMS = Gauge "changeover_event_streams" [],
        "Event streams that are open.";
    EVENTS = Counter "changeover_events_total" [],
        "Events sent on streams: clients told that the configuration has changed.";
    SNAPSHOT_VERSION = Gauge "changeover_snapshot_version" [],
        "The version of the configuration that flags are evaluated on.";
    SNAPSHOT_AGE = Gauge "changeover_snapshot_age_seconds" [],
        "Seconds since the database last confirmed that the snapshot is its state.";
    STALE = Gauge "changeover_stale" [],
        "1 while flags are evaluated from memory that the database has not confirmed for some seconds.";
    DATABASE_BEHIND = Gauge "changeover_database_behind" [],
        "1 while the database is in an earlier state than was served from it, and is not followed.";
    NOTIFICATIONS = Counter "changeover_notifications_total" [],
        "Announcements of new versions that PostgreSQL has sent to this server.";
    REFRESH_FAILURES = Counter "changeover_refresh_failures_total" [],
        "Attempts to read the configuration from the database that failed.";
    UNREADABLE_FLAGS = Gauge "changeover_unreadable_flags" [],
        "Stored flags that cannot be read: their last good version is served, or they are missing. /readyz names them.";
    COHORT_IDS = Gauge "changeover_cohort_ids" ["cohort"],
        "Ids in a cohort.";
    STAGE = Gauge "changeover_stage" ["change", "stage"],
        "1 for the stage that the change is in, 0 for the others.";
    PAUSED = Gauge "changeover_paused" ["change"],
        "1 while translation is paused.";
    PENDING = Gauge "changeover_pending_keys" ["change", "block", "into"],
        "Driving keys whose translation failed and that wait to be refreshed.";
    TRANSLATION_ERRORS = Counter "changeover_translation_errors_total" [],
        "Translations that failed and left their keys pending, of all changes together.";
    DRIFT = Gauge "changeover_drift_rows" ["change", "block", "into", "class"],
        "Target rows that differ from what the block says, as the newest look at each range of keys found them.";
    VERIFIED_KEYS = Gauge "changeover_verified_keys" ["change", "block", "into"],
        "Driving keys in the ranges that have been verified.";
    OLDEST_RANGE = Gauge "changeover_oldest_range_age_seconds" ["change", "block", "into"],
        "Seconds since the range of keys that has been waiting longest was verified.";
    SENTINEL_KEYS = Counter "changeover_sentinel_keys_total" ["change", "block", "into"],
        "Driving keys that the sentinel has verified.";
    SENTINEL_DRIFT = Counter "changeover_sentinel_drift_rows_total" ["change", "block", "into"],
        "Target rows that the sentinel has found to differ.";
    SENTINEL_REPAIRED = Counter "changeover_sentinel_repaired_rows_total" ["change", "block", "into"],
        "Target rows that the sentinel has put right.";
    BACKFILL_KEYS = Gauge "changeover_backfill_keys" ["change", "block", "into"],
        "Driving keys that the backfill has refreshed.";
    BACKFILL_RATE = Gauge "changeover_backfill_keys_per_second" ["change", "block", "into"],
        "Driving keys that the backfill refreshed each second, between the last two readings.";
    BACKFILL_FINISHED = Gauge "changeover_backfill_finished" ["change", "block", "into"],
        "1 if the backfill of the block is finished.";
    OBSERVATIONS = Counter "changeover_observations_total" ["subject", "outcome"],
        "Observations posted to this server, by change or flag: compared, and of these mismatch, ignored, error_old, error_new.";
    WRITES = Counter "changeover_writes_total" ["change", "outcome"],
        "Writes over HTTP: written, replayed, dry_run, refused, untranslated, busy, failed.";
    WRITE_RETRIES = Counter "changeover_write_retries_total" ["change"],
        "Attempts at writes over HTTP that the database refused for a moment, and that were made again.";
    ASSIGNMENTS = Gauge "changeover_assignments" ["change", "period", "side"],
        "Groups recorded on a side, for the newest three periods. Counted once a minute at most.";
    EXCEPTIONS = Gauge "changeover_report_exceptions" ["change", "class"],
        "Charges in a class that is wrong, as the newest report found them.";
    UNEXPLAINED = Gauge "changeover_report_unexplained" ["change"],
        "Charges in a class that is wrong that nobody explains, as the newest report found them: these hold `live` back.";
    REPORT_AGE = Gauge "changeover_report_age_seconds" ["change"],
        "Seconds since the moment that the newest report is of.";
    WORKER_GATES = Gauge "changeover_worker_gates" ["state"],
        "Gates of background workers that are running, waiting for their turn, or paused.";
    WORKER_LEASES = Gauge "changeover_worker_leases_held" [],
        "Leases of background workers that are held.";
    LEASE_ANSWERS = Counter "changeover_worker_lease_answers_total" ["outcome"],
        "What this server told workers that asked for a lease: acquired, held by another, paused, refused; at a heartbeat renewed, stopped, lost; released.";
    EDGE_ANSWERS = Counter "changeover_edge_answers_total" ["change", "answer"],
        "What reverse proxies were told of visitors: assigned, flag, everybody, before_live, anonymous, unknown, chosen, last_known, maintenance.";
    OVERVIEW_AGE = Gauge "changeover_overview_age_seconds" [],
        "Seconds since the state of the changes was read from the application's database. Absent until it has been.";
    REQUESTS = Counter "changeover_http_requests_total" ["method", "route", "status"],
        "Requests by method, route and status.";
    REQUEST_SECONDS = Histogram "changeover_http_request_seconds" ["route"],
        "Time to answer a request, by route.";
    POOL = Gauge "changeover_pool_connections" ["database", "state"],
        "Database connections by database and state.";
}
