//! Flags, cohorts and contexts of every shape, as JSON.

use std::sync::Arc;

use changeover::flags::{Cohort, CohortConditions, Flag, Operator, Snapshot, VersionedFlag};
use changeover::primitives::{CohortName, Instant};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Names that flags ask for and contexts have, and some that lead nowhere.
const NAMES: [&str; 9] =
    ["targetingKey", "account", "plan", "account.plan", "seats", "beta", "since", "version", "address"];

/// Values that mean something to one operator or another.
fn telling() -> impl Strategy<Value = Value> {
    let texts = [
        "pro",
        "PRO",
        "profi",
        "Größe",
        "GRÖSSE",
        "42",
        "7",
        "",
        "true",
        "2026-12-01T00:00:00Z",
        "2026-11-30T23:59:60Z",
        "2026-12-01T01:00:00+02:00",
        "1.2.3",
        "v1.2.3-rc.1",
        "1.2",
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "2001:db8::1",
        "ΟΔΟΣ",
    ];
    prop_oneof![
        select(texts.to_vec()).prop_map(Value::from),
        select(vec![
            json!(0),
            json!(-0.0),
            json!(42),
            json!(42.0),
            json!(0.5),
            json!(u64::MAX),
            json!(1e17),
            json!(1e300)
        ]),
        any::<bool>().prop_map(Value::from),
        Just(json!(["pro", "team"])),
        Just(json!(["pro", 1, null])),
    ]
}

/// Any JSON.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        telling(),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(NAMES.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,5}"]
}

/// An object of attributes: often ones that a flag asks for, with values that it can or can't compare.
pub fn any_context() -> impl Strategy<Value = Value> {
    let value = prop_oneof![3 => telling(), 1 => any_json()];
    prop::collection::vec((name(), value), 0..8)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
}

/// A clause that is valid on every attribute.
pub fn any_clause() -> impl Strategy<Value = Value> {
    let text = || select(vec!["pro", "PRO", "Größe", "4", "42", "true", "ΟΔΟΣ"]).prop_map(Value::from);
    let number =
        || prop_oneof![any::<i32>().prop_map(Value::from), (-100_i32..100).prop_map(|n| json!(f64::from(n) / 4.0))];
    let instant = || select(vec!["2026-12-01T00:00:00Z", "1999-01-01T00:00:00.123456789+14:00"]).prop_map(Value::from);
    let version = || select(vec!["1.2.3", "v2.0.0-rc.1", "1.10.0+b"]).prop_map(Value::from);
    let network = || select(vec!["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0"]).prop_map(Value::from);
    let pattern = || select(vec!["^pro$", "\\d+", "(?i)gr(ö|o)", "."]).prop_map(Value::from);
    let operator = select(Operator::ALL.to_vec());
    (operator, name_of_attribute(), any::<bool>(), any::<bool>(), any::<bool>()).prop_flat_map(
        move |(operator, attribute, negate, ignore_case, many)| {
            let comparand = match operator {
                Operator::LessThan | Operator::AtMost | Operator::MoreThan | Operator::AtLeast => number().boxed(),
                Operator::Before | Operator::After => instant().boxed(),
                Operator::Matches => pattern().boxed(),
                Operator::InCidr => network().boxed(),
                operator if operator.as_str().starts_with("semver") => version().boxed(),
                _ => text().boxed(),
            };
            prop::collection::vec(comparand, 1..9).prop_map(move |comparands| {
                let mut clause = json!({"attribute": attribute, "operator": operator.as_str(), "negate": negate});
                let reads_texts = ["equals", "in", "contains", "starts_with", "ends_with", "matches"];
                if ignore_case && reads_texts.contains(&operator.as_str()) {
                    clause["ignore_case"] = json!(true);
                }
                let is_either =
                    ["contains", "starts_with", "ends_with", "matches", "in_cidr"].contains(&operator.as_str());
                if operator == Operator::In || (is_either && many) {
                    clause["values"] = json!(comparands);
                } else if operator != Operator::Exists {
                    clause["value"] = comparands[0].clone();
                }
                clause
            })
        },
    )
}

/// The targeting key has no order and is never asked for one.
fn name_of_attribute() -> impl Strategy<Value = String> {
    select(NAMES[1..].to_vec()).prop_map(str::to_owned)
}

fn any_serve() -> impl Strategy<Value = Value> {
    let variant = || select(vec!["old", "new", "other"]);
    let rollout = (1_u32..99_999, 1_u32..99_999, select(vec!["targetingKey", "plan", "seats"]), "\\PC{0,3}");
    let rollout = rollout.prop_map(|(one, other, attribute, seed)| {
        let (low, high) = (one.min(other), one.max(other).max(one.min(other) + 1));
        let range = |variant: &str, from: u32, to: u32| json!({"variant": variant, "from": from, "to": to});
        let ranges = [range("new", 0, low), range("other", low, high), range("old", high, 100_000)];
        json!({"rollout": {"seed": seed, "attribute": attribute, "ranges": ranges}})
    });
    let schedule = prop::collection::btree_map(0_i64..2_000_000_000, variant(), 1..4).prop_map(|steps| {
        let step = |(second, variant): (i64, &str)| {
            json!({"from": Instant::from_micros(second * 1_000_000).to_string(), "variant": variant})
        };
        json!({"schedule": steps.into_iter().map(step).collect::<Vec<_>>()})
    });
    prop_oneof![3 => variant().prop_map(|variant| json!({"variant": variant})), 2 => rollout, 1 => schedule]
}

fn any_rule() -> impl Strategy<Value = Value> {
    let cohort = || prop::option::weighted(0.3, select(vec!["ids", "conditions", "both", "nobody", "missing"]));
    (cohort(), cohort(), prop::collection::vec(any_clause(), 0..3), any_serve()).prop_map(
        |(cohort, except, clauses, serve)| {
            let mut rule = json!({"clauses": clauses, "serve": serve});
            for (field, name) in [("cohort", cohort), ("except_cohort", except)] {
                if let Some(name) = name {
                    rule[field] = json!(name);
                }
            }
            rule
        },
    )
}

/// A valid flag with this key; its prerequisites are among these flags, whatever they in turn depend on.
pub fn any_flag(key: &'static str, others: &'static [&'static str]) -> impl Strategy<Value = Flag> {
    let needs = prop::collection::vec((select(others.to_vec()), select(vec!["old", "new", "gone"])), 0..3);
    let more = (any::<bool>(), prop::bool::weighted(0.9), prop::option::of(select(vec!["2026-12-31", "0999-01-01"])));
    (prop::collection::vec(any_rule(), 0..4), needs, more, prop::option::of(1_u32..1_000)).prop_map(
        move |(rules, needs, (routes, enabled, expires), per_mille)| {
            let prerequisites: Vec<Value> =
                needs.iter().map(|(flag, variant)| json!({"flag": flag, "variants": [variant]})).collect();
            let mut flag = json!({"key": key, "type": "string", "enabled": enabled, "default_variant": "old",
                                  "off_variant": "off", "rules": rules, "prerequisites": prerequisites,
                                  "variants": {"old": "o", "new": "n", "other": "x", "off": "f"}});
            if routes && needs.is_empty() && key == "change" {
                flag["change"] = json!("billing");
            }
            if let Some(day) = expires {
                flag["expires"] = json!(day);
            }
            if let Some(per_mille) = per_mille {
                flag["protection"] = json!({"percent_per_hour": f64::from(per_mille) / 10.0, "two_person": true});
            }
            Flag::parse(&flag.to_string()).unwrap_or_else(|invalid| panic!("{flag}: {invalid}"))
        },
    )
}

/// One flag that stands alone.
pub fn lone_flag() -> impl Strategy<Value = Flag> {
    any_flag("flag", &["missing"])
}

/// The cohorts that flags name.
pub fn cohorts(conditions: &Value) -> Vec<Arc<Cohort>> {
    let conditions = CohortConditions::parse(&conditions.to_string()).unwrap();
    let cohort = |name: &str, ids: &[&str]| Cohort::new(CohortName::new(name).unwrap(), 3, ids.iter().collect());
    vec![
        Arc::new(cohort("ids", &["42", "pro", "7"])),
        Arc::new(cohort("conditions", &[]).with_conditions(conditions.clone())),
        Arc::new(cohort("both", &["42"]).with_conditions(conditions)),
        Arc::new(cohort("nobody", &[])),
    ]
}

/// A snapshot of these flags and the cohorts.
pub fn snapshot(flags: Vec<Flag>, conditions: &Value) -> Snapshot {
    let flags = flags.into_iter().map(|flag| VersionedFlag { flag, version: 1 }).collect();
    Snapshot::build(1, Instant::from_micros(0), flags, cohorts(conditions))
}

/// Groups of conditions, perhaps none.
pub fn any_conditions() -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::collection::vec(any_clause(), 1..3), 0..3).prop_map(Value::from)
}
