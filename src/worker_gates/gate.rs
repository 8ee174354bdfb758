//! One gate, and what it says at an instant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::primitives::Instant;

/// After how many seconds a worker asks again, if nothing happens before.
const ASK_AGAIN_S: i64 = 10;

/// How people have left a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    Run,
    /// Paused for itself: bringing all workers back leaves it paused.
    Pause,
    /// Paused with all others.
    PauseAll,
}

impl Switch {
    pub const ALL: [Self; 3] = [Self::Run, Self::Pause, Self::PauseAll];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Pause => "pause",
            Self::PauseAll => "pause_all",
        }
    }
}

/// The text is not the name of a switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not run, pause or pause_all")]
pub struct UnknownSwitch(String);

impl FromStr for Switch {
    type Err = UnknownSwitch;

    fn from_str(text: &str) -> Result<Self, UnknownSwitch> {
        let found = Self::ALL.into_iter().find(|switch| switch.as_str() == text);
        found.ok_or_else(|| UnknownSwitch(text.chars().take(40).collect()))
    }
}

/// A gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    pub settings: Settings,
    pub switch: Switch,
    /// With [`Switch::Run`]: from when on. `None`: from ever.
    pub resume_at: Option<Instant>,
}

/// What a worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Run,
    Pause,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Pause => "pause",
        })
    }
}

/// What a gate is at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// It will run, its turn has not come.
    Waiting {
        until: Instant,
    },
    Paused,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Paused => "paused",
        }
    }

    #[must_use]
    pub fn answer(self) -> Answer {
        match self {
            Self::Running => Answer::Run,
            Self::Waiting { .. } | Self::Paused => Answer::Pause,
        }
    }

    /// When it will run by itself, if it does not yet and will.
    #[must_use]
    pub fn until(self) -> Option<Instant> {
        match self {
            Self::Waiting { until } => Some(until),
            Self::Running | Self::Paused => None,
        }
    }

    /// In how many seconds a worker asks again: at the latest when its turn comes.
    #[must_use]
    pub fn ask_again_s(self, now: Instant) -> i64 {
        match self {
            Self::Running | Self::Paused => ASK_AGAIN_S,
            Self::Waiting { until } => {
                let micros = until.as_micros().saturating_sub(now.as_micros()).max(0);
                (micros.saturating_add(999_999) / 1_000_000).clamp(1, ASK_AGAIN_S)
            }
        }
    }
}

impl Gate {
    #[must_use]
    pub fn state_at(&self, now: Instant) -> State {
        match (self.switch, self.resume_at) {
            (Switch::Pause | Switch::PauseAll, _) => State::Paused,
            (Switch::Run, Some(until)) if now < until => State::Waiting { until },
            (Switch::Run, _) => State::Running,
        }
    }

    /// The gate paused, alone or with all others. One that is paused for itself stays so.
    #[must_use]
    pub fn paused(&self, with_all: bool) -> Self {
        let switch = if with_all && self.switch != Switch::Pause { Switch::PauseAll } else { Switch::Pause };
        Self { switch, resume_at: None, ..self.clone() }
    }

    /// The gate running from an instant on.
    #[must_use]
    pub fn resumed(&self, at: Instant) -> Self {
        Self { switch: Switch::Run, resume_at: Some(at), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn gate() -> Gate {
        Gate { settings: Settings::default(), switch: Switch::Run, resume_at: None }
    }

    #[test]
    fn a_gate_waits_until_its_turn_and_then_runs_without_anybodys_help() {
        let resumed = gate().paused(false).resumed(at(100));
        assert_eq!(resumed.state_at(at(99)), State::Waiting { until: at(100) });
        assert_eq!(resumed.state_at(at(100)), State::Running);
        assert_eq!(gate().state_at(at(0)), State::Running);
        assert_eq!(gate().paused(true).state_at(at(i64::from(i32::MAX))), State::Paused);
    }

    #[test]
    fn a_worker_asks_again_when_its_turn_comes() {
        let resumed = gate().resumed(at(100));
        for (now, seconds) in [(0, 10), (93, 7), (99, 1)] {
            assert_eq!(resumed.state_at(at(now)).ask_again_s(at(now)), seconds, "{now}");
        }
        let nearly = Instant::from_micros(at(100).as_micros() - 1);
        assert_eq!(resumed.state_at(nearly).ask_again_s(nearly), 1);
    }

    #[test]
    fn a_pause_of_its_own_survives_a_pause_of_all() {
        let own = gate().paused(false);
        assert_eq!(own.paused(true).switch, Switch::Pause);
        assert_eq!(gate().paused(true).switch, Switch::PauseAll);
        assert_eq!(gate().paused(true).paused(false).switch, Switch::Pause, "one may be kept back from all");
    }
}
