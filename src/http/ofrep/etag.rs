//! When a bulk answer may be left out: its entity tag.
//!
//! The tag covers the configuration, the cohorts, how much of its schedules has passed, the whole context, the sides of changes, and
//! whatever else stands in the answer: a provider is known to send its old tag along after an attribute changed, and a tag of the
//! configuration alone would give it another user's answers. It is had without evaluating a flag.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::flags::{Context, Snapshot};
use crate::primitives::Instant;

/// What a bulk answer depends on besides the context.
#[derive(Debug, Clone, Copy)]
pub struct Basis<'a> {
    pub snapshot: &'a Snapshot,
    pub now: Instant,
    /// Set while the database has not been heard of for too long: the answer says so, and must not pass for one that does not.
    pub stale_since: Option<Instant>,
    /// What is offered in `eventStreams`. With a 304 a client goes on with the URL that it has, so that must still open a stream.
    pub offer: Option<&'a str>,
}

/// The strong entity tag, in quotes, of the bulk answer to a context; `sides` is whatever routing said that goes into it.
pub fn of_bulk(basis: &Basis<'_>, context: &Context, sides: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(basis.snapshot.digest());
    let mut canonical = Vec::with_capacity(512);
    canonical.extend_from_slice(&basis.snapshot.schedule_step(basis.now).to_be_bytes());
    canonical.extend_from_slice(&basis.stale_since.map_or(0, Instant::as_micros).to_be_bytes());
    write_text(&mut canonical, basis.offer.unwrap_or_default());
    for side in sides {
        write_text(&mut canonical, side);
    }
    canonical.push(0);
    write_object(&mut canonical, context.attributes());
    hash.update(&canonical);
    let digest = hash.finalize();
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in digest.iter().take(16) {
        tag.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')));
    }
    tag.push('"');
    tag
}

/// JSON with sorted names and no white space, so that equal contexts are equal bytes.
fn write_canonical(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(object) => write_object(out, object),
        Value::Array(values) => {
            out.push(b'[');
            for value in values {
                write_canonical(out, value);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::String(text) => write_text(out, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            out.extend_from_slice(value.to_string().as_bytes());
            out.push(b',');
        }
    }
}

fn write_object(out: &mut Vec<u8>, object: &Map<String, Value>) {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    out.push(b'{');
    for (name, value) in members {
        write_text(out, name);
        write_canonical(out, value);
    }
    out.push(b'}');
}

/// A text after its length: no text can then be read as the end of one and the beginning of another.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
}

/// Whether an `If-None-Match` header names `tag`: by weak comparison, in a list, or as `*`.
pub fn is_named_by(if_none_match: &str, tag: &str) -> bool {
    let header = if_none_match.trim();
    if header == "*" {
        return true;
    }
    // Every second piece between quotes is a tag's inside; ours has neither quotes nor commas in it.
    let wanted = tag.trim_matches('"');
    header.split('"').skip(1).step_by(2).any(|opaque| opaque == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tag(context: Value) -> String {
        with(|_| {}, context, &[])
    }

    fn with(change: impl Fn(&mut Basis<'_>), context: Value, sides: &[String]) -> String {
        let snapshot = Snapshot::empty();
        let mut basis = Basis { snapshot: &snapshot, now: Instant::from_micros(0), stale_since: None, offer: None };
        change(&mut basis);
        of_bulk(&basis, &Context::from_json(context).unwrap(), sides)
    }

    #[test]
    fn a_tag_covers_the_whole_context_whatever_its_order() {
        let plain = tag(json!({"targetingKey": "7", "plan": "pro", "more": {"a": 1, "b": [true]}}));
        assert_eq!(plain, tag(json!({"more": {"b": [true], "a": 1}, "plan": "pro", "targetingKey": "7"})));
        for other in [
            json!({"targetingKey": "7", "plan": "free", "more": {"a": 1, "b": [true]}}),
            json!({"targetingKey": "8", "plan": "pro", "more": {"a": 1, "b": [true]}}),
            json!({"targetingKey": "7", "plan": "pro", "more": {"a": 2, "b": [true]}}),
            json!({"targetingKey": "7", "plan": "pro", "more": {"a": 1, "b": [true, null]}}),
            json!({"targetingKey": "7", "plan": "pro"}),
            json!({}),
        ] {
            assert_ne!(plain, tag(other.clone()), "{other}");
        }
        assert_ne!(tag(json!({"a": "1\"b"})), tag(json!({"a": "1", "b": ""})));
        assert_ne!(tag(json!({"a": "1"})), tag(json!({"a": 1})));
        assert_eq!(with(|_| {}, json!({}), &["billing=new".to_owned()]).len(), 34);
    }

    #[test]
    fn a_tag_covers_all_else_that_the_answer_depends_on() {
        let tags = [
            tag(json!({})),
            with(|_| {}, json!({}), &["billing=new".to_owned()]),
            with(|_| {}, json!({}), &["billing=".to_owned(), "new".to_owned()]),
            with(|basis| basis.stale_since = Some(Instant::from_micros(1)), json!({}), &[]),
            with(|basis| basis.stale_since = Some(Instant::from_micros(2)), json!({}), &[]),
            with(|basis| basis.offer = Some("one"), json!({}), &[]),
            with(|basis| basis.offer = Some("other"), json!({}), &[]),
        ];
        let different: std::collections::BTreeSet<&String> = tags.iter().collect();
        assert_eq!(different.len(), tags.len());
    }

    #[test]
    fn if_none_match_is_a_list_of_weak_or_strong_tags() {
        for header in [r#""abc""#, r#"W/"abc""#, r#""x", "abc""#, r#""x" ,W/"abc","y""#, "*", " * "] {
            assert!(is_named_by(header, r#""abc""#), "{header}");
        }
        for header in ["", "abc", r#""ab""#, r#""abcd""#, r#""x,abc""#, r#""*""#, r#"W/"x""#] {
            assert!(!is_named_by(header, r#""abc""#), "{header}");
        }
    }
}
