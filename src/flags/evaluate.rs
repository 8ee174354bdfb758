//! A flag's answer to a context. Pure, and whatever the context holds it answers: with a variant, or with a failure that has
//! a code; it never panics, and a condition that can't be told never matches.

use std::fmt;

use super::clause::{AttributePath, Clause, Indeterminate, Match};
use super::context::{Context, InvalidContext, canonical_id};
use super::flag::{Rule, Serve, Variant};
use super::rollout::Rollout;
use super::snapshot::{CohortCondition, CohortIndex, Snapshot, SnapshotFlag, SnapshotRule, SnapshotServe};
use crate::primitives::Instant;

/// What is asked of a flag.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub context: &'a Context,
    pub now: Instant,
}

/// What an evaluation asks of its surroundings.
pub trait World {
    /// Whether `id` is one of a cohort's explicit ids. Its conditions are not asked here.
    fn is_member(&self, cohort: CohortIndex, id: &str) -> bool;

    /// The answer of a flag that routes a change and is asked as a prerequisite; nothing where nobody can route.
    fn routed<'s>(&self, _flag: &'s SnapshotFlag, _context: &Context) -> Option<Evaluation<'s>> {
        None
    }
}

/// A snapshot's own cohorts, and no routing.
impl World for Snapshot {
    fn is_member(&self, cohort: CohortIndex, id: &str) -> bool {
        self.cohort(cohort).is_some_and(|cohort| cohort.contains(id))
    }
}

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
    /// The prerequisite with this index is not met.
    Prerequisite(usize),
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
            Self::Disabled | Self::Prerequisite(_) | Self::BeforeLive => Reason::Disabled,
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
            Self::Disabled
            | Self::Prerequisite(_)
            | Self::Static
            | Self::Default
            | Self::Assigned
            | Self::BeforeLive => None,
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
    /// Whether the subject meets the cohort's conditions can't be told.
    CohortIndeterminate,
    /// The cohort does not exist.
    UnknownCohort,
    /// The subject is in the cohort that the rule excepts.
    InExceptCohort,
    /// Whether the subject meets the conditions of the cohort that the rule excepts can't be told.
    ExceptIndeterminate,
    /// The cohort that the rule excepts does not exist.
    UnknownExceptCohort,
    /// The first instant of its schedule is still to come.
    NotYet,
    /// The attribute by which the rollout divides is missing or is not an id.
    NoBucket(Indeterminate),
}

/// Whether a subject belongs to a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    ById,
    ByConditions,
    Out,
    Indeterminate,
    NeedsTargetingKey,
}

/// Whether a prerequisite is met.
pub(super) enum Standing<'s> {
    Met(Evaluation<'s>),
    Unmet(Option<Evaluation<'s>>),
    /// It can't be told, so neither can the flag.
    Failed(Failure),
}

impl Snapshot {
    /// Evaluates a flag with the snapshot's own cohorts, by the targeting key and without routing.
    #[must_use]
    pub fn evaluate(&self, key: &str, context: &Context, now: Instant) -> Evaluation<'_> {
        match self.find_flag(key) {
            Some(flag) => self.evaluate_in(flag, Asked { context, now }, self),
            None => Evaluation::Failed(Failure::FlagNotFound { key: key.chars().take(160).collect() }),
        }
    }

    /// Evaluates one of the snapshot's flags: kill switch, prerequisites, then rules from top to bottom, then the default
    /// variant. A change's flag is evaluated as routing does it: the targeting key is a group's id, and a group has no
    /// attributes.
    pub fn evaluate_in<'s>(&'s self, flag: &'s SnapshotFlag, asked: Asked<'_>, world: &impl World) -> Evaluation<'s> {
        if !flag.flag().is_enabled() {
            return flag.serve(flag.off_at, Why::Disabled);
        }
        for at in 0..flag.prerequisites.len() {
            match self.standing(flag, at, asked, world) {
                Standing::Met(_) => {}
                Standing::Unmet(_) => return flag.serve(flag.off_at, Why::Prerequisite(at)),
                Standing::Failed(failure) => return Evaluation::Failed(failure),
            }
        }
        let asking = Asking { snapshot: self, asked, world, is_group: flag.flag().change().is_some() };
        for (at, (resolved, rule)) in flag.rules.iter().zip(flag.flag().rules()).enumerate() {
            match asking.outcome(resolved, rule) {
                RuleOutcome::Passes(_) => {}
                RuleOutcome::Serves { variant_at, bucket: None } => return flag.serve(variant_at, Why::Rule(at)),
                RuleOutcome::Serves { variant_at, bucket: Some(bucket) } => {
                    return flag.serve(variant_at, Why::Split { rule: at, bucket });
                }
                RuleOutcome::NeedsTargetingKey => {
                    return Evaluation::Failed(Failure::TargetingKeyMissing { flag: flag.flag().key().to_string() });
                }
            }
        }
        flag.serve(flag.default_at, if flag.rules.is_empty() { Why::Static } else { Why::Default })
    }

    /// Whether a flag's prerequisite is met. One that can't be asked (see [`super::Broken`]) is not.
    pub(super) fn standing<'s>(
        &'s self,
        flag: &'s SnapshotFlag,
        at: usize,
        asked: Asked<'_>,
        world: &impl World,
    ) -> Standing<'s> {
        let other = flag.prerequisites.get(at).and_then(|other| self.flags().get((*other).ok()?));
        let (Some(prerequisite), Some(other)) = (flag.flag().prerequisites().get(at), other) else {
            return Standing::Unmet(None);
        };
        let evaluation = match other.flag().change() {
            None => self.evaluate_in(other, asked, world),
            Some(change) => world.routed(other, asked.context).unwrap_or_else(|| {
                let what =
                    format!("`{}` routes the change `{change}`: only a server can tell its side", prerequisite.flag);
                Evaluation::Failed(Failure::General(what))
            }),
        };
        match evaluation {
            Evaluation::Failed(failure) => Standing::Failed(failure),
            Evaluation::Served(served) if prerequisite.variants.contains(&served.variant.name) => {
                Standing::Met(evaluation)
            }
            Evaluation::Served(_) => Standing::Unmet(Some(evaluation)),
        }
    }
}

impl SnapshotFlag {
    fn serve(&self, variant_at: usize, why: Why) -> Evaluation<'_> {
        match self.flag().variants().get(variant_at) {
            Some(variant) => Evaluation::Served(Served { flag: self, variant, why }),
            None => Evaluation::Failed(Failure::General(format!("`{}` has lost a variant", self.flag().key()))),
        }
    }
}

/// One flag's rules being asked.
pub(super) struct Asking<'a, W> {
    pub snapshot: &'a Snapshot,
    pub asked: Asked<'a>,
    pub world: &'a W,
    /// The subject is a group, as for every change's flag.
    pub is_group: bool,
}

impl<W: World> Asking<'_, W> {
    /// What a rule says.
    pub(super) fn outcome(&self, resolved: &SnapshotRule, rule: &Rule) -> RuleOutcome {
        for (at, clause) in rule.clauses.iter().enumerate() {
            match self.clause(clause) {
                Match::Yes => {}
                Match::No => return RuleOutcome::Passes(WhyNot::Clause(at)),
                Match::Indeterminate(Indeterminate::Missing) if clause.attribute().is_targeting_key() => {
                    return RuleOutcome::NeedsTargetingKey;
                }
                Match::Indeterminate(why) => return RuleOutcome::Passes(WhyNot::Indeterminate(at, why)),
            }
        }
        match resolved.cohort {
            CohortCondition::None => {}
            CohortCondition::Unknown => return RuleOutcome::Passes(WhyNot::UnknownCohort),
            CohortCondition::In(cohort) => match self.membership(cohort) {
                Membership::ById | Membership::ByConditions => {}
                Membership::Out => return RuleOutcome::Passes(WhyNot::NotInCohort),
                Membership::Indeterminate => return RuleOutcome::Passes(WhyNot::CohortIndeterminate),
                Membership::NeedsTargetingKey => return RuleOutcome::NeedsTargetingKey,
            },
        }
        match resolved.except_cohort {
            CohortCondition::None => {}
            CohortCondition::Unknown => return RuleOutcome::Passes(WhyNot::UnknownExceptCohort),
            CohortCondition::In(cohort) => match self.membership(cohort) {
                Membership::Out => {}
                Membership::ById | Membership::ByConditions => return RuleOutcome::Passes(WhyNot::InExceptCohort),
                Membership::Indeterminate => return RuleOutcome::Passes(WhyNot::ExceptIndeterminate),
                Membership::NeedsTargetingKey => return RuleOutcome::NeedsTargetingKey,
            },
        }
        self.serves(resolved, rule)
    }

    fn serves(&self, resolved: &SnapshotRule, rule: &Rule) -> RuleOutcome {
        match (&resolved.serve, &rule.serve) {
            (SnapshotServe::Variant(variant_at), _) => RuleOutcome::Serves { variant_at: *variant_at, bucket: None },
            (SnapshotServe::Schedule(steps), _) => {
                let passed = steps.partition_point(|(from, _)| *from <= self.asked.now);
                match passed.checked_sub(1).and_then(|at| steps.get(at)) {
                    Some((_, variant_at)) => RuleOutcome::Serves { variant_at: *variant_at, bucket: None },
                    None => RuleOutcome::Passes(WhyNot::NotYet),
                }
            }
            (SnapshotServe::Ranges(ranges), Serve::Rollout(rollout)) => self.split(ranges, rollout),
            (SnapshotServe::Ranges(_), Serve::Variant(_) | Serve::Schedule(_)) => {
                RuleOutcome::Passes(WhyNot::NoBucket(Indeterminate::Missing))
            }
        }
    }

    pub(super) fn clause(&self, clause: &Clause) -> Match {
        if self.has(clause.attribute()) {
            clause.matches(self.asked.context)
        } else {
            Match::Indeterminate(Indeterminate::Group)
        }
    }

    fn has(&self, attribute: &AttributePath) -> bool {
        !self.is_group || attribute.is_targeting_key()
    }

    pub(super) fn membership(&self, index: CohortIndex) -> Membership {
        let key = self.asked.context.targeting_key();
        if key.is_some_and(|id| self.world.is_member(index, id)) {
            return Membership::ById;
        }
        let Some(cohort) = self.snapshot.cohort(index) else { return Membership::Indeterminate };
        let conditions = cohort.conditions();
        if conditions.is_empty() {
            return if key.is_some() { Membership::Out } else { Membership::NeedsTargetingKey };
        }
        if self.is_group {
            return Membership::Indeterminate;
        }
        match conditions.matches(self.asked.context) {
            Match::Yes => Membership::ByConditions,
            _ if key.is_none() && !cohort.ids().is_empty() => Membership::NeedsTargetingKey,
            Match::Indeterminate(_) if key.is_none() && conditions.ask_for_targeting_key() => {
                Membership::NeedsTargetingKey
            }
            Match::No => Membership::Out,
            Match::Indeterminate(_) => Membership::Indeterminate,
        }
    }

    fn split(&self, ranges: &[(u32, usize)], rollout: &Rollout) -> RuleOutcome {
        let no_bucket = |why| RuleOutcome::Passes(WhyNot::NoBucket(why));
        let context = self.asked.context;
        let bucket = if rollout.attribute().is_targeting_key() {
            match context.targeting_key() {
                Some(key) => rollout.bucket(key),
                None => return RuleOutcome::NeedsTargetingKey,
            }
        } else if self.is_group {
            return no_bucket(Indeterminate::Group);
        } else {
            match context.find(rollout.attribute()).map(canonical_id) {
                // Everybody without an id would share one bucket.
                Some(Some(id)) if id.is_empty() => return no_bucket(Indeterminate::Missing),
                Some(Some(id)) => rollout.bucket(&id),
                Some(None) => return no_bucket(Indeterminate::WrongType),
                None => return no_bucket(Indeterminate::Missing),
            }
        };
        match SnapshotServe::owner(ranges, bucket) {
            Some(variant_at) => RuleOutcome::Serves { variant_at, bucket: Some(bucket) },
            None => no_bucket(Indeterminate::Missing),
        }
    }
}
