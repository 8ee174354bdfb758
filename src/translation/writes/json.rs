//! JSON read exactly: a number keeps every digit, an object that names a key twice is refused, and documents that say the same have
//! one canonical text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Arrays and objects inside one another, at most.
const DEPTH_MAX: usize = 64;

/// The text is not JSON that we read. `line` and `column` of the body are in the message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    #[error("arrays and objects are nested more than {DEPTH_MAX} deep")]
    TooDeep,
}

/// A value whose members are still text.
#[derive(Debug)]
pub enum Json<'a> {
    Null,
    Boolean(bool),
    /// As written.
    Number(&'a str),
    Text(String),
    Array(Vec<&'a RawValue>),
    Object(Object<'a>),
}

impl Json<'_> {
    /// What it is, for messages.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Members in the order in which they are written, each key once.
#[derive(Debug)]
pub struct Object<'a>(pub Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &'de RawValue)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if !seen.insert(key.clone()) {
                        let shown: String = key.chars().take(80).collect();
                        return Err(A::Error::custom(format!("the key `{shown}` is there twice")));
                    }
                    members.push((key, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The value in `raw`, one level deep.
pub fn read(raw: &RawValue) -> Result<Json<'_>, JsonError> {
    let text = raw.get();
    Ok(match text.bytes().next() {
        Some(b'n') => Json::Null,
        Some(b't') => Json::Boolean(true),
        Some(b'f') => Json::Boolean(false),
        Some(b'"') => Json::Text(serde_json::from_str(text)?),
        Some(b'[') => Json::Array(serde_json::from_str(text)?),
        Some(b'{') => Json::Object(serde_json::from_str(text)?),
        _ => Json::Number(text),
    })
}

/// The same text for documents that say the same: no blanks, keys sorted, strings escaped in one way; numbers stay as written.
pub fn canonical(raw: &RawValue) -> Result<String, JsonError> {
    let mut text = String::with_capacity(raw.get().len());
    write_canonical(raw, DEPTH_MAX, &mut text)?;
    Ok(text)
}

fn write_canonical(raw: &RawValue, depth_left: usize, text: &mut String) -> Result<(), JsonError> {
    let depth_left = depth_left.checked_sub(1).ok_or(JsonError::TooDeep)?;
    match read(raw)? {
        Json::Null => text.push_str("null"),
        Json::Boolean(truth) => text.push_str(if truth { "true" } else { "false" }),
        Json::Number(number) => text.push_str(number),
        Json::Text(string) => text.push_str(&quoted(&string)),
        Json::Array(items) => {
            text.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, depth_left, text)?;
            }
            text.push(']');
        }
        Json::Object(Object(mut members)) => {
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            text.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&quoted(&key));
                text.push(':');
                write_canonical(value, depth_left, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

/// A string as JSON.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// One step of a JSON pointer (RFC 6901): `/` and the escaped name.
#[must_use]
pub fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(text: &str) -> Result<String, JsonError> {
        canonical(serde_json::from_str(text)?)
    }

    #[test]
    fn documents_that_say_the_same_have_one_text() {
        let text = canonical_of(" {\"b\": [1, 2.50, \"\\u0041\"], \"a\" : null } ").unwrap();
        assert_eq!(text, r#"{"a":null,"b":[1,2.50,"A"]}"#);
        assert_eq!(text, canonical_of(r#"{"a":null,"b":[1,2.50,"A"]}"#).unwrap());
        let huge = r#"{"n":123456789012345678901234567890.12345678901}"#;
        assert_eq!(canonical_of(huge).unwrap(), huge, "no digit is lost");
    }

    #[test]
    fn what_is_ambiguous_or_bottomless_is_refused() {
        assert!(canonical_of(r#"{"a":1,"a":2}"#).unwrap_err().to_string().contains("`a` is there twice"));
        assert!(canonical_of(r#""\ud800""#).is_err(), "half a character");
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(matches!(canonical_of(&deep), Err(JsonError::TooDeep)));
        assert_eq!(step("a/b~c"), "/a~1b~0c");
    }
}
