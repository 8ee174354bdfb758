//! A worker that runs only while it may: it asks its gate for a lease, keeps it by a heartbeat, and stops in time when it is lost.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::Calls;
use crate::client::Client;
use crate::clock::now;
use crate::error::{Error, Kind};
use crate::http::Request;
use crate::random::{between, duration, unique_id};
use crate::sync::{Signal, lock};
use crate::url::quoted;
use crate::warn::{told, warning};
use crate::workers::{oneshot, spawn};

const ASK_AGAIN_S: f64 = 10.0;
const HEARTBEAT_S_MIN: f64 = 0.1;
const WAIT_S_MAX: f64 = 60.0;
/// The share of a lease that counts here: it never lasts longer than at the server.
const SHARE: f64 = 0.9;

/// What the work of a gate is given: whether it may go on. Clones are the same lease.
#[derive(Clone)]
pub struct Lease(Arc<Leased>);

struct Leased {
    fencing_token: Option<u64>,
    over: Signal,
    times: Mutex<Times>,
}

struct Times {
    /// Until when it is allowed.
    until: f64,
    /// When to ask for more.
    next_at: f64,
}

impl Times {
    fn new(asked_at: f64, seconds: f64, next_s: f64) -> Self {
        // Counted from before it was asked for.
        Self { until: asked_at + seconds * SHARE, next_at: asked_at + next_s.max(HEARTBEAT_S_MIN) }
    }
}

impl Lease {
    fn new(fencing_token: Option<u64>, times: Times) -> Self {
        Self(Arc::new(Leased { fencing_token, over: Signal::default(), times: Mutex::new(times) }))
    }

    /// Grows with every lease of the worker: whoever has a smaller one is late. Give it to what you write to, if that can compare. None
    /// for a worker of which any number may run.
    pub fn fencing_token(&self) -> Option<u64> {
        self.0.fencing_token
    }

    /// False for good as soon as the worker is paused, the lease is lost or has run out, or the gate was told to stop.
    pub fn is_allowed(&self) -> bool {
        if self.0.over.is_set() {
            return false;
        }
        if now() < self.until() {
            return true;
        }
        self.lose();
        false
    }

    /// A pause between two pieces of work that ends as soon as the lease does. Returns `is_allowed`.
    pub fn wait(&self, time: Duration) -> bool {
        let until = now() + time.as_secs_f64();
        while self.is_allowed() && now() < until {
            // The lease may be prolonged meanwhile.
            let left = until.min(self.until()) - now();
            self.0.over.wait(duration(left.clamp(0.001, WAIT_S_MAX)));
        }
        self.is_allowed()
    }

    /// Ends when the lease does, for a task to wait for besides its work.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + '_ {
        self.0.over.ended()
    }

    fn until(&self) -> f64 {
        lock(&self.0.times).until
    }

    fn until_next(&self) -> Duration {
        duration(lock(&self.0.times).next_at - now())
    }

    fn extend(&self, times: Times) {
        *lock(&self.0.times) = times;
    }

    fn lose(&self) {
        self.0.over.set();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Lease");
        shown.field("fencing_token", &self.0.fencing_token).field("is_allowed", &self.is_allowed()).finish()
    }
}

/// A worker that runs only while it may. Made by [`Client::gate`]; clones are the same gate, so that one of them can stop the other's run.
#[derive(Clone)]
pub struct Gate(pub(crate) Arc<GateInner>);

pub(crate) struct GateInner {
    calls: Arc<Calls>,
    worker: String,
    holder: String,
    path: String,
    stopped: Signal,
    lease: Mutex<Option<Lease>>,
    pause_s_max: f64,
}

impl Gate {
    pub(crate) fn new(calls: Arc<Calls>, worker: &str, holder: Option<String>, pause_s_max: f64) -> Self {
        let holder = holder.unwrap_or_else(|| {
            let id = unique_id();
            format!("{}/{}/{}", host(), std::process::id(), id.get(..8).unwrap_or(&id))
        });
        let (worker, path) = (worker.to_owned(), format!("/api/v1/gates/{}", quoted(worker)));
        Self(Arc::new(GateInner {
            calls,
            worker,
            holder,
            path,
            stopped: Signal::default(),
            lease: Mutex::default(),
            pause_s_max,
        }))
    }

    /// Names this instance of the worker.
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// The gate as the server has it: `answer` is `run` or `pause`.
    pub fn state(&self) -> Result<Value, Error> {
        self.0.state()
    }

    /// Ends `run`: the work is told that it may not go on, and no new lease is asked for.
    pub fn stop(&self) {
        self.0.stopped.set();
        if let Some(lease) = &*lock(&self.0.lease) {
            lease.lose();
        }
    }

    /// Waits for the lease, calls `work` with it, and gives it back.
    ///
    /// If the lease ends before `work` does, another one is waited for and `work` is called again. Returns what `work` returned, or none
    /// if the gate was stopped.
    pub fn run<R>(&self, mut work: impl FnMut(&Lease) -> R) -> Result<Option<R>, Error> {
        while !self.0.stopped.is_set() {
            let Some(lease) = self.0.acquire()? else { continue };
            let held = self.0.hold(lease);
            let result = work(&held.lease);
            if held.lease.is_allowed() {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }

    /// The same for a task: see [`AsyncClient::gate`](crate::AsyncClient::gate). A run that is dropped gives the lease back.
    pub(crate) async fn run_async<R, F: Future<Output = R>>(
        &self,
        mut work: impl FnMut(Lease) -> F,
    ) -> Result<Option<R>, Error> {
        while !self.0.stopped.is_set() {
            let Some(lease) = self.0.acquired().await? else { continue };
            let held = HeldByTask(self.0.hold(lease).into());
            let Some(lease) = held.0.as_ref().map(|held| held.lease.clone()) else { continue };
            let result = work(lease.clone()).await;
            let is_done = lease.is_allowed();
            held.give_back().await;
            if is_done {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("worker", &self.0.worker)
            .field("holder", &self.0.holder)
            .finish_non_exhaustive()
    }
}

/// A lease that is given back when it goes.
struct Held {
    gate: Arc<GateInner>,
    lease: Lease,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.gate.lease).take();
        self.gate.release(&self.lease);
    }
}

/// The same, given back on a thread: a task must not wait for the server by blocking.
struct HeldByTask(Option<Held>);

impl HeldByTask {
    async fn give_back(mut self) {
        if let Some(held) = self.0.take() {
            let (sender, receiver) = oneshot::<()>();
            spawn("changeover-lease", move || {
                drop(held);
                drop(sender);
            });
            receiver.await;
        }
    }
}

impl Drop for HeldByTask {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.lease.lose();
            spawn("changeover-lease", move || drop(held));
        }
    }
}

impl GateInner {
    fn state(&self) -> Result<Value, Error> {
        match self.calls.json(&Request::get(&self.path), 1)? {
            found @ Value::Object(_) => Ok(found),
            _ => Err(Error::unexpected(200, "the answer is no gate")),
        }
    }

    /// Leave to run, or none after the pause that is asked for.
    fn acquire(&self) -> Result<Option<Lease>, Error> {
        match self.leave() {
            Ok(Ok(lease)) if self.stopped.is_set() => {
                self.release(&lease);
                Ok(None)
            }
            Ok(Ok(lease)) => Ok(Some(lease)),
            Ok(Err(seconds)) => {
                self.pause(seconds);
                Ok(None)
            }
            Err(error) => {
                told!("{} may not run: {error}", self.worker);
                let not_now = matches!(
                    error.kind(),
                    Kind::Conflict | Kind::GateHeld | Kind::GatePaused | Kind::LeaseLost | Kind::NotFound
                );
                if !not_now && !error.is_retried() {
                    return Err(error);
                }
                self.pause(error.retry_after().map(|after| after.as_secs_f64()));
                Ok(None)
            }
        }
    }

    /// The same on a thread. If nobody waits for it any more, the lease is given back.
    async fn acquired(self: &Arc<Self>) -> Result<Option<Lease>, Error> {
        let (sender, receiver) = oneshot();
        let gate = Arc::clone(self);
        let is_under_way = spawn("changeover-lease", move || {
            let acquired = gate.acquire();
            if let Err(Ok(Some(lease))) = sender.send(acquired) {
                gate.release(&lease);
            }
        });
        let lost = || Err(Error::new(Kind::Connection, "the system has no thread left"));
        if is_under_way { receiver.await.unwrap_or_else(lost) } else { lost() }
    }

    /// A lease, or for how long to wait.
    fn leave(&self) -> Result<Result<Lease, Option<f64>>, Error> {
        let asked_at = now();
        let found = self.state()?;
        let ask_again = seconds(&found, "ask_again_seconds");
        if found.get("answer").and_then(Value::as_str) != Some("run") {
            return Ok(Err(ask_again));
        }
        if found.get("single_instance") != Some(&Value::Bool(true)) {
            let times = Times::new(asked_at, f64::INFINITY, ask_again.unwrap_or(ASK_AGAIN_S));
            return Ok(Ok(Lease::new(None, times)));
        }
        let asked_at = now();
        let answer = self.post("lease", &json!({"holder": self.holder}))?;
        let (token, times) = lease_of(&answer, asked_at)?;
        Ok(Ok(Lease::new(Some(token), times)))
    }

    fn pause(&self, seconds: Option<f64>) {
        let seconds = seconds.map_or_else(|| between(1.0, 5.0), |seconds| seconds.min(WAIT_S_MAX) + between(0.0, 0.25));
        self.stopped.wait(duration(seconds.min(self.pause_s_max)));
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value, Error> {
        self.calls.json(&Request::post(&format!("{}/{what}", self.path), body.to_string().as_bytes()), 1)
    }

    fn claim(&self, lease: &Lease) -> Value {
        json!({"holder": self.holder, "fencing_token": lease.fencing_token()})
    }

    /// Keeps a lease by heartbeats until it is given back.
    fn hold(self: &Arc<Self>, lease: Lease) -> Held {
        *lock(&self.lease) = Some(lease.clone());
        if self.stopped.is_set() {
            lease.lose();
        }
        let (gate, beaten) = (Arc::clone(self), lease.clone());
        if !spawn("changeover-lease", move || gate.beat(&beaten)) {
            lease.lose();
        }
        Held { gate: Arc::clone(self), lease }
    }

    fn beat(&self, lease: &Lease) {
        while lease.is_allowed() {
            if !lease.wait(lease.until_next()) {
                return;
            }
            match self.renew(lease) {
                Ok(()) => {}
                Err(error) if error.is_retried() => {
                    // Whether the server comes back in time the lease's own clock decides.
                    lease.wait(duration(between(0.1, 0.5)));
                }
                Err(error) => {
                    warning!("{} may not go on: {error}", self.worker);
                    lease.lose();
                }
            }
        }
    }

    fn renew(&self, lease: &Lease) -> Result<(), Error> {
        let asked_at = now();
        if lease.fencing_token().is_none() {
            let found = self.state()?;
            let may_run = found.get("answer").and_then(Value::as_str) == Some("run");
            if !may_run || found.get("single_instance") == Some(&Value::Bool(true)) {
                lease.lose();
            }
            let next_s = seconds(&found, "ask_again_seconds").unwrap_or(ASK_AGAIN_S);
            lease.extend(Times::new(asked_at, f64::INFINITY, next_s));
            return Ok(());
        }
        let answer = self.post("lease/heartbeat", &self.claim(lease))?;
        let (token, times) = lease_of(&answer, asked_at)?;
        if Some(token) == lease.fencing_token() {
            lease.extend(times);
        } else {
            lease.lose();
        }
        Ok(())
    }

    fn release(&self, lease: &Lease) {
        lease.lose();
        if lease.fencing_token().is_none() {
            return;
        }
        if let Err(error) = self.post("lease/release", &self.claim(lease)) {
            told!("the lease of {} was not given back, it runs out: {error}", self.worker);
        }
    }
}

fn lease_of(answer: &Value, asked_at: f64) -> Result<(u64, Times), Error> {
    let number = |name: &str| answer.get(name).and_then(Value::as_f64);
    let token = answer.get("fencing_token").and_then(Value::as_u64);
    match (token, number("lease_seconds"), number("heartbeat_after_seconds")) {
        (Some(token), Some(seconds), Some(next_s)) => Ok((token, Times::new(asked_at, seconds, next_s))),
        _ => Err(Error::unexpected(200, "the answer is no lease")),
    }
}

fn seconds(found: &Value, name: &str) -> Option<f64> {
    found.get(name).and_then(Value::as_f64).filter(|seconds| *seconds > 0.0)
}

/// This machine's name, for people who read who holds a lease.
fn host() -> String {
    let read = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().or_else(read).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "host".to_owned() } else { name.to_owned() }
}

impl Client {
    /// A worker that runs only while it may.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), changeover_client::Error> {
    /// # let client = changeover_client::Client::from_env().unwrap();
    /// client.gate("invoice-mailer").run(|lease| {
    ///     for invoice in 1..=3 {
    ///         if !lease.is_allowed() {
    ///             return;
    ///         }
    ///         println!("mailed {invoice}");
    ///     }
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn gate(&self, worker: &str) -> Gate {
        Gate::new(Arc::clone(&self.inner().calls), worker, None, f64::INFINITY)
    }

    /// The same with a name for this instance of the worker, which is shown to people.
    pub fn gate_of(&self, worker: &str, holder: impl Into<String>) -> Gate {
        Gate::new(Arc::clone(&self.inner().calls), worker, Some(holder.into()), f64::INFINITY)
    }
}

#[cfg(test)]
impl Gate {
    /// One that asks again soon.
    pub(crate) fn hasty(client: &Client, worker: &str) -> Self {
        Self::new(Arc::clone(&client.inner().calls), worker, None, 0.05)
    }
}
