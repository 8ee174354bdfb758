//! A side, and the id of a group.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::RoutingError;

/// By which model a group's charges are allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Old,
    New,
}

impl Side {
    /// As it is stored, and the name of the flag's variant.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Side {
    type Err = RoutingError;

    fn from_str(text: &str) -> Result<Self, RoutingError> {
        match text {
            "old" => Ok(Self::Old),
            "new" => Ok(Self::New),
            other => Err(RoutingError::UnknownSide(other.chars().take(40).collect())),
        }
    }
}

/// A group's id, as the text that both databases print it as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GroupId(Box<str>);

impl GroupId {
    /// Any text of 1 to 1000 bytes without a zero byte (PostgreSQL stores none).
    pub fn new(text: &str) -> Result<Self, RoutingError> {
        if text.is_empty() || text.len() > 1000 || text.contains('\0') {
            return Err(RoutingError::InvalidGroup);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for GroupId {
    fn borrow(&self) -> &str {
        &self.0
    }
}
