//! JSON that keeps its numbers as they were written.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use super::decimal::Decimal;

/// How deep a value may be.
const DEPTH_MAX: usize = 32;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads a value; `None` if it is no JSON or deeper than what is compared.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_below(text.trim(), DEPTH_MAX)
    }

    fn parse_below(text: &str, depth: usize) -> Option<Self> {
        let below = depth.checked_sub(1)?;
        match text.chars().next()? {
            '{' => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
                let fields = fields.into_iter().map(|(name, raw)| Some((name, Self::parse_below(raw.get(), below)?)));
                fields.collect::<Option<_>>().map(Self::Object)
            }
            '[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let elements = elements.into_iter().map(|raw| Self::parse_below(raw.get(), below));
                elements.collect::<Option<_>>().map(Self::Array)
            }
            '"' => serde_json::from_str(text).ok().map(Self::Text),
            't' | 'f' => serde_json::from_str(text).ok().map(Self::Bool),
            'n' => Some(Self::Null),
            _ => serde_json::from_str::<&RawValue>(text).ok().map(|raw| Self::Number(raw.get().to_owned())),
        }
    }

    /// The value with what stands at these parts (`*`: any) and below replaced.
    #[must_use]
    pub fn hidden(self, parts: &[String], hide: &impl Fn(&str) -> String) -> Self {
        let Some((first, rest)) = parts.split_first() else { return Self::Text(hide(&self.to_string())) };
        let fits = |part: &str| first == "*" || first == part;
        match self {
            Self::Array(elements) => {
                let elements = elements.into_iter().enumerate();
                let hidden = elements.map(|(at, one)| if fits(&at.to_string()) { one.hidden(rest, hide) } else { one });
                Self::Array(hidden.collect())
            }
            Self::Object(fields) => {
                let hidden = fields.into_iter().map(|(name, value)| {
                    let value = if fits(&name) { value.hidden(rest, hide) } else { value };
                    (name, value)
                });
                Self::Object(hidden.collect())
            }
            other => other,
        }
    }

    /// The number, if it is one that can be compared exactly.
    #[must_use]
    pub fn number(&self) -> Option<Decimal> {
        match self {
            Self::Number(text) => Decimal::parse(text),
            _ => None,
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(yes) => write!(f, "{yes}"),
            Self::Number(number) => f.write_str(number),
            Self::Text(value) => f.write_str(&text(value)),
            Self::Array(elements) => {
                let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", elements.join(","))
            }
            Self::Object(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{}:{value}", text(name))).collect();
                write!(f, "{{{}}}", fields.join(","))
            }
        }
    }
}
