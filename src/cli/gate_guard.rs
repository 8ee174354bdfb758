//! `changeover gate guard`: runs the command of `gate hold`, and ends it if `hold` is killed (its end of the line closes) or stopped (no
//! new deadline comes). Both are of one process group, which no other process is in but what the command starts. It touches no database.

use std::io::{BufRead, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(long)]
    grace_ms: u64,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A moment by the system's clock that runs on while a process is stopped, and on Linux while the machine sleeps; the same for all
/// processes. In microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    pub const NEVER: Self = Self(u64::MAX);

    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
        Self(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    }

    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// The moment so long before it; never is never.
    pub fn before(self, duration: Duration) -> Self {
        if self == Self::NEVER { self } else { Self(self.0.saturating_sub(micros(duration))) }
    }

    /// How long it is until then; nothing if it has passed, a day if it is further away.
    pub fn left(self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(Self::now().0)).min(Duration::from_secs(86_400))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Tells a guard until when its command may run.
pub fn tell(line: &mut impl Write, deadline: Deadline) -> std::io::Result<()> {
    line.write_all(format!("{}\n", deadline.0).as_bytes())?;
    line.flush()
}

pub fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// Signals every process of a group. That there is none left is no error.
pub fn kill_group(group: u32, signal: Signal) {
    if let Some(group) = pid(group) {
        let _none_left = rustix::process::kill_process_group(group, signal);
    }
}

enum Event {
    Until(Deadline),
    /// Nobody is at the other end of the line.
    Alone,
    Ended(std::process::ExitStatus),
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let runtime = outlive_signals()?;
    let grace = Duration::from_millis(arguments.grace_ms);
    let (sender, events) = channel();
    read_deadlines(sender.clone());
    let Ok(Event::Until(mut deadline)) = events.recv() else { return Ok(1) };
    let [program, rest @ ..] = arguments.command.as_slice() else { return Ok(1) };
    if deadline.left().is_zero() {
        return Ok(1);
    }
    let mut command = std::process::Command::new(program);
    let mut child =
        command.args(rest).stdin(Stdio::null()).spawn().with_context(|| format!("`{program}` cannot be started"))?;
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            drop(sender.send(Event::Ended(status)));
        }
    });
    loop {
        match events.recv_timeout(deadline.before(grace).left()) {
            Ok(Event::Until(later)) => deadline = later,
            Ok(Event::Ended(status)) => {
                drop(runtime);
                return Ok(code_of(status));
            }
            Ok(Event::Alone) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if deadline.before(grace).left().is_zero() => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    let group = std::process::id();
    kill_group(group, Signal::TERM);
    let until = Deadline::now().after(grace).min(deadline);
    while let Ok(event) = events.recv_timeout(until.left()) {
        if matches!(event, Event::Ended(_)) {
            break;
        }
    }
    // With this process, which is of the group.
    kill_group(group, Signal::KILL);
    Ok(1)
}

/// The signals that end the command must not end its guard. The handlers stay as long as what is returned.
fn outlive_signals() -> anyhow::Result<(tokio::runtime::Runtime, Vec<tokio::signal::unix::Signal>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let entered = runtime.enter();
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let handlers = kinds.into_iter().map(signal).collect::<Result<_, _>>()?;
    drop(entered);
    Ok((runtime, handlers))
}

fn read_deadlines(sender: Sender<Event>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(micros) = line.trim().parse() {
                drop(sender.send(Event::Until(Deadline(micros))));
            }
        }
        drop(sender.send(Event::Alone));
    });
}

/// As shells tell it: 128 and the signal's number if one ended the command.
fn code_of(status: std::process::ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
