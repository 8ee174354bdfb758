//! What applications observed of both sides, as a report shows it. Only counts that later observations do not change: how many samples are
//! kept of the mismatches is the store's business, because newer ones take the place of older ones.

use serde::{Deserialize, Serialize};

use super::words;
use crate::observations::{Latency, ObservationSummary};

/// The observations of one operation in the last full 24 hours before the report's moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub operation: String,
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
}

impl From<ObservationSummary> for Observed {
    fn from(summary: ObservationSummary) -> Self {
        Self {
            operation: summary.name,
            compared: summary.compared,
            mismatches: summary.mismatches,
            ignored: summary.ignored,
            errors_old: summary.errors_old,
            errors_new: summary.errors_new,
            calls: summary.calls,
            latency_old: summary.latency_old,
            latency_new: summary.latency_new,
        }
    }
}

/// The columns of a table of them.
pub(super) const HEADER: [&str; 7] =
    ["Operation", "Compared", "Differ", "Share", "Errors old/new", "Old p50/p99", "New p50/p99"];

/// One row of that table.
pub(super) fn row(observed: &Observed) -> [String; 7] {
    [
        words::printable(&observed.operation),
        words::grouped(observed.compared),
        words::grouped(observed.mismatches),
        words::share(observed.mismatches, observed.compared),
        format!("{}/{}", words::grouped(observed.errors_old), words::grouped(observed.errors_new)),
        latency(&observed.latency_old),
        latency(&observed.latency_new),
    ]
}

fn latency(latency: &Latency) -> String {
    if latency.count == 0 {
        return String::from("–");
    }
    [latency.p50_us, latency.p99_us].map(micros).join("/")
}

/// `850 µs`, `12.3 ms`, `4.56 s`: three digits are more than a bucket tells.
fn micros(micros: Option<u64>) -> String {
    let Some(micros) = micros else { return String::from("–") };
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let told = [Some(850), Some(12_345), Some(4_567_890), None].map(micros);
        assert_eq!(told, ["850 µs", "12.3 ms", "4.56 s", "–"]);
    }
}
