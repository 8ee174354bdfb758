//! What is the same in every answer of one configuration, made once: the JSON of each variant, and where it is counted.

use std::sync::{Arc, OnceLock};

use prometheus::IntCounter;

use super::answer::json;
use crate::flags::{Evaluation, Failure, Snapshot, SnapshotFlag, Why};

/// A snapshot, and what has been made of its flags so far.
pub struct Prepared {
    snapshot: Arc<Snapshot>,
    flags: Box<[PreparedFlag]>,
    routed: Box<[usize]>,
}

/// What has been made of a flag: nothing before it is first evaluated.
#[derive(Default)]
pub(super) struct PreparedFlag {
    texts: OnceLock<Texts>,
}

struct Texts {
    /// For each variant `"key":…,"value":…,"variant":…`.
    variants: Box<[Variant]>,
    failed: IntCounter,
    /// `"metadata":{"flagVersion":…,"configVersion":…`, not closed yet.
    metadata: String,
}

struct Variant {
    text: String,
    count: IntCounter,
}

/// The outcome of an evaluation, free of the snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Served { variant_at: usize, why: Why },
    Failed(Failure),
}

impl Prepared {
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let flags = snapshot.flags().iter().map(|_| PreparedFlag::default()).collect();
        let routed = snapshot.flags().iter().enumerate().filter(|(_, flag)| flag.needs_routing());
        let routed = routed.map(|(at, _)| at).collect();
        Self { snapshot, flags, routed }
    }

    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Where the flags are that need routing.
    #[must_use]
    pub fn routed(&self) -> &[usize] {
        &self.routed
    }

    pub(super) fn flag(&self, at: usize) -> Option<(&SnapshotFlag, &PreparedFlag)> {
        self.snapshot.flags().get(at).zip(self.flags.get(at))
    }

    /// All flags, by key.
    pub(super) fn flags(&self) -> impl ExactSizeIterator<Item = (&SnapshotFlag, &PreparedFlag)> {
        self.snapshot.flags().iter().zip(&self.flags)
    }
}

impl PreparedFlag {
    /// Counts the outcome and writes it as JSON. `counter` is asked once for each variant; without a name for those that failed.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        flag: &SnapshotFlag,
        outcome: &Outcome,
        surroundings: &Surroundings<'_>,
    ) {
        let texts = self.texts.get_or_init(|| Texts::of(flag, surroundings));
        let served = match outcome {
            Outcome::Served { variant_at, why } => texts.variants.get(*variant_at).map(|variant| (variant, *why)),
            Outcome::Failed(_) => None,
        };
        out.push(b'{');
        if let Some((variant, why)) = served {
            variant.count.inc();
            out.extend_from_slice(variant.text.as_bytes());
            out.extend_from_slice(b",\"reason\":\"");
            out.extend_from_slice(why.reason().as_str().as_bytes());
            out.extend_from_slice(b"\",");
            out.extend_from_slice(texts.metadata.as_bytes());
            write_why(out, flag, why);
        } else {
            texts.failed.inc();
            let lost = Failure::General(format!("`{}` has lost a variant", flag.flag().key()));
            write_failure(out, Some(flag.flag().key().as_str()), outcome.failure().unwrap_or(&lost));
            out.push(b',');
            out.extend_from_slice(texts.metadata.as_bytes());
        }
        out.extend_from_slice(surroundings.stale.as_bytes());
        out.extend_from_slice(b"}}");
    }
}

/// What the writing of a flag's answer needs besides the flag.
pub(super) struct Surroundings<'a> {
    pub config_version: i64,
    /// Empty, or `,"stale":true,…`.
    pub stale: &'a str,
    pub counter: &'a dyn Fn(&str, &str) -> IntCounter,
}

/// The label of the counter of evaluations that failed.
const FAILED: &str = "(failed)";

impl Texts {
    fn of(flag: &SnapshotFlag, surroundings: &Surroundings<'_>) -> Self {
        let (definition, config_version) = (flag.flag(), surroundings.config_version);
        let key = definition.key().as_str();
        let variants = definition.variants().iter().map(|variant| {
            let name = variant.name.as_str();
            let text = format!(r#""key":{},"value":{},"variant":{}"#, json(&key), json(&variant.value), json(&name));
            Variant { text, count: (surroundings.counter)(key, name) }
        });
        let metadata = format!(r#""metadata":{{"flagVersion":{},"configVersion":{config_version}"#, flag.version());
        Self { variants: variants.collect(), failed: (surroundings.counter)(key, FAILED), metadata }
    }
}

/// What the reason rests on, as far as it fits in metadata: numbers and texts.
fn write_why(out: &mut Vec<u8>, flag: &SnapshotFlag, why: Why) {
    if let Some(rule) = why.rule() {
        out.extend_from_slice(b",\"rule\":");
        write_number(out, rule);
    }
    match why {
        Why::Split { bucket, .. } => {
            out.extend_from_slice(b",\"bucket\":");
            write_number(out, bucket);
        }
        Why::Prerequisite(at) => {
            if let Some(prerequisite) = flag.flag().prerequisites().get(at) {
                out.extend_from_slice(b",\"prerequisite\":");
                out.extend_from_slice(json(&prerequisite.flag.as_str()).as_bytes());
            }
        }
        _ => {}
    }
}

fn write_number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    use std::io::Write;
    // Writing to a vector does not fail.
    drop(write!(out, "{number}"));
}

/// `"key":…,"errorCode":…,"errorDetails":…`; `key` is the flag's, if one was asked for.
pub(super) fn write_failure(out: &mut Vec<u8>, key: Option<&str>, failure: &Failure) {
    let key = key.map_or_else(String::new, |key| format!(r#""key":{},"#, json(&key)));
    let details = json(&failure.to_string());
    out.extend_from_slice(format!(r#"{key}"errorCode":"{}","errorDetails":{details}"#, failure.code()).as_bytes());
}

impl Outcome {
    #[must_use]
    pub fn of(evaluation: Evaluation<'_>) -> Self {
        match evaluation {
            Evaluation::Served(served) => {
                let variants = served.flag.flag().variants();
                let variant_at = variants.iter().position(|variant| std::ptr::eq(variant, served.variant));
                Self::Served { variant_at: variant_at.unwrap_or(usize::MAX), why: served.why }
            }
            Evaluation::Failed(failure) => Self::Failed(failure),
        }
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Served { .. } => None,
            Self::Failed(failure) => Some(failure),
        }
    }
}
