//! Maintenance of the application behind a change: everybody is kept out, but for those who may pass.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::primitives::Instant;

/// How long visitors are told to wait.
const RETRY_AFTER_S: RangeInclusive<u32> = 1..=86_400;
const MESSAGE_MAX: usize = 500;

/// Since when, and what visitors are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    pub since: Instant,
    pub by: String,
    pub reason: String,
    /// What `Retry-After` says.
    #[serde(rename = "retry_after_seconds")]
    pub retry_after_s: u32,
    /// What visitors read. Empty: that we are back soon.
    pub message: String,
}

/// Why maintenance cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMaintenance {
    #[error("`retry_after_seconds` is 1 to 86400; it is {0}")]
    RetryAfter(u32),
    #[error("`message` is at most {MESSAGE_MAX} characters, none of them a control character")]
    Message,
}

impl Maintenance {
    /// The same, if visitors can be told so.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn checked(mut self) -> Result<Self, InvalidMaintenance> {
        if !RETRY_AFTER_S.contains(&self.retry_after_s) {
            return Err(InvalidMaintenance::RetryAfter(self.retry_after_s));
        }
        self.message = self.message.trim().to_owned();
        if self.message.chars().count() > MESSAGE_MAX || self.message.chars().any(char::is_control) {
            return Err(InvalidMaintenance::Message);
        }
        Ok(self)
    }
}
