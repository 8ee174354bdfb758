//! Running jobs: what the server that does a job reads and writes. A job is held by the lease `job/ID`; every write names the lease's
//! fencing number, so what a server writes that has lost the job reaches nothing.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::{Value, json};

use super::audit::{self, AuditEntry};
use super::jobs::{Job, JobKind, JobProgress, JobState, get};
use super::leases::{self, Lease};
use super::schema::jobs;
use super::{StoreError, now};
use crate::database::{DatabaseConnection, Value as Bound};

/// How many times a job is begun or gone on with before it is given up: one that takes its server down must not take down all.
pub const ATTEMPTS_MAX: i64 = 20;

/// Jobs looked at for one that is free.
const CANDIDATES_MAX: usize = 20;

/// A job that this server has.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    pub job: Job,
    pub lease: Lease,
}

/// Ids of jobs that nobody runs: those that wait, and those whose server has not renewed its lease. Only reads, so that servers which
/// ask every moment disturb nobody.
pub fn list_free(connection: &mut DatabaseConnection, kinds: &[JobKind]) -> Result<Vec<String>, StoreError> {
    let now = leases::clock(connection.dialect());
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
    let sql = format!(
        "SELECT j.id FROM svc_changeover_jobs j LEFT JOIN svc_changeover_leases l ON l.name = 'job/' || j.id
         WHERE (j.state = 'running' OR (j.state = 'queued' AND j.run_after <= {now})) AND j.kind IN ({})
           AND (l.name IS NULL OR l.expires_at <= {now}) ORDER BY j.id LIMIT {CANDIDATES_MAX}",
        kinds.join(", ")
    );
    let rows = connection.query(&sql, &[])?;
    Ok(rows.iter().map(|row| row.text("id")).collect::<Result<_, _>>()?)
}

/// Claims a job that [`list_free`] found. `None` if another server was faster or it has ended.
pub fn claim(
    connection: &mut DatabaseConnection,
    id: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Option<ClaimedJob>, StoreError> {
    let Some(lease) = leases::claim(connection, &format!("job/{id}"), holder, ttl)? else { return Ok(None) };
    let at = now().as_micros();
    let unfinished = jobs::table
        .filter(jobs::id.eq(id))
        .filter(jobs::state.eq(JobState::Queued.as_str()).or(jobs::state.eq(JobState::Running.as_str())));
    let claimed = diesel::update(unfinished)
        .set((
            jobs::state.eq(JobState::Running.as_str()),
            jobs::fencing.eq(lease.fencing),
            jobs::attempts.eq(jobs::attempts + 1),
            jobs::updated_at.eq(at),
        ))
        .execute(connection)?;
    if claimed == 0 {
        leases::release(connection, &lease)?;
        return Ok(None);
    }
    diesel::update(jobs::table.filter(jobs::id.eq(id)).filter(jobs::started_at.is_null()))
        .set(jobs::started_at.eq(Some(at)))
        .execute(connection)?;
    Ok(Some(ClaimedJob { job: get(connection, id)?, lease }))
}

/// What a running job is told when it tells its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    GoOn,
    Cancel,
    /// Another server has it.
    Lost,
}

/// Stores a job's progress; returns whether it is still wanted.
pub fn tell(connection: &mut DatabaseConnection, lease: &Lease, progress: &JobProgress) -> Result<Told, StoreError> {
    let held = held(lease);
    let written = diesel::update(jobs::table.filter(jobs::id.eq(held.0)).filter(jobs::fencing.eq(held.1)))
        .set((jobs::progress.eq(json!(progress).to_string()), jobs::updated_at.eq(now().as_micros())))
        .execute(connection)?;
    if written == 0 {
        return Ok(Told::Lost);
    }
    let cancel: bool = jobs::table.find(held.0).select(jobs::cancel_requested).first(connection)?;
    Ok(if cancel { Told::Cancel } else { Told::GoOn })
}

/// How a run of a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Done(Value),
    Cancelled,
    Failed(String),
    /// It could not go on now: a server will, after this pause.
    Later {
        pause: Duration,
        error: Option<String>,
    },
}

/// Ends a run and gives its lease back. False if another server has the job: then nothing is written.
pub fn end(connection: &mut DatabaseConnection, lease: &Lease, ending: &Ending) -> Result<bool, StoreError> {
    let held = held(lease);
    let (state, result, error) = match ending {
        Ending::Done(result) => (JobState::Done, Some(result.to_string()), None),
        Ending::Cancelled => (JobState::Cancelled, None, None),
        Ending::Failed(error) => (JobState::Failed, None, Some(error.clone())),
        Ending::Later { error, .. } => (JobState::Queued, None, error.clone()),
    };
    let at = now().as_micros();
    let written = diesel::update(
        jobs::table
            .filter(jobs::id.eq(held.0))
            .filter(jobs::fencing.eq(held.1))
            .filter(jobs::state.eq(JobState::Running.as_str())),
    )
    .set((jobs::state.eq(state.as_str()), jobs::result.eq(result), jobs::error.eq(error), jobs::updated_at.eq(at)))
    .execute(connection)?;
    if written == 1 {
        match ending {
            Ending::Later { pause, error } => postpone(connection, held.0, *pause, error.is_none())?,
            Ending::Done(_) | Ending::Cancelled | Ending::Failed(_) => record(connection, held.0, state)?,
        }
    }
    leases::release(connection, lease)?;
    Ok(written == 1)
}

/// A run that ended because its server did is no failed attempt.
fn postpone(
    connection: &mut DatabaseConnection,
    id: &str,
    pause: Duration,
    is_blameless: bool,
) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE svc_changeover_jobs SET run_after = {} + $1, attempts = attempts - $2 WHERE id = $3",
        leases::clock(connection.dialect())
    );
    let micros = i64::try_from(pause.as_micros()).unwrap_or(0);
    connection.execute(&sql, &[Bound::from(micros), Bound::from(i64::from(is_blameless)), Bound::from(id)])?;
    Ok(())
}

/// The audit row of a job's end.
fn record(connection: &mut DatabaseConnection, id: &str, state: JobState) -> Result<(), StoreError> {
    let job = get(connection, id)?;
    let action = match state {
        JobState::Done => "job.done",
        JobState::Failed => "job.failed",
        JobState::Cancelled | JobState::Queued | JobState::Running => "job.cancelled",
    };
    let detail = json!({
        "kind": job.kind, "change": job.change, "attempts": job.attempts, "error": job.error, "result": job.result,
    });
    let subject = format!("job/{id}");
    audit::append(connection, &AuditEntry { actor: &job.actor, action, subject: &subject, reason: "", detail })
}

/// A job's id and fencing number.
fn held(lease: &Lease) -> (&str, i64) {
    (lease.name.strip_prefix("job/").unwrap_or(&lease.name), lease.fencing)
}
