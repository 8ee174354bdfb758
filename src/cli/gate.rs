//! `changeover gate`: pause background workers, bring them back in order, run one instance of a command.

use anyhow::bail;
use serde_json::json;

use super::{Output, Settings, Why, gate_guard, gate_hold, table};
use crate::http::api::List;
use crate::http::api::worker_gates::answer;
use crate::primitives::{Instant, WorkerName};
use crate::store::tokens::Role;
use crate::store::worker_gates::{self, Found, StoredGate};
use crate::store::{Origin, Store};
use crate::worker_gates::{DELAY_S_MAX, Settings as GateSettings, State, Switch};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List all gates, in the order in which their workers come back
    List,
    /// Make a gate, which runs, or set one anew; what is not said stays as it is
    Set(SetArguments),
    /// Remove a gate; a lease that is held ends by itself
    Remove {
        /// The worker
        worker: WorkerName,
        #[command(flatten)]
        why: Why,
    },
    /// Pause a worker: it is told so when it asks next
    Pause {
        /// The worker
        worker: WorkerName,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Let a worker run again
    Resume {
        /// The worker
        worker: WorkerName,
        /// Why
        #[arg(long)]
        reason: String,
        /// In so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=DELAY_S_MAX))]
        after: i64,
    },
    /// Pause all workers
    PauseAll {
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Bring the workers that were paused together back in order, each after its delay
    ResumeAll {
        /// Why
        #[arg(long)]
        reason: String,
        /// Also those that were paused for themselves
        #[arg(long)]
        include_paused_alone: bool,
    },
    /// Run a command while its worker may run, as one instance if the gate says so
    ///
    /// Stops the command (SIGTERM, then SIGKILL) when the worker is paused or the lease is lost, also if this program is killed or
    /// stopped. Exits as the command does; with 75 if it was not begun, 76 if it was stopped.
    #[command(visible_alias = "run")]
    Hold(gate_hold::Arguments),
    /// What stops the command of `hold` should `hold` itself be killed or stopped
    #[command(hide = true)]
    Guard(gate_guard::Arguments),
}

#[derive(Debug, clap::Args)]
pub struct SetArguments {
    /// The worker
    worker: WorkerName,
    /// What it does
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Workers come back from the smallest number to the greatest; those of one number together
    #[arg(long, value_name = "N")]
    order: Option<i64>,
    /// How many seconds after those of the number before
    #[arg(long, value_name = "SECONDS")]
    delay: Option<i64>,
    /// Whether only the holder of the worker's lease runs
    #[arg(long, value_name = "BOOL")]
    single_instance: Option<bool>,
    /// How long a lease is held without a heartbeat
    #[arg(long, value_name = "SECONDS")]
    lease: Option<i64>,
    #[command(flatten)]
    why: Why,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let command = match command {
        // It must need nothing that could fail.
        Command::Guard(arguments) => return gate_guard::run(arguments),
        other => other,
    };
    let store = settings.open_store()?;
    let because = |reason| Origin { actor: &settings.actor, reason };
    match command {
        Command::List => list(&store, output)?,
        Command::Set(arguments) => set(settings, &store, output, arguments)?,
        Command::Remove { worker, why } => {
            store.write(|conn| worker_gates::remove(conn, &worker, None, settings.origin(&why)))?;
            output.result(&json!({ "worker": worker, "removed": true }), &format!("the gate of {worker} is removed"));
        }
        Command::Pause { worker, reason } => {
            let found = store.write(|conn| worker_gates::pause(conn, &worker, because(&reason)))?;
            show(output, found);
        }
        Command::Resume { worker, reason, after } => {
            let found = store.write(|conn| worker_gates::resume(conn, &worker, after, because(&reason)))?;
            show(output, found);
        }
        Command::PauseAll { reason } => {
            let paused = store.write(|conn| worker_gates::pause_all(conn, because(&reason)))?;
            let text = match paused.as_slice() {
                [] => String::from("No worker was running."),
                names => format!(
                    "Paused: {}.\nNext: changeover gate resume-all --reason …",
                    names.iter().map(WorkerName::as_str).collect::<Vec<_>>().join(", ")
                ),
            };
            output.result(&json!({ "paused": paused }), &text);
        }
        Command::ResumeAll { reason, include_paused_alone } => {
            let times = store.write(|conn| worker_gates::resume_all(conn, include_paused_alone, because(&reason)))?;
            output.result(&json!({ "items": returning(&times) }), &returning_text(&times));
        }
        Command::Hold(arguments) => return gate_hold::run(store, output, arguments),
        Command::Guard(_) => bail!("a guard needs no database"),
    }
    Ok(0)
}

fn set(settings: &Settings, store: &Store, output: &Output, arguments: SetArguments) -> anyhow::Result<()> {
    let worker = &arguments.worker;
    let (found, is_new) = store.write(|conn| {
        let before = match worker_gates::get(conn, worker) {
            Ok(found) => found.found.gate.settings,
            Err(crate::store::StoreError::NotFound { .. }) => GateSettings::default(),
            Err(error) => return Err(error),
        };
        let wanted = GateSettings {
            description: arguments.description.clone().unwrap_or(before.description),
            order: arguments.order.unwrap_or(before.order),
            delay_s: arguments.delay.unwrap_or(before.delay_s),
            single_instance: arguments.single_instance.unwrap_or(before.single_instance),
            lease_s: arguments.lease.unwrap_or(before.lease_s),
        };
        worker_gates::set(conn, worker, wanted, None, settings.origin(&arguments.why))
    })?;
    if is_new {
        output.note(&format!("{worker} has a gate now."));
    }
    show(output, found);
    Ok(())
}

fn show(output: &Output, found: Found<StoredGate>) {
    let text = gates_text(std::slice::from_ref(&found.found), found.now);
    output.result(&answer(found, Role::Admin), &text);
}

fn list(store: &Store, output: &Output) -> anyhow::Result<()> {
    let all = store.read(worker_gates::list)?;
    let text = if all.found.is_empty() {
        String::from("No worker has a gate yet: `changeover gate set WORKER` makes one.")
    } else {
        gates_text(&all.found, all.now)
    };
    let now = all.now;
    let items = all.found.into_iter().map(|found| answer(Found { now, found }, Role::Admin)).collect();
    output.result(&List { items, next: None }, &text);
    Ok(())
}

fn gates_text(gates: &[StoredGate], now: Instant) -> String {
    let rows = gates.iter().map(|one| {
        let settings = &one.gate.settings;
        let why = if one.switch_reason.is_empty() { String::new() } else { format!(": {}", one.switch_reason) };
        let state = match one.gate.state_at(now) {
            State::Running => String::from("running"),
            State::Waiting { until } => format!("waiting until {until}"),
            State::Paused if one.gate.switch == Switch::PauseAll => {
                format!("paused with all by {}{why}", one.switched_by)
            }
            State::Paused => format!("paused by {}{why}", one.switched_by),
        };
        let lease = match one.lease.as_ref().filter(|lease| lease.is_held_at(now)) {
            Some(lease) => format!("{} until {}", lease.holder, lease.expires_at),
            None if settings.single_instance => String::from("nobody"),
            None => String::from("–"),
        };
        let back = format!("{}, after {} s", settings.order, settings.delay_s);
        vec![one.worker.to_string(), state, back, lease]
    });
    table(&["worker", "state", "comes back", "held by"], rows)
}

fn returning(times: &[(WorkerName, Instant)]) -> Vec<serde_json::Value> {
    times.iter().map(|(worker, at)| json!({ "worker": worker, "resumes_at": at })).collect()
}

fn returning_text(times: &[(WorkerName, Instant)]) -> String {
    if times.is_empty() {
        return String::from(
            "No worker was paused with all others. Those that were paused for themselves: changeover gate resume WORKER",
        );
    }
    table(&["worker", "runs from"], times.iter().map(|(worker, at)| vec![worker.to_string(), at.to_string()]))
}
