//! The stages of a change and the moves between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far a change has been phased in. It moves one step at a time, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Off,
    DualWrite,
    Shadow,
    Live,
    RampDown,
    Complete,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 6] = [Self::Off, Self::DualWrite, Self::Shadow, Self::Live, Self::RampDown, Self::Complete];

    /// The stage after this one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Off => Some(Self::DualWrite),
            Self::DualWrite => Some(Self::Shadow),
            Self::Shadow => Some(Self::Live),
            Self::Live => Some(Self::RampDown),
            Self::RampDown => Some(Self::Complete),
            Self::Complete => None,
        }
    }

    /// The stage before this one. From `complete` there is no way back: the triggers are gone.
    #[must_use]
    pub fn back(self) -> Option<Self> {
        match self {
            Self::Off | Self::Complete => None,
            Self::DualWrite => Some(Self::Off),
            Self::Shadow => Some(Self::DualWrite),
            Self::Live => Some(Self::Shadow),
            Self::RampDown => Some(Self::Live),
        }
    }

    /// The stages that a move may lead to: the next one, the one before, and from `rampdown` also `shadow`, in one move.
    #[must_use]
    pub fn moves(self) -> Vec<Self> {
        let further = (self == Self::RampDown).then_some(Self::Shadow);
        [further, self.back(), self.next()].into_iter().flatten().collect()
    }

    /// True while writes to the old model are translated to the new one.
    #[must_use]
    pub fn translates_forward(self) -> bool {
        matches!(self, Self::DualWrite | Self::Shadow | Self::Live | Self::RampDown)
    }

    /// True while writes to the new model are translated to the old one.
    #[must_use]
    pub fn translates_backward(self) -> bool {
        matches!(self, Self::Live | Self::RampDown)
    }

    /// True while groups may be assigned to the new side.
    #[must_use]
    pub fn routes_to_new(self) -> bool {
        matches!(self, Self::Live | Self::RampDown | Self::Complete)
    }

    /// True once every group is to be on the new side, whatever the flag says.
    #[must_use]
    pub fn is_everybody_new(self) -> bool {
        matches!(self, Self::RampDown | Self::Complete)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::DualWrite => "dualwrite",
            Self::Shadow => "shadow",
            Self::Live => "live",
            Self::RampDown => "rampdown",
            Self::Complete => "complete",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a stage: write off, dualwrite, shadow, live, rampdown or complete")]
pub struct UnknownStage(String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| UnknownStage(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_can_be_taken_back_until_the_change_is_complete() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse::<Stage>().unwrap(), stage);
            if let Some(next) = stage.next()
                && next != Stage::Complete
            {
                assert_eq!(next.back(), Some(stage));
            }
        }
        assert_eq!(Stage::RampDown.moves(), [Stage::Shadow, Stage::Live, Stage::Complete]);
        assert!(Stage::Complete.moves().is_empty());
    }
}
