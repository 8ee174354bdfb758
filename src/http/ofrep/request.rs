//! What an OFREP client sends: the flag's key in the path and the context in the body, read leniently, because real clients
//! leave out all that the specification asks for.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::flags::{Context, Failure};

/// Reads the context from a body. No body, no `context` and `null` are a context of nothing.
pub fn context(body: &[u8]) -> Result<Context, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Context::default());
    }
    let Body(context) = serde_json::from_slice(body).map_err(|error| Failure::ParseError(error.to_string()))?;
    Ok(Context::from_json(context)?)
}

/// The `context` of a body; whatever else stands beside it is passed over.
struct Body(Value);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Body, E> {
        Ok(Body(Value::Null))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Body, A::Error> {
        let mut context = Value::Null;
        while let Some(name) = members.next_key::<Name>()? {
            match name {
                Name::Context => context = members.next_value()?,
                Name::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Body(context))
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Name {
    Context,
    #[serde(other)]
    Other,
}

/// Decodes `%XX` once. What does not decode to UTF-8 stays as it was sent: it is no flag's key either way.
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) else { return Cow::Borrowed(text) };
                decoded.push(high << 4 | low);
                rest = after;
            }
            (b'%', _) => return Cow::Borrowed(text),
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_context_too() {
        for body in ["", "  \n", "null", "{}", r#"{"context":null}"#, r#"{"context":{}}"#, r#"{"other":1}"#] {
            assert_eq!(context(body.as_bytes()), Ok(Context::default()), "{body}");
        }
        let given = context(br#"{"context":{"targetingKey":"7","plan":"pro"},"more":true}"#).unwrap();
        assert_eq!((given.targeting_key(), given.attributes().len()), (Some("7"), 2));
    }

    #[test]
    fn what_is_no_context_has_its_code() {
        let code = |body: &[u8]| context(body).unwrap_err().code();
        for body in ["{", "[]", "1", "\"x\"", "{}{}", &"[".repeat(5_000)] {
            assert_eq!(code(body.as_bytes()), "PARSE_ERROR", "{body:.20}");
        }
        assert_eq!(code(b"{\"context\":\"\xff\"}"), "PARSE_ERROR");
        for body in [r#"{"context":[]}"#, r#"{"context":1}"#, r#"{"context":{"targetingKey":{}}}"#] {
            assert_eq!(code(body.as_bytes()), "INVALID_CONTEXT", "{body}");
        }
    }

    #[test]
    fn keys_are_decoded_once() {
        for (text, decoded) in [
            ("a.b", "a.b"),
            ("a%2Eb", "a.b"),
            ("%C3%a4", "ä"),
            ("%2525", "%25"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%ff", "%ff"),
        ] {
            assert_eq!(percent_decoded(text), decoded, "{text}");
        }
    }
}
