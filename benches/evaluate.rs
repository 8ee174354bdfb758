//! What an evaluation costs in process: `cargo bench --bench evaluate`.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't set itself up has nothing to say")]

use std::hint::black_box;
use std::sync::Arc;

use changeover::flags::{Cohort, CohortIds, Context, Flag, Snapshot, VersionedFlag};
use changeover::http::ofrep::{Asking, Prepared};
use changeover::primitives::{CohortName, Instant};
use criterion::{Criterion, criterion_group, criterion_main};
use prometheus::IntCounter;
use serde_json::{Value, json};

const NOW: Instant = Instant::from_micros(0);
const COHORT_SIZE: u64 = 1_000_000;

fn flag(key: &str, rules: &Value) -> VersionedFlag {
    let json = json!({"key": key, "type": "string", "variants": {"old": "old", "new": "new"}, "default_variant": "old",
                      "off_variant": "old", "rules": rules});
    VersionedFlag { flag: Flag::parse(&json.to_string()).unwrap(), version: 1 }
}

fn uuid(number: u64) -> String {
    format!("{:08x}-0000-4000-8000-{number:012x}", number.wrapping_mul(2_654_435_761) & 0xffff_ffff)
}

fn snapshot() -> Snapshot {
    let plan = |plan: String| {
        json!({"clauses": [{"attribute": "account.plan", "operator": "equals", "value": plan}],
                                     "serve": {"variant": "new"}})
    };
    let rollout = json!({"serve": {"rollout": {"ranges": [{"variant": "new", "from": 0, "to": 10_000},
                                                          {"variant": "old", "from": 10_000, "to": 100_000}]}}});
    let mut flags = vec![
        flag("static", &json!([])),
        flag("rollout", &json!([rollout])),
        flag("ten-rules", &(0..10).map(|number| plan(format!("plan-{number}"))).collect()),
        flag("decimals", &json!([{"cohort": "decimals", "serve": {"variant": "new"}}])),
        flag("uuids", &json!([{"cohort": "uuids", "serve": {"variant": "new"}}])),
        flag("emails", &json!([{"cohort": "emails", "serve": {"variant": "new"}}])),
    ];
    flags.extend((0..94).map(|number| flag(&format!("more-{number}"), &json!([plan("pro".to_owned()), rollout]))));
    let cohort = |name: &str, id: &dyn Fn(u64) -> String| {
        let ids: CohortIds = (0..COHORT_SIZE).map(id).collect();
        Arc::new(Cohort::new(CohortName::new(name).unwrap(), 1, ids))
    };
    let cohorts = vec![
        cohort("decimals", &|number| (number * 7_919).to_string()),
        cohort("uuids", &uuid),
        cohort("emails", &|number| format!("user-{number}@example.com")),
    ];
    Snapshot::build(1, Instant::from_micros(0), flags, cohorts)
}

/// Targeting keys spread over the cohort, so that look-ups do not find their way in the processor's cache.
fn keys(id: impl Fn(u64) -> String) -> Vec<Context> {
    (0..20_000).map(|number| Context::of(&id(number * 48_271 % COHORT_SIZE))).collect()
}

fn evaluate(criterion: &mut Criterion) {
    let snapshot = snapshot();
    let pro = Context::from_json(json!({"targetingKey": "user-1", "account": {"plan": "pro", "seats": 10}})).unwrap();
    for key in ["static", "rollout", "ten-rules"] {
        criterion.bench_function(&format!("evaluate/{key}"), |bench| {
            bench.iter(|| black_box(snapshot.evaluate(black_box(key), &pro, NOW)));
        });
    }
    for (key, contexts) in [
        ("decimals", keys(|number| (number * 7_919).to_string())),
        ("uuids", keys(uuid)),
        ("emails", keys(|number| format!("user-{number}@example.com"))),
    ] {
        let mut contexts = contexts.iter().cycle();
        criterion.bench_function(&format!("evaluate/cohort of a million {key}"), |bench| {
            bench.iter(|| black_box(contexts.next().map(|context| snapshot.evaluate(key, context, NOW))));
        });
    }
    let (prepared, count) = (Prepared::new(Arc::new(snapshot)), IntCounter::new("evaluations", "all").unwrap());
    let counter = |_: &str, _: &str| count.clone();
    let asking = Asking { prepared: &prepared, now: NOW, stale_since: None, offer: None, counter: &counter };
    let body = br#"{"context":{"targetingKey":"user-1","account":{"plan":"pro","seats":10},"country":"NZ"}}"#;
    criterion.bench_function("ofrep/single, body to body", |bench| {
        bench.iter(|| black_box(asking.single("rollout", black_box(body))));
    });
    criterion.bench_function("ofrep/bulk of 100 flags, body to body", |bench| {
        bench.iter(|| black_box(asking.bulk(black_box(body), None)));
    });
    let tag = asking.bulk(body, None).etag;
    criterion.bench_function("ofrep/bulk of 100 flags, not modified", |bench| {
        bench.iter(|| black_box(asking.bulk(black_box(body), tag.as_deref())));
    });
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
