//! The client for tasks, on whatever executor. What is kept is answered at once; whatever asks the server does so on a thread of the
//! client's, and never blocks a task.

use std::fmt::{Debug, Display};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::calls::ATTEMPTS;
use crate::client::Client;
use crate::context::Context;
use crate::details::{Details, ErrorCode, FlagValue, Outcome as Evaluated, Plain};
use crate::error::{Error, Kind};
use crate::gates::{Gate, Lease};
use crate::migrator::{Async, Migrator, Plan, Served, to_json};
use crate::observations::Stats;
use crate::outcome::Outcome;
use crate::routing::{Allocation, BATCH_LINES, SideAnswer, Sides, allocation, batch};
use crate::stage::{Side, Stage};
use crate::url::ConfigError;
use crate::workers::{oneshot, spawn};
use crate::writes::{Operation, WriteResult, Writes};

/// The same as [`Client`], for tasks; it needs no executor of its own and knows none. Clones are the same client.
#[derive(Clone, Debug)]
pub struct AsyncClient {
    /// The same client for threads.
    pub blocking: Client,
}

impl From<Client> for AsyncClient {
    fn from(blocking: Client) -> Self {
        Self { blocking }
    }
}

/// The result of work that blocks, done on a thread.
async fn off<T: Send + 'static>(client: &Client, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    client.inner().async_workers.run(work).await
}

fn no_thread() -> Error {
    Error::new(Kind::Connection, "the client is closed, or the system has no thread left")
}

impl AsyncClient {
    /// As [`Client::new`].
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Result<Self, ConfigError> {
        Client::new(url, token).map(Self::from)
    }

    /// As [`Client::from_env`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Client::from_env().map(Self::from)
    }

    /// As [`Client::close`].
    pub async fn close(&self) {
        let client = self.blocking.clone();
        let (sender, receiver) = oneshot::<()>();
        spawn("changeover-close", move || {
            client.close();
            drop(sender);
        });
        receiver.await;
    }

    pub(crate) async fn evaluate<T: FlagValue, R: Evaluated<T> + Send + 'static>(
        &self,
        key: &str,
        default: T,
        context: Context,
    ) -> R {
        let flags = &self.blocking.inner().flags;
        let default = match flags.evaluate_known(key, default, &context) {
            Ok(known) => return known,
            Err(default) => default,
        };
        let (flags, key, spare) = (Arc::clone(flags), key.to_owned(), default.clone());
        let found = off(&self.blocking, move || flags.evaluate(&key, default, &context)).await;
        found.unwrap_or_else(|| {
            R::failed(spare, ErrorCode::General, "the client is closed, or the system has no thread left")
        })
    }

    /// As [`Client::boolean`].
    pub async fn boolean(&self, key: &str, default: bool, context: impl Into<Context>) -> bool {
        let Plain(value) = self.evaluate(key, default, context.into()).await;
        value
    }

    /// As [`Client::string`].
    pub async fn string(&self, key: &str, default: impl Into<String>, context: impl Into<Context>) -> String {
        let Plain(value) = self.evaluate(key, default.into(), context.into()).await;
        value
    }

    /// As [`Client::integer`].
    pub async fn integer(&self, key: &str, default: i64, context: impl Into<Context>) -> i64 {
        let Plain(value) = self.evaluate(key, default, context.into()).await;
        value
    }

    /// As [`Client::float`].
    pub async fn float(&self, key: &str, default: f64, context: impl Into<Context>) -> f64 {
        let Plain(value) = self.evaluate(key, default, context.into()).await;
        value
    }

    /// As [`Client::object`].
    pub async fn object(
        &self,
        key: &str,
        default: Map<String, Value>,
        context: impl Into<Context>,
    ) -> Map<String, Value> {
        let Plain(value) = self.evaluate(key, default, context.into()).await;
        value
    }

    /// As [`Client::details`].
    pub async fn details<T: FlagValue>(&self, key: &str, default: T, context: impl Into<Context>) -> Details<T> {
        self.evaluate(key, default, context.into()).await
    }

    /// As [`Client::details_now`].
    pub async fn details_now<T: FlagValue>(&self, key: &str, default: T, context: impl Into<Context>) -> Details<T> {
        let (flags, context) = (Arc::clone(&self.blocking.inner().flags), context.into());
        let (key, spare) = (key.to_owned(), default.clone());
        let found = off(&self.blocking, move || flags.evaluate_now(&key, default, &context)).await;
        found.unwrap_or_else(|| {
            Evaluated::failed(spare, ErrorCode::General, "the client is closed, or the system has no thread left")
        })
    }

    /// As [`Client::on_change`].
    pub fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.blocking.on_change(listener);
    }

    /// As [`Client::stats`].
    pub fn stats(&self) -> Stats {
        self.blocking.stats()
    }

    /// As [`Client::flush`].
    pub async fn flush(&self, time: Duration) -> bool {
        let observations = Arc::clone(&self.blocking.inner().observations);
        off(&self.blocking, move || observations.flush(time)).await.unwrap_or(false)
    }

    /// As [`Client::migrator`]; its `read` and `write` are `async`.
    pub fn migrator<T: Serialize + PartialEq + 'static>(&self, flag_key: &str) -> Migrator<T, Async> {
        Migrator::new(self.blocking.clone(), flag_key, Arc::new(T::eq), Some(to_json::<T>))
    }

    /// As [`Client::migrator_comparing`]; its `read` and `write` are `async`.
    pub fn migrator_comparing<T: 'static>(
        &self,
        flag_key: &str,
        compare: impl Fn(&T, &T) -> bool + Send + Sync + 'static,
    ) -> Migrator<T, Async> {
        Migrator::new(self.blocking.clone(), flag_key, Arc::new(compare), None)
    }

    /// As [`Client::sides`]; what it is asked is `async`.
    pub fn sides(&self, change: &str) -> Sides<Self> {
        Sides::new(self.clone(), change)
    }

    /// As [`Client::allocation_of`].
    pub async fn allocation_of(&self, change: &str, charge: impl Display) -> Result<Allocation, Error> {
        let (calls, change, charge) = (Arc::clone(&self.blocking.inner().calls), change.to_owned(), charge.to_string());
        off(&self.blocking, move || allocation(&calls, &change, &charge)).await.unwrap_or_else(|| Err(no_thread()))
    }

    /// As [`Client::writes`]; its `run` is `async`.
    pub fn writes(&self, change: &str) -> Writes<Self> {
        Writes::new(self.clone(), change)
    }

    /// As [`Client::gate`]; its `run` is `async`.
    pub fn gate(&self, worker: &str) -> AsyncGate {
        AsyncGate(self.blocking.gate(worker))
    }

    /// As [`Client::gate_of`]; its `run` is `async`.
    pub fn gate_of(&self, worker: &str, holder: impl Into<String>) -> AsyncGate {
        AsyncGate(self.blocking.gate_of(worker, holder))
    }
}

impl Sides<AsyncClient> {
    /// As for threads: the side of a user's group, kept, tried again, then the last known one, then the error.
    pub async fn of(&self, user: impl Display) -> Result<Side, Error> {
        let (client, question) = (self.client.blocking.clone(), self.question(user));
        if let Some(known) = client.inner().routing.known(&question) {
            return Ok(known);
        }
        let inner = client.weak();
        let asked = off(&client, move || inner.upgrade().map(|inner| inner.routing.side(&inner.calls, question))).await;
        asked.flatten().unwrap_or_else(|| Err(no_thread()))
    }

    /// As for threads: asked once, and whatever goes wrong gives the default.
    pub async fn of_or(&self, user: impl Display, default: Side) -> Side {
        let (client, question) = (self.client.blocking.clone(), self.question(user));
        if let Some(known) = client.inner().routing.known(&question) {
            return known;
        }
        let inner = client.weak();
        let asked = off(&client, move || {
            inner.upgrade().map(|inner| inner.routing.side_or(&inner.calls, &inner.flags, question, default))
        });
        asked.await.flatten().unwrap_or(default)
    }

    /// The sides of many, in order. An error of one user is in its answer.
    pub async fn of_many<I>(&self, users: I) -> Result<Vec<SideAnswer>, Error>
    where
        I: IntoIterator<Item: Display>,
    {
        let users: Vec<String> = users.into_iter().map(|user| user.to_string()).collect();
        let mut answers = Vec::with_capacity(users.len());
        for some in users.chunks(BATCH_LINES) {
            let (calls, change) = (Arc::clone(&self.client.blocking.inner().calls), self.change.clone());
            let (some, period, is_recorded) = (some.to_vec(), self.period.clone(), self.is_recorded);
            let asked = move || batch(&calls, &change, &some, period.as_deref(), is_recorded, ATTEMPTS);
            answers.extend(off(&self.client.blocking, asked).await.ok_or_else(no_thread)??);
        }
        Ok(answers)
    }
}

impl Writes<AsyncClient> {
    /// As [`Writes::run`] for threads: all operations, in order, or none, and once.
    pub async fn run(&self, operations: &[Operation]) -> Result<WriteResult, Error> {
        let (writes, calls) = (self.clone(), Arc::clone(&self.client.blocking.inner().calls));
        let operations = operations.to_vec();
        let done = off(&self.client.blocking, move || writes.run_with(&calls, &operations)).await;
        done.unwrap_or_else(|| Err(no_thread()))
    }

    /// The tables that may be written now, their keys, and each row as a JSON Schema.
    pub async fn schema(&self) -> Result<Value, Error> {
        let (writes, calls) = (self.clone(), Arc::clone(&self.client.blocking.inner().calls));
        off(&self.client.blocking, move || writes.schema_with(&calls)).await.unwrap_or_else(|| Err(no_thread()))
    }
}

/// A [`Gate`] whose work is a future. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct AsyncGate(Gate);

impl AsyncGate {
    /// As [`Gate::run`]: waits for the lease, does the work with it, and gives it back. A run that is dropped ends the lease and gives it
    /// back.
    pub async fn run<R, F: Future<Output = R>>(&self, work: impl FnMut(Lease) -> F) -> Result<Option<R>, Error> {
        self.0.run_async(work).await
    }

    /// As [`Gate::stop`].
    pub fn stop(&self) {
        self.0.stop();
    }

    /// As [`Gate::holder`].
    pub fn holder(&self) -> &str {
        self.0.holder()
    }
}

impl<T> Migrator<T, Async> {
    /// Under which stage a call for this context would be now.
    pub async fn stage(&self, context: impl Into<Context>) -> Stage {
        let context = context.into();
        if let Some(stage) = self.stage_known(&context) {
            return stage;
        }
        let (flags, key, asked) = (Arc::clone(&self.client.inner().flags), self.flag_key.to_string(), context.clone());
        let served = off(&self.client, move || flags.evaluate::<String, Served>(&key, String::new(), &asked)).await;
        self.stage_of(&served.unwrap_or(Served(None)), &context)
    }

    /// Calls one side or both, and returns what the side that counts does. A read that is dropped observes nothing.
    pub async fn read<E: Debug, Old, New>(
        &self,
        context: impl Into<Context>,
        old: impl FnOnce() -> Old,
        new: impl FnOnce() -> New,
    ) -> Result<T, E>
    where
        Old: Future<Output = Result<T, E>>,
        New: Future<Output = Result<T, E>>,
    {
        match self.plan(self.stage(context).await) {
            Plan::One(Side::Old) => old().await,
            Plan::One(Side::New) => new().await,
            Plan::Both(counts, Some(Side::Old)) => {
                let old = outcome_of(old).await;
                let new = outcome_of(new).await;
                self.finish(counts, old, new)
            }
            Plan::Both(counts, Some(Side::New)) => {
                let new = outcome_of(new).await;
                let old = outcome_of(old).await;
                self.finish(counts, old, new)
            }
            Plan::Both(counts, None) => {
                let (old, new) = both(outcome_of(old), outcome_of(new)).await;
                self.finish(counts, old, new)
            }
        }
    }

    /// Writes to the side that counts, then to the other one where the stage has both, and returns what the first one does.
    pub async fn write<W, E: Debug, Old, New>(
        &self,
        context: impl Into<Context>,
        old: impl FnOnce() -> Old,
        new: impl FnOnce() -> New,
    ) -> Result<W, E>
    where
        Old: Future<Output = Result<W, E>>,
        New: Future<Output = Result<W, E>>,
    {
        match self.stage(context).await.write() {
            (Side::Old, false) => old().await,
            (Side::New, false) => new().await,
            (Side::Old, true) => self.write_both(Side::Old, old, new).await,
            (Side::New, true) => self.write_both(Side::New, new, old).await,
        }
    }

    async fn write_both<W, E: Debug, First, Second>(
        &self,
        side: Side,
        first: impl FnOnce() -> First,
        second: impl FnOnce() -> Second,
    ) -> Result<W, E>
    where
        First: Future<Output = Result<W, E>>,
        Second: Future<Output = Result<W, E>>,
    {
        let first = outcome_of(first).await;
        if !matches!(first.result, Ok(Ok(_))) {
            return first.get();
        }
        let second = outcome_of(second).await;
        self.observe_write(side, &first, &second);
        first.get()
    }
}

/// What calling one side comes to, its panic caught.
async fn outcome_of<T, E, F: Future<Output = Result<T, E>>>(call: impl FnOnce() -> F) -> Outcome<T, E> {
    let began = Instant::now();
    let future = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(future) => future,
        Err(panic) => return Outcome::new(began, Err(panic)),
    };
    let mut future = pin!(future);
    let result = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let result = result.await;
    Outcome::new(began, result)
}

/// Both at once, on this task.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    fn step<T>(future: Pin<&mut impl Future<Output = T>>, done: &mut Option<T>, context: &mut std::task::Context<'_>) {
        if done.is_none()
            && let Poll::Ready(value) = future.poll(context)
        {
            *done = Some(value);
        }
    }
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut done = (None, None);
    poll_fn(|context| {
        step(one.as_mut(), &mut done.0, context);
        step(other.as_mut(), &mut done.1, context);
        match (done.0.take(), done.1.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            unfinished => {
                done = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}
