//! Pairs of an old and a new result that applications post: comparing them exactly under rules, and latencies as histograms that add up.

mod compare;
mod decimal;
mod json;
mod latency;
mod rule;
mod summary;
mod wire;

pub use compare::{Outcome, Verdict, compare};
pub use decimal::Decimal;
pub use json::Json;
pub use latency::{bucket_of, quantile, upper_of};
pub use rule::{InvalidRule, Kind, Rule, Rules};
pub use summary::{Counts, Latency, Measure, ObservationSummary};
pub use wire::{BATCH_MAX, Observation, Unreadable, read_batch};
