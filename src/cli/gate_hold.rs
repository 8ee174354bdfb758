//! `changeover gate hold`: a command runs while its worker may. This process asks the gate and holds the lease; the command runs below a
//! second process, the guard, in a process group of its own. Each watches the other: if this one is killed or stopped, the guard ends the
//! command before the lease ends; if the guard dies, this one does.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant as Clock};

use anyhow::Context;

use super::Output;
use super::gate_guard::{Deadline, kill_group, tell};
use crate::primitives::WorkerName;
use crate::store::{Store, StoreError, worker_gates, worker_leases};
use crate::worker_gates::{Claim, Lease, Refusal, Renewal, State};

/// The command was not begun.
const NOT_BEGUN: u8 = 75;
/// The command was stopped before its end.
const STOPPED: u8 = 76;

/// How often a worker without a lease asks whether it may go on, and how long one waits for its turn between two questions, at most.
const ASK: Duration = Duration::from_secs(2);
/// The longest pause between two heartbeats, so that a pause is noticed.
const BEAT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The worker
    worker: WorkerName,
    /// Do not wait: exit with 75 if the worker is paused or another instance runs
    #[arg(short = 'n', long, conflicts_with = "wait")]
    no_wait: bool,
    /// Wait at most so long for the turn [default: for ever]
    #[arg(short, long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// How long the command has from SIGTERM to SIGKILL, as far as the lease lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    kill_after: u64,
    /// What this instance is called [default: the host, the process and some randomness]
    #[arg(long, value_name = "NAME")]
    holder: Option<String>,
    /// The command and its arguments; it reads nothing from stdin
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What the loop waits for.
enum Event {
    /// The guard ended.
    Ended,
    /// Somebody wants this program to end: the signal's number.
    Signal(u8),
}

/// Leave to run.
enum Leave {
    /// Any number of instances may run.
    Open,
    Held {
        lease: Lease,
        deadline: Deadline,
    },
}

/// Why the command is ended.
enum Reason {
    Said(String),
    Signal(u8),
}

pub fn run(store: Store, output: &Output, arguments: Arguments) -> anyhow::Result<u8> {
    let (sender, events) = channel();
    listen_to_signals(sender.clone())?;
    let holder = match &arguments.holder {
        Some(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => crate::jobs::holder().context("the operating system gave no randomness")?,
    };
    let hold = Hold { store, output, arguments, holder };
    let leave = match hold.wait_for_leave(&events)? {
        Ok(leave) => leave,
        Err(code) => return Ok(code),
    };
    let outcome = hold.run(&leave, (sender, events));
    if let Leave::Held { lease, .. } = &leave {
        let claim = Claim { holder: &hold.holder, fencing: lease.fencing };
        // Best effort: what is not given back ends by itself.
        if let Err(error) = hold.store.write(|conn| worker_leases::release(conn, &hold.arguments.worker, &claim)) {
            hold.output.note(&format!("the lease could not be given back, and ends by itself: {error}"));
        }
    }
    outcome
}

struct Hold<'a> {
    store: Store,
    output: &'a Output,
    arguments: Arguments,
    holder: String,
}

/// A guard with the command below it.
struct Guarded {
    guard: Child,
    line: ChildStdin,
    group: u32,
}

impl Hold<'_> {
    /// Waits until the worker may run; an exit code if it does not come to that.
    fn wait_for_leave(&self, events: &Receiver<Event>) -> anyhow::Result<Result<Leave, u8>> {
        let began = Clock::now();
        let mut has_said = false;
        loop {
            let (why, pause) = match self.ask()? {
                Ok(leave) => return Ok(Ok(leave)),
                Err(refused) => refused,
            };
            let patience = match (self.arguments.no_wait, self.arguments.wait) {
                (true, _) => Some(Duration::ZERO),
                (false, wait) => wait.map(|seconds| Duration::from_secs(seconds).saturating_sub(began.elapsed())),
            };
            if patience.is_some_and(|left| left.is_zero()) {
                self.output.note(&format!("{}: {why}; the command was not begun", self.arguments.worker));
                return Ok(Err(NOT_BEGUN));
            }
            if !has_said {
                self.output.note(&format!("{}: {why}; waiting", self.arguments.worker));
                has_said = true;
            }
            if let Ok(Event::Signal(number)) = events.recv_timeout(patience.map_or(pause, |left| pause.min(left))) {
                return Ok(Err(128 + number));
            }
        }
    }

    /// Asks once: leave, or why not and when to ask again.
    fn ask(&self) -> anyhow::Result<Result<Leave, (String, Duration)>> {
        let worker = &self.arguments.worker;
        let asked = Deadline::now();
        let found = self.store.write(|conn| {
            let gate = worker_gates::get(conn, worker)?;
            if gate.found.gate.settings.single_instance {
                let asked = worker_leases::acquire(conn, worker, &self.holder)?;
                return Ok((asked.found.map(Some), asked.now));
            }
            Ok(match gate.found.gate.state_at(gate.now) {
                State::Running => (Ok(None), gate.now),
                state => (Err(Refusal::Paused(state)), gate.now),
            })
        })?;
        Ok(match found {
            (Ok(None), _) => Ok(Leave::Open),
            (Ok(Some(lease)), now) => Ok(Leave::Held { deadline: asked.after(length(&lease, now)), lease }),
            (Err(refusal), now) => {
                let (why, left) = match &refusal {
                    Refusal::Held { holder, expires_at } => {
                        (format!("{holder} has the lease"), Some(micros_between(now, *expires_at)))
                    }
                    Refusal::Paused(State::Waiting { until }) => {
                        (format!("its turn comes at {until}"), Some(micros_between(now, *until)))
                    }
                    Refusal::Paused(_) | Refusal::NotSingle => (String::from("it is paused"), None),
                };
                let pause = left.map_or(ASK, |left| Duration::from_micros(left).min(ASK));
                Err((why, pause.max(Duration::from_millis(20))))
            }
        })
    }

    /// Runs the command to its end, or to the end of its leave.
    fn run(&self, leave: &Leave, (sender, events): (Sender<Event>, Receiver<Event>)) -> anyhow::Result<u8> {
        let deadline = match leave {
            Leave::Open => Deadline::NEVER,
            Leave::Held { deadline, lease } => {
                let (worker, token) = (&self.arguments.worker, lease.fencing);
                self.output.note(&format!("{worker}: {} has the lease, fencing token {token}", self.holder));
                *deadline
            }
        };
        let guarded = self.start(leave, deadline)?;
        watch(guarded.group, sender);
        let mut hold = Running { hold: self, guarded, deadline, events };
        let reason = hold.until_something_happens(leave);
        match reason {
            None => Ok(hold.ended()?),
            Some(reason) => hold.stop(reason),
        }
    }

    fn start(&self, leave: &Leave, deadline: Deadline) -> anyhow::Result<Guarded> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        let mut command = std::process::Command::new(program);
        command.args(["gate", "guard", "--grace-ms"]).arg(self.grace(leave).as_millis().to_string());
        command.arg("--").args(&self.arguments.command);
        command.env("CHANGEOVER_WORKER", self.arguments.worker.as_str()).env("CHANGEOVER_HOLDER", &self.holder);
        if let Leave::Held { lease, .. } = leave {
            command.env("CHANGEOVER_FENCING_TOKEN", lease.fencing.to_string());
        }
        let mut guard =
            command.stdin(Stdio::piped()).process_group(0).spawn().context("the guard cannot be started")?;
        let mut line = guard.stdin.take().context("the guard has no stdin")?;
        let group = guard.id();
        tell(&mut line, deadline).context("the guard does not listen")?;
        Ok(Guarded { guard, line, group })
    }

    /// How long before its leave ends the command is asked to stop.
    fn grace(&self, leave: &Leave) -> Duration {
        let wanted = Duration::from_secs(self.arguments.kill_after);
        match leave {
            Leave::Open => wanted,
            Leave::Held { lease, .. } => wanted.min(whole(lease) / 4),
        }
    }
}

/// A command that runs.
struct Running<'a> {
    hold: &'a Hold<'a>,
    guarded: Guarded,
    deadline: Deadline,
    events: Receiver<Event>,
}

impl Running<'_> {
    /// Keeps the leave until the command ends (`None`) or must be ended.
    fn until_something_happens(&mut self, leave: &Leave) -> Option<Reason> {
        let grace = self.hold.grace(leave);
        let beat = match leave {
            Leave::Open => ASK,
            Leave::Held { lease, .. } => (whole(lease) / 4).min(BEAT_MAX),
        };
        let mut pause = beat;
        loop {
            match self.events.recv_timeout(pause.min(self.deadline.before(grace).left())) {
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(Event::Signal(number)) => return Some(Reason::Signal(number)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.deadline.before(grace).left().is_zero() {
                return Some(Reason::Said(String::from("the lease could not be prolonged")));
            }
            match self.beat(leave) {
                Ok(None) => pause = beat,
                Ok(Some(reason)) => return Some(Reason::Said(reason)),
                Err(error) => {
                    self.hold.output.note(&format!("{}: {error}; asking again", self.hold.arguments.worker));
                    pause = beat / 4;
                }
            }
        }
    }

    /// Asks whether the command may go on; a reason if not.
    fn beat(&mut self, leave: &Leave) -> Result<Option<String>, StoreError> {
        let (store, worker) = (&self.hold.store, &self.hold.arguments.worker);
        let gone = |error| match error {
            StoreError::NotFound { .. } => Ok(Some(String::from("its gate was removed"))),
            error => Err(error),
        };
        let Leave::Held { lease, .. } = leave else {
            let found = match store.read(|conn| worker_gates::get(conn, worker)) {
                Ok(found) => found,
                Err(error) => return gone(error),
            };
            let runs = found.found.gate.state_at(found.now) == State::Running;
            let single = found.found.gate.settings.single_instance;
            return Ok(match (runs, single) {
                (true, false) => None,
                (true, true) => Some(String::from("one instance of it runs now, with a lease")),
                (false, _) => Some(String::from("it is paused")),
            });
        };
        let asked = Deadline::now();
        let claim = Claim { holder: &self.hold.holder, fencing: lease.fencing };
        let renewal = match store.write(|conn| worker_leases::renew(conn, worker, &claim)) {
            Ok(renewal) => renewal,
            Err(error) => return gone(error),
        };
        Ok(match renewal.found {
            Renewal::Renewed(renewed) => {
                self.deadline = asked.after(length(&renewed, renewal.now));
                // A guard that is gone is noticed by its end.
                drop(tell(&mut self.guarded.line, self.deadline));
                None
            }
            Renewal::Stop(_, _) => Some(String::from("it is paused")),
            Renewal::Lost => Some(String::from("its lease is lost")),
        })
    }

    /// Ends the command: SIGTERM, and SIGKILL when the grace or the lease is over.
    fn stop(mut self, reason: Reason) -> anyhow::Result<u8> {
        let code = match &reason {
            Reason::Said(why) => {
                self.hold.output.note(&format!("{}: {why}; the command is stopped", self.hold.arguments.worker));
                STOPPED
            }
            Reason::Signal(number) => 128 + number,
        };
        kill_group(self.guarded.group, rustix::process::Signal::TERM);
        let until = Deadline::now().after(Duration::from_secs(self.hold.arguments.kill_after));
        let until = until.min(self.deadline);
        while let Ok(event) = self.events.recv_timeout(until.left()) {
            if matches!(event, Event::Ended) {
                break;
            }
        }
        kill_group(self.guarded.group, rustix::process::Signal::KILL);
        self.guarded.guard.wait().context("the guard cannot be waited for")?;
        Ok(code)
    }

    /// The command's own exit code, once the guard has ended. What the command has left running in its group ends as well: it has no leave.
    fn ended(&mut self) -> anyhow::Result<u8> {
        kill_group(self.guarded.group, rustix::process::Signal::KILL);
        let status = self.guarded.guard.wait().context("the guard cannot be waited for")?;
        Ok(match code_of(status) {
            Some(code) => code,
            None => {
                self.hold.output.note(&format!(
                    "{}: the command was stopped: its lease was at its end, or its guard was killed",
                    self.hold.arguments.worker
                ));
                STOPPED
            }
        })
    }
}

/// `None` if a signal ended it.
fn code_of(status: ExitStatus) -> Option<u8> {
    if status.signal().is_some() {
        return None;
    }
    status.code().map(|code| u8::try_from(code).unwrap_or(1))
}

/// Tells of the guard's end, and leaves it as it is: until it has been waited for, nobody else gets its number.
fn watch(group: u32, sender: Sender<Event>) {
    std::thread::spawn(move || {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        if let Some(pid) = super::gate_guard::pid(group) {
            while let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                if error != rustix::io::Errno::INTR {
                    break;
                }
            }
        }
        drop(sender.send(Event::Ended));
    });
}

/// SIGTERM, SIGINT and SIGHUP become events.
fn listen_to_signals(sender: Sender<Event>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                let number = tokio::select! {
                    _ = terminate.recv() => 15,
                    _ = interrupt.recv() => 2,
                    _ = hang_up.recv() => 1,
                };
                if sender.send(Event::Signal(number)).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

/// How long a lease is held from `now` on, as its holder believes: a little less, because SQLite's clock has no more than milliseconds.
fn length(lease: &Lease, now: crate::primitives::Instant) -> Duration {
    Duration::from_micros(micros_between(now, lease.expires_at)).saturating_sub(whole(lease) / 10)
}

/// How long the lease was when it was given.
fn whole(lease: &Lease) -> Duration {
    Duration::from_micros(micros_between(lease.acquired_at, lease.expires_at))
}

fn micros_between(from: crate::primitives::Instant, to: crate::primitives::Instant) -> u64 {
    u64::try_from(to.as_micros().saturating_sub(from.as_micros())).unwrap_or(0)
}
