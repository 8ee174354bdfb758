//! Where in a context a value is.

use std::fmt;
use std::str::FromStr;

use crate::flags::context::TARGETING_KEY;

/// Where in a context a value is: `targetingKey`, or names joined by dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttributePath(String);

/// The text is not the path of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the path of an attribute: write names joined by dots, such as account.plan")]
pub struct InvalidPath(String);

impl AttributePath {
    #[must_use]
    pub fn targeting_key() -> Self {
        Self(TARGETING_KEY.to_owned())
    }

    #[must_use]
    pub fn is_targeting_key(&self) -> bool {
        self.0 == TARGETING_KEY
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AttributePath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let good = text.len() <= 256 && text.split('.').all(|name| !name.is_empty() && name.trim() == name);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidPath(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_no_empty_names() {
        for bad in ["", ".", "a.", ".a", "a..b", " a", "a. b"] {
            assert!(bad.parse::<AttributePath>().is_err(), "{bad}");
        }
        assert!("account.plan".parse::<AttributePath>().is_ok());
    }
}
