//! From a draft to a flag: every mistake is found and told with its place. What depends on other flags is checked by
//! `prerequisites`.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::bucket::Algorithm;
use super::clause::{AttributePath, Clause};
use super::draft::{
    FlagDraft, PrerequisiteDraft, ProtectionDraft, RangeDraft, RolloutDraft, RuleDraft, ScheduleStepDraft, ServeDraft,
    VariantDrafts,
};
use super::flag::{Flag, Prerequisite, Protection, Rule, ScheduleStep, Serve, Variant};
use super::mistake::{InvalidFlag, Mistakes};
use super::rollout::{Rollout, VariantRange};
use super::value::{FlagType, VariantValue};
use crate::primitives::{ChangeName, CohortName, FlagKey, Instant, VariantName};

impl TryFrom<FlagDraft> for Flag {
    type Error = InvalidFlag;

    fn try_from(draft: FlagDraft) -> Result<Self, InvalidFlag> {
        let mut mistakes = Mistakes::default();
        let flag = flag(draft, &mut mistakes);
        mistakes.into_result(flag)
    }
}

/// The flag, or `None` where a mistake leaves nothing to build; mistakes decide, so a flag beside mistakes is thrown away.
fn flag(draft: FlagDraft, mistakes: &mut Mistakes) -> Option<Flag> {
    let key = mistakes.take("key", FlagKey::new(&draft.key));
    let variants = variants(draft.kind, draft.variants, mistakes);
    let mut scope =
        Scope { seed: draft.key, names: variants.iter().map(|variant| variant.name.clone()).collect(), mistakes };
    let default_variant = scope.variant("default_variant", &draft.default_variant);
    let off_variant = scope.variant("off_variant", &draft.off_variant);
    let rules: Vec<Option<Rule>> = draft
        .rules
        .into_iter()
        .enumerate()
        .map(|(number, rule)| scope.rule(&format!("rules[{number}]"), rule))
        .collect();
    if draft.change.is_some() {
        scope.require_sides();
    }
    let prerequisites = prerequisites(draft.prerequisites, mistakes);
    let change = given("change", draft.change, mistakes, |name| ChangeName::new(&name));
    let expires = given("expires", draft.expires, mistakes, day);
    let protection = protection(draft.protection.unwrap_or_default(), mistakes);
    Some(Flag {
        key: key?,
        kind: draft.kind,
        description: draft.description,
        enabled: draft.enabled,
        variants,
        default_variant: default_variant?,
        off_variant: off_variant?,
        prerequisites: prerequisites?,
        rules: rules.into_iter().collect::<Option<_>>()?,
        change: change?,
        expires: expires?,
        protection,
    })
}

/// `Some(None)` for a field that is not there, `None` beside a mistake.
fn given<D, T, E: std::fmt::Display>(
    at: &str,
    draft: Option<D>,
    mistakes: &mut Mistakes,
    parse: impl FnOnce(D) -> Result<T, E>,
) -> Option<Option<T>> {
    match draft {
        Some(draft) => mistakes.take(at, parse(draft)).map(Some),
        None => Some(None),
    }
}

fn prerequisites(drafts: Vec<PrerequisiteDraft>, mistakes: &mut Mistakes) -> Option<Vec<Prerequisite>> {
    let mut prerequisites = Vec::with_capacity(drafts.len());
    for (number, draft) in drafts.into_iter().enumerate() {
        let at = format!("prerequisites[{number}]");
        if draft.variants.is_empty() {
            mistakes.add(format!("{at}.variants"), "no variant would ever do: write at least one");
        }
        let variants = draft.variants.iter().enumerate();
        let variants: Vec<Option<VariantName>> = variants
            .map(|(variant, name)| mistakes.take(&format!("{at}.variants[{variant}]"), VariantName::new(name)))
            .collect();
        let flag = mistakes.take(&format!("{at}.flag"), FlagKey::new(&draft.flag));
        if let (Some(flag), Some(variants)) = (flag, variants.into_iter().collect()) {
            prerequisites.push(Some(Prerequisite { flag, variants }));
        } else {
            prerequisites.push(None);
        }
    }
    prerequisites.into_iter().collect()
}

fn day(text: String) -> Result<Date, String> {
    let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date = if is_plain { text.parse().ok() } else { None };
    date.ok_or_else(|| {
        let text: String = text.chars().take(60).collect();
        format!("`{text}` is not a day: write one such as 2027-01-31")
    })
}

fn protection(draft: ProtectionDraft, mistakes: &mut Mistakes) -> Protection {
    if draft.percent_per_hour.is_some_and(|percent| !(percent > 0.0 && percent <= 100.0)) {
        mistakes.add("protection.percent_per_hour", "is not a share: write more than 0 and at most 100");
    }
    if draft.population == Some(0) {
        mistakes.add("protection.population", "nobody is not a population: write at least 1");
    }
    Protection {
        reason_required: draft.reason_required,
        two_person: draft.two_person,
        percent_per_hour: draft.percent_per_hour,
        population: draft.population,
    }
}

fn variants(kind: FlagType, drafts: VariantDrafts, mistakes: &mut Mistakes) -> Vec<Variant> {
    if drafts.0.is_empty() {
        mistakes.add("variants", "a flag needs at least one variant: write a name and its value");
    }
    let mut variants = Vec::new();
    for (name, value) in drafts.0 {
        let at = format!("variants.{}", name.chars().take(160).collect::<String>());
        let name = mistakes.take(&at, VariantName::new(&name));
        let value = mistakes.take(&at, VariantValue::typed(kind, value));
        if let (Some(name), Some(value)) = (name, value) {
            variants.push(Variant { name, value });
        }
    }
    variants
}

/// What the parts of a flag are checked against.
struct Scope<'m> {
    /// A rollout's seed unless it says otherwise: the flag's key.
    seed: String,
    names: BTreeSet<VariantName>,
    mistakes: &'m mut Mistakes,
}

impl Scope<'_> {
    fn variant(&mut self, at: &str, name: &str) -> Option<VariantName> {
        let found = self.names.get(name).cloned();
        if found.is_none() {
            let known: Vec<String> = self.names.iter().map(|known| format!("`{known}`")).collect();
            let name: String = name.chars().take(160).collect();
            let has = if known.is_empty() { String::from("none that can be used") } else { known.join(", ") };
            self.mistakes.add(at, format!("the flag has no variant `{name}`: it has {has}"));
        }
        found
    }

    /// A change's flag says which side a group is on, so it must have both.
    fn require_sides(&mut self) {
        for side in ["old", "new"] {
            if !self.names.contains(side) {
                let what =
                    format!("a flag that routes a change needs the variants `old` and `new`: `{side}` is missing");
                self.mistakes.add("variants", what);
            }
        }
    }

    fn rule(&mut self, at: &str, draft: RuleDraft) -> Option<Rule> {
        let name = |name: String| CohortName::new(&name);
        let cohort = given(&format!("{at}.cohort"), draft.cohort, self.mistakes, name);
        let except_cohort = given(&format!("{at}.except_cohort"), draft.except_cohort, self.mistakes, name);
        let clauses: Vec<Option<Clause>> = draft
            .clauses
            .into_iter()
            .enumerate()
            .map(|(number, clause)| Clause::parse(&format!("{at}.clauses[{number}]"), clause, self.mistakes))
            .collect();
        let serve = match draft.serve {
            ServeDraft::Variant(name) => self.variant(&format!("{at}.serve.variant"), &name).map(Serve::Variant),
            ServeDraft::Rollout(rollout) => self.rollout(&format!("{at}.serve.rollout"), rollout).map(Serve::Rollout),
            ServeDraft::Schedule(steps) => self.schedule(&format!("{at}.serve.schedule"), steps).map(Serve::Schedule),
        };
        Some(Rule {
            description: draft.description,
            cohort: cohort?,
            except_cohort: except_cohort?,
            clauses: clauses.into_iter().collect::<Option<_>>()?,
            serve: serve?,
        })
    }

    fn schedule(&mut self, at: &str, drafts: Vec<ScheduleStepDraft>) -> Option<Vec<ScheduleStep>> {
        if drafts.is_empty() {
            self.mistakes.add(at, "an empty schedule never serves: write at least one step");
            return None;
        }
        let mut steps: Vec<Option<ScheduleStep>> = Vec::with_capacity(drafts.len());
        for (number, draft) in drafts.into_iter().enumerate() {
            let from = self.mistakes.take(&format!("{at}[{number}].from"), Instant::parse(&draft.from));
            let variant = self.variant(&format!("{at}[{number}].variant"), &draft.variant);
            let before = steps.last().and_then(Option::as_ref).map(|step| step.from);
            if from.is_some_and(|from| before.is_some_and(|before| from <= before)) {
                self.mistakes.add(
                    format!("{at}[{number}].from"),
                    "is not after the step before it: write the steps in the order of time",
                );
            }
            steps.push(from.zip(variant).map(|(from, variant)| ScheduleStep { from, variant }));
        }
        steps.into_iter().collect()
    }

    fn rollout(&mut self, at: &str, draft: RolloutDraft) -> Option<Rollout> {
        let algorithm = match draft.algorithm {
            Some(id) => self.mistakes.take(&format!("{at}.algorithm"), id.parse())?,
            None => Algorithm::NEWEST,
        };
        let attribute = match draft.attribute {
            Some(path) => self.mistakes.take(&format!("{at}.attribute"), path.parse())?,
            None => AttributePath::targeting_key(),
        };
        let seed = draft.seed.unwrap_or_else(|| self.seed.clone());
        if seed.len() > 256 {
            self.mistakes.add(format!("{at}.seed"), "is longer than 256 bytes: write a shorter one");
        }
        let ranges: Vec<Option<VariantRange>> = draft
            .ranges
            .into_iter()
            .enumerate()
            .map(|(number, RangeDraft { variant, from, to })| {
                let variant = self.variant(&format!("{at}.ranges[{number}].variant"), &variant)?;
                Some(VariantRange { variant, from, to })
            })
            .collect();
        let ranges = ranges.into_iter().collect::<Option<_>>()?;
        self.mistakes.take(&format!("{at}.ranges"), Rollout::new(algorithm, seed, attribute, ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn checkout() -> Value {
        json!({
            "key": "checkout", "type": "string",
            "variants": {"slow": "a", "fast": "b"}, "default_variant": "slow", "off_variant": "slow",
            "rules": [
                {"cohort": "staff", "serve": {"variant": "fast"}},
                {"clauses": [{"attribute": "account.plan", "operator": "in", "values": ["Pro", "Team"], "ignore_case": true}],
                 "serve": {"rollout": {"ranges": [{"variant": "fast", "from": 0, "to": 10_000},
                                                  {"variant": "slow", "from": 10_000, "to": 100_000}]}}}
            ]
        })
    }

    fn mistakes(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut json = checkout();
        change(&mut json);
        match Flag::parse(&json.to_string()) {
            Ok(_) => Vec::new(),
            Err(error) => error.mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_flag_is_stored_with_its_defaults_and_read_back_the_same() {
        let flag = Flag::parse(&checkout().to_string()).unwrap();
        let stored = serde_json::to_string(&flag).unwrap();
        assert!(stored.contains(r#""algorithm":"murmur3_32-100000","seed":"checkout","attribute":"targetingKey""#));
        assert!(stored.contains(r#""enabled":true"#));
        assert_eq!(Flag::parse(&stored).unwrap(), flag);
        assert_eq!(serde_json::from_str::<Flag>(&stored).unwrap(), flag);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let told = mistakes(|json| {
            json["key"] = json!("a/b");
            json["off_variant"] = json!("gone");
            json["rules"][0]["serve"]["variant"] = json!("faster");
            json["rules"][1]["clauses"][0]["operator"] = json!("resembles");
            json["rules"][1]["serve"]["rollout"]["ranges"][1]["from"] = json!(9_999);
        });
        let places: Vec<&str> = told.iter().filter_map(|mistake| mistake.split(": ").next()).collect();
        assert_eq!(
            places,
            [
                "key",
                "off_variant",
                "rules[0].serve.variant",
                "rules[1].clauses[0].operator",
                "rules[1].serve.rollout.ranges"
            ]
        );
    }

    #[test]
    fn unknown_fields_and_nulls_are_refused() {
        assert!(mistakes(|json| json["rulez"] = json!([]))[0].contains("unknown field `rulez`"));
        assert!(mistakes(|json| json["rules"][0]["cohrot"] = json!("staff"))[0].contains("unknown field `cohrot`"));
        assert_eq!(mistakes(|json| json["rules"][0]["cohort"] = Value::Null).len(), 1);
        assert_eq!(mistakes(|json| json["variants"]["fast"] = Value::Null).len(), 3, "and two that refer to it");
        assert!(Flag::parse(r#"{"key":"a","type":"boolean","variants":{"on":true,"on":false}}"#).is_err());
    }

    #[test]
    fn clauses_that_could_never_be_told_are_refused() {
        for clause in [
            json!({"attribute": "a", "operator": "in", "values": []}),
            json!({"attribute": "a", "operator": "in", "values": [1, "1"]}),
            json!({"attribute": "a", "operator": "in", "value": 1}),
            json!({"attribute": "a", "operator": "equals"}),
            json!({"attribute": "a", "operator": "equals", "values": [1]}),
            json!({"attribute": "a", "operator": "equals", "value": 1, "values": [1]}),
            json!({"attribute": "a", "operator": "equals", "value": {}}),
            json!({"attribute": "a", "operator": "equals", "value": 1e300}),
            json!({"attribute": "a", "operator": "equals", "value": true, "ignore_case": true}),
            json!({"attribute": "targetingKey", "operator": "equals", "value": true}),
            json!({"attribute": "", "operator": "equals", "value": 1}),
            json!({"attribute": "a", "operator": "equals", "value": 1, "case": true}),
        ] {
            assert_eq!(mistakes(|json| json["rules"][0]["clauses"] = json!([clause])).len(), 1, "{clause}");
        }
    }

    #[test]
    fn a_changes_flag_needs_both_sides() {
        assert_eq!(mistakes(|json| json["change"] = json!("billing-allocation")).len(), 2);
    }

    #[test]
    fn a_share_moves_by_rule_and_variant() {
        let flag = Flag::parse(&checkout().to_string()).unwrap();
        let fast = VariantName::new("fast").unwrap();
        let grown = flag.clone().with_share(1, &fast, 25_000, None).unwrap();
        let Serve::Rollout(rollout) = &grown.rules()[1].serve else { panic!("a rollout") };
        assert_eq!(rollout.share(&fast), 25_000);
        assert_eq!(grown.with_share(1, &fast, 10_000, None).unwrap(), flag);
        assert!(flag.clone().with_share(0, &fast, 1, None).is_err());
        assert!(flag.clone().with_share(2, &fast, 1, None).is_err());
        assert!(flag.with_share(1, &VariantName::new("gone").unwrap(), 1, None).is_err());
    }
}
