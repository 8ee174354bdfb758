//! One step of a rollout: a variant gets another share of one rule, from a donor or back to it, and nobody else moves.

use super::bucket::{Algorithm, BUCKETS};
use super::clause::AttributePath;
use super::draft::{RuleDraft, ServeDraft};
use super::flag::{Flag, Serve, ShareError};
use super::percent::{Percent, ShareStep};
use super::rollout::{Rollout, VariantRange};
use crate::primitives::VariantName;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutStep {
    /// The first rule is 0. The number of rules stands for a new rule below all others, for everybody.
    pub rule: usize,
    pub variant: VariantName,
    pub share: ShareStep,
    /// Who gives the buckets and gets them back. If nobody is named: of two variants the other one, of more the default variant.
    pub donor: Option<VariantName>,
}

/// What a step does to the shares of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    pub flag: Flag,
    pub donor: VariantName,
    /// The variant's share.
    pub before: Percent,
    pub after: Percent,
}

impl Flag {
    /// The flag after a step. A rule that serves one variant becomes a rollout in which that variant has everything.
    pub fn with_step(&self, step: &RolloutStep) -> Result<Stepped, ShareError> {
        let flag = self.with_rollout_at(step.rule, &step.variant)?;
        let donor = flag.donor(step);
        let before = flag.share(step.rule, &step.variant);
        let share = step.share.from(before)?;
        let after = flag.with_share(step.rule, &step.variant, share, Some(&donor))?;
        let (before, after_share) = (Percent::of_buckets(before), Percent::of_buckets(share));
        Ok(Stepped { flag: after, donor, before, after: after_share })
    }

    /// The rule that a step means if none is named: the only rollout, or a new rule where there is no rule yet.
    pub fn only_rollout(&self) -> Result<usize, ShareError> {
        let mut rollouts = (0..).zip(self.rules()).filter(|(_, rule)| matches!(rule.serve, Serve::Rollout(_)));
        match (rollouts.next(), rollouts.next()) {
            (Some((at, _)), None) => Ok(at),
            (None, _) if self.rules().is_empty() => Ok(0),
            _ => Err(ShareError::WhichRule { flag: self.key().clone() }),
        }
    }

    fn with_rollout_at(&self, rule: usize, variant: &VariantName) -> Result<Self, ShareError> {
        let missing = || ShareError::NoSuchRule { flag: self.key().clone(), rule, rules: self.rules().len() };
        if self.find_variant(variant.as_str()).is_none() {
            return Err(ShareError::NoSuchVariant { flag: self.key().clone(), variant: variant.clone() });
        }
        let mut flag = if rule == self.rules().len() { self.with_rule_for_everybody()? } else { self.clone() };
        let serve = flag.rules.get_mut(rule).map(|rule| &mut rule.serve).ok_or_else(missing)?;
        if let Serve::Variant(served) = serve {
            let all = VariantRange { variant: served.clone(), from: 0, to: BUCKETS };
            let seed = self.key().to_string();
            *serve = Serve::Rollout(Rollout::new(Algorithm::NEWEST, seed, AttributePath::targeting_key(), vec![all])?);
        }
        Ok(flag)
    }

    /// With one more rule, below all others, that serves the default variant to everybody who comes so far.
    fn with_rule_for_everybody(&self) -> Result<Self, ShareError> {
        let flag = self.key().clone();
        if let Some(rule) = self.rules().iter().position(|rule| rule.is_for_everybody()) {
            return Err(ShareError::NeverReached { flag, rule });
        }
        let mut draft = self.to_draft();
        let serve = ServeDraft::Variant(self.default_variant().to_string());
        draft.rules.push(RuleDraft { serve, ..RuleDraft::default() });
        Self::try_from(draft).map_err(|_| ShareError::NoSuchRule {
            flag,
            rule: self.rules().len(),
            rules: self.rules().len(),
        })
    }

    fn donor(&self, step: &RolloutStep) -> VariantName {
        if let Some(donor) = &step.donor {
            return donor.clone();
        }
        let mut others = self.variants().iter().map(|variant| &variant.name).filter(|name| **name != step.variant);
        match (others.next(), others.next()) {
            (Some(other), None) => other.clone(),
            _ => self.default_variant().clone(),
        }
    }

    /// A variant's share of a rule's rollout, in buckets.
    fn share(&self, rule: usize, variant: &VariantName) -> u32 {
        match self.rules().get(rule).map(|rule| &rule.serve) {
            Some(Serve::Rollout(rollout)) => rollout.share(variant),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(rules: &str) -> Flag {
        let json = format!(
            r#"{{"key":"f","type":"string","variants":{{"old":"o","new":"n","odd":"x"}},"default_variant":"old","off_variant":"old","rules":[{rules}]}}"#
        );
        Flag::parse(&json).unwrap_or_else(|invalid| panic!("{invalid:?}"))
    }

    fn step(rule: usize, variant: &str, share: &str, donor: Option<&str>) -> RolloutStep {
        let name = |text: &str| VariantName::new(text).unwrap();
        RolloutStep { rule, variant: name(variant), share: share.parse().unwrap(), donor: donor.map(name) }
    }

    #[test]
    fn a_rule_with_one_variant_becomes_a_rollout() {
        let stepped =
            flag(r#"{"cohort":"c","serve":{"variant":"old"}}"#).with_step(&step(0, "new", "12.5", None)).unwrap();
        assert_eq!((stepped.before.buckets(), stepped.after.buckets()), (0, 12_500));
        assert_eq!((stepped.flag.share(0, &stepped.donor), stepped.donor.as_str()), (87_500, "old"));
        let refused = flag(r#"{"cohort":"c","serve":{"variant":"odd"}}"#).with_step(&step(0, "new", "1", None));
        assert!(matches!(refused, Err(ShareError::Rollout(_))), "the default variant has nothing to give: {refused:?}");
        let named = flag(r#"{"cohort":"c","serve":{"variant":"odd"}}"#).with_step(&step(0, "new", "1", Some("odd")));
        assert_eq!(named.unwrap().flag.share(0, &VariantName::new("odd").unwrap()), 99_000);
    }

    #[test]
    fn the_index_after_the_last_rule_adds_one_for_everybody() {
        let stepped = flag("").with_step(&step(0, "new", "0.001", None)).unwrap();
        assert_eq!(stepped.flag.rules().len(), 1);
        assert_eq!(stepped.flag.share(0, &VariantName::new("new").unwrap()), 1);
        let again = stepped.flag.with_step(&step(1, "new", "5", None));
        assert!(matches!(again, Err(ShareError::NeverReached { rule: 0, .. })), "{again:?}");
        assert!(matches!(flag("").with_step(&step(1, "new", "5", None)), Err(ShareError::NoSuchRule { .. })));
    }

    #[test]
    fn up_and_down_again_is_where_it_was() {
        let start = flag("").with_step(&step(0, "new", "10", None)).unwrap().flag;
        let up = start.with_step(&step(0, "new", "+5", None)).unwrap();
        assert_eq!(up.after.buckets(), 15_000);
        assert_eq!(up.flag.with_step(&step(0, "new", "-5", None)).unwrap().flag, start);
        assert!(matches!(start.with_step(&step(0, "new", "-10.001", None)), Err(ShareError::Percent(_))));
    }

    #[test]
    fn the_only_rollout_is_meant_if_no_rule_is_named() {
        assert_eq!(flag("").only_rollout().unwrap(), 0);
        let one = flag(r#"{"cohort":"c","serve":{"variant":"new"}}"#);
        assert!(matches!(one.only_rollout(), Err(ShareError::WhichRule { .. })));
        let two = one.with_step(&step(1, "new", "5", None)).unwrap().flag;
        assert_eq!(two.only_rollout().unwrap(), 1);
    }
}
