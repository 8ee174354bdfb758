//! Rules of a comparison: what may differ by how much, what is left out until when, and what samples do not show.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::decimal::Decimal;

const TEXT_MAX: usize = 500;

/// What a rule does where its path leads, and below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Numbers may differ by `value`.
    Absolute,
    /// Numbers may differ by `value`, as a share of the larger.
    Relative,
    /// Arrays are equal in any order.
    AnyOrder,
    /// Texts are equal without the blanks around them.
    Trim,
    /// Texts are equal in capitals or not.
    IgnoreCase,
    /// Differences count as ignored, until the rule expires.
    Ignore,
    /// Samples show that there was a value, and not which.
    Redact,
    /// Samples show a hash: equal values have equal ones.
    Hash,
}

/// A rule as somebody writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only for this operation; not there: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// A JSON pointer into the value, `*` for any one part; empty: all of it; `error`: the errors.
    pub path: String,
    pub kind: Kind,
    /// The tolerance, as a decimal in a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Who answers for it.
    pub owner: String,
    pub reason: String,
    /// The last day on which it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
}

/// Why a rule cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    #[error("`path` is `{0}`: write a JSON pointer such as /lines/*/price, an empty text for all, or error")]
    Path(String),
    #[error("`value` is a decimal of at least 0 in quotes, such as \"0.01\"")]
    Value,
    #[error("`value` says nothing for this kind: leave it out")]
    NoValue,
    #[error("`{0}` is a text of 1 to {TEXT_MAX} characters")]
    Text(&'static str),
    #[error("a rule that ignores has to expire: say in `expires` on which day")]
    NoEnd,
    #[error("the rule has expired on {0} already")]
    Expired(Date),
}

impl Rule {
    /// The path's parts.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        self.path.split('/').skip(1).map(unescaped).collect()
    }

    /// The rule, if it may be stored.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn checked(self, today: Date) -> Result<Self, InvalidRule> {
        if !(self.path.is_empty() || self.path == "error" || self.path.starts_with('/')) || self.path.len() > TEXT_MAX {
            return Err(InvalidRule::Path(self.path.chars().take(80).collect()));
        }
        let is_tolerance = matches!(self.kind, Kind::Absolute | Kind::Relative);
        match (&self.value, is_tolerance) {
            (None, false) => {}
            (Some(_), false) => return Err(InvalidRule::NoValue),
            (value, true) => {
                let amount = value.as_deref().and_then(Decimal::parse);
                amount.filter(|amount| !amount.is_negative()).ok_or(InvalidRule::Value)?;
            }
        }
        for (name, text) in [("owner", &self.owner), ("reason", &self.reason)] {
            if text.trim().is_empty() || text.chars().count() > TEXT_MAX {
                return Err(InvalidRule::Text(name));
            }
        }
        match self.expires {
            None if self.kind == Kind::Ignore => Err(InvalidRule::NoEnd),
            Some(expires) if expires < today => Err(InvalidRule::Expired(expires)),
            _ => Ok(self),
        }
    }
}

#[derive(Debug, Clone)]
struct Prepared {
    /// `None`: the errors.
    parts: Option<Vec<String>>,
    kind: Kind,
    amount: Option<Decimal>,
}

/// The rules that count for an operation on a day.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Prepared>);

impl Rules {
    /// Those of `rules` that count.
    #[must_use]
    pub fn of<'a>(rules: impl IntoIterator<Item = &'a Rule>, operation: &str, today: Date) -> Self {
        let counts = |rule: &&Rule| {
            rule.operation.as_deref().is_none_or(|wanted| wanted == operation)
                && rule.expires.is_none_or(|expires| expires >= today)
        };
        let prepare = |rule: &Rule| Prepared {
            parts: (rule.path != "error").then(|| rule.parts()),
            kind: rule.kind,
            amount: rule.value.as_deref().and_then(Decimal::parse),
        };
        Self(rules.into_iter().filter(counts).map(prepare).collect())
    }

    /// The same without what ignores.
    pub(super) fn strict(&self) -> Self {
        Self(self.0.iter().filter(|rule| rule.kind != Kind::Ignore).cloned().collect())
    }

    /// True if a rule of this kind covers the place.
    pub(super) fn covers(&self, kind: Kind, place: &[String]) -> bool {
        self.at(kind, place).next().is_some()
    }

    pub(super) fn ignores_errors(&self) -> bool {
        self.0.iter().any(|rule| rule.kind == Kind::Ignore && rule.parts.is_none())
    }

    /// The tolerances of this kind for the place.
    pub(super) fn amounts(&self, kind: Kind, place: &[String]) -> impl Iterator<Item = &Decimal> {
        self.at(kind, place).filter_map(|rule| rule.amount.as_ref())
    }

    fn at(&self, kind: Kind, place: &[String]) -> impl Iterator<Item = &Prepared> {
        self.0.iter().filter(move |rule| {
            let Some(parts) = &rule.parts else { return false };
            let fits = |(wanted, part): (&String, &String)| wanted == "*" || wanted == part;
            rule.kind == kind && parts.len() <= place.len() && parts.iter().zip(place).all(fits)
        })
    }
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}
