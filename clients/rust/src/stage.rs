//! The stages of a migration, and what each of them calls.

use std::fmt;
use std::str::FromStr;

/// How far a migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Only the old side.
    Off,
    /// Writes reach both sides, reads are old.
    Dualwrite,
    /// Both sides are read and compared; the old result counts.
    Shadow,
    /// Both sides are read and compared; the new result counts.
    Live,
    /// Reads are new, writes still reach both sides.
    Rampdown,
    /// Only the new side.
    Complete,
}

/// The old implementation, or the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that was there before.
    Old,
    /// The one that is to take over.
    New,
}

impl Side {
    /// `old` or `new`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }

    pub(crate) fn of(text: &str) -> Option<Self> {
        match text {
            "old" => Some(Self::Old),
            "new" => Some(Self::New),
            _ => None,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Off, Self::Dualwrite, Self::Shadow, Self::Live, Self::Rampdown, Self::Complete];

    /// As a flag serves it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Dualwrite => "dualwrite",
            Self::Shadow => "shadow",
            Self::Live => "live",
            Self::Rampdown => "rampdown",
            Self::Complete => "complete",
        }
    }

    /// The side whose read counts, and whether the other one is read too.
    pub(crate) fn read(self) -> (Side, bool) {
        match self {
            Self::Off | Self::Dualwrite => (Side::Old, false),
            Self::Shadow => (Side::Old, true),
            Self::Live => (Side::New, true),
            Self::Rampdown | Self::Complete => (Side::New, false),
        }
    }

    /// The side that is written first and counts, and whether the other one is written after it.
    pub(crate) fn write(self) -> (Side, bool) {
        match self {
            Self::Off => (Side::Old, false),
            Self::Dualwrite | Self::Shadow => (Side::Old, true),
            Self::Live | Self::Rampdown => (Side::New, true),
            Self::Complete => (Side::New, false),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A text that is no stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoStage;

impl fmt::Display for NoStage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a stage is off, dualwrite, shadow, live, rampdown or complete")
    }
}

impl std::error::Error for NoStage {}

impl FromStr for Stage {
    type Err = NoStage;

    fn from_str(text: &str) -> Result<Self, NoStage> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or(NoStage)
    }
}
