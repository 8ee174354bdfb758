//! Why an evaluation came out as it did: what each prerequisite and each rule said, up to the one that decided, with the values
//! that were compared. The outcomes are those of `evaluate`; this file adds what a person reads.

mod shown;
mod trace;

use super::clause::{Clause, Indeterminate, Match};
use super::context::canonical_id;
use super::evaluate::{Asked, Asking, Evaluation, Membership, RuleOutcome, Standing, Why, WhyNot, World};
use super::flag::{Prerequisite, Rule, Serve};
use super::rollout::Rollout;
use super::snapshot::{CohortCondition, Snapshot, SnapshotFlag, SnapshotRule};
use crate::primitives::CohortName;

pub use trace::{
    ClauseTrace, CohortTrace, Explanation, FlagTrace, PrerequisiteTrace, RangeTrace, RolloutTrace, RuleTrace,
};

impl Snapshot {
    /// Evaluates one of the snapshot's flags as [`Snapshot::evaluate_in`] does, and tells why it came out so.
    pub fn explain_in<'s>(&'s self, flag: &'s SnapshotFlag, asked: Asked<'_>, world: &impl World) -> Explanation<'s> {
        let evaluation = self.evaluate_in(flag, asked, world);
        let trace = self.trace(flag, asked, world, &evaluation);
        Explanation { evaluation, trace }
    }

    fn trace(
        &self,
        flag: &SnapshotFlag,
        asked: Asked<'_>,
        world: &impl World,
        evaluation: &Evaluation<'_>,
    ) -> FlagTrace {
        let mut trace = FlagTrace::of(self, flag, evaluation);
        if !flag.flag().is_enabled() {
            return trace;
        }
        for (at, prerequisite) in flag.flag().prerequisites().iter().enumerate() {
            let told = self.prerequisite(flag, at, prerequisite, (asked, world));
            let is_met = told.is_met;
            trace.prerequisites.push(told);
            if !is_met {
                return trace;
            }
        }
        let asking = Asking { snapshot: self, asked, world, is_group: flag.flag().change().is_some() };
        for (at, (resolved, rule)) in flag.rules.iter().zip(flag.flag().rules()).enumerate() {
            let told = asking.rule(at, (flag, resolved, rule));
            let passes = matches!(told.outcome, RuleOutcome::Passes(_));
            trace.rules.push(told);
            if !passes {
                break;
            }
        }
        trace
    }

    fn prerequisite(
        &self,
        flag: &SnapshotFlag,
        at: usize,
        prerequisite: &Prerequisite,
        (asked, world): (Asked<'_>, &impl World),
    ) -> PrerequisiteTrace {
        let key = &prerequisite.flag;
        let other = flag.prerequisites.get(at).and_then(|other| self.flags().get((*other).ok()?));
        let traced = |evaluation: &Evaluation<'_>| {
            let other = other?;
            Some(match other.flag().change() {
                None => self.trace(other, asked, world, evaluation),
                Some(_) => FlagTrace::of(self, other, evaluation),
            })
        };
        let served = |evaluation: &Evaluation<'_>| match evaluation {
            Evaluation::Served(served) => served.variant.name.to_string(),
            Evaluation::Failed(failure) => failure.code().to_owned(),
        };
        let (is_met, sentence, trace) = match self.standing(flag, at, asked, world) {
            Standing::Met(found) => (true, format!("`{key}` serves `{}`: met", served(&found)), traced(&found)),
            Standing::Unmet(Some(found)) => {
                (false, format!("`{key}` serves `{}`: not met", served(&found)), traced(&found))
            }
            Standing::Unmet(None) => {
                let why = flag.prerequisites.get(at).and_then(|other| (*other).err());
                (false, format!("`{key}` can't be asked: {}", shown::broken(why)), None)
            }
            Standing::Failed(failure) => {
                let sentence = format!("`{key}` can't be told: {failure}");
                (false, sentence, traced(&Evaluation::Failed(failure)))
            }
        };
        let variants = prerequisite.variants.iter().map(ToString::to_string).collect();
        PrerequisiteTrace { flag: key.to_string(), variants, is_met, sentence, trace: trace.map(Box::new) }
    }
}

impl<W: World> Asking<'_, W> {
    fn rule(&self, at: usize, (flag, resolved, rule): (&SnapshotFlag, &SnapshotRule, &Rule)) -> RuleTrace {
        let outcome = self.outcome(resolved, rule);
        let clauses = rule.clauses.iter().map(|clause| self.told(clause)).collect();
        let rollout = if let Serve::Rollout(rollout) = &rule.serve { Some(self.rollout(rollout)) } else { None };
        RuleTrace {
            rule: at,
            description: rule.description.clone(),
            is_match: matches!(outcome, RuleOutcome::Serves { .. }),
            sentence: sentence(flag, rule, outcome),
            clauses,
            cohort: rule.cohort.as_ref().map(|name| self.cohort(name, resolved.cohort)),
            except_cohort: rule.except_cohort.as_ref().map(|name| self.cohort(name, resolved.except_cohort)),
            rollout,
            serves_from: self.serves_from(rule, outcome),
            outcome,
        }
    }

    fn told(&self, clause: &Clause) -> ClauseTrace {
        let outcome = self.clause(clause);
        let context = self.asked.context;
        let found = if outcome == Match::Indeterminate(Indeterminate::Group) {
            None
        } else if clause.attribute().is_targeting_key() {
            context.targeting_key().map(shown::text)
        } else {
            context.find(clause.attribute()).map(shown::value)
        };
        ClauseTrace::of(clause, found, outcome)
    }

    fn cohort(&self, name: &CohortName, condition: CohortCondition) -> CohortTrace {
        let (generation, membership, conditions) = match condition {
            CohortCondition::In(index) => {
                let cohort = self.snapshot.cohort(index);
                let membership = self.membership(index);
                let groups = cohort.map(|cohort| cohort.conditions().groups()).unwrap_or_default();
                let told = groups.iter().map(|group| group.iter().map(|clause| self.told(clause)).collect()).collect();
                let conditions = if membership == Membership::ById { Vec::new() } else { told };
                (cohort.map(|cohort| cohort.generation()), Some(membership), conditions)
            }
            CohortCondition::None | CohortCondition::Unknown => (None, None, Vec::new()),
        };
        let sentence = match membership {
            Some(Membership::ById) => format!("listed in `{name}`"),
            Some(Membership::ByConditions) => format!("meets the conditions of `{name}`"),
            Some(Membership::Out) => format!("not in `{name}`"),
            Some(Membership::Indeterminate) if self.is_group => {
                format!("not listed in `{name}`; whether a group meets its conditions can't be told")
            }
            Some(Membership::Indeterminate) => {
                format!("not listed in `{name}`; whether its conditions are met can't be told")
            }
            Some(Membership::NeedsTargetingKey) => {
                format!("whether in `{name}` can't be told without a targeting key")
            }
            None => format!("there is no cohort `{name}`"),
        };
        let is_member = match membership {
            Some(Membership::ById | Membership::ByConditions) => Some(true),
            Some(Membership::Out) => Some(false),
            Some(Membership::Indeterminate | Membership::NeedsTargetingKey) | None => None,
        };
        CohortTrace { name: name.to_string(), generation, is_member, sentence, conditions }
    }

    fn rollout(&self, rollout: &Rollout) -> RolloutTrace {
        let context = self.asked.context;
        let id = if rollout.attribute().is_targeting_key() {
            context.targeting_key().map(str::to_owned)
        } else if self.is_group {
            None
        } else {
            context.find(rollout.attribute()).and_then(canonical_id).map(std::borrow::Cow::into_owned)
        };
        let id = id.filter(|id| !id.is_empty());
        let bucket = id.as_deref().map(|id| rollout.bucket(id));
        let owner =
            bucket.and_then(|bucket| rollout.ranges().iter().find(|range| (range.from..range.to).contains(&bucket)));
        RolloutTrace {
            algorithm: rollout.algorithm().to_string(),
            seed: rollout.seed().to_owned(),
            attribute: rollout.attribute().to_string(),
            value: id.as_deref().map(|id| shown::cut(id, shown::VALUE_CHARS)),
            bucket,
            range: owner.map(|range| RangeTrace { variant: range.variant.to_string(), from: range.from, to: range.to }),
        }
    }

    /// Since when its schedule has served what it serves, or from when on it will serve.
    fn serves_from(&self, rule: &Rule, outcome: RuleOutcome) -> Option<crate::primitives::Instant> {
        let Serve::Schedule(steps) = &rule.serve else { return None };
        let is_early = outcome == RuleOutcome::Passes(WhyNot::NotYet);
        let passed = steps.iter().rev().find(|step| step.from <= self.asked.now);
        let step = if is_early { steps.first() } else { passed.or_else(|| steps.first()) };
        step.map(|step| step.from)
    }
}

fn sentence(flag: &SnapshotFlag, rule: &Rule, outcome: RuleOutcome) -> String {
    let cohort = rule.cohort.as_ref().map_or("", |name| name.as_str());
    let except = rule.except_cohort.as_ref().map_or("", |name| name.as_str());
    let attribute = |clause: usize| rule.clauses.get(clause).map_or("", |clause| clause.attribute().as_str());
    let variant = |at: usize| flag.flag().variants().get(at).map_or("", |variant| variant.name.as_str());
    match outcome {
        RuleOutcome::Serves { variant_at, bucket: None } => format!("matches and serves `{}`", variant(variant_at)),
        RuleOutcome::Serves { variant_at, bucket: Some(bucket) } => {
            format!("matches; bucket {bucket} belongs to `{}`", variant(variant_at))
        }
        RuleOutcome::NeedsTargetingKey => "needs a targeting key, and the context has none".to_owned(),
        RuleOutcome::Passes(why) => match why {
            WhyNot::Clause(at) => format!("clauses[{at}] on `{}` says no", attribute(at)),
            WhyNot::Indeterminate(at, why) => {
                format!("clauses[{at}] can't be told: `{}` {}", attribute(at), shown::because(why))
            }
            WhyNot::NotInCohort => format!("the targeting key is not in the cohort `{cohort}`"),
            WhyNot::CohortIndeterminate => {
                format!("whether the subject meets the conditions of the cohort `{cohort}` can't be told")
            }
            WhyNot::UnknownCohort => format!("there is no cohort `{cohort}`"),
            WhyNot::InExceptCohort => format!("the subject is in the cohort `{except}`, which the rule excepts"),
            WhyNot::ExceptIndeterminate => {
                format!("whether the subject is in the cohort `{except}`, which the rule excepts, can't be told")
            }
            WhyNot::UnknownExceptCohort => format!("there is no cohort `{except}`, which the rule excepts"),
            WhyNot::NotYet => String::from("its schedule has not begun"),
            WhyNot::NoBucket(why) => format!("the rollout's attribute {}", shown::because(why)),
        },
    }
}

/// Why a variant was served, for who reads the trace.
fn decided(flag: &SnapshotFlag, why: Why) -> String {
    let prerequisite = |at: usize| flag.flag().prerequisites().get(at).map_or("", |found| found.flag.as_str());
    match why {
        Why::Disabled => String::from("the kill switch is thrown: everybody gets the off variant"),
        Why::Prerequisite(at) => format!("the prerequisite `{}` is not met: the off variant", prerequisite(at)),
        Why::Static => String::from("the flag has no rules: everybody gets the default variant"),
        Why::Default => String::from("no rule matched: the default variant"),
        Why::Rule(rule) => format!("rules[{rule}] matched"),
        Why::Split { rule, bucket } => format!("rules[{rule}] matched, and bucket {bucket} decided"),
        Why::Assigned => String::from("the side that is recorded for the user's group"),
        Why::BeforeLive => String::from("the change is not live yet: everybody is on the old side"),
    }
}
