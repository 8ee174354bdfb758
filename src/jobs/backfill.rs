//! A backfill as a job.

use std::time::Instant as Clock;

use serde_json::json;

use super::runner::{Outcome, Run, Surroundings, WorkError};
use crate::primitives::ChangeName;
use crate::store::jobs::JobProgress;
use crate::translation::own::get_change;
use crate::translation::{BackfillOptions, backfill, resolve};

pub fn run(surroundings: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let name: ChangeName = run.job().change.parse().map_err(|error| WorkError::Lasting(Box::new(error)))?;
    let mut connection = surroundings.app.connection()?;
    let change = get_change(&mut connection, &name)?;
    let model = resolve(&mut connection, &change.file)?;
    let options = BackfillOptions { batch_rows: None, restart: false };
    let began = Clock::now();
    let states = backfill(&mut connection, &model, options, &mut |block, done, total| {
        run.tell(&JobProgress { step: block.label(), done, total, per_second: 0.0, eta_seconds: None, throttled: None })
    })?;
    if !states.iter().all(|state| state.finished) || states.is_empty() {
        return Ok(Outcome::Stopped);
    }
    let keys: i64 = states.iter().map(|state| state.keys_done).sum();
    Ok(Outcome::Done(json!({ "blocks": states, "keys": keys, "seconds": began.elapsed().as_secs_f64() })))
}
