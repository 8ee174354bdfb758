//! Assigning a period as a job. One that another server takes over goes on: what is recorded stays, the rest follows.

use serde::Deserialize;
use serde_json::json;

use super::runner::{Outcome, Run, Surroundings, WorkError};
use crate::primitives::{ChangeName, Period};
use crate::routing::{Assigning, RoutedChange, RoutingError, assign_watched};
use crate::store::Memory;
use crate::store::jobs::JobProgress;

#[derive(Debug, Deserialize)]
struct Arguments {
    period: Period,
}

pub fn assign(surroundings: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let job = run.job();
    let name: ChangeName = job.change.parse().map_err(|error| WorkError::Lasting(Box::new(error)))?;
    let arguments: Arguments =
        serde_json::from_value(job.arguments.clone()).map_err(|error| WorkError::Lasting(Box::new(error)))?;
    // As the flag is now: each row says by which version it was decided, should the flag change before another server goes on.
    let snapshot = Memory::load(surroundings.store.clone())?.snapshot();
    let mut connection = surroundings.app.connection()?;
    let change = RoutedChange::get(&mut connection, &name)?;
    let assigning = Assigning { period: arguments.period, actor: &job.actor, at: jiff::Timestamp::now().into() };
    let step = format!("groups of {}", arguments.period);
    let mut watch = |done: usize, total: usize| {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let (done, total) = (count(done), count(total));
        run.tell(&JobProgress { step: step.clone(), done, total, per_second: 0.0, eta_seconds: None, throttled: None })
    };
    let Some(receipt) = assign_watched(&mut connection, &change, &snapshot, &assigning, &mut watch)? else {
        return Ok(Outcome::Stopped);
    };
    Ok(Outcome::Done(json!(receipt)))
}

impl From<RoutingError> for WorkError {
    fn from(error: RoutingError) -> Self {
        match error {
            RoutingError::Database(error) => error.into(),
            RoutingError::Translation(error) => error.into(),
            error => Self::Lasting(Box::new(error)),
        }
    }
}
