//! What can be wrong with a flag, and where in its JSON.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong with a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlagMistake {
    /// The place in the flag's JSON: `rules[0].clauses[1].operator`. Empty if the text is not JSON of a flag's shape;
    /// then `what` names line and column.
    pub at: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl fmt::Display for FlagMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.what) } else { write!(f, "{}: {}", self.at, self.what) }
    }
}

/// Everything that is wrong with a flag, in the order of its JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidFlag {
    pub mistakes: Vec<FlagMistake>,
}

impl fmt::Display for InvalidFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.mistakes.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// Collects mistakes while a draft is validated, so that all are told at once.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<FlagMistake>);

impl Mistakes {
    pub(super) fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(FlagMistake { at: at.into(), what: what.into() });
    }

    /// The value, or a mistake at `at` and nothing.
    pub(super) fn take<T, E: fmt::Display>(&mut self, at: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(at, error.to_string())).ok()
    }

    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, InvalidFlag> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(InvalidFlag { mistakes: self.0 }),
        }
    }
}
