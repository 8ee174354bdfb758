//! Metrics of the installed changes, made anew for each scrape from what the server last read of them: a change that is uninstalled
//! leaves no series behind, and two scrapes at once do not meet in a half-filled one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};

use super::catalogue::{
    ASSIGNMENTS, BACKFILL_FINISHED, BACKFILL_KEYS, BACKFILL_RATE, DRIFT, EXCEPTIONS, Kind, Metric, OLDEST_RANGE,
    OVERVIEW_AGE, PAUSED, PENDING, REPORT_AGE, SENTINEL_DRIFT, SENTINEL_KEYS, SENTINEL_REPAIRED, STAGE,
    TRANSLATION_ERRORS, UNEXPLAINED, VERIFIED_KEYS, WORKER_GATES, WORKER_LEASES,
};
use crate::change::Stage;
use crate::primitives::Instant;
use crate::routing::Overview;
use crate::translation::{BlockHealth, ChangeHealth};

/// Periods of a change whose sides are told. Those before them are closed and do not move.
const PERIODS: usize = 3;

/// The metrics of this file.
const OF_CHANGES: [&Metric; 20] = [
    &STAGE,
    &PAUSED,
    &PENDING,
    &TRANSLATION_ERRORS,
    &DRIFT,
    &VERIFIED_KEYS,
    &OLDEST_RANGE,
    &SENTINEL_KEYS,
    &SENTINEL_DRIFT,
    &SENTINEL_REPAIRED,
    &BACKFILL_KEYS,
    &BACKFILL_RATE,
    &BACKFILL_FINISHED,
    &ASSIGNMENTS,
    &EXCEPTIONS,
    &UNEXPLAINED,
    &REPORT_AGE,
    &WORKER_GATES,
    &WORKER_LEASES,
    &OVERVIEW_AGE,
];

/// Shows what was last read of the changes.
pub struct Changes {
    overview: Arc<ArcSwap<Overview>>,
    descriptions: Vec<Desc>,
}

impl Changes {
    pub fn new(overview: Arc<ArcSwap<Overview>>) -> Result<Self, prometheus::Error> {
        let described = OF_CHANGES.iter().map(|metric| {
            let labels = metric.labels.iter().map(|label| String::from(*label)).collect();
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, std::collections::HashMap::new())
        });
        Ok(Self { overview, descriptions: described.collect::<Result<_, _>>()? })
    }
}

impl Collector for Changes {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = Instant::from(jiff::Timestamp::now());
        let mut families = Families { now, families: Vec::new() };
        let overview = self.overview.load();
        if let Some(at) = overview.health.at {
            families.add(&OVERVIEW_AGE, &[], families.seconds_since(at));
            families.add(&TRANSLATION_ERRORS, &[], float(overview.health.translation_errors));
        }
        for change in &overview.health.changes {
            families.change(change);
        }
        families.sides_and_reports(&overview);
        families.gates(&overview);
        families.families
    }
}

/// Families as they grow: a metric without a series is left out.
struct Families {
    now: Instant,
    families: Vec<MetricFamily>,
}

impl Families {
    fn add(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        let pairs = metric.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut sample = Sample::from_label(pairs.collect());
        match metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        match self.families.iter_mut().find(|family| family.name() == metric.name) {
            Some(family) => family.mut_metric().push(sample),
            None => self.families.push(family(metric, sample)),
        }
    }

    fn change(&mut self, change: &ChangeHealth) {
        let name = change.change.as_str();
        for stage in Stage::ALL {
            self.add(&STAGE, &[name, stage.as_str()], truth(stage == change.stage));
        }
        self.add(&PAUSED, &[name], truth(change.paused));
        for block in &change.blocks {
            self.block(name, block);
        }
    }

    fn block(&mut self, change: &str, block: &BlockHealth) {
        let labels = [change, block.block.as_str(), block.into.as_str()];
        self.add(&PENDING, &labels, float(block.pending_keys));
        if let Some(drift) = block.drift {
            for (class, rows) in [("missing", drift.missing), ("extra", drift.extra), ("different", drift.different)] {
                self.add(&DRIFT, &[labels[0], labels[1], labels[2], class], float(rows));
            }
        }
        self.add(&VERIFIED_KEYS, &labels, float(block.verified_keys));
        if let Some(at) = block.oldest_range_at {
            self.add(&OLDEST_RANGE, &labels, self.seconds_since(at));
        }
        self.add(&SENTINEL_KEYS, &labels, float(block.sentinel.verified_keys));
        self.add(&SENTINEL_DRIFT, &labels, float(block.sentinel.drift_found));
        self.add(&SENTINEL_REPAIRED, &labels, float(block.sentinel.repaired));
        if let Some(backfill) = block.backfill {
            self.add(&BACKFILL_KEYS, &labels, float(backfill.keys_done));
            self.add(&BACKFILL_RATE, &labels, backfill.keys_per_second);
            self.add(&BACKFILL_FINISHED, &labels, truth(backfill.finished));
        }
    }

    fn sides_and_reports(&mut self, overview: &Overview) {
        for sides in &overview.sides {
            for period in sides.periods.iter().take(PERIODS) {
                let text = period.period.to_string();
                self.add(&ASSIGNMENTS, &[sides.change.as_str(), &text, "old"], float(period.old));
                self.add(&ASSIGNMENTS, &[sides.change.as_str(), &text, "new"], float(period.new));
            }
        }
        for report in &overview.reports {
            let change = report.change.as_str();
            for (class, charges) in &report.exceptions {
                self.add(&EXCEPTIONS, &[change, class.as_str()], float(i64::try_from(*charges).unwrap_or(i64::MAX)));
            }
            let unexplained = i64::try_from(report.unexplained).unwrap_or(i64::MAX);
            self.add(&UNEXPLAINED, &[change], float(unexplained));
            self.add(&REPORT_AGE, &[change], self.seconds_since(report.as_of));
        }
    }

    fn gates(&mut self, overview: &Overview) {
        let Some(counts) = overview.worker_gates else { return };
        for (state, gates) in [("running", counts.running), ("waiting", counts.waiting), ("paused", counts.paused)] {
            self.add(&WORKER_GATES, &[state], float(gates));
        }
        self.add(&WORKER_LEASES, &[], float(counts.leases_held));
    }

    fn seconds_since(&self, at: Instant) -> f64 {
        float(self.now.as_micros().saturating_sub(at.as_micros()).max(0)) / 1e6
    }
}

fn family(metric: &Metric, sample: Sample) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge | Kind::Histogram => MetricType::GAUGE,
    });
    family.set_metric(vec![sample]);
    family
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[expect(clippy::as_conversions, reason = "Prometheus has floats only; a count beyond 2^53 loses its last digits")]
fn float(number: i64) -> f64 {
    number as f64
}
