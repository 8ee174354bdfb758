//! What a caller tells about the subject of an evaluation, and the canonical text of an id.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::clause::AttributePath;
use super::value::describe;

/// The name under which a context carries its targeting key.
pub const TARGETING_KEY: &str = "targetingKey";

/// Above this, a float no longer tells whole numbers apart.
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// The subject of an evaluation: its targeting key, if it has one, and its attributes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    targeting_key: Option<String>,
    attributes: Map<String, Value>,
}

/// A context that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContext {
    #[error("`context` is {0}: send an object of attributes")]
    NotAnObject(&'static str),
    #[error("`context.targetingKey` is {0}: send the subject's id as a text")]
    TargetingKey(&'static str),
}

impl Context {
    /// A context that has a targeting key and no attributes: a user, or, when routing asks, a group.
    #[must_use]
    pub fn of(targeting_key: &str) -> Self {
        Self { targeting_key: Some(targeting_key.to_owned()).filter(|key| !key.is_empty()), attributes: Map::new() }
    }

    /// Reads the `context` of a request. A targeting key that is missing, `null` or empty is no targeting key (everybody
    /// without one would share a bucket); a number is its decimal text.
    pub fn from_json(value: Value) -> Result<Self, InvalidContext> {
        let attributes = match value {
            Value::Object(attributes) => attributes,
            Value::Null => Map::new(),
            other => return Err(InvalidContext::NotAnObject(describe(&other))),
        };
        let targeting_key = match attributes.get(TARGETING_KEY) {
            None | Some(Value::Null) => None,
            Some(value) => match canonical_id(value) {
                Some(id) if id.is_empty() => None,
                Some(id) => Some(id.into_owned()),
                None => return Err(InvalidContext::TargetingKey(describe(value))),
            },
        };
        Ok(Self { targeting_key, attributes })
    }

    #[must_use]
    pub fn targeting_key(&self) -> Option<&str> {
        self.targeting_key.as_deref()
    }

    /// All attributes as they were sent, the targeting key among them.
    #[must_use]
    pub fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }

    /// The value at a path: an attribute of exactly that name, else the way down through nested objects. `null` is no
    /// value. The targeting key is not looked up here: see [`Self::targeting_key`].
    #[must_use]
    pub fn find(&self, path: &AttributePath) -> Option<&Value> {
        let found = match get(&self.attributes, path.as_str()) {
            Some(value) => Some(value),
            None => {
                let mut segments = path.as_str().split('.');
                let first = segments.next()?;
                if first.len() == path.as_str().len() {
                    return None;
                }
                segments.try_fold(get(&self.attributes, first), |value, segment| match value {
                    Some(Value::Object(object)) => Some(get(object, segment)),
                    _ => None,
                })?
            }
        };
        found.filter(|value| !value.is_null())
    }
}

/// Up to so many attributes are looked through, which is faster than hashing a name.
const FEW: usize = 16;

fn get<'m>(attributes: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    if attributes.len() > FEW {
        return attributes.get(name);
    }
    // Names often begin alike (`plan`, `plan_since`): the last byte tells them apart sooner.
    let last = name.as_bytes().last();
    let is_same = |other: &str| other.as_bytes().last() == last && other == name;
    attributes.iter().find(|(other, _)| is_same(other)).map(|(_, value)| value)
}

/// The text by which a value is known as an id: a text itself, a number's canonical decimal text (`42`, `42.0` and `"42"`
/// are one id), and nothing for any other value, nor for a number too large to be exact.
#[must_use]
pub fn canonical_id(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => canonical_decimal(number).map(Cow::Owned),
        _ => None,
    }
}

fn canonical_decimal(number: &Number) -> Option<String> {
    if number.is_i64() || number.is_u64() {
        return Some(number.to_string());
    }
    let float = number.as_f64().filter(|float| float.abs() < EXACT_FLOAT_MAX)?;
    // Rust prints a float in full, never with an exponent; adding zero turns -0 into 0.
    Some((float + 0.0).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> AttributePath {
        text.parse().unwrap()
    }

    #[test]
    fn a_number_is_its_canonical_decimal_text() {
        let id = |value: Value| canonical_id(&value).map(Cow::into_owned);
        assert_eq!(id(json!(42)).as_deref(), Some("42"));
        assert_eq!(id(json!(42.0)).as_deref(), Some("42"));
        assert_eq!(id(json!("42")).as_deref(), Some("42"));
        assert_eq!(id(json!(-0.0)).as_deref(), Some("0"));
        assert_eq!(id(json!(1.5)).as_deref(), Some("1.5"));
        assert_eq!(id(json!(1e15)).as_deref(), Some("1000000000000000"));
        assert_eq!(id(json!(u64::MAX)).as_deref(), Some("18446744073709551615"));
        for inexact in [json!(1e16), json!(1e300), json!(true), json!(null), json!([1]), json!({})] {
            assert_eq!(id(inexact.clone()), None, "{inexact}");
        }
    }

    #[test]
    fn an_empty_targeting_key_is_none() {
        for value in [json!({}), json!(null), json!({"targetingKey": null}), json!({"targetingKey": ""})] {
            assert_eq!(Context::from_json(value).unwrap().targeting_key(), None);
        }
        assert_eq!(Context::from_json(json!({"targetingKey": 7})).unwrap().targeting_key(), Some("7"));
        for value in [json!([]), json!("x"), json!({"targetingKey": []}), json!({"targetingKey": true})] {
            assert!(Context::from_json(value).is_err());
        }
    }

    #[test]
    fn paths_lead_into_objects_unless_a_name_has_the_dot_itself() {
        let context =
            Context::from_json(json!({"account": {"plan": "pro", "none": null}, "a.b": 1, "a": {"b": 2}, "s": "x"}));
        let context = context.unwrap();
        assert_eq!(context.find(&path("account.plan")), Some(&json!("pro")));
        assert_eq!(context.find(&path("a.b")), Some(&json!(1)));
        for nothing in ["account.none", "account.plan.x", "account.missing", "missing.plan", "s.x", "missing"] {
            assert_eq!(context.find(&path(nothing)), None, "{nothing}");
        }
    }
}
