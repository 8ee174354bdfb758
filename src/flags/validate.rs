//! From a draft to a flag: every mistake is found and told with its place. And back, with every default written out.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bucket::Algorithm;
use super::clause::{AttributePath, Clause, Comparand, Numeric, Test};
use super::context::canonical_id;
use super::draft::{ClauseDraft, FlagDraft, RangeDraft, RolloutDraft, RuleDraft, ServeDraft, VariantDrafts};
use super::flag::{Flag, Rule, Serve, Variant};
use super::mistake::{InvalidFlag, Mistakes};
use super::rollout::{Rollout, VariantRange};
use super::value::{FlagType, VariantValue, describe};
use crate::primitives::{ChangeName, CohortName, FlagKey, VariantName};

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
    let change = match draft.change {
        Some(name) => {
            scope.require_sides();
            Some(mistakes.take("change", ChangeName::new(&name))?)
        }
        None => None,
    };
    Some(Flag {
        key: key?,
        kind: draft.kind,
        description: draft.description,
        enabled: draft.enabled,
        variants,
        default_variant: default_variant?,
        off_variant: off_variant?,
        rules: rules.into_iter().collect::<Option<_>>()?,
        change,
    })
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
            self.mistakes.add(at, format!("the flag has no variant `{name}`: it has {}", known.join(", ")));
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
        let cohort = match draft.cohort {
            Some(name) => Some(self.mistakes.take(&format!("{at}.cohort"), CohortName::new(&name))?),
            None => None,
        };
        let clauses: Vec<Option<Clause>> = draft
            .clauses
            .into_iter()
            .enumerate()
            .map(|(number, clause)| self.clause(&format!("{at}.clauses[{number}]"), clause))
            .collect();
        let serve = match draft.serve {
            ServeDraft::Variant(name) => self.variant(&format!("{at}.serve.variant"), &name).map(Serve::Variant),
            ServeDraft::Rollout(rollout) => self.rollout(&format!("{at}.serve.rollout"), rollout).map(Serve::Rollout),
        };
        Some(Rule {
            description: draft.description,
            cohort,
            clauses: clauses.into_iter().collect::<Option<_>>()?,
            serve: serve?,
        })
    }

    fn clause(&mut self, at: &str, draft: ClauseDraft) -> Option<Clause> {
        let attribute: AttributePath = self.mistakes.take(&format!("{at}.attribute"), draft.attribute.parse())?;
        let reading = Reading { is_id: attribute.is_targeting_key(), ignore_case: draft.ignore_case };
        let test = match (draft.operator.as_str(), draft.value, draft.values) {
            ("equals", Some(value), None) => {
                Test::Equals(self.mistakes.take(&format!("{at}.value"), reading.comparand(value))?)
            }
            ("equals", _, _) => {
                self.mistakes.add(at, "`equals` takes `value`, and not `values`");
                return None;
            }
            ("in", None, Some(values)) => Test::In(self.comparands(&format!("{at}.values"), &reading, values)?),
            ("in", _, _) => {
                self.mistakes.add(at, "`in` takes `values`, and not `value`");
                return None;
            }
            (other, _, _) => {
                let other: String = other.chars().take(60).collect();
                self.mistakes
                    .add(format!("{at}.operator"), format!("`{other}` is not an operator: write `equals` or `in`"));
                return None;
            }
        };
        Some(Clause { attribute, test, negate: draft.negate, ignore_case: draft.ignore_case })
    }

    fn comparands(&mut self, at: &str, reading: &Reading, values: Vec<Value>) -> Option<Vec<Comparand>> {
        if values.is_empty() {
            self.mistakes.add(at, "an empty list matches nobody: write at least one value");
            return None;
        }
        let mut comparands: Vec<Comparand> = Vec::with_capacity(values.len());
        for (number, value) in values.into_iter().enumerate() {
            let at = format!("{at}[{number}]");
            let comparand = self.mistakes.take(&at, reading.comparand(value))?;
            if comparands
                .first()
                .is_some_and(|first| std::mem::discriminant(first) != std::mem::discriminant(&comparand))
            {
                self.mistakes.add(at, "is of another type than the first value: write texts only, or numbers only");
                return None;
            }
            comparands.push(comparand);
        }
        Some(comparands)
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

/// How a clause's values are read.
struct Reading {
    /// The values are ids: a number is its decimal text.
    is_id: bool,
    ignore_case: bool,
}

impl Reading {
    fn comparand(&self, value: Value) -> Result<Comparand, String> {
        let found = describe(&value);
        let value = match canonical_id(&value) {
            Some(id) if self.is_id => Value::String(id.into_owned()),
            _ => value,
        };
        let comparand = match &value {
            Value::String(text) if self.ignore_case => Some(Comparand::Text(text.to_lowercase())),
            Value::String(text) => Some(Comparand::Text(text.clone())),
            _ if self.ignore_case => return Err(format!("is {found}: `ignore_case` goes with texts only")),
            _ if self.is_id => None,
            Value::Bool(flag) => Some(Comparand::Boolean(*flag)),
            Value::Number(number) => Numeric::exact(number).map(Comparand::Number),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        comparand.ok_or_else(|| {
            format!("is {found}, which nothing can be compared with: write a text, an exact number, true or false")
        })
    }
}

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
            rules: flag.rules.into_iter().map(RuleDraft::from).collect(),
            change: flag.change.map(String::from),
        }
    }
}

impl From<Rule> for RuleDraft {
    fn from(rule: Rule) -> Self {
        Self {
            description: rule.description,
            cohort: rule.cohort.map(String::from),
            clauses: rule.clauses.into_iter().map(ClauseDraft::from).collect(),
            serve: match rule.serve {
                Serve::Variant(name) => ServeDraft::Variant(name.into()),
                Serve::Rollout(rollout) => ServeDraft::Rollout(RolloutDraft::from(&rollout)),
            },
        }
    }
}

impl From<Clause> for ClauseDraft {
    fn from(clause: Clause) -> Self {
        let (operator, value, values) = match clause.test {
            Test::Equals(comparand) => ("equals", Some(to_json(comparand)), None),
            Test::In(comparands) => ("in", None, Some(comparands.into_iter().map(to_json).collect())),
        };
        Self {
            attribute: clause.attribute.to_string(),
            operator: operator.to_owned(),
            value,
            values,
            negate: clause.negate,
            ignore_case: clause.ignore_case,
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

fn to_json(comparand: Comparand) -> Value {
    match comparand {
        Comparand::Text(text) => Value::String(text),
        Comparand::Boolean(flag) => Value::Bool(flag),
        Comparand::Number(Numeric::Fraction(float)) => Value::from(float),
        // Read from a JSON number of at most 64 bits.
        Comparand::Number(Numeric::Whole(whole)) => match (i64::try_from(whole), u64::try_from(whole)) {
            (Ok(whole), _) => Value::from(whole),
            (_, Ok(whole)) => Value::from(whole),
            _ => Value::Null,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            json["rules"][1]["clauses"][0]["operator"] = json!("contains");
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
