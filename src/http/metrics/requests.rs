//! Requests by route, method and status, and how long they took. Those that evaluate flags are most of them, so where they are counted
//! is looked up once.

use std::time::Duration;

use actix_web::dev::ServiceResponse;
use actix_web::http::{Method, StatusCode};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec};

use super::catalogue::{REQUEST_SECONDS, REQUESTS};
use crate::http::ofrep::{EVALUATE, EVALUATE_ONE};

pub(super) struct Requests {
    pub(super) counts: IntCounterVec,
    pub(super) seconds: HistogramVec,
    one: Evaluations,
    all: Evaluations,
}

/// Where requests that evaluate flags are counted.
struct Evaluations {
    ok: IntCounter,
    not_modified: IntCounter,
    seconds: Histogram,
}

impl Requests {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::from(REQUEST_SECONDS.opts())
            .buckets(vec![0.000_1, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0]);
        let counts = IntCounterVec::new(REQUESTS.opts(), REQUESTS.labels)?;
        let seconds = HistogramVec::new(options, REQUEST_SECONDS.labels)?;
        let of = |route: &str| Evaluations {
            ok: counts.with_label_values(&["POST", route, "200"]),
            not_modified: counts.with_label_values(&["POST", route, "304"]),
            seconds: seconds.with_label_values(&[route]),
        };
        let (one, all) = (of(EVALUATE_ONE), of(EVALUATE));
        Ok(Self { counts, seconds, one, all })
    }

    pub(super) fn answered<B>(&self, answer: &ServiceResponse<B>, took: Duration) {
        let request = answer.request();
        let evaluations = match request.path().strip_prefix(EVALUATE) {
            Some("") => Some(&self.all),
            Some(rest) if rest.starts_with('/') => Some(&self.one),
            _ => None,
        };
        match (evaluations, request.method(), answer.status()) {
            (Some(evaluations), &Method::POST, StatusCode::OK) => evaluations.ok.inc(),
            (Some(evaluations), &Method::POST, StatusCode::NOT_MODIFIED) => evaluations.not_modified.inc(),
            (_, method, status) => return self.count(answer, (method, status), took),
        }
        if let Some(evaluations) = evaluations {
            evaluations.seconds.observe(took.as_secs_f64());
        }
    }

    fn count<B>(&self, answer: &ServiceResponse<B>, (method, status): (&Method, StatusCode), took: Duration) {
        let method = match *method {
            Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS => method.as_str(),
            _ => "other",
        };
        let route = answer.request().match_pattern().unwrap_or_else(|| String::from("(none)"));
        self.counts.with_label_values(&[method, &route, status.as_str()]).inc();
        self.seconds.with_label_values(&[&route]).observe(took.as_secs_f64());
    }
}
