//! When a bulk answer may be left out: the entity tag, and the version that a caller has been told of.
//!
//! The tag covers the configuration, the cohorts, the whole context and the sides of changes: a provider is known to send its
//! old tag along after an attribute changed, and a tag of the configuration alone would give it another user's answers.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::flags::{Context, Snapshot};
use crate::primitives::Instant;

/// The strong entity tag, in quotes, of the bulk answer to a context; `sides` is whatever routing said that goes into it.
pub fn of_bulk(snapshot: &Snapshot, context: &Context, sides: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(snapshot.digest());
    for side in sides {
        hash.update(side);
        hash.update([0]);
    }
    let mut canonical = Vec::new();
    let attributes = context.attributes();
    let mut names: Vec<&String> = attributes.keys().collect();
    names.sort_unstable();
    for name in names {
        write_text(&mut canonical, name);
        if let Some(value) = attributes.get(name) {
            write_canonical(&mut canonical, value);
        }
    }
    hash.update(&canonical);
    let digest = hash.finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// JSON with sorted names and no white space, so that equal contexts are equal bytes.
fn write_canonical(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(object) => {
            let mut names: Vec<&String> = object.keys().collect();
            names.sort_unstable();
            out.push(b'{');
            for name in names {
                write_text(out, name);
                if let Some(value) = object.get(name) {
                    write_canonical(out, value);
                }
            }
            out.push(b'}');
        }
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

/// The version of the configuration that a caller has been told of by an event, and must not be answered from behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    version: Option<i64>,
    modified_at: Option<Instant>,
    /// It named a version that is not one of ours: then nothing can be left out.
    is_unknown: bool,
}

impl Told {
    /// Reads `flagConfigEtag` and `flagConfigLastModified` from a query string.
    pub fn from_query(query: &str) -> Self {
        let mut told = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = super::request::percent_decoded(&value);
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match name {
                "flagConfigEtag" => match version_of(value) {
                    Some(version) => told.version = Some(version),
                    None => told.is_unknown = true,
                },
                "flagConfigLastModified" => match instant_of(value) {
                    Some(instant) => told.modified_at = Some(instant),
                    None => told.is_unknown = true,
                },
                _ => {}
            }
        }
        told
    }

    /// Whether a snapshot is older than what the caller has been told of.
    pub fn is_ahead_of(&self, snapshot: &Snapshot) -> bool {
        let by_version = self.version.is_some_and(|version| version > snapshot.version());
        let by_time = self.modified_at.is_some_and(|instant| instant > snapshot.changed_at());
        by_version || by_time
    }

    /// Whether the caller's own tag may be trusted to decide.
    pub fn allows_not_modified(&self) -> bool {
        !self.is_unknown
    }
}

/// The tag under which events name a version of the configuration.
pub fn of_version(version: i64) -> String {
    version.to_string()
}

fn version_of(text: &str) -> Option<i64> {
    text.trim_start_matches("W/").trim_matches('"').parse().ok()
}

/// Whole seconds since 1970 (the whole second counts as reached by any instant in it), or RFC 3339.
fn instant_of(text: &str) -> Option<Instant> {
    match text.parse::<i64>() {
        Ok(seconds) if seconds >= 0 => seconds.checked_mul(1_000_000).map(Instant::from_micros),
        Ok(_) => None,
        // A `+` of an offset that was not encoded arrives as a space.
        Err(_) => Instant::parse(&text.replace(' ', "+")).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tag(context: Value) -> String {
        of_bulk(&Snapshot::empty(), &Context::from_json(context).unwrap(), &[])
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
        let told = of_bulk(&Snapshot::empty(), &Context::default(), &["billing=new".to_owned()]);
        assert_ne!(told, tag(json!({})));
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

    #[test]
    fn a_caller_ahead_of_the_snapshot_is_known() {
        let snapshot = Snapshot::build(7, Instant::from_micros(1_000_000_500_000), Vec::new(), Vec::new());
        for (query, is_ahead) in [
            ("", false),
            ("flagConfigEtag=7", false),
            ("flagConfigEtag=8", true),
            ("flagConfigEtag=W%2F%228%22", true),
            ("flagConfigLastModified=1000000", false),
            ("flagConfigLastModified=1000001", true),
            ("flagConfigLastModified=1970-01-12T13:46:40Z", false),
            ("flagConfigLastModified=1970-01-12T13:46:41Z", true),
            ("flagConfigLastModified=1970-01-12T14:46:41%2B01:00", true),
            ("flagConfigLastModified=1970-01-12T14:46:41+01:00", true),
            ("a=b&flagConfigEtag=8&c", true),
        ] {
            let told = Told::from_query(query);
            assert_eq!((told.is_ahead_of(&snapshot), told.allows_not_modified()), (is_ahead, true), "{query}");
        }
        for query in ["flagConfigEtag=abc", "flagConfigLastModified=-1", "flagConfigLastModified=yesterday"] {
            assert!(!Told::from_query(query).allows_not_modified(), "{query}");
        }
    }
}
