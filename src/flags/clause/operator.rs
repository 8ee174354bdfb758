//! The operators that a clause may use. An operator that is not here is refused when a flag is written, so that no old server
//! ever passes over a condition that it does not know.

use std::cmp::Ordering;
use std::fmt;

/// What a clause asks of an attribute's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    Equals,
    In,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    LessThan,
    AtMost,
    MoreThan,
    AtLeast,
    Before,
    After,
    SemverEquals,
    SemverLessThan,
    SemverAtMost,
    SemverMoreThan,
    SemverAtLeast,
    InCidr,
    Exists,
}

/// How many comparands an operator takes, and in which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// `value`.
    One,
    /// `values`: any of them.
    Many,
    /// `value`, or `values`.
    Either,
    Nothing,
}

/// How a value stands to a comparand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::More => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

impl Operator {
    pub const ALL: [Self; 19] = [
        Self::Equals,
        Self::In,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Matches,
        Self::LessThan,
        Self::AtMost,
        Self::MoreThan,
        Self::AtLeast,
        Self::Before,
        Self::After,
        Self::SemverEquals,
        Self::SemverLessThan,
        Self::SemverAtMost,
        Self::SemverMoreThan,
        Self::SemverAtLeast,
        Self::InCidr,
        Self::Exists,
    ];

    /// As it is written in a flag.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equals => "equals",
            Self::In => "in",
            Self::Contains => "contains",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::Matches => "matches",
            Self::LessThan => "less_than",
            Self::AtMost => "at_most",
            Self::MoreThan => "more_than",
            Self::AtLeast => "at_least",
            Self::Before => "before",
            Self::After => "after",
            Self::SemverEquals => "semver_equals",
            Self::SemverLessThan => "semver_less_than",
            Self::SemverAtMost => "semver_at_most",
            Self::SemverMoreThan => "semver_more_than",
            Self::SemverAtLeast => "semver_at_least",
            Self::InCidr => "in_cidr",
            Self::Exists => "exists",
        }
    }

    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == text)
    }

    pub(super) fn takes(self) -> Takes {
        match self {
            Self::In => Takes::Many,
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Matches | Self::InCidr => Takes::Either,
            Self::Exists => Takes::Nothing,
            Self::Equals
            | Self::LessThan
            | Self::AtMost
            | Self::MoreThan
            | Self::AtLeast
            | Self::Before
            | Self::After
            | Self::SemverEquals
            | Self::SemverLessThan
            | Self::SemverAtMost
            | Self::SemverMoreThan
            | Self::SemverAtLeast => Takes::One,
        }
    }

    /// Whether `ignore_case` means anything to it.
    pub(super) fn reads_texts(self) -> bool {
        matches!(self, Self::Equals | Self::In | Self::Contains | Self::StartsWith | Self::EndsWith | Self::Matches)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
