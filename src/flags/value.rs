//! The types of variants, and their values.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The type that every variant of a flag has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlagType {
    Boolean,
    String,
    Integer,
    Float,
    Object,
}

impl FlagType {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Object => "object",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::String => "a text in quotes",
            Self::Integer => "a whole number without a fraction, of 64 bits",
            Self::Float => "a number",
            Self::Object => "a JSON object",
        }
    }
}

impl fmt::Display for FlagType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A variant's value. It serializes as plain JSON: an integer without a fraction, a float always with one (`10.0`),
/// because some clients tell the two apart by that alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum VariantValue {
    Boolean(bool),
    String(String),
    Integer(i64),
    Float(f64),
    Object(Map<String, Value>),
}

/// A value that is not of its flag's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {found}, but the flag's type is {kind}: write {}", .kind.example())]
pub struct WrongType {
    found: &'static str,
    kind: FlagType,
}

impl VariantValue {
    /// Reads a JSON value as the type asked for; nothing is converted but a whole number that a float flag may have.
    pub fn typed(kind: FlagType, value: Value) -> Result<Self, WrongType> {
        let found = describe(&value);
        let typed = match (kind, value) {
            (FlagType::Boolean, Value::Bool(value)) => Some(Self::Boolean(value)),
            (FlagType::String, Value::String(value)) => Some(Self::String(value)),
            (FlagType::Integer, Value::Number(value)) => value.as_i64().map(Self::Integer),
            (FlagType::Float, Value::Number(value)) => {
                value.as_f64().filter(|value| value.is_finite()).map(Self::Float)
            }
            (FlagType::Object, Value::Object(value)) => Some(Self::Object(value)),
            _ => None,
        };
        typed.ok_or(WrongType { found, kind })
    }

    #[must_use]
    pub fn kind(&self) -> FlagType {
        match self {
            Self::Boolean(_) => FlagType::Boolean,
            Self::String(_) => FlagType::String,
            Self::Integer(_) => FlagType::Integer,
            Self::Float(_) => FlagType::Float,
            Self::Object(_) => FlagType::Object,
        }
    }

    /// The value as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Boolean(value) => Value::Bool(*value),
            Self::String(value) => Value::String(value.clone()),
            Self::Integer(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Object(value) => Value::Object(value.clone()),
        }
    }
}

/// A JSON value's kind, for messages.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction or of more than 64 bits",
        Value::Number(number) if number.as_i64().is_none() => "a whole number of more than 63 bits",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(kind: FlagType, value: Value) -> String {
        serde_json::to_string(&VariantValue::typed(kind, value).unwrap()).unwrap()
    }

    #[test]
    fn integers_print_without_a_fraction_and_floats_with_one() {
        assert_eq!(text(FlagType::Integer, json!(10)), "10");
        assert_eq!(text(FlagType::Float, json!(10)), "10.0");
        assert_eq!(text(FlagType::Float, json!(10.0)), "10.0");
        assert_eq!(text(FlagType::Float, json!(0.25)), "0.25");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for (kind, value) in [
            (FlagType::Boolean, json!("true")),
            (FlagType::String, json!(1)),
            (FlagType::Integer, json!(1.0)),
            (FlagType::Integer, json!(u64::MAX)),
            (FlagType::Float, json!("1.0")),
            (FlagType::Object, json!([1])),
            (FlagType::Object, Value::Null),
        ] {
            assert!(VariantValue::typed(kind, value.clone()).is_err(), "{kind} {value}");
        }
    }

    #[test]
    fn a_value_goes_through_json_unchanged() {
        for (kind, value) in [(FlagType::Float, json!(10)), (FlagType::Object, json!({"a": null, "b": [1.0, 1]}))] {
            let typed = VariantValue::typed(kind, value).unwrap();
            assert_eq!(VariantValue::typed(kind, typed.to_json()).unwrap(), typed);
        }
    }
}
