//! What must hold of any flag and any context.

use std::sync::Arc;

use changeover::flags::{BUCKETS, Context, Evaluation, Flag, Snapshot, VersionedFlag};
use changeover::http::ofrep::{Asking, Prepared};
use changeover::primitives::{Instant, VariantName};
use prometheus::IntCounter;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::host::snapshot;

const NOW: Instant = Instant::from_micros(0);

/// Rules that must serve `new` to nobody but who clearly meets them. Each case names one attribute and one test of it.
fn guarded(clause: Value) -> Snapshot {
    let flag = json!({"key": "guarded", "type": "string", "variants": {"old": "o", "new": "n"}, "default_variant": "old",
                      "off_variant": "old", "rules": [{"clauses": [clause], "serve": {"variant": "new"}}]});
    snapshot(1, &[flag], &[])
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["pro", "42", "true", "account.plan"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let known = ["targetingKey", "account", "plan", "account.plan", "seats", "beta", ""];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "\\PC{0,5}"]
}

fn any_context() -> impl Strategy<Value = Value> {
    prop::collection::vec((name(), any_json()), 0..6)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
}

/// The value at `account.plan`, found another way than the evaluator finds it.
fn plan(context: &Value) -> Option<&Value> {
    context.get("account.plan").or_else(|| context.pointer("/account/plan"))
}

/// Answers from a snapshot.
fn asking<T>(snapshot: Snapshot, ask: impl FnOnce(&Asking<'_>) -> T) -> T {
    let (prepared, count) = (Prepared::new(Arc::new(snapshot)), IntCounter::new("evaluations", "all").unwrap());
    let counter = |_: &str, _: &str| count.clone();
    ask(&Asking { prepared: &prepared, now: NOW, stale_since: None, offer: None, counter: &counter })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_context_however_odd_fails_open(context in any_context(), negate: bool) {
        let snapshot = guarded(json!({"attribute": "account.plan", "operator": "equals", "value": "pro", "negate": negate}));
        let Ok(parsed) = Context::from_json(context.clone()) else { return Ok(()) };
        let Evaluation::Served(served) = snapshot.evaluate("guarded", &parsed, NOW) else {
            return Err(TestCaseError::fail("nothing here needs a targeting key"));
        };
        let is_clear = plan(&context).is_some_and(|plan| plan.as_str().is_some_and(|plan| (plan == "pro") != negate));
        prop_assert_eq!(served.variant.name.as_str() == "new", is_clear, "{}", context);
    }

    #[test]
    fn any_body_has_an_answer(body in prop_oneof![
        any_context().prop_map(|context| json!({"context": context}).to_string().into_bytes()),
        any_json().prop_map(|value| value.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
        "[{}\\[\\]\",:0-9a-z ]{0,40}".prop_map(String::into_bytes),
    ]) {
        let snapshot = guarded(json!({"attribute": "targetingKey", "operator": "in", "values": [42, "7"]}));
        asking(snapshot, |asking| {
            let one = asking.single("guarded", &body);
            prop_assert!([200, 400].contains(&one.status));
            let one: Value = serde_json::from_slice(&one.body).unwrap();
            let all = asking.bulk(&body, None);
            let parsed: Value = serde_json::from_slice(&all.body).unwrap();
            if all.status == 200 {
                prop_assert_eq!(&parsed["flags"][0], &one);
                let again = asking.bulk(&body, all.etag.as_deref());
                prop_assert_eq!((again.status, again.etag, again.body.len()), (304, all.etag, 0));
            } else {
                prop_assert_eq!(&parsed["errorCode"], &one["errorCode"]);
            }
            Ok(())
        })?;
    }

    #[test]
    fn growing_moves_only_the_donors_users_and_shrinking_brings_them_back(
        shares in prop::collection::vec(0_u32..=BUCKETS, 1..8),
        from_other: bool,
    ) {
        let ranges = json!([{"variant": "new", "from": 0, "to": 10_000}, {"variant": "other", "from": 10_000, "to": 40_000},
                            {"variant": "old", "from": 40_000, "to": 100_000}]);
        let first = json!({"key": "split", "type": "integer", "variants": {"old": 0, "new": 1, "other": 2},
                           "default_variant": "old", "off_variant": "old", "rules": [{"serve": {"rollout": {"ranges": ranges}}}]});
        let first = Flag::parse(&first.to_string()).unwrap();
        let donor = if from_other { "other" } else { "old" };
        let (new, donor) = (VariantName::new("new").unwrap(), VariantName::new(donor).unwrap());
        let before = users(&first);
        let mut flag = first.clone();
        for share in shares {
            let Ok(changed) = flag.clone().with_share(0, &new, share, Some(&donor)) else { continue };
            for (was, is) in users(&flag).iter().zip(users(&changed)) {
                let moved_between = [was.as_str(), is.as_str()];
                prop_assert!(*was == is || (moved_between.contains(&"new") && moved_between.contains(&donor.as_str())));
            }
            flag = changed;
        }
        let back = flag.with_share(0, &new, 10_000, Some(&donor)).unwrap();
        prop_assert_eq!(users(&back), before);
        prop_assert_eq!(back, first);
    }
}

/// The variants of 300 users.
fn users(flag: &Flag) -> Vec<String> {
    let flag = VersionedFlag { flag: flag.clone(), version: 1 };
    let snapshot = Snapshot::build(1, Instant::from_micros(0), vec![flag], Vec::new());
    let served = (0..300).map(|user| match snapshot.evaluate("split", &Context::of(&user.to_string()), NOW) {
        Evaluation::Served(served) => served.variant.name.to_string(),
        Evaluation::Failed(failure) => failure.to_string(),
    });
    served.collect()
}
