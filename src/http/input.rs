//! What requests carry besides their body, and the limits on it. Everything that a client sends is checked here or by the type
//! that it becomes, before a database sees it.

use actix_web::web::{JsonConfig, PathConfig, PayloadConfig, QueryConfig};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use super::problem::{Code, Problem};
use crate::store::PageRequest;

/// The largest JSON body, in bytes.
pub const JSON_BYTES_MAX: usize = 1 << 20;
/// The largest upload of cohort ids, in bytes and unpacked: ten million UUIDs, with a hundred bytes of other columns. None of it is held in
/// memory.
pub const UPLOAD_BYTES_MAX: usize = 1400 << 20;

/// The largest body that is held in memory as a whole, in bytes: the subjects of a preview, over a million of them.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// A short text that a person writes: trimmed, no control characters, at most 500 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShortText(String);

impl ShortText {
    const LENGTH_MAX: usize = 500;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.chars().count() > Self::LENGTH_MAX {
            return Err(format!("a text is longer than {} characters", Self::LENGTH_MAX));
        }
        if text.chars().any(char::is_control) {
            return Err(String::from("a text has a control character in it"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for ShortText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Which page of a list.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<ShortText>,
    /// At most this many items; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

impl PageQuery {
    #[must_use]
    pub fn request(self) -> PageRequest {
        PageRequest { after: self.after.map(|after| after.0), limit: self.limit }
    }
}

/// Why a write is made.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReasonQuery {
    /// Why, for the history and the audit log.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    reason: ShortText,
}

impl ReasonQuery {
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.reason.as_str()
    }
}

/// Why a flag is written, and whether its limits are set aside.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// Why, for the history and the audit log.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub reason: ShortText,
    /// Sets aside how many subjects may move in an hour, and the ban on weakening a protection; it takes a reason.
    #[serde(default, rename = "override")]
    #[param(rename = "override")]
    pub overriding: bool,
}

impl WriteQuery {
    /// As [`super::api::proposals::write`] takes it.
    #[must_use]
    pub fn asked(self) -> (bool, ShortText) {
        (self.overriding, self.reason)
    }
}

/// Whether a flag's limits are set aside, where the reason stands in the body.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OverrideQuery {
    /// Sets aside how many subjects may move in an hour, and the ban on weakening a protection; it takes a reason.
    #[serde(default, rename = "override")]
    #[param(rename = "override")]
    pub overriding: bool,
}

/// How bodies that are not what they should be are answered.
#[must_use]
pub fn json_config() -> JsonConfig {
    use actix_web::error::JsonPayloadError as Error;
    JsonConfig::default().limit(JSON_BYTES_MAX).error_handler(|error, _| {
        match &error {
            Error::ContentType => {
                Problem::new(Code::UnsupportedMediaType, "Send JSON, with `Content-Type: application/json`.")
            }
            Error::OverflowKnownLength { .. } | Error::Overflow { .. } => {
                Problem::new(Code::TooLarge, format!("A JSON body may have {JSON_BYTES_MAX} bytes."))
            }
            _ => Problem::new(Code::InvalidJson, said(&error)),
        }
        .into()
    })
}

/// The error without the framework's own introduction to it.
fn said(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let what = text.split_once("deserialize error: ").map_or(text.as_str(), |(_, what)| what);
    format!("{}.", what.chars().take(500).collect::<String>())
}

#[must_use]
pub fn path_config() -> PathConfig {
    PathConfig::default().error_handler(|error, _| Problem::new(Code::InvalidPath, said(&error)).into())
}

#[must_use]
pub fn query_config() -> QueryConfig {
    QueryConfig::default().error_handler(|error, _| Problem::new(Code::InvalidQuery, said(&error)).into())
}

#[must_use]
pub fn payload_config() -> PayloadConfig {
    PayloadConfig::default().limit(BODY_BYTES_MAX)
}
