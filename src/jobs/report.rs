//! A comparison report as a job. One that another server takes over goes on after the chunks that were compared.

use serde::Deserialize;
use serde_json::json;

use super::runner::{Outcome, Run, Surroundings, WorkError};
use crate::primitives::{ChangeName, Instant, Period};
use crate::report::{self, RunError, RunOptions};
use crate::store::jobs::JobProgress;
use crate::translation::compare::CompareError;

/// What may be asked for.
#[derive(Debug, Deserialize)]
struct Arguments {
    /// The id that the report will have.
    report: String,
    as_of: Instant,
    #[serde(default)]
    periods: Vec<Period>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    checksums: bool,
    exceptions_max: usize,
    movers_max: usize,
}

pub fn run(surroundings: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let name: ChangeName = run.job().change.parse().map_err(|error| WorkError::Lasting(Box::new(error)))?;
    let arguments: Arguments =
        serde_json::from_value(run.job().arguments.clone()).map_err(|error| WorkError::Lasting(Box::new(error)))?;
    if report::find(&surroundings.store, &arguments.report)?.is_some() {
        // The server died between storing the report and ending the job.
        return Ok(Outcome::Done(json!({ "report": arguments.report })));
    }
    let options = RunOptions {
        periods: &arguments.periods,
        as_of: arguments.as_of,
        actor: &run.job().actor,
        exceptions_max: arguments.exceptions_max,
        movers_max: arguments.movers_max,
        since: arguments.since.as_deref(),
        checksums: arguments.checksums,
        beside: Some(surroundings.reports.url()),
        id: Some(&arguments.report),
    };
    let began = std::time::Instant::now();
    let mut tell = |done: u64, total: u64| {
        let progress = progress(done, total, began.elapsed().as_secs_f64());
        // Once all is compared, the report is stored.
        if done < total { run.tell(&progress) } else { run.tell_now(&progress) }
    };
    let ended = report::run(&mut *surroundings.reports.connection()?, &surroundings.store, &name, &options, &mut tell);
    match ended {
        Err(RunError::Stopped) => Ok(Outcome::Stopped),
        Err(error) => Err(error.into()),
        Ok(report) => Ok(Outcome::Done(json!({
            "report": report.id, "sha256": report.sha256, "clean": report.data.clean,
            "charges": report.data.comparison.charges(), "exceptions": report.data.comparison.exceptions_total,
            "unexplained": report.data.unexplained_total,
        }))),
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate needs no exactness"
)]
fn progress(done: u64, total: u64, seconds: f64) -> JobProgress {
    let per_second = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let left = total.saturating_sub(done) as f64;
    JobProgress {
        step: String::from("charges"),
        done,
        total: total.max(done),
        per_second,
        eta_seconds: (per_second > 0.0).then(|| (left / per_second).ceil() as u64),
        throttled: None,
    }
}

impl From<RunError> for WorkError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Database(error) | RunError::Compare(CompareError::Database(error)) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Translation(error) => error.into(),
            error => Self::Lasting(Box::new(error)),
        }
    }
}
