//! Does the jobs that are asked for over HTTP: claims one that nobody has, runs it on a thread of its own, and tells how far it is.
//! A job whose server died is claimed by another when its lease has run out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use serde_json::Value;

use super::lease::{Held, Leases};
use crate::database::{Database, DatabaseError};
use crate::store::job_runs::{self, ATTEMPTS_MAX, ClaimedJob, Ending, Told};
use crate::store::jobs::{Job, JobKind, JobProgress};
use crate::store::{Store, StoreError};
use crate::translation::TranslationError;

/// How often a server looks for jobs.
const PAUSE: Duration = Duration::from_millis(250);

/// Jobs that one server runs at once.
const RUNS_MAX: usize = 4;

/// How often a running job's progress is stored, and a cancel noticed.
const TELL_EVERY: Duration = Duration::from_millis(400);

/// How long a server that stops waits for its jobs to come to the end of a step.
const STOP_WAIT: Duration = Duration::from_secs(15);

/// What a kind of job does. It tells its progress through [`Run::tell`] every now and then, returns [`Outcome::Stopped`] when that
/// says no, and may be run again from the beginning at any time: by another server, after this one died halfway.
pub type Work = fn(&Surroundings, &Run) -> Result<Outcome, WorkError>;

/// How work ended.
#[derive(Debug)]
pub enum Outcome {
    /// With what it found, as JSON.
    Done(Value),
    /// It was told to stop; what it did so far stays.
    Stopped,
}

/// Why work could not be done.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// It may go well when it is tried again: the database was away.
    #[error(transparent)]
    Passing(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Lasting(Box<dyn std::error::Error + Send + Sync>),
}

impl From<DatabaseError> for WorkError {
    fn from(error: DatabaseError) -> Self {
        if error.is_disconnected() || error.is_retryable() {
            Self::Passing(Box::new(error))
        } else {
            Self::Lasting(Box::new(error))
        }
    }
}

impl From<TranslationError> for WorkError {
    fn from(error: TranslationError) -> Self {
        match error {
            TranslationError::Database(error) => error.into(),
            error @ TranslationError::Locked { .. } => Self::Passing(Box::new(error)),
            error => Self::Lasting(Box::new(error)),
        }
    }
}

impl From<StoreError> for WorkError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => error.into(),
            error => Self::Lasting(Box::new(error)),
        }
    }
}

/// The databases that work is done on.
#[derive(Clone)]
pub struct Surroundings {
    pub store: Store,
    /// The application's, with a pool of its own: jobs take no connection from requests.
    pub app: Database,
    /// What comparisons read: the application's database, or a replica of it.
    pub reports: Database,
}

/// A run of a job.
pub struct Run {
    job: Job,
    held: Held,
    store: Store,
    stopping: Arc<AtomicBool>,
    told: Mutex<Telling>,
}

struct Telling {
    stored_at: Option<Clock>,
    /// The last answer that was no [`Told::GoOn`].
    verdict: Told,
    latest: JobProgress,
}

impl Run {
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Tells how far the job is; false if it is to stop. Cheap: most calls touch no database. Any thread of the job may call it.
    pub fn tell(&self, progress: &JobProgress) -> bool {
        self.tell_after(progress, TELL_EVERY)
    }

    /// [`Run::tell`] before a step that cannot be taken back: asks whether the job was cancelled, however short ago it was asked.
    pub fn tell_now(&self, progress: &JobProgress) -> bool {
        self.tell_after(progress, Duration::ZERO)
    }

    fn tell_after(&self, progress: &JobProgress, pause: Duration) -> bool {
        let mut telling = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        telling.latest = progress.clone();
        if telling.stored_at.is_none_or(|at| at.elapsed() >= pause) && telling.verdict == Told::GoOn {
            telling.stored_at = Some(Clock::now());
            telling.verdict = self.store_progress(progress);
        }
        telling.verdict == Told::GoOn && self.goes_on()
    }

    /// False once the server stops, the job is cancelled or lost. Touches no database.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.held.is_held() && !self.stopping.load(Ordering::Relaxed)
    }

    /// A store that is away now is no reason to stop: the lease says when it is.
    fn store_progress(&self, progress: &JobProgress) -> Told {
        let lease = self.held.lease();
        match self.store.write(|conn| job_runs::tell(conn, &lease, progress)) {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(job = self.job.id, %error, "a job's progress could not be stored");
                Told::GoOn
            }
        }
    }

    fn ending(&self, outcome: Result<Outcome, WorkError>) -> Ending {
        let cancelled = {
            let telling = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            // What came since the last one that was stored.
            self.store_progress(&telling.latest);
            telling.verdict == Told::Cancel
        };
        match outcome {
            Ok(Outcome::Done(result)) => Ending::Done(result),
            Ok(Outcome::Stopped) if cancelled => Ending::Cancelled,
            Ok(Outcome::Stopped) => Ending::Later { pause: Duration::ZERO, error: None },
            Err(WorkError::Passing(error)) if self.job.attempts < ATTEMPTS_MAX => {
                Ending::Later { pause: pause_after(self.job.attempts), error: Some(told(error.as_ref())) }
            }
            Err(WorkError::Passing(error) | WorkError::Lasting(error)) => Ending::Failed(told(error.as_ref())),
        }
    }
}

/// One second, doubling up to a minute.
fn pause_after(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 7)).unwrap_or(1) - 1;
    Duration::from_secs(1u64 << doublings).min(Duration::from_secs(60))
}

/// An error with its causes, in one line.
fn told(error: &(dyn std::error::Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// The running thread that looks for jobs; its jobs are asked to stop when this is dropped, so that another server goes on with them.
pub struct Runner {
    stop: Option<Sender<()>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts looking for jobs of these kinds.
    pub fn start(
        leases: Leases,
        surroundings: Surroundings,
        kinds: Vec<(JobKind, Work)>,
    ) -> Result<Self, std::io::Error> {
        let (stop, stopped) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut search =
            Search { leases, surroundings, kinds, stopping: Arc::clone(&stopping), runs: Vec::new(), is_away: false };
        let thread = std::thread::Builder::new().name(String::from("jobs")).spawn(move || {
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                search.look();
            }
            search.finish();
        })?;
        Ok(Self { stop: Some(stop), stopping, thread: Some(thread) })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Search {
    leases: Leases,
    surroundings: Surroundings,
    kinds: Vec<(JobKind, Work)>,
    stopping: Arc<AtomicBool>,
    runs: Vec<JoinHandle<()>>,
    is_away: bool,
}

impl Search {
    fn look(&mut self) {
        self.runs.retain(|run| !run.is_finished());
        if self.runs.len() >= RUNS_MAX {
            return;
        }
        match self.claim() {
            Ok(claimed) => {
                self.is_away = false;
                if let Some(claimed) = claimed {
                    self.begin(claimed);
                }
            }
            Err(error) => {
                if !self.is_away {
                    tracing::warn!(%error, "the database cannot be asked for jobs");
                }
                self.is_away = true;
            }
        }
    }

    fn claim(&self) -> Result<Option<ClaimedJob>, StoreError> {
        let kinds: Vec<JobKind> = self.kinds.iter().map(|(kind, _)| *kind).collect();
        let store = self.leases.store();
        for id in store.read(|conn| job_runs::list_free(conn, &kinds))? {
            let (holder, ttl) = (self.leases.holder(), self.leases.ttl());
            if let Some(claimed) = store.write(|conn| job_runs::claim(conn, &id, holder, ttl))? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    fn begin(&mut self, claimed: ClaimedJob) {
        let Some((_, work)) = self.kinds.iter().find(|(kind, _)| *kind == claimed.job.kind) else { return };
        let work = *work;
        tracing::info!(job = claimed.job.id, kind = %claimed.job.kind, change = claimed.job.change, attempt = claimed.job.attempts, "a job begins");
        let telling = Telling { stored_at: None, verdict: Told::GoOn, latest: claimed.job.progress.clone() };
        let run = Run {
            held: self.leases.keep(claimed.lease),
            job: claimed.job,
            store: self.leases.store().clone(),
            stopping: Arc::clone(&self.stopping),
            told: Mutex::new(telling),
        };
        let surroundings = self.surroundings.clone();
        let name = format!("job {}", run.job.kind);
        match std::thread::Builder::new().name(name).spawn(move || carry_out(&surroundings, &run, work)) {
            Ok(thread) => self.runs.push(thread),
            Err(error) => tracing::error!(%error, "no thread could be started for a job; it is tried again"),
        }
    }

    /// Waits for the jobs that were asked to stop. One whose step takes longer is taken over when its lease has run out.
    fn finish(&mut self) {
        let deadline = Clock::now() + STOP_WAIT;
        while Clock::now() < deadline && self.runs.iter().any(|run| !run.is_finished()) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn carry_out(surroundings: &Surroundings, run: &Run, work: Work) {
    let outcome = if run.job.attempts > ATTEMPTS_MAX {
        Err(WorkError::Lasting("every server that tried this job went down with it".into()))
    } else if run.tell(&run.job.progress.clone()) {
        catch_unwind(AssertUnwindSafe(|| work(surroundings, run))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(WorkError::Lasting(format!("the work panicked: {}", text.unwrap_or("without a word")).into()))
        })
    } else {
        Ok(Outcome::Stopped)
    };
    let ending = run.ending(outcome);
    let lease = run.held.lease();
    match run.store.write(|conn| job_runs::end(conn, &lease, &ending)) {
        Ok(true) => tracing::info!(job = run.job.id, ?ending, "a job's run ended"),
        Ok(false) => tracing::warn!(job = run.job.id, "another server has taken the job over"),
        Err(error) => tracing::warn!(job = run.job.id, %error, "a job's end could not be stored; it is run again"),
    }
}
