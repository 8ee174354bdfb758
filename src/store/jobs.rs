//! Jobs: long work that is asked for now and done by some server later. This file is for those who ask; `job_runs` for the server
//! that does it. Who creates a job appends the audit row of what it is for; a cancelled and an ended job append their own.

use std::fmt;
use std::str::FromStr;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audit::{self, AuditEntry};
use super::schema::jobs;
use super::{Origin, Page, PageRequest, StoreError, new_id, now};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    Backfill,
    Verify,
    Repair,
    Report,
    Assign,
}

impl JobKind {
    pub const ALL: [Self; 5] = [Self::Backfill, Self::Verify, Self::Repair, Self::Report, Self::Assign];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Report => "report",
            Self::Assign => "assign",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// No server has begun it, or the one that had has stopped and another will go on.
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl JobState {
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// True if nothing more will happen.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the state of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a job's state: write queued, running, done, failed or cancelled")]
pub struct UnknownJobState(String);

impl FromStr for JobState {
    type Err = UnknownJobState;

    fn from_str(text: &str) -> Result<Self, UnknownJobState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownJobState(text.chars().take(40).collect()))
    }
}

/// How far a running job is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobProgress {
    /// What it is at, such as `f2 (memberships)`.
    pub step: String,
    /// Of that step: what has been done, in keys.
    pub done: u64,
    /// Of that step: what there is to do, roughly; never less than `done`.
    pub total: u64,
    /// Keys in a second, lately.
    pub per_second: f64,
    /// Until the end of this step, at this rate.
    pub eta_seconds: Option<u64>,
    /// Why it goes slower than it could, while it does.
    pub throttled: Option<String>,
}

/// A job that is to be created.
#[derive(Debug, Clone)]
pub struct NewJob<'a> {
    pub kind: JobKind,
    pub change: &'a ChangeName,
    /// What the kind of work reads, as JSON.
    pub arguments: Value,
    pub actor: &'a str,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: String,
    pub kind: JobKind,
    /// The change that it is about.
    pub change: String,
    pub state: JobState,
    pub arguments: Value,
    pub progress: JobProgress,
    /// What it found, once it is done.
    pub result: Option<Value>,
    /// Why it failed, or why it was tried again.
    pub error: Option<String>,
    pub actor: String,
    /// How many times a server began it or went on with it.
    pub attempts: i64,
    pub cancel_requested: bool,
    pub created_at: Instant,
    pub started_at: Option<Instant>,
    pub updated_at: Instant,
    pub finished_at: Option<Instant>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = jobs)]
pub(super) struct JobRow {
    pub id: String,
    pub kind: String,
    pub change_name: String,
    pub state: String,
    pub arguments: String,
    pub progress: String,
    pub result: Option<String>,
    pub error: Option<String>,
    pub actor: String,
    pub fencing: i64,
    pub attempts: i64,
    pub run_after: i64,
    pub cancel_requested: bool,
    pub created_at: i64,
    pub started_at: Option<i64>,
    pub updated_at: i64,
}

/// Creates a job, for the next server that is free. A job of that kind for the same change that has not ended is
/// [`StoreError::Exists`], which names it.
pub fn create(connection: &mut DatabaseConnection, new: &NewJob<'_>) -> Result<Job, StoreError> {
    if let Some(running) = find_unfinished(connection, new.kind, new.change)? {
        return Err(StoreError::Exists { what: "unfinished job", name: running.id });
    }
    let at = now().as_micros();
    let row = JobRow {
        id: new_id()?,
        kind: new.kind.to_string(),
        change_name: new.change.to_string(),
        state: JobState::Queued.to_string(),
        arguments: new.arguments.to_string(),
        progress: json!(JobProgress::default()).to_string(),
        result: None,
        error: None,
        actor: new.actor.to_owned(),
        fencing: 0,
        attempts: 0,
        run_after: 0,
        cancel_requested: false,
        created_at: at,
        started_at: None,
        updated_at: at,
    };
    let inserted = diesel::insert_into(jobs::table).values(&row).execute(connection).map_err(StoreError::from);
    match inserted {
        // Somebody else has just created one.
        Err(error) if error.is_unique_violation() => {
            Err(StoreError::Exists { what: "unfinished job", name: format!("{} of {}", new.kind, new.change) })
        }
        Err(error) => Err(error),
        Ok(_) => Job::try_from(row),
    }
}

/// The job of a kind for a change that has not ended.
pub fn find_unfinished(
    connection: &mut DatabaseConnection,
    kind: JobKind,
    change: &ChangeName,
) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> = jobs::table
        .filter(jobs::kind.eq(kind.as_str()))
        .filter(jobs::change_name.eq(change.as_str()))
        .filter(jobs::state.eq(JobState::Queued.as_str()).or(jobs::state.eq(JobState::Running.as_str())))
        .select(JobRow::as_select())
        .first(connection)
        .optional()?;
    row.map(Job::try_from).transpose()
}

/// The job with this id.
pub fn get(connection: &mut DatabaseConnection, id: &str) -> Result<Job, StoreError> {
    let row: Option<JobRow> = jobs::table.find(id).select(JobRow::as_select()).first(connection).optional()?;
    row.map(Job::try_from).transpose()?.ok_or_else(|| StoreError::not_found("job", id))
}

/// Which jobs a list has.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobFilter<'a> {
    pub change: Option<&'a ChangeName>,
    pub state: Option<JobState>,
}

/// A page of jobs, the newest first.
pub fn list(
    connection: &mut DatabaseConnection,
    filter: JobFilter<'_>,
    request: &PageRequest,
) -> Result<Page<Job>, StoreError> {
    // `~` sorts after every hexadecimal digit; `%` fits every text.
    let before = request.after.as_deref().unwrap_or("~");
    let rows: Vec<JobRow> = jobs::table
        .filter(jobs::id.lt(before))
        .filter(jobs::change_name.like(filter.change.map_or("%", ChangeName::as_str)))
        .filter(jobs::state.like(filter.state.map_or("%", JobState::as_str)))
        .order(jobs::id.desc())
        .limit(request.rows())
        .select(JobRow::as_select())
        .load(connection)?;
    let found = rows.into_iter().map(Job::try_from).collect::<Result<_, _>>()?;
    Ok(Page::cut(found, request, |job| job.id.clone()))
}

/// Cancels a job: one that waits has ended at once, one that runs ends after its next step. One that has ended stays as it is.
pub fn cancel(connection: &mut DatabaseConnection, id: &str, origin: Origin<'_>) -> Result<Job, StoreError> {
    let job = get(connection, id)?;
    if job.state.is_ended() || job.cancel_requested {
        return Ok(job);
    }
    let at = now().as_micros();
    let waiting = jobs::table.filter(jobs::id.eq(id)).filter(jobs::state.eq(JobState::Queued.as_str()));
    diesel::update(waiting).set(jobs::state.eq(JobState::Cancelled.as_str())).execute(connection)?;
    diesel::update(jobs::table.filter(jobs::id.eq(id)))
        .set((jobs::cancel_requested.eq(true), jobs::updated_at.eq(at)))
        .execute(connection)?;
    let subject = format!("job/{id}");
    let detail = json!({ "kind": job.kind, "change": job.change });
    let entry =
        AuditEntry { actor: origin.actor, action: "job.cancel", subject: &subject, reason: origin.reason, detail };
    audit::append(connection, &entry)?;
    get(connection, id)
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt { what: "job", name: row.id.clone(), reason };
        let kind = JobKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
        let state: JobState = row.state.parse().map_err(|error: UnknownJobState| corrupt(error.to_string()))?;
        let parsed = |text: &str| serde_json::from_str(text).map_err(|error| corrupt(error.to_string()));
        Ok(Self {
            kind: kind.ok_or_else(|| corrupt(format!("its kind is `{}`", row.kind)))?,
            state,
            arguments: parsed(&row.arguments)?,
            progress: serde_json::from_str(&row.progress).map_err(|error| corrupt(error.to_string()))?,
            result: row.result.as_deref().map(parsed).transpose()?,
            change: row.change_name,
            error: row.error,
            actor: row.actor,
            attempts: row.attempts,
            cancel_requested: row.cancel_requested,
            created_at: Instant::from_micros(row.created_at),
            started_at: row.started_at.map(Instant::from_micros),
            updated_at: Instant::from_micros(row.updated_at),
            finished_at: state.is_ended().then(|| Instant::from_micros(row.updated_at)),
            id: row.id,
        })
    }
}
