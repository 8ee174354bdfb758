//! The answers of a context, and how an answer of the server becomes them. No I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::clock::now;
use crate::details::ErrorCode;
use crate::http::Answer;
use crate::state::Items;

/// A context's answers.
pub(crate) struct Kept {
    pub(crate) items: Items,
    /// What every flag is answered: the context is wrong.
    pub(crate) error: Option<(ErrorCode, String)>,
    pub(crate) etag: Option<String>,
    pub(crate) at: f64,
    pub(crate) size: usize,
    pub(crate) is_from_disk: bool,
    pub(crate) used: Seconds,
    /// A change was told of since.
    pub(crate) is_due: AtomicBool,
    pub(crate) is_renewing: AtomicBool,
}

/// Seconds that threads may set.
pub(crate) struct Seconds(AtomicU64);

impl Seconds {
    pub(crate) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, seconds: f64) {
        self.0.store(seconds.to_bits(), Ordering::Relaxed);
    }
}

impl Kept {
    pub(crate) fn new(items: Items, etag: Option<String>, at: f64, size: usize) -> Self {
        Self {
            items,
            error: None,
            etag,
            at,
            size,
            is_from_disk: false,
            used: Seconds(AtomicU64::new(at.to_bits())),
            is_due: AtomicBool::new(false),
            is_renewing: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn aged(&self, seconds: f64) -> Self {
        let kept = Self::new(Arc::clone(&self.items), self.etag.clone(), self.at - seconds, self.size);
        kept.used.set(self.used.get() - seconds);
        kept
    }
}

pub(crate) fn parsed(answer: &Answer) -> Option<Value> {
    serde_json::from_slice(&answer.body).ok()
}

/// The answers that an answer of the server has, or none.
pub(crate) fn read_answer(answer: &Answer, kept: Option<&Kept>) -> Option<Kept> {
    let now = now();
    if let (304, Some(kept)) = (answer.status, kept) {
        let mut same = Kept::new(Arc::clone(&kept.items), kept.etag.clone(), now, kept.size);
        same.error.clone_from(&kept.error);
        return Some(same);
    }
    let found = parsed(answer)?;
    let etag = answer.header("etag").map(str::to_owned);
    if answer.status == 200
        && let Some(Value::Array(flags)) = found.get("flags")
    {
        let keyed = flags.iter().filter_map(|item| Some((item.get("key")?.as_str()?.to_owned(), item.clone())));
        return Some(Kept::new(Arc::new(keyed.collect()), etag, now, answer.body.len()));
    }
    let code = found.get("errorCode").and_then(Value::as_str).filter(|code| !code.is_empty())?;
    if !matches!(answer.status, 400 | 404) {
        return None;
    }
    let why = found.get("errorDetails").and_then(Value::as_str).filter(|why| !why.is_empty()).unwrap_or(code);
    let mut wrong = Kept::new(Items::default(), None, now, answer.body.len());
    wrong.error = Some((ErrorCode::of(code), why.to_owned()));
    Some(wrong)
}
