//! A write from its request to its answer: one transaction, made again while the database asks for it, and an error that says whose it is.

use std::hash::BuildHasher;
use std::time::{Duration, Instant as Clock};

use super::execute::{Execution, Stop};
use super::explain::explain;
use super::fault::WriteError;
use super::idempotency::{self, IdempotencyKey};
use super::request::Request;
use super::rules::{read_stage, stage_for};
use super::tables::WriteModel;
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::primitives::Instant;

/// How often and for how long a write is tried.
const ATTEMPTS_MAX: u32 = 12;
const TRIED_MAX: Duration = Duration::from_secs(10);

/// What a write answered.
#[derive(Debug)]
pub struct Outcome {
    /// The answer as JSON.
    pub answer: String,
    /// True if it is the answer of an earlier write with the same key.
    pub replayed: bool,
    pub attempts: u32,
}

/// Writes all of a request's rows or none. Not inside another transaction.
///
/// # Errors
/// [`WriteError::Refused`] says which operation and row and why; [`WriteError::Busy`] that others held the rows for too long.
pub fn write(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    request: &Request,
    key: Option<&IdempotencyKey<'_>>,
    now: Instant,
) -> Result<Outcome, WriteError> {
    // What was not done is not kept.
    let key = key.filter(|_| !request.dry_run);
    if key.is_some() {
        idempotency::ensure(connection)?;
    }
    let began = Clock::now();
    let mut attempts: u32 = 1;
    loop {
        let stop = match attempt(connection, model, request, key, now) {
            Ok((answer, replayed)) => return Ok(Outcome { answer, replayed, attempts }),
            Err(stop) => stop,
        };
        let error = match stop {
            Stop::DryRun(answer) => return Ok(Outcome { answer, replayed: false, attempts }),
            Stop::Write(error) => return Err(error),
            Stop::Overtaken => None,
            Stop::Failed { error, .. } if error.is_retryable() => Some(error),
            Stop::Failed { operation, row, error } => {
                return Err(explain(connection, model, request, (operation, row), error));
            }
        };
        if attempts >= ATTEMPTS_MAX || began.elapsed() > TRIED_MAX {
            return Err(WriteError::Busy { attempts, waited_ms: began.elapsed().as_millis(), source: error });
        }
        tracing::debug!(attempts, ?error, "a write is tried again");
        std::thread::sleep(pause(attempts));
        attempts += 1;
    }
}

/// Twice as long each time up to half a second, and half of it by chance, so that two writers do not meet again and again.
fn pause(attempt: u32) -> Duration {
    let most_micros = (2_000u64 << attempt.min(8)).min(500_000);
    let chance = std::hash::RandomState::new().hash_one(attempt) % most_micros.max(1);
    Duration::from_micros(most_micros / 2 + chance / 2)
}

fn attempt(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    request: &Request,
    key: Option<&IdempotencyKey<'_>>,
    now: Instant,
) -> Result<(String, bool), Stop> {
    connection.in_transaction(|connection| {
        settle(connection)?;
        if let Some(key) = key
            && let Some(answer) = idempotency::begin(connection, &model.name, key, (&request.hash, now))?
        {
            return Ok((answer, true));
        }
        let stage = stage_for(connection, model, request)?;
        let mut execution = Execution::new(model, request, stage);
        execution.run(connection)?;
        execution.check(connection)?;
        let answer = execution.answer(connection, stage)?;
        // A stage move that was committed meanwhile may have changed what the triggers did between two operations.
        if read_stage(connection, &model.name)? != Some(stage) {
            return Err(Stop::Overtaken);
        }
        let text = serde_json::to_string(&answer).map_err(|error| WriteError::Json(error.into()))?;
        if request.dry_run {
            check_deferred(connection)?;
            return Err(Stop::DryRun(text));
        }
        if let Some(key) = key {
            idempotency::keep(connection, &model.name, key, (&request.hash, &text, now))?;
        }
        Ok((text, false))
    })
}

/// READ COMMITTED whatever the database's default is, and no endless waiting. On SQLite the transaction has begun IMMEDIATE.
pub(super) fn settle(connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
    match connection.dialect() {
        Dialect::Postgres => {
            connection.batch("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'")
        }
        Dialect::Sqlite => Ok(()),
    }
}

/// What would be checked at COMMIT is checked before a dry run is rolled back.
fn check_deferred(connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
    match connection.dialect() {
        Dialect::Postgres => connection.batch("SET CONSTRAINTS ALL IMMEDIATE"),
        // SQLite has no such statement: what is deferred there is only checked by a COMMIT.
        Dialect::Sqlite => Ok(()),
    }
}
