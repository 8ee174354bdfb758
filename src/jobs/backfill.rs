//! A backfill as a job. Its arguments are [`BackfillOptions`] as JSON.

use serde_json::json;

use super::runner::{Outcome, Run, Surroundings, WorkError};
use crate::primitives::ChangeName;
use crate::store::jobs::JobProgress;
use crate::translation::own::get_change;
use crate::translation::{BackfillOptions, BackfillStep, backfill_with, resolve};

pub fn run(surroundings: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let name: ChangeName = run.job().change.parse().map_err(|error| WorkError::Lasting(Box::new(error)))?;
    let mut options: BackfillOptions =
        serde_json::from_value(run.job().arguments.clone()).map_err(|error| WorkError::Lasting(Box::new(error)))?;
    if !run.job().progress.step.is_empty() {
        // Another server began it: go on, neither from the first key again nor over what is finished.
        (options.restart, options.only_rest) = (false, true);
    }
    let model = {
        let mut connection = surroundings.app.connection()?;
        let change = get_change(&mut connection, &name)?;
        resolve(&mut connection, &change.file)?
    };
    let filled = backfill_with(&surroundings.app, &model, &options, &mut |step| run.tell(&progress(step)))?;
    if filled.finished { Ok(Outcome::Done(json!(filled))) } else { Ok(Outcome::Stopped) }
}

fn progress(step: &BackfillStep<'_>) -> JobProgress {
    JobProgress {
        step: step.block.label(),
        done: step.keys_done,
        total: step.keys_total,
        per_second: step.keys_per_second.round(),
        eta_seconds: step.eta.map(|eta| eta.as_secs()),
        throttled: step.throttled.clone(),
    }
}
