//! Whom an evaluation is about: a context as JSON that is the same for equal contexts, whatever the order of their keys.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

/// Whom or what a flag is evaluated for: an object with `targetingKey`, which rollouts divide by, and any attributes.
///
/// A text or number stands for an object with that `targetingKey` alone, so most calls just pass the user's id. A context that is asked
/// about more than once can be made once and passed by reference.
///
/// ```
/// use changeover_client::Context;
///
/// let context = Context::new("42").with("plan", "pro").with("seats", 5);
/// assert_eq!(context, serde_json::json!({"targetingKey": "42", "seats": 5, "plan": "pro"}).into());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its JSON, or why it has none.
    identity: Result<Arc<str>, Arc<str>>,
}

impl Context {
    /// The context of a user or whatever rollouts divide by.
    pub fn new(targeting_key: impl Into<String>) -> Self {
        targeting_key.into().into()
    }

    /// The same with one attribute more.
    #[must_use]
    pub fn with(self, attribute: impl Into<String>, value: impl Into<Value>) -> Self {
        let Ok(identity) = &self.identity else { return self };
        let mut attributes: Map<String, Value> = serde_json::from_str(identity).unwrap_or_default();
        attributes.insert(attribute.into(), value.into());
        attributes.into()
    }

    /// The context that a value of yours is as JSON, such as a struct with `#[derive(Serialize)]`. What is no object gives the
    /// error code `INVALID_CONTEXT` when it is asked about.
    pub fn of(value: &impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => value.into(),
            Err(error) => Self { identity: Err(format!("the context is not JSON: {error}").into()) },
        }
    }

    /// Its JSON, with sorted keys.
    pub(crate) fn identity(&self) -> Result<&Arc<str>, &str> {
        self.identity.as_ref().map_err(AsRef::as_ref)
    }

    fn key(encoded: &str) -> Self {
        Self { identity: Ok([r#"{"targetingKey":"#, encoded, "}"].concat().into()) }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self { identity: Ok("{}".into()) }
    }
}

impl From<&Context> for Context {
    fn from(context: &Context) -> Self {
        context.clone()
    }
}

impl From<()> for Context {
    /// Nobody in particular.
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<&str> for Context {
    fn from(targeting_key: &str) -> Self {
        let is_plain = targeting_key.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        if is_plain {
            return Self { identity: Ok([r#"{"targetingKey":""#, targeting_key, "\"}"].concat().into()) };
        }
        Self::key(&Value::from(targeting_key).to_string())
    }
}

impl From<String> for Context {
    fn from(targeting_key: String) -> Self {
        targeting_key.as_str().into()
    }
}

impl From<&String> for Context {
    fn from(targeting_key: &String) -> Self {
        targeting_key.as_str().into()
    }
}

macro_rules! from_numbers {
    ($($number:ty),*) => {$(
        impl From<$number> for Context {
            fn from(targeting_key: $number) -> Self {
                Self::key(&targeting_key.to_string())
            }
        }
    )*};
}
from_numbers!(u32, u64, i32, i64);

impl From<Map<String, Value>> for Context {
    fn from(attributes: Map<String, Value>) -> Self {
        let mut text = String::with_capacity(64);
        write_object(&attributes, &mut text);
        Self { identity: Ok(text.into()) }
    }
}

impl From<Value> for Context {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::default(),
            Value::String(key) => key.into(),
            Value::Number(key) if !key.is_f64() => Self::key(&key.to_string()),
            Value::Object(attributes) => attributes.into(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                let what = "a context is an object, a text or a whole number";
                Self { identity: Err(format!("{what}, not {value}").into()) }
            }
        }
    }
}

impl From<&Value> for Context {
    fn from(value: &Value) -> Self {
        match value {
            Value::Object(attributes) => {
                let mut text = String::with_capacity(64);
                write_object(attributes, &mut text);
                Self { identity: Ok(text.into()) }
            }
            other => other.clone().into(),
        }
    }
}

impl<K: Into<String>> FromIterator<(K, Value)> for Context {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(attributes: I) -> Self {
        attributes.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map<_, _>>().into()
    }
}

// Written here, because whether `Map` sorts its keys is another crate's choice (serde_json's feature `preserve_order`).
fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(entries) => write_object(entries, text),
        Value::Array(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn write_object(entries: &Map<String, Value>, text: &mut String) {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    text.push('{');
    for (number, (name, value)) in sorted.into_iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        write_value(value, text);
    }
    text.push('}');
}
