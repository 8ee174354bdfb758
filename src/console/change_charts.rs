//! The chart of a flag's page, and those of a change's: drift, what waits, sides, mismatches that applications observe, and evaluations of its flag.

use std::collections::BTreeMap;

use super::chart::{Chart, Line, Plan};
use super::words::grouped;
use crate::http::AppState;
use crate::http::problem::Problem;
use crate::primitives::{ChangeName, FlagKey, Instant};
use crate::store::StoreError;
use crate::store::observations::{self, Subject};
use crate::store::series::{self, Measure, Step};

const HOUR: i64 = 60 * 60 * 1_000_000;

/// All of them, for a day or for thirty.
pub fn charts(state: &AppState, name: &ChangeName, flag: Option<&FlagKey>, step: Step) -> Result<Vec<Chart>, Problem> {
    let now = state.now();
    let (from, until) = (now.as_micros() - step.kept_micros(), now.as_micros());
    let (subject, flag) = (format!("change/{name}"), flag.map(|flag| format!("flag/{flag}")));
    Ok(state.store().read(|connection| {
        let mut read = |subject: &str, measure| -> Result<Vec<(i64, i64)>, StoreError> {
            let found = series::list(connection, subject, measure, step)?;
            Ok(found.into_iter().map(|(at, value)| (at.as_micros(), value)).collect())
        };
        let line = |name, points| Line { name, points };
        let drift = vec![
            line("Rows that differ", read(&subject, Measure::Drift)?),
            line("Keys that wait", read(&subject, Measure::Pending)?),
        ];
        let sides = vec![line("Old", read(&subject, Measure::OnOld)?), line("New", read(&subject, Measure::OnNew)?)];
        let evaluations = match &flag {
            Some(flag) => with_zeros(read(flag, Measure::Evaluations)?, until, step.micros()),
            None => Vec::new(),
        };
        let span = (Instant::from_micros(from), Instant::from_micros(until));
        let mismatches = observations::series(connection, &Subject::change(name), span)?;
        let plan = |id, (title, what), lines, step, told: fn(i64) -> String| Plan {
            id,
            title,
            what,
            lines,
            from,
            until,
            step,
            told,
        };
        let fine = step.micros();
        Ok::<_, StoreError>(
            [
                plan(
                    "drift",
                    (
                        "Drift and keys that wait",
                        "Rows of one model that are not what the other says, and keys whose translation failed.",
                    ),
                    drift,
                    fine,
                    grouped,
                ),
                plan(
                    "mismatches",
                    ("Mismatch rate", "Of the results that applications compared themselves, by the hour."),
                    vec![line("Mismatches", rates(mismatches))],
                    HOUR,
                    share,
                ),
                plan(
                    "sides",
                    ("Groups by side", "Groups whose side is recorded in the newest period."),
                    sides,
                    fine,
                    grouped,
                ),
                plan(
                    "evaluations",
                    ("Evaluations", "How often the change's flag was evaluated, by all servers together."),
                    vec![line("Evaluations", evaluations)],
                    fine,
                    grouped,
                ),
            ]
            .into_iter()
            .map(|plan| plan.drawn(now))
            .collect(),
        )
    })?)
}

/// How often a flag was evaluated, for a day or for thirty.
pub fn flag_chart(state: &AppState, flag: &FlagKey, step: Step) -> Result<Chart, Problem> {
    let now = state.now();
    let until = now.as_micros();
    let points = with_zeros(evaluations(state, flag, step)?, until, step.micros());
    let plan = Plan {
        id: "evaluations",
        title: "Evaluations",
        what: "How often the flag was evaluated, by all servers together.",
        lines: vec![Line { name: "Evaluations", points }],
        from: until - step.kept_micros(),
        until,
        step: step.micros(),
        told: grouped,
    };
    Ok(plan.drawn(now))
}

/// How often a flag was evaluated in the last 24 hours.
pub fn evaluations_of_a_day(state: &AppState, flag: &FlagKey) -> Result<i64, Problem> {
    let since = state.now().as_micros() - Step::Fine.kept_micros();
    let points = evaluations(state, flag, Step::Fine)?;
    Ok(points.iter().filter(|(at, _)| *at >= since).map(|(_, count)| *count).sum())
}

fn evaluations(state: &AppState, flag: &FlagKey, step: Step) -> Result<Vec<(i64, i64)>, Problem> {
    let subject = format!("flag/{flag}");
    let found = state.store().read(|conn| series::list(conn, &subject, Measure::Evaluations, step))?;
    Ok(found.into_iter().map(|(at, value)| (at.as_micros(), value)).collect())
}

/// Where nothing was counted, nothing happened.
fn with_zeros(points: Vec<(i64, i64)>, until: i64, step: i64) -> Vec<(i64, i64)> {
    let Some((first, _)) = points.first().copied() else { return points };
    let known: BTreeMap<i64, i64> = points.into_iter().collect();
    let mut all = Vec::new();
    let mut at = first;
    while at <= until {
        all.push((at, known.get(&at).copied().unwrap_or(0)));
        at += step;
    }
    all
}

/// Mismatches of all operations together, in thousandths of a percent of what was compared.
fn rates(points: Vec<observations::Point>) -> Vec<(i64, i64)> {
    let mut hours: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for point in points {
        let hour = hours.entry(point.at.as_micros()).or_default();
        hour.0 += point.summary.mismatches;
        hour.1 += point.summary.compared;
    }
    let rate = |(at, (mismatches, compared)): (i64, (u64, u64))| {
        let thousandths = u128::from(mismatches) * 100_000 / u128::from(compared.max(1));
        (compared > 0).then(|| (at, i64::try_from(thousandths).unwrap_or(i64::MAX)))
    };
    hours.into_iter().filter_map(rate).collect()
}

fn share(thousandths: i64) -> String {
    format!("{}.{:03} %", thousandths / 1_000, thousandths % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_without_a_count_are_zero_and_rates_are_of_all_operations() {
        assert_eq!(with_zeros(vec![(10, 3), (40, 1)], 59, 10), [(10, 3), (20, 0), (30, 0), (40, 1), (50, 0)]);
        assert_eq!(with_zeros(Vec::new(), 59, 10), []);
        assert_eq!(
            (share(0), share(12_345), share(100_000)),
            ("0.000 %".into(), "12.345 %".into(), "100.000 %".into())
        );
    }
}
