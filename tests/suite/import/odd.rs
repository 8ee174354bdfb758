//! Documents of any shape: read or refused, never a panic, and whatever comes out is valid.

use changeover::flags::Flag;
use changeover::flags::import::{Document, Imported, constraint, flagd, strategy, unleash};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Words of both formats and others, so that odd documents get far.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "flags",
        "f",
        "state",
        "ENABLED",
        "variants",
        "defaultVariant",
        "targeting",
        "if",
        "and",
        "or",
        "!",
        "!!",
        "==",
        "!=",
        "===",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "var",
        "starts_with",
        "ends_with",
        "sem_ver",
        "fractional",
        "$ref",
        "a",
        "b",
        "targetingKey",
        "$flagd.timestamp",
        "$flagd.flagKey",
        "cat",
        "features",
        "name",
        "enabled",
        "strategies",
        "parameters",
        "constraints",
        "segments",
        "id",
        "contextName",
        "operator",
        "values",
        "value",
        "IN",
        "NOT_IN",
        "NUM_GT",
        "DATE_AFTER",
        "SEMVER_LT",
        "currentTime",
        "userId",
        "default",
        "flexibleRollout",
        "rollout",
        "stickiness",
        "50",
        "1.2.3",
        "2026-12-01T00:00:00Z",
        "weight",
        "payload",
        "type",
        "json",
        "number",
        "overrides",
        "dependencies",
        "feature",
        "inverted",
        "remoteAddress",
        "IPs",
        "featureStrategies",
        "featureEnvironments",
        "featureName",
        "environment",
        "$evaluators",
        "metadata",
        "~",
        "^",
        "=",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,5}"]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u8..101).prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 1..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn check(imported: &Imported) -> Result<(), TestCaseError> {
    for draft in &imported.flags {
        prop_assert!(Flag::try_from(draft.clone()).is_ok());
    }
    let document = Document::of(imported.flags.clone(), imported.cohorts.clone());
    let duplicates = imported.flags.windows(2).any(|pair| pair[0].key == pair[1].key);
    prop_assert!(duplicates || document.check().is_ok() || imported.flags.len() > 1);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::support::full_length(20_000, 1_500) as u32))]

    #[test]
    fn any_json_is_read_or_refused(anything in any_json(), word in word()) {
        for document in [anything.clone(), json!({"flags": anything.clone()}), json!({"features": anything.clone()})] {
            if let Ok(imported) = flagd::import(&document) {
                check(&imported)?;
            }
            if let Ok(imported) = unleash::import(&document, None) {
                check(&imported)?;
            }
            drop(unleash::import(&document, Some(&word)));
        }
        drop(constraint::condition(&anything));
        drop(strategy::read(&anything, &strategy::Segments::new()));
    }

    #[test]
    fn any_targeting_and_any_strategy_are_expressed_or_listed(anything in any_json()) {
        let flag = json!({"state": "ENABLED", "variants": {"a": "x", "b": "y"}, "defaultVariant": "a", "targeting": anything.clone()});
        let imported = flagd::import(&json!({"flags": {"f": flag}, "$evaluators": {"a": anything.clone(), "b": {"$ref": "b"}}})).unwrap();
        prop_assert_eq!(imported.flags.len(), usize::from(imported.is_complete()));
        check(&imported)?;
        let feature = json!({"name": "f", "enabled": true, "strategies": [{"name": "default", "constraints": [anything.clone()]}, anything]});
        let imported = unleash::import(&json!({"features": [feature]}), None).unwrap();
        prop_assert_eq!(imported.flags.len(), usize::from(imported.is_complete()));
        check(&imported)?;
    }
}
