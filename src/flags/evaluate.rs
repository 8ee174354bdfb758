//! A flag's answer to a context. Pure, and whatever the context holds it answers: with a variant, or with a failure that has
//! a code; it never panics, and a condition that can't be told never matches.

use std::fmt;

use super::clause::{Indeterminate, Match};
use super::context::{Context, InvalidContext, canonical_id};
use super::flag::{Rule, Serve, Variant};
use super::rollout::Rollout;
use super::snapshot::{CohortCondition, CohortIndex, Snapshot, SnapshotFlag, SnapshotRule, SnapshotServe};

/// The outcome of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluation<'s> {
    Served(Served<'s>),
    Failed(Failure),
}

/// A variant, and why it was that one.
#[derive(Debug, Clone, Copy)]
pub struct Served<'s> {
    pub flag: &'s SnapshotFlag,
    pub variant: &'s Variant,
    pub why: Why,
}

impl PartialEq for Served<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.flag.flag().key(), self.flag.version(), &self.variant.name, self.why)
            == (other.flag.flag().key(), other.flag.version(), &other.variant.name, other.why)
    }
}

/// Why a variant was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The flag is not enabled.
    Disabled,
    /// The flag has no rules.
    Static,
    /// No rule matched.
    Default,
    /// This rule matched; the first one is 0.
    Rule(usize),
    /// This rule matched, and the variant owns the bucket of the context's value.
    Split { rule: usize, bucket: u32 },
    /// A change's flag: the side that is recorded for the user's group.
    Assigned,
    /// A change's flag: nobody is on the new side before the stage `live`.
    BeforeLive,
}

impl Why {
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Disabled | Self::BeforeLive => Reason::Disabled,
            Self::Static => Reason::Static,
            Self::Default => Reason::Default,
            Self::Rule(_) | Self::Assigned => Reason::TargetingMatch,
            Self::Split { .. } => Reason::Split,
        }
    }

    /// The index of the rule that matched.
    #[must_use]
    pub fn rule(self) -> Option<usize> {
        match self {
            Self::Rule(rule) | Self::Split { rule, .. } => Some(rule),
            Self::Disabled | Self::Static | Self::Default | Self::Assigned | Self::BeforeLive => None,
        }
    }
}

/// The reasons that OpenFeature has words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Static,
    Default,
    TargetingMatch,
    Split,
    Disabled,
}

impl Reason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why no variant could be served. The text is for whoever reads the error, [`Failure::code`] for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("there is no flag `{key}`")]
    FlagNotFound { key: String },
    #[error("`{flag}` asks who the subject is: send `context.targetingKey`")]
    TargetingKeyMissing { flag: String },
    #[error("the body is not a JSON object such as {{\"context\": {{\"targetingKey\": \"42\"}}}}: {0}")]
    ParseError(String),
    #[error(transparent)]
    InvalidContext(#[from] InvalidContext),
    #[error("{0}")]
    General(String),
}

impl Failure {
    /// The error code as OFREP writes it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FlagNotFound { .. } => "FLAG_NOT_FOUND",
            Self::TargetingKeyMissing { .. } => "TARGETING_KEY_MISSING",
            Self::ParseError(_) => "PARSE_ERROR",
            Self::InvalidContext(_) => "INVALID_CONTEXT",
            Self::General(_) => "GENERAL",
        }
    }
}

/// What one rule says of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It matches; the variant's place in the flag, and the bucket if it serves a rollout.
    Serves {
        variant_at: usize,
        bucket: Option<u32>,
    },
    Passes(WhyNot),
    /// All its clauses match, and it needs a targeting key that the context lacks.
    NeedsTargetingKey,
}

/// Why a rule does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNot {
    /// The clause with this index says no.
    Clause(usize),
    /// The clause with this index can't be told.
    Indeterminate(usize, Indeterminate),
    NotInCohort,
    /// The cohort does not exist.
    UnknownCohort,
    /// The attribute by which the rollout divides is missing or is not an id.
    NoBucket(Indeterminate),
}

impl Snapshot {
    /// Evaluates a flag with the snapshot's own cohorts, by the targeting key.
    #[must_use]
    pub fn evaluate(&self, key: &str, context: &Context) -> Evaluation<'_> {
        self.evaluate_with(key, context, |cohort, id| self.is_member(cohort, id))
    }

    /// Evaluates a flag; `is_member` says whether a targeting key belongs to a cohort (routing asks for groups, with cohorts
    /// of users widened to their groups).
    pub fn evaluate_with(
        &self,
        key: &str,
        context: &Context,
        is_member: impl Fn(CohortIndex, &str) -> bool,
    ) -> Evaluation<'_> {
        match self.find_flag(key) {
            Some(flag) => flag.evaluate(context, is_member),
            None => Evaluation::Failed(Failure::FlagNotFound { key: key.chars().take(160).collect() }),
        }
    }

    /// Whether `id` is in one of this snapshot's cohorts.
    #[must_use]
    pub fn is_member(&self, cohort: CohortIndex, id: &str) -> bool {
        self.cohort(cohort).is_some_and(|cohort| cohort.contains(id))
    }
}

impl SnapshotFlag {
    /// Evaluates this flag: kill switch, then rules from top to bottom, then the default variant.
    pub fn evaluate(&self, context: &Context, is_member: impl Fn(CohortIndex, &str) -> bool) -> Evaluation<'_> {
        if !self.flag().is_enabled() {
            return self.serve(self.off_at, Why::Disabled);
        }
        for (rule, outcome) in self.outcomes(context, &is_member).enumerate() {
            match outcome {
                RuleOutcome::Passes(_) => {}
                RuleOutcome::Serves { variant_at, bucket: None } => return self.serve(variant_at, Why::Rule(rule)),
                RuleOutcome::Serves { variant_at, bucket: Some(bucket) } => {
                    return self.serve(variant_at, Why::Split { rule, bucket });
                }
                RuleOutcome::NeedsTargetingKey => {
                    let flag = self.flag().key().to_string();
                    return Evaluation::Failed(Failure::TargetingKeyMissing { flag });
                }
            }
        }
        self.serve(self.default_at, if self.rules.is_empty() { Why::Static } else { Why::Default })
    }

    /// What each rule says, one after the other, computed as it is asked for.
    pub(super) fn outcomes<'f>(
        &'f self,
        context: &'f Context,
        is_member: &'f impl Fn(CohortIndex, &str) -> bool,
    ) -> impl Iterator<Item = RuleOutcome> + 'f {
        self.rules
            .iter()
            .zip(self.flag().rules())
            .map(move |(resolved, rule)| resolved.outcome(rule, context, is_member))
    }

    fn serve(&self, variant_at: usize, why: Why) -> Evaluation<'_> {
        match self.flag().variants().get(variant_at) {
            Some(variant) => Evaluation::Served(Served { flag: self, variant, why }),
            None => Evaluation::Failed(Failure::General(format!("`{}` has lost a variant", self.flag().key()))),
        }
    }
}

impl SnapshotRule {
    fn outcome(&self, rule: &Rule, context: &Context, is_member: &impl Fn(CohortIndex, &str) -> bool) -> RuleOutcome {
        for (at, clause) in rule.clauses.iter().enumerate() {
            match clause.matches(context) {
                Match::Yes => {}
                Match::No => return RuleOutcome::Passes(WhyNot::Clause(at)),
                Match::Indeterminate(_) if clause.attribute().is_targeting_key() => {
                    return RuleOutcome::NeedsTargetingKey;
                }
                Match::Indeterminate(why) => return RuleOutcome::Passes(WhyNot::Indeterminate(at, why)),
            }
        }
        match (&self.cohort, context.targeting_key()) {
            (CohortCondition::None, _) => {}
            (CohortCondition::Unknown, _) => return RuleOutcome::Passes(WhyNot::UnknownCohort),
            (CohortCondition::In(_), None) => return RuleOutcome::NeedsTargetingKey,
            (CohortCondition::In(cohort), Some(id)) if is_member(*cohort, id) => {}
            (CohortCondition::In(_), Some(_)) => return RuleOutcome::Passes(WhyNot::NotInCohort),
        }
        match (&self.serve, &rule.serve) {
            (SnapshotServe::Ranges(ranges), Serve::Rollout(rollout)) => split(ranges, rollout, context),
            (SnapshotServe::Variant(variant_at), _) => RuleOutcome::Serves { variant_at: *variant_at, bucket: None },
            (SnapshotServe::Ranges(_), Serve::Variant(_)) => {
                RuleOutcome::Passes(WhyNot::NoBucket(Indeterminate::Missing))
            }
        }
    }
}

fn split(ranges: &[(u32, usize)], rollout: &Rollout, context: &Context) -> RuleOutcome {
    let bucket = if rollout.attribute().is_targeting_key() {
        match context.targeting_key() {
            Some(key) => rollout.bucket(key),
            None => return RuleOutcome::NeedsTargetingKey,
        }
    } else {
        match context.find(rollout.attribute()).map(canonical_id) {
            // Everybody without an id would share one bucket.
            Some(Some(id)) if id.is_empty() => return RuleOutcome::Passes(WhyNot::NoBucket(Indeterminate::Missing)),
            Some(Some(id)) => rollout.bucket(&id),
            Some(None) => return RuleOutcome::Passes(WhyNot::NoBucket(Indeterminate::WrongType)),
            None => return RuleOutcome::Passes(WhyNot::NoBucket(Indeterminate::Missing)),
        }
    };
    match SnapshotServe::owner(ranges, bucket) {
        Some(variant_at) => RuleOutcome::Serves { variant_at, bucket: Some(bucket) },
        None => RuleOutcome::Passes(WhyNot::NoBucket(Indeterminate::Missing)),
    }
}
