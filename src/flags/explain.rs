//! Why an evaluation came out as it did: what each rule said, up to the one that decided.

use super::context::Context;
use super::evaluate::{Evaluation, RuleOutcome, Why, WhyNot};
use super::snapshot::{CohortIndex, SnapshotFlag};
use super::{Indeterminate, Rule};

/// An evaluation and its trace.
#[derive(Debug)]
pub struct Explanation<'s> {
    pub evaluation: Evaluation<'s>,
    /// Each rule that was asked, from the top. Empty if the flag is disabled.
    pub rules: Vec<RuleTrace>,
}

/// What one rule said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTrace {
    /// The first rule is 0.
    pub rule: usize,
    pub outcome: RuleOutcome,
    /// The outcome as a sentence.
    pub sentence: String,
}

impl SnapshotFlag {
    /// Evaluates this flag and tells what each rule said.
    pub fn explain(&self, context: &Context, is_member: impl Fn(CohortIndex, &str) -> bool) -> Explanation<'_> {
        let evaluation = self.evaluate(context, &is_member);
        let mut rules = Vec::new();
        let is_disabled = matches!(&evaluation, Evaluation::Served(served) if served.why == Why::Disabled);
        if !is_disabled {
            for ((at, outcome), rule) in self.outcomes(context, &is_member).enumerate().zip(self.flag().rules()) {
                rules.push(RuleTrace { rule: at, outcome, sentence: self.sentence(rule, outcome) });
                if !matches!(outcome, RuleOutcome::Passes(_)) {
                    break;
                }
            }
        }
        Explanation { evaluation, rules }
    }

    fn sentence(&self, rule: &Rule, outcome: RuleOutcome) -> String {
        let cohort = rule.cohort.as_ref().map_or("", |name| name.as_str());
        let attribute = |clause: usize| rule.clauses.get(clause).map_or("", |clause| clause.attribute().as_str());
        let variant = |at: usize| self.flag().variants().get(at).map_or("", |variant| variant.name.as_str());
        match outcome {
            RuleOutcome::Serves { variant_at, bucket: None } => format!("matches and serves `{}`", variant(variant_at)),
            RuleOutcome::Serves { variant_at, bucket: Some(bucket) } => {
                format!("matches; bucket {bucket} belongs to `{}`", variant(variant_at))
            }
            RuleOutcome::NeedsTargetingKey => "needs a targeting key, and the context has none".to_owned(),
            RuleOutcome::Passes(WhyNot::Clause(at)) => format!("clauses[{at}] on `{}` says no", attribute(at)),
            RuleOutcome::Passes(WhyNot::Indeterminate(at, why)) => {
                format!("clauses[{at}] can't be told: `{}` {}", attribute(at), because(why))
            }
            RuleOutcome::Passes(WhyNot::NotInCohort) => format!("the targeting key is not in the cohort `{cohort}`"),
            RuleOutcome::Passes(WhyNot::UnknownCohort) => format!("there is no cohort `{cohort}`"),
            RuleOutcome::Passes(WhyNot::NoBucket(why)) => format!("the rollout's attribute {}", because(why)),
        }
    }
}

fn because(why: Indeterminate) -> &'static str {
    match why {
        Indeterminate::Missing => "is missing",
        Indeterminate::WrongType => "is of another type",
    }
}
