//! Numbers for Prometheus. Labels are bounded: only flags and cohorts that exist, only routes that are ours, only methods that
//! have names; never users, never paths.

pub mod catalogue;
mod changes;
mod requests;
mod truth;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use arc_swap::ArcSwap;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use self::catalogue::{
    COHORT_IDS, EDGE_ANSWERS, EVALUATION_SECONDS, EVALUATIONS, EVENT_STREAMS, EVENTS, LEASE_ANSWERS, OBSERVATIONS,
    POOL, WRITE_RETRIES, WRITES,
};
use self::changes::Changes;
use self::requests::Requests;
use self::truth::{Truth, raise};

use super::problem::Problem;
use super::state::AppState;
use crate::routing::Overview;
use crate::store::observations::Posted;

/// From what a flag with a few rules takes to what a question to the database takes.
const EVALUATION_BUCKETS: [f64; 10] = [2.5e-7, 5e-7, 1e-6, 2.5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0];

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    evaluations: IntCounterVec,
    evaluation_seconds: Histogram,
    requests: Requests,
    event_streams: IntGauge,
    events: IntCounter,
    truth: Truth,
    cohort_ids: IntGaugeVec,
    pool_connections: IntGaugeVec,
    observations: IntCounterVec,
    writes: IntCounterVec,
    write_retries: IntCounterVec,
    lease_answers: IntCounterVec,
    edge_answers: IntCounterVec,
}

impl Metrics {
    /// Registers every metric. `overview` is where a job puts what it reads of the changes.
    pub fn new(overview: Arc<ArcSwap<Overview>>) -> Result<Self, prometheus::Error> {
        let evaluation_seconds = HistogramOpts::from(EVALUATION_SECONDS.opts()).buckets(EVALUATION_BUCKETS.to_vec());
        let metrics = Self {
            evaluations: IntCounterVec::new(EVALUATIONS.opts(), EVALUATIONS.labels)?,
            evaluation_seconds: Histogram::with_opts(evaluation_seconds)?,
            requests: Requests::new()?,
            event_streams: IntGauge::with_opts(EVENT_STREAMS.opts())?,
            events: IntCounter::with_opts(EVENTS.opts())?,
            truth: Truth::new()?,
            cohort_ids: IntGaugeVec::new(COHORT_IDS.opts(), COHORT_IDS.labels)?,
            pool_connections: IntGaugeVec::new(POOL.opts(), POOL.labels)?,
            observations: IntCounterVec::new(OBSERVATIONS.opts(), OBSERVATIONS.labels)?,
            writes: IntCounterVec::new(WRITES.opts(), WRITES.labels)?,
            write_retries: IntCounterVec::new(WRITE_RETRIES.opts(), WRITE_RETRIES.labels)?,
            lease_answers: IntCounterVec::new(LEASE_ANSWERS.opts(), LEASE_ANSWERS.labels)?,
            edge_answers: IntCounterVec::new(EDGE_ANSWERS.opts(), EDGE_ANSWERS.labels)?,
            registry: Registry::new(),
        };
        let collectors: [Box<dyn Collector>; 15] = [
            Box::new(metrics.evaluations.clone()),
            Box::new(metrics.evaluation_seconds.clone()),
            Box::new(metrics.requests.counts.clone()),
            Box::new(metrics.requests.seconds.clone()),
            Box::new(metrics.event_streams.clone()),
            Box::new(metrics.events.clone()),
            Box::new(metrics.truth.clone()),
            Box::new(metrics.cohort_ids.clone()),
            Box::new(metrics.pool_connections.clone()),
            Box::new(metrics.observations.clone()),
            Box::new(metrics.writes.clone()),
            Box::new(metrics.write_retries.clone()),
            Box::new(metrics.lease_answers.clone()),
            Box::new(metrics.edge_answers.clone()),
            Box::new(Changes::new(overview)?),
        ];
        for collector in collectors {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Where evaluations of a flag are counted. Only for a flag that is in the snapshot: its key becomes a label.
    #[must_use]
    pub fn evaluations(&self, flag: &str, variant: &str) -> IntCounter {
        self.evaluations.with_label_values(&[flag, variant])
    }

    /// How long an evaluation took; of a bulk answer, one of them on average.
    pub fn evaluated(&self, took: Duration) {
        // No label: one histogram costs three additions, one for each flag would cost a look-up and fill the page.
        self.evaluation_seconds.observe(took.as_secs_f64());
    }

    /// How often each flag has been evaluated since the server started.
    #[must_use]
    pub fn evaluations_by_flag(&self) -> HashMap<String, f64> {
        let mut counts: HashMap<String, f64> = HashMap::new();
        for family in self.evaluations.collect() {
            for metric in family.get_metric() {
                let flag = metric.get_label().iter().find(|label| label.name() == "flag");
                let Some(flag) = flag else { continue };
                *counts.entry(flag.value().to_owned()).or_default() += metric.get_counter().get_value();
            }
        }
        counts
    }

    /// A write ended. Only for a change that is installed: its name becomes a label.
    pub fn wrote(&self, change: &str, outcome: &'static str, retries: u32) {
        self.writes.with_label_values(&[change, outcome]).inc();
        self.write_retries.with_label_values(&[change]).inc_by(u64::from(retries));
    }

    /// A worker asked for a lease, or about its own.
    pub fn leased(&self, outcome: &'static str) {
        self.lease_answers.with_label_values(&[outcome]).inc();
    }

    /// A proxy was told of a visitor. Only of a change for which an edge is set: its name becomes a label.
    pub fn edge_answered(&self, change: &str, answer: &'static str) {
        self.edge_answers.with_label_values(&[change, answer]).inc();
    }

    /// Observations were posted. Only of a change or flag that exists: its name becomes a label.
    pub fn observed(&self, subject: &str, posted: &Posted) {
        for (outcome, count) in [
            ("compared", posted.compared),
            ("mismatch", posted.mismatches),
            ("ignored", posted.ignored),
            ("error_old", posted.errors_old),
            ("error_new", posted.errors_new),
        ] {
            self.observations.with_label_values(&[subject, outcome]).inc_by(count);
        }
    }

    fn look(&self, state: &AppState) {
        let snapshot = state.snapshot();
        self.truth.look(state);
        self.event_streams.set(i64::try_from(state.streams().count()).unwrap_or(i64::MAX));
        raise(&self.events, state.streams().sent());
        self.cohort_ids.reset();
        for cohort in snapshot.cohorts() {
            let count = i64::try_from(cohort.ids().len()).unwrap_or(i64::MAX);
            self.cohort_ids.with_label_values(&[cohort.name().as_str()]).set(count);
        }
        for (name, database) in [("service", state.store().database()), ("application", state.app())] {
            let (all, idle) = database.pool_state();
            self.pool_connections.with_label_values(&[name, "idle"]).set(i64::from(idle));
            self.pool_connections.with_label_values(&[name, "busy"]).set(i64::from(all.saturating_sub(idle)));
        }
    }
}

/// `GET /metrics`
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
pub async fn page(state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let metrics = state.metrics();
    metrics.look(&state);
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    encoder.encode(&metrics.registry.gather(), &mut text).map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().content_type(encoder.format_type()).body(text))
}

/// Counts and times every request by its route.
pub async fn observe<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let started = Clock::now();
    let state = request.app_data::<Data<AppState>>().cloned();
    let answer = next.call(request).await;
    if let (Some(state), Ok(answer)) = (state, &answer) {
        state.metrics().requests.answered(answer, started.elapsed());
    }
    answer
}
