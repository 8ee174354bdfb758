//! `changeover job`: long work that servers do.

use serde_json::json;

use super::{Output, Settings, Why, table};
use crate::primitives::ChangeName;
use crate::store::PageRequest;
use crate::store::jobs::{self, Job, JobFilter, JobState};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List jobs, the newest first
    List(ListArguments),
    /// Show one job: how far it is, what it found
    ///
    /// Exits with 1 if the job has failed.
    Show {
        /// The job's id
        id: String,
    },
    /// Cancel a job: one that runs ends after its next step
    ///
    /// Exits with 1 if the job had ended already.
    Cancel {
        /// The job's id
        id: String,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// Only jobs of this change
    #[arg(long, value_name = "NAME")]
    change: Option<ChangeName>,
    /// Only jobs in this state: queued, running, done, failed or cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<JobState>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::List(arguments) => {
            let filter = JobFilter { change: arguments.change.as_ref(), state: arguments.state };
            let request = PageRequest { after: None, limit: Some(arguments.limit) };
            let page = store.read(|conn| jobs::list(conn, filter, &request))?;
            let rows = page.items.iter().map(|job| {
                vec![job.id.clone(), job.kind.to_string(), job.change.clone(), job.state.to_string(), progress(job)]
            });
            let text = table(&["id", "kind", "change", "state", "progress"], rows);
            let items: Vec<_> = page.items.iter().map(document).collect();
            output.result(&json!({ "items": items, "next": page.next }), &text);
            Ok(0)
        }
        Command::Show { id } => {
            let job = store.read(|conn| jobs::get(conn, &id))?;
            output.result(&document(&job), &told(&job));
            Ok(u8::from(job.state == JobState::Failed))
        }
        Command::Cancel { id, why } => {
            let job = store.write(|conn| jobs::cancel(conn, &id, settings.origin(&why)))?;
            let had_ended = matches!(job.state, JobState::Done | JobState::Failed);
            let text = match job.state {
                JobState::Cancelled => format!("Job {id} is cancelled; what it has done stays."),
                JobState::Running | JobState::Queued => format!("Job {id} ends after its next step."),
                JobState::Done | JobState::Failed => format!("Job {id} was {} already.", job.state),
            };
            output.result(&document(&job), &text);
            Ok(u8::from(had_ended))
        }
    }
}

/// `f2 (memberships) 40 % of 1000000, 12000/s, 50 s left, throttled: …`
fn progress(job: &Job) -> String {
    let progress = &job.progress;
    if progress.step.is_empty() {
        return String::from("–");
    }
    let share = progress.done.saturating_mul(100).checked_div(progress.total).unwrap_or(100);
    let mut text = format!("{} {share} % of {}", progress.step, progress.total);
    if job.state == JobState::Running {
        if progress.per_second > 0.0 {
            text.push_str(&format!(", {:.0}/s", progress.per_second));
        }
        if let Some(seconds) = progress.eta_seconds {
            text.push_str(&format!(", {seconds} s left"));
        }
        if let Some(why) = &progress.throttled {
            text.push_str(&format!(", throttled: {why}"));
        }
    }
    text
}

fn told(job: &Job) -> String {
    let mut lines = vec![
        format!("{} of {}: {}", job.kind, job.change, job.state),
        format!("asked for by {} at {}", job.actor, job.created_at),
        format!("progress: {}", progress(job)),
    ];
    if job.attempts > 1 {
        lines.push(format!("begun or gone on with {} times", job.attempts));
    }
    if job.cancel_requested && !job.state.is_ended() {
        lines.push(String::from("cancelled: it ends after its next step"));
    }
    if let Some(error) = &job.error {
        lines.push(format!("error: {error}"));
    }
    if let Some(result) = &job.result {
        lines.push(format!("result: {result}"));
    }
    if let Some(at) = job.finished_at {
        lines.push(format!("ended at {at}"));
    }
    lines.join("\n")
}

fn document(job: &Job) -> serde_json::Value {
    json!({
        "id": job.id, "kind": job.kind, "change": job.change, "state": job.state, "arguments": job.arguments,
        "progress": job.progress, "result": job.result, "error": job.error, "cancel_requested": job.cancel_requested,
        "attempts": job.attempts, "actor": job.actor, "created_at": job.created_at, "started_at": job.started_at,
        "updated_at": job.updated_at, "finished_at": job.finished_at,
    })
}
