//! Whether a flag serves one variant to everybody, whoever they are: what "at 100 %" means.

use super::bucket::BUCKETS;
use super::flag::{Flag, Rule, Serve};
use crate::primitives::VariantName;

impl Rule {
    /// True if it matches every context.
    #[must_use]
    pub fn is_for_everybody(&self) -> bool {
        self.cohort.is_none() && self.except_cohort.is_none() && self.clauses.is_empty()
    }
}

impl Flag {
    /// The first thing that keeps `variant` from being served to every context, as half a sentence; `None` if nothing does.
    #[must_use]
    pub fn what_keeps_from(&self, variant: &VariantName) -> Option<String> {
        if !self.is_enabled() {
            return Some(String::from("its kill switch is thrown"));
        }
        if let Some(prerequisite) = self.prerequisites().first() {
            return Some(format!("it has the prerequisite `{}`", prerequisite.flag));
        }
        for (index, rule) in self.rules().iter().enumerate() {
            let share = match &rule.serve {
                Serve::Variant(served) if served == variant => BUCKETS,
                Serve::Variant(served) => return Some(format!("rules[{index}] serves `{served}`")),
                Serve::Rollout(rollout) => rollout.share(variant),
                Serve::Schedule(steps) => match steps.iter().find(|step| step.variant != *variant) {
                    Some(step) => {
                        return Some(format!("rules[{index}] serves `{}` from {} on", step.variant, step.from));
                    }
                    // Before its first instant, whoever it would match gets what stands below.
                    None => continue,
                },
            };
            if share < BUCKETS {
                return Some(format!("rules[{index}] gives `{variant}` {} %", f64::from(share) / 1_000.0));
            }
            if rule.is_for_everybody() {
                // It matches everybody: nothing below it is ever looked at.
                return None;
            }
        }
        let default = self.default_variant();
        (default != variant).then(|| format!("whoever matches no rule gets `{default}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(rules: &str, default: &str) -> Option<String> {
        let json = format!(
            r#"{{"key":"f","type":"boolean","enabled":true,"variants":{{"new":true,"old":false}},"default_variant":"{default}","off_variant":"old","rules":[{rules}]}}"#
        );
        let flag = Flag::parse(&json).unwrap_or_else(|invalid| panic!("{invalid:?}"));
        flag.what_keeps_from(&VariantName::new("new").unwrap())
    }

    const ROLLOUT: &str = r#"{"serve":{"rollout":{"seed":"s","ranges":[{"variant":"new","from":0,"to":99000},{"variant":"old","from":99000,"to":100000}]}}}"#;

    #[test]
    fn everybody_gets_it_or_something_keeps_it_from_them() {
        assert_eq!(kept("", "new"), None);
        assert_eq!(kept("", "old").unwrap(), "whoever matches no rule gets `old`");
        assert_eq!(kept(r#"{"serve":{"variant":"new"}}"#, "old"), None);
        assert_eq!(kept(r#"{"cohort":"staff","serve":{"variant":"old"}}"#, "new").unwrap(), "rules[0] serves `old`");
        assert_eq!(
            kept(r#"{"cohort":"staff","serve":{"variant":"new"}}"#, "old").unwrap(),
            "whoever matches no rule gets `old`"
        );
        assert_eq!(
            kept(r#"{"serve":{"variant":"new"}},{"serve":{"variant":"old"}}"#, "old"),
            None,
            "what stands below is never reached"
        );
        assert_eq!(kept(ROLLOUT, "new").unwrap(), "rules[0] gives `new` 99 %");
    }
}
