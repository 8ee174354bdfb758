//! Names that people choose: flag keys, cohort names, change names. Parsed once, then trusted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid name, as a sentence that says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

impl InvalidName {
    fn new(what: &'static str, given: &str, rule: &'static str) -> Self {
        let given = given.chars().take(160).collect();
        Self { what, given, rule }
    }
}

fn is_plain(text: &str, length_max: usize, also: &[char]) -> bool {
    let mut characters = text.chars();
    let first_is_alphanumeric = characters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    first_is_alphanumeric
        && text.len() <= length_max
        && characters.all(|c| c.is_ascii_alphanumeric() || also.contains(&c))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Validates `text`; the error says which characters and lengths are allowed.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName::new($what, text, $rule)) }
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// The key of a flag, as it stands in OFREP paths: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, case-sensitive.
    FlagKey,
    "flag key",
    "1 to 128 letters, digits, `.`, `_` or `-`, and the first one a letter or digit",
    |text| is_plain(text, 128, &['.', '_', '-'])
);
name_type!(
    /// The name of a cohort: the same alphabet as a flag key.
    CohortName,
    "cohort name",
    "1 to 128 letters, digits, `.`, `_` or `-`, and the first one a letter or digit",
    |text| is_plain(text, 128, &['.', '_', '-'])
);
name_type!(
    /// The name of a flag's variant: the same alphabet as a flag key.
    VariantName,
    "variant name",
    "1 to 128 letters, digits, `.`, `_` or `-`, and the first one a letter or digit",
    |text| is_plain(text, 128, &['.', '_', '-'])
);
name_type!(
    /// The name of a background worker: the same alphabet as a flag key.
    WorkerName,
    "worker name",
    "1 to 128 letters, digits, `.`, `_` or `-`, and the first one a letter or digit",
    |text| is_plain(text, 128, &['.', '_', '-'])
);
name_type!(
    /// The name of a change: lower case, digits and `-`, at most 32 characters, because names of database objects are made from it
    /// and PostgreSQL cuts those at 63 bytes.
    ChangeName,
    "change name",
    "1 to 32 lower-case letters, digits or `-`, and the first one a letter",
    |text| {
        text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    }
);

impl ChangeName {
    /// The name as part of an SQL identifier: `billing-allocation` → `billing_allocation`.
    #[must_use]
    pub fn identifier(&self) -> String {
        self.0.replace('-', "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_keys_are_safe_in_a_path() {
        for good in ["a", "9", "billing-allocation", "A.b_c-d", &"x".repeat(128)] {
            assert!(FlagKey::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", "a?b", "a%2f", &"x".repeat(129)] {
            assert!(FlagKey::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_change_name_becomes_an_identifier() {
        let name = ChangeName::new("billing-allocation-2").unwrap();
        assert_eq!(name.identifier(), "billing_allocation_2");
        assert!(ChangeName::new("Billing").is_err());
        assert!(ChangeName::new("1st").is_err());
        assert!(ChangeName::new("a_b").is_err(), "`a_b` and `a-b` would share an identifier");
    }
}
