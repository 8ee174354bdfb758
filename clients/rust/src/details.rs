//! What comes out of an evaluation. No I/O.

use std::fmt;

use serde_json::{Map, Value};

/// A value and how it came about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Details<T> {
    /// The flag's value, or the default that the caller gave.
    pub value: T,
    /// The variant that was served; none if it is the caller's default.
    pub variant: Option<String>,
    /// Why it is this value.
    pub reason: Reason,
    /// What went wrong, in OpenFeature's words; none if nothing did.
    pub error_code: Option<ErrorCode>,
    /// The same as a sentence.
    pub error_message: Option<String>,
    /// What the server says besides, such as `rule` and `bucket`.
    pub metadata: Map<String, Value>,
}

/// Why a flag has its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It has one value for everybody.
    Static,
    /// No rule was met.
    Default,
    /// A rule was met.
    TargetingMatch,
    /// A rollout divides.
    Split,
    /// The flag is off.
    Disabled,
    /// The last known value: the server cannot be asked.
    Stale,
    /// Something went wrong, and the value is the caller's default.
    Error,
    /// The server did not say.
    Unknown,
    /// One that this crate does not know.
    Other(String),
}

impl Reason {
    fn of(text: Option<&str>) -> Self {
        match text {
            Some("STATIC") => Self::Static,
            Some("DEFAULT") => Self::Default,
            Some("TARGETING_MATCH") => Self::TargetingMatch,
            Some("SPLIT") => Self::Split,
            Some("DISABLED") => Self::Disabled,
            Some("STALE") => Self::Stale,
            Some("ERROR") => Self::Error,
            Some("UNKNOWN") | None => Self::Unknown,
            Some(other) => Self::Other(other.to_owned()),
        }
    }

    /// As OpenFeature writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Stale => "STALE",
            Self::Error => "ERROR",
            Self::Unknown => "UNKNOWN",
            Self::Other(other) => other,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What went wrong in an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// There is no such flag.
    FlagNotFound,
    /// The server could not read the flag or the request.
    ParseError,
    /// A rollout divides by `targetingKey`, and there is none.
    TargetingKeyMissing,
    /// The context is none.
    InvalidContext,
    /// The flag's value is of another type than the one asked for.
    TypeMismatch,
    /// Nothing is known, and the server does not answer.
    ProviderNotReady,
    /// Anything else.
    General,
}

impl ErrorCode {
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "FLAG_NOT_FOUND" => Self::FlagNotFound,
            "PARSE_ERROR" => Self::ParseError,
            "TARGETING_KEY_MISSING" => Self::TargetingKeyMissing,
            "INVALID_CONTEXT" => Self::InvalidContext,
            "TYPE_MISMATCH" => Self::TypeMismatch,
            "PROVIDER_NOT_READY" => Self::ProviderNotReady,
            _ => Self::General,
        }
    }

    /// As OpenFeature writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::ParseError => "PARSE_ERROR",
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
            Self::InvalidContext => "INVALID_CONTEXT",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::ProviderNotReady => "PROVIDER_NOT_READY",
            Self::General => "GENERAL",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The types that a flag's value may have: `bool`, `String`, `i64`, `f64`, and `serde_json::Map<String, Value>` for an object.
pub trait FlagValue: sealed::Sealed + Clone + Send + 'static {
    /// Its name in messages.
    #[doc(hidden)]
    const KIND: &'static str;
    /// The value, if it is of this type.
    #[doc(hidden)]
    fn of(value: &Value) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for bool {}
    impl Sealed for String {}
    impl Sealed for i64 {}
    impl Sealed for f64 {}
    impl Sealed for serde_json::Map<String, serde_json::Value> {}
}

impl FlagValue for bool {
    const KIND: &'static str = "boolean";

    fn of(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FlagValue for String {
    const KIND: &'static str = "string";

    fn of(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FlagValue for i64 {
    const KIND: &'static str = "integer";

    fn of(value: &Value) -> Option<Self> {
        value.as_i64().or_else(|| {
            let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
            format!("{number:.0}").parse().ok()
        })
    }
}

impl FlagValue for f64 {
    const KIND: &'static str = "float";

    fn of(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl FlagValue for Map<String, Value> {
    const KIND: &'static str = "object";

    fn of(value: &Value) -> Option<Self> {
        value.as_object().cloned()
    }
}

/// What is made of an evaluation: the value alone, or its details.
pub(crate) trait Outcome<T> {
    /// What an item of an OFREP answer says; there may be none.
    fn served(item: Option<&Value>, key: &str, default: T, is_stale: bool) -> Self;
    fn failed(default: T, code: ErrorCode, message: &str) -> Self;
}

/// The value alone: nothing else is copied.
pub(crate) struct Plain<T>(pub(crate) T);

impl<T: FlagValue> Outcome<T> for Plain<T> {
    fn served(item: Option<&Value>, _: &str, default: T, _: bool) -> Self {
        let item = item.filter(|item| item.get("errorCode").is_none_or(Value::is_null));
        Self(item.and_then(|item| T::of(item.get("value")?)).unwrap_or(default))
    }

    fn failed(default: T, _: ErrorCode, _: &str) -> Self {
        Self(default)
    }
}

impl<T: FlagValue> Outcome<T> for Details<T> {
    fn served(item: Option<&Value>, key: &str, default: T, is_stale: bool) -> Self {
        let Some(item) = item.and_then(Value::as_object) else {
            return Self::failed(default, ErrorCode::FlagNotFound, &format!("there is no flag {key:?}"));
        };
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        if let Some(code) = item.get("errorCode").filter(|code| !code.is_null()) {
            let code = code.as_str().unwrap_or_default();
            return Self::failed(
                default,
                ErrorCode::of(code),
                text("errorDetails").filter(|why| !why.is_empty()).unwrap_or(code),
            );
        }
        let value = match item.get("value") {
            None => default,
            Some(value) => match T::of(value) {
                Some(value) => value,
                None => {
                    let shown: String = value.to_string().chars().take(80).collect();
                    let message = format!("flag {key:?} has the value {shown}, which is no {}", T::KIND);
                    return Self::failed(default, ErrorCode::TypeMismatch, &message);
                }
            },
        };
        Self {
            value,
            variant: text("variant").map(str::to_owned),
            reason: if is_stale { Reason::Stale } else { Reason::of(text("reason")) },
            error_code: None,
            error_message: None,
            metadata: item.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default(),
        }
    }

    fn failed(default: T, code: ErrorCode, message: &str) -> Self {
        Self {
            value: default,
            variant: None,
            reason: Reason::Error,
            error_code: Some(code),
            error_message: Some(message.to_owned()),
            metadata: Map::new(),
        }
    }
}
