//! A flag as it is written: its JSON, with every default written out.

use super::draft::{
    ClauseDraft, FlagDraft, PrerequisiteDraft, ProtectionDraft, RangeDraft, RolloutDraft, RuleDraft, ScheduleStepDraft,
    ServeDraft, VariantDrafts,
};
use super::flag::{Flag, Prerequisite, Protection, Rule, ScheduleStep, Serve};
use super::rollout::{Rollout, VariantRange};

impl From<Flag> for FlagDraft {
    fn from(flag: Flag) -> Self {
        let variants = flag.variants.into_iter().map(|variant| (variant.name.into(), variant.value.to_json()));
        Self {
            key: flag.key.into(),
            kind: flag.kind,
            description: flag.description,
            enabled: flag.enabled,
            variants: VariantDrafts(variants.collect()),
            default_variant: flag.default_variant.into(),
            off_variant: flag.off_variant.into(),
            prerequisites: flag.prerequisites.into_iter().map(PrerequisiteDraft::from).collect(),
            rules: flag.rules.into_iter().map(RuleDraft::from).collect(),
            change: flag.change.map(String::from),
            expires: flag.expires.map(|day| day.to_string()),
            protection: (flag.protection != Protection::default()).then(|| flag.protection.into()),
        }
    }
}

impl From<Rule> for RuleDraft {
    fn from(rule: Rule) -> Self {
        Self {
            description: rule.description,
            cohort: rule.cohort.map(String::from),
            except_cohort: rule.except_cohort.map(String::from),
            clauses: rule.clauses.into_iter().map(ClauseDraft::from).collect(),
            serve: match rule.serve {
                Serve::Variant(name) => ServeDraft::Variant(name.into()),
                Serve::Rollout(rollout) => ServeDraft::Rollout(RolloutDraft::from(&rollout)),
                Serve::Schedule(steps) => {
                    let step = |step: ScheduleStep| ScheduleStepDraft {
                        from: step.from.to_string(),
                        variant: step.variant.into(),
                    };
                    ServeDraft::Schedule(steps.into_iter().map(step).collect())
                }
            },
        }
    }
}

impl From<&Rollout> for RolloutDraft {
    fn from(rollout: &Rollout) -> Self {
        let range =
            |range: &VariantRange| RangeDraft { variant: range.variant.to_string(), from: range.from, to: range.to };
        Self {
            algorithm: Some(rollout.algorithm().to_string()),
            seed: Some(rollout.seed().to_owned()),
            attribute: Some(rollout.attribute().to_string()),
            ranges: rollout.ranges().iter().map(range).collect(),
        }
    }
}

impl From<Prerequisite> for PrerequisiteDraft {
    fn from(prerequisite: Prerequisite) -> Self {
        Self { flag: prerequisite.flag.into(), variants: prerequisite.variants.into_iter().map(String::from).collect() }
    }
}

impl From<Protection> for ProtectionDraft {
    fn from(protection: Protection) -> Self {
        Self {
            reason_required: protection.reason_required,
            two_person: protection.two_person,
            percent_per_hour: protection.percent_per_hour,
            population: protection.population,
        }
    }
}
