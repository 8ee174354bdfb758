//! OFREP's answers, from a snapshot and a request: no actix, no state, nothing that waits.

use serde::{Serialize, Serializer};

use super::{etag, request};
use crate::flags::{Context, Evaluation, Failure, Served, Snapshot, SnapshotFlag};
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

/// How a flag is evaluated: the snapshot alone, or, for a change's flag, routing. Called once for each flag asked for.
pub trait Evaluator {
    /// The instant as of which flags are evaluated.
    fn now(&self) -> Instant;

    fn evaluate<'s>(&self, snapshot: &'s Snapshot, flag: &'s SnapshotFlag, context: &Context) -> Evaluation<'s>;
}

/// Answers `POST …/flags/{key}`; `key` is decoded.
pub fn single(snapshot: &Snapshot, key: &str, body: &[u8], evaluator: &impl Evaluator) -> Answer {
    let evaluation = match (request::context(body), snapshot.find_flag(key)) {
        (Err(failure), _) => Evaluation::Failed(failure),
        (Ok(_), None) => Evaluation::Failed(Failure::FlagNotFound { key: key.chars().take(160).collect() }),
        (Ok(context), Some(flag)) => evaluator.evaluate(snapshot, flag, &context),
    };
    let status = match &evaluation {
        Evaluation::Served(_) => 200,
        Evaluation::Failed(failure) => status(failure),
    };
    Answer { status, etag: None, body: json(&Item { key, evaluation }) }
}

/// Answers `POST …/flags`. Flags of a change are asked of the evaluator before the tag is compared, because their answers
/// depend on more than the configuration; all others are evaluated only if the caller has not got them already.
pub fn bulk(snapshot: &Snapshot, body: &[u8], if_none_match: Option<&str>, evaluator: &impl Evaluator) -> Answer {
    let context = match request::context(body) {
        Ok(context) => context,
        Err(failure) => return failed(None, &failure),
    };
    let routed = snapshot.flags().iter().filter(|flag| flag.needs_routing());
    let mut routed: Vec<Evaluation<'_>> = routed.map(|flag| evaluator.evaluate(snapshot, flag, &context)).collect();
    let mut sides: Vec<String> = routed.iter().map(side).collect();
    sides.push(format!("schedule {}", snapshot.schedule_step(evaluator.now())));
    let etag = etag::of_bulk(snapshot, &context, &sides);
    if if_none_match.is_some_and(|header| etag::is_named_by(header, &etag)) {
        return Answer { status: 304, etag: Some(etag), body: Vec::new() };
    }
    let mut routed = routed.drain(..);
    let flags = snapshot.flags().iter().map(|flag| {
        let routed = if flag.needs_routing() { routed.next() } else { None };
        let evaluation = routed.unwrap_or_else(|| evaluator.evaluate(snapshot, flag, &context));
        Item { key: flag.flag().key().as_str(), evaluation }
    });
    let body = json(&Bulk { flags: flags.collect(), metadata: SetMetadata { config_version: snapshot.version() } });
    Answer { status: 200, etag: Some(etag), body }
}

/// An error in OFREP's shape; `key` is the flag's, if one was asked for.
pub fn failed(key: Option<&str>, failure: &Failure) -> Answer {
    Answer { status: status(failure), etag: None, body: json(&ErrorBody::of(key, failure)) }
}

/// An error in OFREP's shape with a status of its own.
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

/// What routing's answer adds to the tag: the variant and its reason, or the failure.
fn side(evaluation: &Evaluation<'_>) -> String {
    match evaluation {
        Evaluation::Served(served) => {
            format!("{}={}/{}", served.flag.flag().key(), served.variant.name, served.why.reason())
        }
        Evaluation::Failed(failure) => format!("{}: {failure}", failure.code()),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Texts, numbers and maps with text keys always serialize.
    serde_json::to_vec(value).unwrap_or_default()
}

#[derive(Serialize)]
struct Bulk<'a> {
    flags: Vec<Item<'a>>,
    metadata: SetMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SetMetadata {
    config_version: i64,
}

/// One flag's answer.
struct Item<'a> {
    key: &'a str,
    evaluation: Evaluation<'a>,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.evaluation {
            Evaluation::Served(served) => SuccessBody::of(self.key, served).serialize(serializer),
            Evaluation::Failed(failure) => ErrorBody::of(Some(self.key), failure).serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct SuccessBody<'a> {
    key: &'a str,
    value: &'a crate::flags::VariantValue,
    reason: &'static str,
    variant: &'a str,
    metadata: FlagMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FlagMetadata {
    flag_version: i64,
}

impl<'a> SuccessBody<'a> {
    fn of(key: &'a str, served: &Served<'a>) -> Self {
        Self {
            key,
            value: &served.variant.value,
            reason: served.why.reason().as_str(),
            variant: served.variant.name.as_str(),
            metadata: FlagMetadata { flag_version: served.flag.version() },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    error_code: &'static str,
    error_details: String,
}

impl<'a> ErrorBody<'a> {
    fn of(key: Option<&'a str>, failure: &Failure) -> Self {
        Self { key, error_code: failure.code(), error_details: failure.to_string() }
    }
}
