//! Which flags could go: what is left over once a rollout is done, or is not asked any more.

use serde::Serialize;
use utoipa::ToSchema;

use super::flag::Flag;
use crate::primitives::{Instant, VariantName};

/// Why a flag could go, or needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stale {
    /// `expired`, `one_variant`, `not_evaluated`, `unknown_cohort` or `unknown_prerequisite`.
    pub why: &'static str,
    pub sentence: String,
    /// Since when, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Instant>,
}

/// What is known of a flag besides itself.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub now: Instant,
    /// A flag is stale after so many days.
    pub days: u16,
    /// Since when it has served what it serves to everybody.
    pub constant_since: Option<Instant>,
    /// When it was last evaluated, or since when nobody has.
    pub evaluated_at: Option<Instant>,
    /// When it was last written.
    pub written_at: Instant,
    pub is_cohort: &'a dyn Fn(&str) -> bool,
    pub is_flag: &'a dyn Fn(&str) -> bool,
}

const MICROS_A_DAY: i64 = 86_400_000_000;

impl Flag {
    /// The variant that everybody gets, whoever they are.
    #[must_use]
    pub fn constant_variant(&self) -> Option<&VariantName> {
        if !self.is_enabled() {
            return Some(self.off_variant());
        }
        self.variants().iter().map(|variant| &variant.name).find(|name| self.what_keeps_from(name).is_none())
    }

    /// Every reason for which it could go, or needs a look.
    #[must_use]
    pub fn stale(&self, facts: &Facts<'_>) -> Vec<Stale> {
        let old = |at: Instant| facts.now.as_micros() - at.as_micros() >= i64::from(facts.days) * MICROS_A_DAY;
        let mut found = Vec::new();
        let mut add = |why, sentence, since| found.push(Stale { why, sentence, since });
        if let Some(expires) = self.expires()
            && facts.now.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date() > expires
        {
            add("expired", format!("it expired on {expires}"), None);
        }
        if let (Some(variant), Some(since)) = (self.constant_variant(), facts.constant_since.filter(|at| old(*at))) {
            let killed = if self.is_enabled() { "" } else { ", by its kill switch" };
            add("one_variant", format!("everybody has got `{variant}` since {since}{killed}"), Some(since));
        }
        if let Some(since) = facts.evaluated_at.filter(|at| old(*at) && old(facts.written_at)) {
            add("not_evaluated", format!("nobody has asked it since {since}"), Some(since));
        }
        for cohort in self.cohorts().filter(|cohort| !(facts.is_cohort)(cohort.as_str())) {
            add("unknown_cohort", format!("a rule names the cohort `{cohort}`, which does not exist"), None);
        }
        for other in self.prerequisites().iter().filter(|other| !(facts.is_flag)(other.flag.as_str())) {
            add("unknown_prerequisite", format!("its prerequisite `{}` does not exist: it is off", other.flag), None);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(json: &str, days_constant: i64, days_evaluated: i64) -> Vec<&'static str> {
        let day = |days: i64| Instant::from_micros((1_000 - days) * MICROS_A_DAY);
        let facts = Facts {
            now: day(0),
            days: 30,
            constant_since: Some(day(days_constant)),
            evaluated_at: Some(day(days_evaluated)),
            written_at: day(days_constant),
            is_cohort: &|name| name == "known",
            is_flag: &|_| false,
        };
        let flag = Flag::parse(json).unwrap_or_else(|invalid| panic!("{invalid:?}"));
        flag.stale(&facts).iter().map(|stale| stale.why).collect()
    }

    #[test]
    fn each_reason_is_found_and_no_other() {
        let flag = |rest: &str| {
            format!(
                r#"{{"key":"f","type":"boolean","variants":{{"on":true,"off":false}},"default_variant":"off","off_variant":"off"{rest}}}"#
            )
        };
        assert_eq!(reasons(&flag(""), 29, 29), Vec::<&str>::new());
        assert_eq!(reasons(&flag(""), 30, 1), ["one_variant"]);
        assert_eq!(reasons(&flag(r#","enabled":false"#), 31, 1), ["one_variant"]);
        let busy = flag(r#","expires":"1972-09-26","rules":[{"cohort":"known","serve":{"variant":"on"}}]"#);
        assert_eq!(reasons(&busy, 90, 1), ["expired"]);
        assert_eq!(reasons(&busy.replace("1972-09-26", "1972-09-27"), 90, 31), ["not_evaluated"]);
        let lost = flag(
            r#","prerequisites":[{"flag":"g","variants":["x"]}],"rules":[{"cohort":"lost","serve":{"variant":"on"}}]"#,
        );
        assert_eq!(reasons(&lost, 1, 1), ["unknown_cohort", "unknown_prerequisite"]);
    }
}
