//! What a check is: an id, how binding its rule is, the rule, and a function that asks a server. How it may end.

use std::fmt;

use serde::Serialize;

use super::client::Session;

/// How binding a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The protocol says so, or every provider breaks without it.
    Must,
    /// Some provider in use breaks without it, or users are worse off.
    Should,
    /// Good to have.
    May,
}

impl Level {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rule, and how a server is asked whether it keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    pub id: &'static str,
    pub level: Level,
    pub rule: &'static str,
    pub(super) run: fn(&Session) -> Finding,
}

impl Check {
    pub(super) const fn must(id: &'static str, rule: &'static str, run: fn(&Session) -> Finding) -> Self {
        Self { id, level: Level::Must, rule, run }
    }

    pub(super) const fn should(id: &'static str, rule: &'static str, run: fn(&Session) -> Finding) -> Self {
        Self { id, level: Level::Should, rule, run }
    }

    pub(super) const fn may(id: &'static str, rule: &'static str, run: fn(&Session) -> Finding) -> Self {
        Self { id, level: Level::May, rule, run }
    }
}

/// What asking found.
pub(super) type Finding = Result<(), Unmet>;

/// Why a check is not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unmet {
    Wrong {
        asked: String,
        came: String,
    },
    /// The server does not have what the rule is about, and need not.
    NotOffered(String),
}

impl Unmet {
    /// What came, in words.
    pub fn came(self) -> String {
        match self {
            Self::Wrong { came, .. } => came,
            Self::NotOffered(why) => why,
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Failed { asked: String, came: String },
    NotOffered { why: String },
}

/// A check that has been run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub id: &'static str,
    pub level: Level,
    pub rule: &'static str,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// All checks of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub url: String,
    pub checks: Vec<Outcome>,
}

impl Report {
    /// Failed checks of a level, or of one that is more binding.
    pub fn failed(&self, level: Level) -> impl Iterator<Item = &Outcome> {
        let is_failed =
            move |outcome: &&Outcome| outcome.level <= level && matches!(outcome.verdict, Verdict::Failed { .. });
        self.checks.iter().filter(is_failed)
    }

    #[must_use]
    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|outcome| outcome.verdict == Verdict::Passed).count()
    }

    #[must_use]
    pub fn not_offered(&self) -> usize {
        self.checks.iter().filter(|outcome| matches!(outcome.verdict, Verdict::NotOffered { .. })).count()
    }
}
