//! Verify and repair as jobs. One that another server takes over goes on where it was.

use serde::Deserialize;
use serde_json::json;

use super::runner::{Outcome, Run, Surroundings, WorkError};
use crate::primitives::ChangeName;
use crate::sql::model::{BlockModel, ChangeModel};
use crate::store::jobs::JobProgress;
use crate::translation::own::get_change;
use crate::translation::{BlockDrift, Deed, Pass, TranslationError, resolve};

/// What may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Arguments {
    restart: bool,
    blocks: Vec<String>,
    rate: Option<u32>,
    sample_percent: Option<f64>,
    found: bool,
}

pub fn verify(surroundings: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let (name, arguments) = asked(run)?;
    let mut connection = surroundings.app.connection()?;
    let change = get_change(&mut connection, &name)?;
    let model = resolve(&mut connection, &change.file)?;
    let pass = pass(&model, &arguments, run)?;
    let outcome = pass.verify(&mut connection, &mut |block, done, total| run.tell(&progress(block, done, total)))?;
    if !outcome.finished {
        return Ok(Outcome::Stopped);
    }
    Ok(Outcome::Done(json!({ "change": name, "drift": outcome.drift(), "blocks": outcome.blocks })))
}

pub fn repair(surroundings: &Surroundings, run: &Run) -> Result<Outcome, WorkError> {
    let (name, arguments) = asked(run)?;
    let mut connection = surroundings.app.connection()?;
    let change = get_change(&mut connection, &name)?;
    let model = resolve(&mut connection, &change.file)?;
    let pass = pass(&model, &arguments, run)?;
    let deed = Deed { actor: &run.job().actor, at: jiff::Timestamp::now().into(), reason: "" };
    let repaired = pass.repair(&mut connection, arguments.found, deed, &mut |block, done, total| {
        run.tell(&progress(block, done, total))
    })?;
    if !repaired.found.finished {
        return Ok(Outcome::Stopped);
    }
    let drift: u64 = repaired.left.iter().map(BlockDrift::drift).sum();
    Ok(Outcome::Done(json!({
        "change": name, "found": repaired.found.drift(), "repaired": repaired.found.repaired, "drift": drift,
        "blocks": repaired.found.blocks, "left": repaired.left,
    })))
}

fn asked(run: &Run) -> Result<(ChangeName, Arguments), WorkError> {
    let name = run.job().change.parse().map_err(|error| WorkError::Lasting(Box::new(error)))?;
    let arguments = serde_json::from_value(run.job().arguments.clone());
    Ok((name, arguments.map_err(|error| WorkError::Lasting(Box::new(error)))?))
}

/// Only the first run of a job begins with the first key: a later one goes on for a server that died.
fn pass<'m>(model: &'m ChangeModel, arguments: &Arguments, run: &Run) -> Result<Pass<'m>, TranslationError> {
    Ok(Pass {
        restart: arguments.restart && run.job().attempts <= 1,
        blocks: model.blocks_named(&arguments.blocks).map_err(TranslationError::NoBlock)?,
        rate: arguments.rate,
        sample_percent: arguments.sample_percent,
        ..Pass::new(model)
    })
}

fn progress(block: &BlockModel, done: u64, total: u64) -> JobProgress {
    JobProgress { step: block.label(), done, total, per_second: 0.0, eta_seconds: None, throttled: None }
}
