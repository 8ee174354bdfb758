//! A flag that has been validated: every variant that it names exists, every value is of its type. `validate` makes one.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::clause::Clause;
use super::draft::FlagDraft;
use super::mistake::{FlagMistake, InvalidFlag};
use super::percent::InvalidPercent;
use super::rollout::{Rollout, RolloutError};
use super::value::{FlagType, VariantValue};
use crate::primitives::{ChangeName, CohortName, FlagKey, Instant, VariantName};

/// A flag. Its JSON is that of [`FlagDraft`], with every default written out: what the API answers and the store keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FlagDraft", into = "FlagDraft")]
pub struct Flag {
    pub(super) key: FlagKey,
    pub(super) kind: FlagType,
    pub(super) description: String,
    pub(super) enabled: bool,
    pub(super) variants: Vec<Variant>,
    pub(super) default_variant: VariantName,
    pub(super) off_variant: VariantName,
    pub(super) prerequisites: Vec<Prerequisite>,
    pub(super) rules: Vec<Rule>,
    pub(super) change: Option<ChangeName>,
    pub(super) expires: Option<Date>,
    pub(super) protection: Protection,
}

/// A named value of the flag's type.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub name: VariantName,
    pub value: VariantValue,
}

/// Another flag that must serve one of these variants to the same context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prerequisite {
    pub flag: FlagKey,
    /// At least one. Whether the other flag has them is known where all flags are.
    pub variants: Vec<VariantName>,
}

/// What a write of a flag must satisfy; by default nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Protection {
    pub reason_required: bool,
    pub two_person: bool,
    /// More than 0, at most 100.
    pub percent_per_hour: Option<f64>,
    /// How many subjects there are; at least one.
    pub population: Option<u64>,
}

/// Serves if the subject is in its cohort (if it has one), not in the other (if it has one), and all its clauses match.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub description: String,
    pub cohort: Option<CohortName>,
    pub except_cohort: Option<CohortName>,
    pub clauses: Vec<Clause>,
    pub serve: Serve,
}

/// What a rule serves.
#[derive(Debug, Clone, PartialEq)]
pub enum Serve {
    Variant(VariantName),
    Rollout(Rollout),
    /// At least one step, in the order of time. Before the first one the rule does not match.
    Schedule(Vec<ScheduleStep>),
}

/// From this instant on the rule serves this variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleStep {
    pub from: Instant,
    pub variant: VariantName,
}

/// A rollout can't be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    #[error("`{flag}` has {rules} rules, and none with the index {rule}: the first one has the index 0")]
    NoSuchRule { flag: FlagKey, rule: usize, rules: usize },
    #[error("rules[{rule}] of `{flag}` serves one variant to everybody whom it matches: give it a rollout first")]
    NotARollout { flag: FlagKey, rule: usize },
    #[error("`{flag}` has no rollout, or several: say which rule is meant; the first one has the index 0")]
    WhichRule { flag: FlagKey },
    #[error("rules[{rule}] of `{flag}` matches everybody, so a rule below it would never be asked: change that rule")]
    NeverReached { flag: FlagKey, rule: usize },
    #[error(transparent)]
    Percent(#[from] InvalidPercent),
    #[error("`{flag}` has no variant `{variant}`")]
    NoSuchVariant { flag: FlagKey, variant: VariantName },
    #[error(transparent)]
    Rollout(#[from] RolloutError),
}

impl Flag {
    /// Reads and validates a flag's JSON; the error lists everything that is wrong, each with its place.
    pub fn parse(json: &str) -> Result<Self, InvalidFlag> {
        let draft: FlagDraft = serde_json::from_str(json).map_err(|error| {
            let mistake = FlagMistake { at: String::new(), what: error.to_string() };
            InvalidFlag { mistakes: vec![mistake] }
        })?;
        Self::try_from(draft)
    }

    /// The flag as it is written, for editing.
    #[must_use]
    pub fn to_draft(&self) -> FlagDraft {
        self.clone().into()
    }

    #[must_use]
    pub fn key(&self) -> &FlagKey {
        &self.key
    }

    #[must_use]
    pub fn kind(&self) -> FlagType {
        self.kind
    }

    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// False: the kill switch is thrown, everybody gets the off variant.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    #[must_use]
    pub fn find_variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name.as_str() == name)
    }

    #[must_use]
    pub fn default_variant(&self) -> &VariantName {
        &self.default_variant
    }

    #[must_use]
    pub fn off_variant(&self) -> &VariantName {
        &self.off_variant
    }

    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The change that this flag routes.
    #[must_use]
    pub fn change(&self) -> Option<&ChangeName> {
        self.change.as_ref()
    }

    #[must_use]
    pub fn prerequisites(&self) -> &[Prerequisite] {
        &self.prerequisites
    }

    /// The last day on which the flag is not stale.
    #[must_use]
    pub fn expires(&self) -> Option<Date> {
        self.expires
    }

    #[must_use]
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// The cohorts that its rules name, for or against, each once for each time that a rule does.
    pub fn cohorts(&self) -> impl Iterator<Item = &CohortName> {
        self.rules.iter().flat_map(|rule| rule.cohort.iter().chain(&rule.except_cohort))
    }

    /// The same flag with the kill switch thrown (`false`) or released (`true`).
    #[must_use]
    pub fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// The same flag with `variant` owning `share` buckets (1,000 are one per cent) of a rule's rollout. What it lacks comes
    /// from `donor`, what is too much goes back there (default: the default variant); nobody else moves.
    pub fn with_share(
        mut self,
        rule: usize,
        variant: &VariantName,
        share: u32,
        donor: Option<&VariantName>,
    ) -> Result<Self, ShareError> {
        let flag = self.key.clone();
        let donor = donor.unwrap_or(&self.default_variant);
        for name in [variant, donor] {
            if self.find_variant(name.as_str()).is_none() {
                return Err(ShareError::NoSuchVariant { flag, variant: name.clone() });
            }
        }
        let rules = self.rules.len();
        match self.rules.get_mut(rule).map(|rule| &mut rule.serve) {
            Some(Serve::Rollout(rollout)) => *rollout = rollout.with_share(variant, share, donor)?,
            Some(Serve::Variant(_) | Serve::Schedule(_)) => return Err(ShareError::NotARollout { flag, rule }),
            None => return Err(ShareError::NoSuchRule { flag, rule, rules }),
        }
        Ok(self)
    }
}
