//! What calling one side of a migration came to, and how both are called at once.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::sync::lock;

const THREADS_MAX: usize = 64;

/// What calling one side came to.
pub(crate) struct Outcome<T, E> {
    /// The outer error is a panic.
    pub(crate) result: Result<Result<T, E>, Box<dyn Any + Send>>,
    pub(crate) duration_us: u64,
}

impl<T, E> Outcome<T, E> {
    pub(crate) fn new(began: Instant, result: Result<Result<T, E>, Box<dyn Any + Send>>) -> Self {
        Self { result, duration_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) }
    }

    pub(crate) fn of(call: impl FnOnce() -> Result<T, E>) -> Self {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(call));
        Self::new(began, result)
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.result.as_ref().ok()?.as_ref().ok()
    }

    pub(crate) fn get(self) -> Result<T, E> {
        self.result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<T, E: Debug> Outcome<T, E> {
    /// The class of what went wrong.
    pub(crate) fn failure(&self) -> Option<String> {
        match &self.result {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(class_of(error)),
            Err(_) => Some("panic".to_owned()),
        }
    }

    /// As an observation has it.
    pub(crate) fn told(&self, value: Option<String>) -> String {
        let mut text = format!(r#"{{"duration_us":{}"#, self.duration_us);
        if let Some(class) = self.failure() {
            text.push_str(&format!(r#","error":{}"#, json!(class)));
        }
        if let Some(value) = value {
            text.push_str(r#","value":"#);
            text.push_str(&value);
        }
        text.push('}');
        text
    }
}

/// The name of an error's variant or type, never what it says: `Timeout` of `Error::Timeout { after: 3 }`.
pub(crate) fn class_of<E: Debug>(error: &E) -> String {
    let shown = format!("{error:?}");
    let end = shown.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(shown.len());
    let (name, rest) = shown.split_at(end);
    let is_name = name.starts_with(char::is_uppercase)
        && (rest.is_empty() || rest.starts_with(['(', '{']) || rest.starts_with(" {"));
    if is_name {
        return name.to_owned();
    }
    let type_name = std::any::type_name::<E>();
    let type_name = type_name.split(['<', ' ']).next().unwrap_or_default();
    type_name.rsplit("::").next().unwrap_or_default().trim_start_matches('&').to_owned()
}

/// The first one on this thread, the other one on another, if there is one to be had.
pub(crate) fn at_once<T: Send, E: Send>(
    threads: &AtomicUsize,
    first: impl FnOnce() -> Result<T, E> + Send,
    other: impl FnOnce() -> Result<T, E> + Send,
) -> (Outcome<T, E>, Outcome<T, E>) {
    struct Counted<'a>(&'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
    let counted = Counted(threads);
    if threads.fetch_add(1, Ordering::AcqRel) >= THREADS_MAX {
        drop(counted);
        let first = Outcome::of(first);
        return (first, Outcome::of(other));
    }
    // Taken by whoever comes to it: a thread that cannot be started takes nothing.
    let other = Mutex::new(Some(other));
    let take = || lock(&other).take();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("changeover-side".into());
        let thread = thread.spawn_scoped(scope, || take().map(Outcome::of));
        let first = Outcome::of(first);
        let joined = thread.ok().and_then(|thread| thread.join().ok()).flatten();
        let other = joined.unwrap_or_else(|| match take() {
            Some(other) => Outcome::of(other),
            None => Outcome::new(Instant::now(), Err(Box::new("the thread of the other side was lost"))),
        });
        (first, other)
    })
}
