//! What many observations of an operation come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::latency::{bucket_of, quantile};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    Compared,
    Mismatches,
    Ignored,
    ErrorsOld,
    ErrorsNew,
    /// Calls that the observations stand for, by their sample rates.
    Calls,
    /// Durations of the old side in a bucket.
    Old(u32),
    New(u32),
}

impl Measure {
    /// As it is stored.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Compared => 1,
            Self::Mismatches => 2,
            Self::Ignored => 3,
            Self::ErrorsOld => 4,
            Self::ErrorsNew => 5,
            Self::Calls => 6,
            Self::Old(bucket) => 1_000 + i64::from(bucket),
            Self::New(bucket) => 2_000 + i64::from(bucket),
        }
    }
}

/// Counts by [`Measure::code`]. They add up in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<i64, u64>);

impl Counts {
    pub fn add(&mut self, code: i64, count: u64) {
        let sum = self.0.entry(code).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Counts a duration of the old side, or of the new.
    pub fn add_duration(&mut self, is_old: bool, micros: u64) {
        let bucket = bucket_of(micros);
        self.add(if is_old { Measure::Old(bucket) } else { Measure::New(bucket) }.code(), 1);
    }

    #[must_use]
    pub fn get(&self, measure: Measure) -> u64 {
        self.0.get(&measure.code()).copied().unwrap_or(0)
    }

    fn latency(&self, first: i64) -> Latency {
        let counts: BTreeMap<u32, u64> = self
            .0
            .range(first..first + 1_000)
            .filter_map(|(code, count)| Some((u32::try_from(code - first).ok()?, *count)))
            .collect();
        Latency {
            count: counts.values().sum(),
            p50_us: quantile(&counts, 500),
            p95_us: quantile(&counts, 950),
            p99_us: quantile(&counts, 990),
        }
    }
}

/// How long one side took, in microseconds; at most an eighth more than it really was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50_us: Option<u64>,
    pub p95_us: Option<u64>,
    pub p99_us: Option<u64>,
}

/// The observations of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationSummary {
    /// The operation.
    pub name: String,
    pub compared: u64,
    pub mismatches: u64,
    /// Differences that a rule ignores; they are no mismatches.
    pub ignored: u64,
    pub errors_old: u64,
    pub errors_new: u64,
    /// Calls that the observations stand for, by their sample rates.
    pub calls: u64,
    pub latency_old: Latency,
    pub latency_new: Latency,
    /// Mismatches that are kept one by one.
    pub samples: u64,
}

impl ObservationSummary {
    #[must_use]
    pub fn of(name: String, counts: &Counts, samples: u64) -> Self {
        Self {
            name,
            compared: counts.get(Measure::Compared),
            mismatches: counts.get(Measure::Mismatches),
            ignored: counts.get(Measure::Ignored),
            errors_old: counts.get(Measure::ErrorsOld),
            errors_new: counts.get(Measure::ErrorsNew),
            calls: counts.get(Measure::Calls),
            latency_old: counts.latency(1_000),
            latency_new: counts.latency(2_000),
            samples,
        }
    }

    /// Mismatches of a hundred.
    #[must_use]
    pub fn mismatch_percent(&self) -> Option<f64> {
        let number = |count: u64| u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
        (self.compared > 0).then(|| number(self.mismatches) * 100.0 / number(self.compared))
    }
}
