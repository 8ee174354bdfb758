//! Reads and writes of two implementations under a migration's stage, for what the database's translation cannot reach.
//!
//! The side that counts decides what the caller gets; the other side can never break the caller.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::clock::timestamp;
use crate::context::Context;
use crate::details::{ErrorCode, Outcome as Evaluated};
use crate::outcome::{Outcome, at_once};
use crate::random::unique_id;
use crate::stage::{Side, Stage};
use crate::sync::{read, write};
use crate::url::quoted;
use crate::warn::warning;

const VALUE_BYTES_MAX: usize = 32 << 10;
const NAME_CHARS_MAX: usize = 120;

/// In which order a read of both sides calls them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The side whose result counts first, then the other one.
    #[default]
    Serial,
    /// Both at once; the read waits for both.
    Concurrent,
    /// One after the other, either one first.
    Random,
}

/// A migrator whose `read` and `write` block.
#[derive(Clone, Copy, Debug)]
pub enum Blocking {}

/// A migrator whose `read` and `write` are `async`.
#[derive(Clone, Copy, Debug)]
pub enum Async {}

type Comparison<T> = Arc<dyn Fn(&T, &T) -> bool + Send + Sync>;

/// Reads and writes under the stage that a flag serves, for each context by itself. Made by [`Client::migrator`]; `T` is what a read returns.
///
/// | stage | read | write, in this order |
/// |---|---|---|
/// | `off` | old | old |
/// | `dualwrite` | old | old, new |
/// | `shadow` | old and new; old's result | old, new |
/// | `live` | old and new; new's result | new, old |
/// | `rampdown` | new | new, old |
/// | `complete` | new | new |
///
/// What both sides did is posted as observations, off the caller's path. A panic of the side that counts passes through; one of the other
/// side, of a comparison or an `ignore` is a failure that is observed and goes no further.
pub struct Migrator<T, M = Blocking> {
    pub(crate) client: Client,
    pub(crate) flag_key: Arc<str>,
    name: Arc<str>,
    path: Arc<str>,
    compare: Comparison<T>,
    /// The client compares, although the server could.
    is_compared: bool,
    to_json: fn(&T) -> Option<String>,
    ignore: Vec<Comparison<T>>,
    order: Order,
    sample: f64,
    default_stage: Stage,
    mode: PhantomData<fn() -> M>,
}

impl<T, M> Clone for Migrator<T, M> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            flag_key: Arc::clone(&self.flag_key),
            name: Arc::clone(&self.name),
            path: Arc::clone(&self.path),
            compare: Arc::clone(&self.compare),
            ignore: self.ignore.clone(),
            ..*self
        }
    }
}

impl<T, M> Debug for Migrator<T, M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Migrator")
            .field("name", &self.name)
            .field("flag", &self.flag_key)
            .finish_non_exhaustive()
    }
}

/// Settings. Each returns the migrator, changed.
impl<T, M> Migrator<T, M> {
    pub(crate) fn new(
        client: Client,
        flag_key: &str,
        compare: Comparison<T>,
        to_json: Option<fn(&T) -> Option<String>>,
    ) -> Self {
        Self {
            client,
            flag_key: flag_key.into(),
            name: flag_key.chars().take(NAME_CHARS_MAX).collect::<String>().into(),
            path: format!("/api/v1/flags/{}/observations", quoted(flag_key)).into(),
            compare,
            is_compared: to_json.is_none(),
            to_json: to_json.unwrap_or(|_| None),
            ignore: Vec::new(),
            order: Order::Serial,
            sample: 1.0,
            default_stage: Stage::Off,
            mode: PhantomData,
        }
    }

    /// Observations go to this change rather than to the flag.
    #[must_use]
    pub fn change(mut self, change: &str) -> Self {
        self.path = format!("/api/v1/changes/{}/observations", quoted(change)).into();
        self
    }

    /// What its operations are called: `NAME:read` and `NAME:write`. By default the flag's key.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.chars().take(NAME_CHARS_MAX).collect::<String>().into();
        self
    }

    /// Whether an old and a new value are alike; by default the server compares them as JSON.
    #[must_use]
    pub fn compare(mut self, compare: impl Fn(&T, &T) -> bool + Send + Sync + 'static) -> Self {
        (self.compare, self.is_compared) = (Arc::new(compare), true);
        self
    }

    /// Whether a difference is to be taken for none. May be said more than once: one that says yes is enough.
    #[must_use]
    pub fn ignore(mut self, ignore: impl Fn(&T, &T) -> bool + Send + Sync + 'static) -> Self {
        self.ignore.push(Arc::new(ignore));
        self
    }

    /// Values never leave the process: the client compares them itself.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.to_json = |_| None;
        self
    }

    /// The order in which a read of both sides calls them.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// The share of the reads of both sides that call both, from 0 to 1 (what lies outside is the nearest of them). The others call only
    /// the side that counts. A write is never left out, only its observation.
    #[must_use]
    pub fn sample(mut self, sample: f64) -> Self {
        self.sample = if sample.is_nan() { 0.0 } else { sample.clamp(0.0, 1.0) };
        self
    }

    /// The stage as long as none was ever known. `Off` by default.
    #[must_use]
    pub fn default_stage(mut self, stage: Stage) -> Self {
        self.default_stage = stage;
        self
    }
}

/// What an evaluation says about the stage.
pub(crate) struct Served(pub(crate) Option<Stage>);

impl Evaluated<String> for Served {
    fn served(item: Option<&Value>, _: &str, _: String, _: bool) -> Self {
        let item = item.filter(|item| item.get("errorCode").is_none_or(Value::is_null));
        Self(item.and_then(|item| item.get("value")?.as_str()?.parse().ok()))
    }

    fn failed(_: String, _: ErrorCode, _: &str) -> Self {
        Self(None)
    }
}

/// What a read is to call.
pub(crate) enum Plan {
    One(Side),
    /// The side that counts, and the one that is called first; none: at once.
    Both(Side, Option<Side>),
}

impl<T, M> Migrator<T, M> {
    pub(crate) fn stage_now(&self, context: &Context) -> Stage {
        let served = self.client.inner().flags.evaluate(&self.flag_key, String::new(), context);
        self.stage_of(&served, context)
    }

    /// The same, if nobody needs to wait for it.
    pub(crate) fn stage_known(&self, context: &Context) -> Option<Stage> {
        let served = self.client.inner().flags.evaluate_known(&self.flag_key, String::new(), context).ok()?;
        Some(self.stage_of(&served, context))
    }

    /// The stage that is served, or the last known one for this context, or for any, or the default.
    pub(crate) fn stage_of(&self, Served(stage): &Served, context: &Context) -> Stage {
        let inner = self.client.inner();
        let identity = context.identity().map_or("", |identity| &**identity);
        let key = [&*self.flag_key, "\0", identity].concat();
        let last = read(&inner.stages).get(&key).copied();
        let Some(stage) = *stage else {
            let of_flag = || inner.flags.state.stage(&self.flag_key)?.parse().ok();
            return last.or_else(of_flag).unwrap_or(self.default_stage);
        };
        if last != Some(stage) {
            let mut stages = write(&inner.stages);
            stages.insert(key.clone(), stage);
            stages.touch(&key);
            if stages.len() > inner.contexts_max {
                stages.pop();
            }
        }
        if inner.flags.state.set_stage(&self.flag_key, stage.as_str()) {
            inner.flags.changed();
        }
        stage
    }

    fn draw(&self) -> f64 {
        (self.client.inner().random)()
    }

    pub(crate) fn plan(&self, stage: Stage) -> Plan {
        match stage.read() {
            (counts, true) if self.draw() < self.sample => match self.order {
                Order::Serial => Plan::Both(counts, Some(counts)),
                Order::Concurrent => Plan::Both(counts, None),
                Order::Random => Plan::Both(counts, Some(if self.draw() < 0.5 { Side::Old } else { Side::New })),
            },
            (counts, _) => Plan::One(counts),
        }
    }

    // ── what is observed ───────────────────────────────────────────────────────────────────────────────────────────

    /// Observes a read of both sides; the outcome of the one that counts.
    pub(crate) fn finish<E: Debug>(&self, counts: Side, old: Outcome<T, E>, new: Outcome<T, E>) -> Result<T, E> {
        self.observe_read(&old, &new);
        match counts {
            Side::Old => old.get(),
            Side::New => new.get(),
        }
    }

    fn observe_read<E: Debug>(&self, old: &Outcome<T, E>, new: &Outcome<T, E>) {
        let json = |one: &Outcome<T, E>| {
            let text = catch_unwind(AssertUnwindSafe(|| (self.to_json)(one.value()?))).unwrap_or_default();
            text.filter(|text| text.len() <= VALUE_BYTES_MAX)
        };
        let mut values = (json(old), json(new));
        let mut matches = None;
        if let (Some(old), Some(new)) = (old.value(), new.value()) {
            let has_both = values.0.is_some() && values.1.is_some();
            if !has_both || self.is_compared || !self.ignore.is_empty() {
                let observations = &self.client.inner().observations;
                let is_match = self.says_yes(&self.compare, old, new, "comparison");
                let is_ignored =
                    !is_match && self.ignore.iter().any(|ignore| self.says_yes(ignore, old, new, "ignore"));
                if is_ignored {
                    observations.count_ignored();
                } else if !is_match {
                    observations.count_mismatch();
                }
                if is_ignored || !has_both {
                    values = (None, None);
                }
                matches = Some(is_match || is_ignored);
            }
        }
        self.post("read", self.sample, (old.told(values.0), new.told(values.1)), matches);
    }

    fn says_yes(&self, asked: &Comparison<T>, old: &T, new: &T, what: &str) -> bool {
        catch_unwind(AssertUnwindSafe(|| asked(old, new))).unwrap_or_else(|_| {
            warning!("a {what} of {:?} panicked", self.name);
            false
        })
    }

    /// Observes a write of both sides, whose first one succeeded.
    pub(crate) fn observe_write<W, E: Debug>(&self, first: Side, one: &Outcome<W, E>, other: &Outcome<W, E>) {
        let failure = other.failure();
        if let Some(class) = &failure {
            warning!("a write of {:?} reached one side only: {class}", self.name);
        }
        if failure.is_some() || self.draw() < self.sample {
            let rate = if failure.is_some() { 1.0 } else { self.sample };
            let (one, other) = (one.told(None), other.told(None));
            self.post("write", rate, if first == Side::Old { (one, other) } else { (other, one) }, None);
        }
    }

    fn post(&self, operation: &str, rate: f64, (old, new): (String, String), matches: Option<bool>) {
        let (name, id, at) = (json!(format!("{}:{operation}", self.name)), unique_id(), timestamp());
        let mut text = format!(r#"{{"id":"{id}","operation":{name},"at":"{at}","old":{old},"new":{new}"#);
        if rate < 1.0 {
            text.push_str(&format!(r#","sample_rate":{}"#, json!(rate)));
        }
        if let Some(matches) = matches {
            text.push_str(&format!(r#","matches":{matches}"#));
        }
        text.push('}');
        self.client.inner().observations.add(&self.path, text);
    }
}

impl<T> Migrator<T, Blocking> {
    /// Under which stage a call for this context would be now.
    pub fn stage(&self, context: impl Into<Context>) -> Stage {
        self.stage_now(&context.into())
    }

    /// Calls one side or both, and returns what the side that counts does.
    pub fn read<E: Debug + Send>(
        &self,
        context: impl Into<Context>,
        old: impl FnOnce() -> Result<T, E> + Send,
        new: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E>
    where
        T: Send,
    {
        match self.plan(self.stage_now(&context.into())) {
            Plan::One(Side::Old) => old(),
            Plan::One(Side::New) => new(),
            Plan::Both(counts, Some(Side::Old)) => {
                let old = Outcome::of(old);
                let new = Outcome::of(new);
                self.finish(counts, old, new)
            }
            Plan::Both(counts, Some(Side::New)) => {
                let new = Outcome::of(new);
                let old = Outcome::of(old);
                self.finish(counts, old, new)
            }
            Plan::Both(Side::Old, None) => {
                let (old, new) = at_once(&self.client.inner().side_threads, old, new);
                self.finish(Side::Old, old, new)
            }
            Plan::Both(Side::New, None) => {
                let (new, old) = at_once(&self.client.inner().side_threads, new, old);
                self.finish(Side::New, old, new)
            }
        }
    }

    /// Writes to the side that counts, then to the other one where the stage has both, and returns what the first one does. If the first
    /// one fails, the other is not tried; if the other fails, it is observed and told in the log.
    pub fn write<W, E: Debug>(
        &self,
        context: impl Into<Context>,
        old: impl FnOnce() -> Result<W, E>,
        new: impl FnOnce() -> Result<W, E>,
    ) -> Result<W, E> {
        match self.stage_now(&context.into()).write() {
            (Side::Old, false) => old(),
            (Side::New, false) => new(),
            (Side::Old, true) => self.write_both(Side::Old, old, new),
            (Side::New, true) => self.write_both(Side::New, new, old),
        }
    }

    fn write_both<W, E: Debug>(
        &self,
        side: Side,
        first: impl FnOnce() -> Result<W, E>,
        second: impl FnOnce() -> Result<W, E>,
    ) -> Result<W, E> {
        let first = Outcome::of(first);
        if !matches!(first.result, Ok(Ok(_))) {
            return first.get();
        }
        let second = Outcome::of(second);
        self.observe_write(side, &first, &second);
        first.get()
    }
}

impl Client {
    /// Reads and writes of an old and a new implementation under the stage that a flag serves. `T` is what a read returns: JSON that is
    /// sent, so that the server compares. (A number that is not finite is sent as `null`; [`Migrator::without_values`] compares here.)
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = changeover_client::Client::from_env()?;
    /// let invoices = client.migrator("invoices-stage").change("billing-allocation").sample(0.1);
    /// let total = invoices.read("42", || Ok::<_, std::io::Error>(12.5), || Ok(12.5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn migrator<T: Serialize + PartialEq + 'static>(&self, flag_key: &str) -> Migrator<T> {
        Migrator::new(self.clone(), flag_key, Arc::new(T::eq), Some(to_json::<T>))
    }

    /// The same for values that are no JSON, or that are compared in a way of their own: values are never sent.
    pub fn migrator_comparing<T: 'static>(
        &self,
        flag_key: &str,
        compare: impl Fn(&T, &T) -> bool + Send + Sync + 'static,
    ) -> Migrator<T> {
        Migrator::new(self.clone(), flag_key, Arc::new(compare), None)
    }
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}
