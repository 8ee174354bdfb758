//! OFREP's answers, from a configuration and a request: no actix, no clock, nothing that waits.

use prometheus::IntCounter;
use serde::Serialize;

use super::etag::{self, Basis};
use super::prepared::{Outcome, Prepared, Surroundings, write_failure};
use super::request;
use crate::flags::{Asked, Context, Failure};
use crate::primitives::Instant;

/// An answer to be sent as `application/json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200, 304, 400, 404, 500 or 503.
    pub status: u16,
    pub etag: Option<String>,
    /// Empty for 304.
    pub body: Vec<u8>,
}

/// How answers are made: as of when, how fresh, and with whose help.
pub struct Asking<'a> {
    pub prepared: &'a Prepared,
    pub now: Instant,
    /// When the database was last heard of, if that is too long ago.
    pub stale_since: Option<Instant>,
    /// What is offered in `eventStreams`, as JSON.
    pub offer: Option<&'a str>,
    /// Where evaluations of a flag and a variant are counted.
    pub counter: &'a dyn Fn(&str, &str) -> IntCounter,
}

impl Asking<'_> {
    /// Answers `POST …/flags/{key}` where no change is routed; `key` is decoded.
    #[must_use]
    pub fn single(&self, key: &str, body: &[u8]) -> Answer {
        let found = self.prepared.snapshot().position(key);
        match (request::context(body), found) {
            (Err(failure), _) => failed(Some(key), &failure),
            (Ok(_), None) => not_found(key),
            (Ok(context), Some(at)) => self.answer_one(at, &self.evaluate(at, &context)),
        }
    }

    /// Answers `POST …/flags` where no change is routed.
    #[must_use]
    pub fn bulk(&self, body: &[u8], if_none_match: Option<&str>) -> Answer {
        match request::context(body) {
            Err(failure) => failed(None, &failure),
            Ok(context) => {
                let routed = self.prepared.routed().iter().map(|at| self.evaluate(*at, &context)).collect();
                self.answer_all(&context, routed, if_none_match)
            }
        }
    }

    /// Evaluates the flag at `at`, without routing.
    #[must_use]
    pub fn evaluate(&self, at: usize, context: &Context) -> Outcome {
        let snapshot = &**self.prepared.snapshot();
        match snapshot.flags().get(at) {
            Some(flag) => Outcome::of(snapshot.evaluate_in(flag, Asked { context, now: self.now }, snapshot)),
            None => Outcome::Failed(Failure::General(String::from("there is no such flag"))),
        }
    }

    /// The answer for one flag that has been evaluated.
    #[must_use]
    pub fn answer_one(&self, at: usize, outcome: &Outcome) -> Answer {
        let mut body = Vec::with_capacity(256);
        let stale = stale(self.stale_since);
        if let Some((flag, prepared)) = self.prepared.flag(at) {
            prepared.write(&mut body, flag, outcome, &self.surroundings(&stale));
        }
        Answer { status: outcome.failure().map_or(200, status), etag: None, body }
    }

    /// The answer for all flags. Those that need routing have been evaluated, in the order of the flags: their outcomes depend on more
    /// than the configuration and are part of the tag. All others are evaluated only if the caller has not got them already.
    #[must_use]
    pub fn answer_all(&self, context: &Context, routed: Vec<Outcome>, if_none_match: Option<&str>) -> Answer {
        let sides: Vec<String> = routed.iter().map(side).collect();
        let snapshot = self.prepared.snapshot();
        let basis = Basis { snapshot, now: self.now, stale_since: self.stale_since, offer: self.offer };
        let etag = etag::of_bulk(&basis, context, &sides);
        if if_none_match.is_some_and(|header| etag::is_named_by(header, &etag)) {
            return Answer { status: 304, etag: Some(etag), body: Vec::new() };
        }
        Answer { status: 200, etag: Some(etag), body: self.all(context, routed) }
    }

    fn all(&self, context: &Context, routed: Vec<Outcome>) -> Vec<u8> {
        let stale = stale(self.stale_since);
        let surroundings = self.surroundings(&stale);
        let mut routed = routed.into_iter();
        let mut body = Vec::with_capacity(512 + self.prepared.flags().len() * 192);
        body.extend_from_slice(b"{\"flags\":[");
        for (at, (flag, prepared)) in self.prepared.flags().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            let routed = if flag.needs_routing() { routed.next() } else { None };
            let outcome = routed.unwrap_or_else(|| self.evaluate(at, context));
            prepared.write(&mut body, flag, &outcome, &surroundings);
        }
        let version = surroundings.config_version;
        body.extend_from_slice(format!(r#"],"metadata":{{"configVersion":{version}{stale}}}"#).as_bytes());
        if let Some(offer) = self.offer {
            body.extend_from_slice(b",\"eventStreams\":");
            body.extend_from_slice(offer.as_bytes());
        }
        body.push(b'}');
        body
    }

    fn surroundings<'s>(&'s self, stale: &'s str) -> Surroundings<'s> {
        Surroundings { config_version: self.prepared.snapshot().version(), stale, counter: self.counter }
    }
}

/// The answer for a flag that is not there.
#[must_use]
pub fn not_found(key: &str) -> Answer {
    failed(Some(key), &Failure::FlagNotFound { key: key.chars().take(160).collect() })
}

/// An error in OFREP's shape; `key` is the flag's, if one was asked for.
#[must_use]
pub fn failed(key: Option<&str>, failure: &Failure) -> Answer {
    let mut body = vec![b'{'];
    write_failure(&mut body, key, failure);
    body.push(b'}');
    Answer { status: status(failure), etag: None, body }
}

/// An error in OFREP's shape with a status of its own.
#[must_use]
pub fn refused(status: u16, key: Option<&str>, details: &str) -> Answer {
    Answer { status, ..failed(key, &Failure::General(details.to_owned())) }
}

fn status(failure: &Failure) -> u16 {
    match failure {
        Failure::FlagNotFound { .. } => 404,
        Failure::TargetingKeyMissing { .. } | Failure::ParseError(_) | Failure::InvalidContext(_) => 400,
        Failure::General(_) => 500,
    }
}

/// What metadata says while the database is away.
fn stale(since: Option<Instant>) -> String {
    since.map_or_else(String::new, |confirmed_at| format!(r#","stale":true,"confirmedAt":"{confirmed_at}""#))
}

/// What routing's answer adds to the tag, in the order of the flags: the variant and its reason, or the failure.
fn side(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Served { variant_at, why } => format!("{variant_at} {why:?}"),
        Outcome::Failed(failure) => format!("{}: {failure}", failure.code()),
    }
}

pub(super) fn json(value: &impl Serialize) -> String {
    // Texts, numbers and maps with text keys always serialize.
    serde_json::to_string(value).unwrap_or_default()
}
