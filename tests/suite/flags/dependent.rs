//! Prerequisites, schedules, conditions and exceptions, one small story each.

use changeover::flags::{
    Asked, CohortIndex, Context, Evaluation, Failure, Flag, Served, Snapshot, SnapshotFlag, Why, World, check_write,
};
use changeover::primitives::Instant;
use serde_json::{Value, json};

use super::arbitrary::snapshot;

const NOW: Instant = Instant::from_micros(0);

fn flag(key: &str, needs: &[(&str, &str)], rules: Value) -> Flag {
    let needs: Vec<Value> = needs.iter().map(|(flag, on)| json!({"flag": flag, "variants": [on]})).collect();
    let json = json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "default_variant": "off",
                      "off_variant": "off", "prerequisites": needs, "rules": rules});
    Flag::parse(&json.to_string()).unwrap()
}

fn on() -> Value {
    json!([{"serve": {"variant": "on"}}])
}

/// Variant and reason, or the error's code.
fn answer(snapshot: &Snapshot, key: &str, context: Value, now: Instant) -> String {
    match snapshot.evaluate(key, &Context::from_json(context).unwrap(), now) {
        Evaluation::Served(served) => format!("{} {}", served.variant.name, served.why.reason()),
        Evaluation::Failed(failure) => failure.code().to_owned(),
    }
}

#[test]
fn an_unmet_prerequisite_serves_the_off_variant() {
    let pro =
        json!([{"clauses": [{"attribute": "plan", "operator": "equals", "value": "pro"}], "serve": {"variant": "on"}}]);
    let flags =
        vec![flag("a", &[], pro), flag("b", &[("a", "on")], on()), flag("c", &[("b", "on"), ("a", "on")], on())];
    let snapshot = snapshot(flags, &json!([]));
    for (context, b, c) in [
        (json!({"plan": "pro"}), "on TARGETING_MATCH", "on TARGETING_MATCH"),
        (json!({"plan": "free"}), "off DISABLED", "off DISABLED"),
        (json!({"plan": 1}), "off DISABLED", "off DISABLED"),
        (json!({}), "off DISABLED", "off DISABLED"),
    ] {
        assert_eq!(answer(&snapshot, "b", context.clone(), NOW), b, "{context}");
        assert_eq!(answer(&snapshot, "c", context.clone(), NOW), c, "{context}");
    }
}

#[test]
fn what_a_prerequisite_needs_is_asked_for() {
    let listed = json!([{"cohort": "ids", "serve": {"variant": "on"}}]);
    let snapshot = snapshot(vec![flag("a", &[], listed), flag("b", &[("a", "on")], on())], &json!([]));
    assert_eq!(answer(&snapshot, "b", json!({}), NOW), "TARGETING_KEY_MISSING");
    assert_eq!(answer(&snapshot, "b", json!({"targetingKey": 42}), NOW), "on TARGETING_MATCH");
    assert_eq!(answer(&snapshot, "b", json!({"targetingKey": "41"}), NOW), "off DISABLED");
}

#[test]
fn a_circle_and_whatever_leads_there_is_off() {
    let flags = vec![
        flag("a", &[("b", "on")], on()),
        flag("b", &[("c", "on")], on()),
        flag("c", &[("a", "on"), ("d", "on")], on()),
        flag("d", &[], on()),
        flag("e", &[("d", "on"), ("a", "on")], on()),
        flag("f", &[("f", "on")], on()),
        flag("g", &[("missing", "on")], on()),
        flag("h", &[("d", "gone")], on()),
    ];
    let snapshot = snapshot(flags, &json!([]));
    for key in ["a", "b", "c", "e", "f", "g", "h"] {
        assert_eq!(answer(&snapshot, key, json!({}), NOW), "off DISABLED", "{key}");
    }
    assert_eq!(answer(&snapshot, "d", json!({}), NOW), "on TARGETING_MATCH");
}

#[test]
fn no_answer_asks_more_flags_than_it_may() {
    // Each asks the next one twice, so the n-th from the end asks 2ⁿ flags.
    let keys: Vec<String> = (0..40).map(|number| format!("f{number:02}")).collect();
    let link = |at: usize| match keys.get(at + 1) {
        Some(next) => flag(&keys[at], &[(next, "on"), (next, "on")], on()),
        None => flag(&keys[at], &[], on()),
    };
    let flags: Vec<Flag> = (0..40).map(link).collect();
    let invalid = check_write(&flags[0], &flags).unwrap_err();
    assert!(invalid.to_string().contains("more than 256 flags"), "{invalid}");
    check_write(&flags[36], &flags[36..]).unwrap();
    let snapshot = snapshot(flags, &json!([]));
    assert_eq!(answer(&snapshot, "f39", json!({}), NOW), "on TARGETING_MATCH");
    assert_eq!(answer(&snapshot, "f36", json!({}), NOW), "on TARGETING_MATCH");
    assert_eq!(answer(&snapshot, "f00", json!({}), NOW), "off DISABLED");
}

/// Everybody whose key begins with `n` is on the new side; nobody else's side is known.
struct Routing;

impl World for Routing {
    fn is_member(&self, _: CohortIndex, _: &str) -> bool {
        false
    }

    fn routed<'s>(&self, flag: &'s SnapshotFlag, context: &Context) -> Option<Evaluation<'s>> {
        Some(match flag.flag().find_variant("new") {
            Some(variant) if context.targeting_key().is_some_and(|key| key.starts_with('n')) => {
                Evaluation::Served(Served { flag, variant, why: Why::Assigned })
            }
            _ => Evaluation::Failed(Failure::General(String::from("the database is away"))),
        })
    }
}

#[test]
fn a_changes_flag_as_a_prerequisite_is_routed() {
    let change = json!({"key": "billing", "type": "boolean", "change": "billing", "variants": {"old": false, "new": true},
                        "default_variant": "old", "off_variant": "old", "rules": [{"serve": {"variant": "new"}}]});
    let change = Flag::parse(&change.to_string()).unwrap();
    let flags =
        vec![change, flag("a", &[("billing", "new")], on()), flag("b", &[("a", "on")], on()), flag("c", &[], on())];
    let snapshot = snapshot(flags, &json!([]));
    let needs: Vec<bool> = snapshot.flags().iter().map(SnapshotFlag::needs_routing).collect();
    assert_eq!(needs, [true, true, true, false], "a, b, billing, c");
    let ask = |key: &str, user: &str| {
        let (flag, context) = (snapshot.find_flag(key).unwrap(), Context::of(user));
        match snapshot.evaluate_in(flag, Asked { context: &context, now: NOW }, &Routing) {
            Evaluation::Served(served) => format!("{} {}", served.variant.name, served.why.reason()),
            Evaluation::Failed(failure) => failure.to_string(),
        }
    };
    assert_eq!(ask("b", "nora"), "on TARGETING_MATCH");
    assert_eq!(ask("b", "olaf"), "the database is away", "never a guess");
    assert_eq!(answer(&snapshot, "b", json!({"targetingKey": "nora"}), NOW), "GENERAL", "nobody routes here");
}

#[test]
fn a_schedule_serves_from_each_instant_on() {
    let steps = json!([{"from": "2026-12-01T00:00:00Z", "variant": "on"}, {"from": "2026-12-31T23:00:00+00:00", "variant": "off"}]);
    let rules = json!([{"cohort": "nobody", "serve": {"variant": "off"}}, {"serve": {"schedule": steps}}]);
    let snapshot = snapshot(vec![flag("a", &[], rules)], &json!([]));
    let at = |text: &str| Instant::parse(text).unwrap();
    let (first, second) = (at("2026-12-01T00:00:00Z"), at("2026-12-31T23:00:00Z"));
    for (now, expected, step, next) in [
        ("2026-11-30T23:59:59.999999Z", "off DEFAULT", 0, Some(first)),
        ("2026-12-01T00:00:00Z", "on TARGETING_MATCH", 1, Some(second)),
        ("2026-12-31T22:59:59Z", "on TARGETING_MATCH", 1, Some(second)),
        ("2026-12-31T23:00:00Z", "off TARGETING_MATCH", 2, None),
    ] {
        assert_eq!(answer(&snapshot, "a", json!({"targetingKey": "u"}), at(now)), expected, "{now}");
        assert_eq!((snapshot.schedule_step(at(now)), snapshot.next_scheduled(at(now))), (step, next), "{now}");
    }
}

#[test]
fn who_may_or_may_not_be_excepted_is_not_matched() {
    let pro = json!([[{"attribute": "plan", "operator": "equals", "value": "pro"}]]);
    let rule = |cohort: &str| json!([{"except_cohort": cohort, "serve": {"variant": "on"}}]);
    let flags = ["conditions", "both", "nobody", "missing"].map(|cohort| flag(cohort, &[], rule(cohort))).to_vec();
    let snapshot = snapshot(flags, &pro);
    for (cohort, context, expected) in [
        ("conditions", json!({"plan": "free"}), "on TARGETING_MATCH"),
        ("conditions", json!({"plan": "pro"}), "off DEFAULT"),
        ("conditions", json!({"plan": 1}), "off DEFAULT"),
        ("conditions", json!({}), "off DEFAULT"),
        ("both", json!({"plan": "free"}), "TARGETING_KEY_MISSING"),
        ("both", json!({"plan": "free", "targetingKey": 41}), "on TARGETING_MATCH"),
        ("both", json!({"plan": "free", "targetingKey": 42}), "off DEFAULT"),
        ("both", json!({"targetingKey": 41}), "off DEFAULT"),
        ("nobody", json!({"targetingKey": 41}), "on TARGETING_MATCH"),
        ("missing", json!({"targetingKey": 41}), "off DEFAULT"),
    ] {
        assert_eq!(answer(&snapshot, cohort, context.clone(), NOW), expected, "{cohort} {context}");
    }
}

#[test]
fn a_member_by_conditions_is_clearly_one() {
    let groups = json!([
        [{"attribute": "plan", "operator": "equals", "value": "pro"}, {"attribute": "seats", "operator": "at_least", "value": 10}],
        [{"attribute": "targetingKey", "operator": "starts_with", "value": "staff-"}]
    ]);
    let rules = json!([{"cohort": "both", "serve": {"variant": "on"}}]);
    let snapshot = snapshot(vec![flag("a", &[], rules)], &groups);
    for (context, expected) in [
        (json!({"targetingKey": "42"}), "on TARGETING_MATCH"),
        (json!({"targetingKey": "staff-7"}), "on TARGETING_MATCH"),
        (json!({"targetingKey": "7"}), "off DEFAULT"),
        (json!({"targetingKey": "7", "plan": "pro", "seats": 10.0}), "on TARGETING_MATCH"),
        (json!({"targetingKey": "7", "plan": "pro", "seats": 9.5}), "off DEFAULT"),
        (json!({"targetingKey": "7", "plan": "pro", "seats": "10"}), "off DEFAULT"),
        (json!({"plan": "pro", "seats": 10}), "on TARGETING_MATCH"),
        (json!({"plan": "free", "seats": 10}), "TARGETING_KEY_MISSING"),
    ] {
        assert_eq!(answer(&snapshot, "a", context.clone(), NOW), expected, "{context}");
    }
}

#[test]
fn a_changes_flag_knows_a_group_by_its_id_only() {
    let groups = json!([[{"attribute": "targetingKey", "operator": "starts_with", "value": "g"}]]);
    let change = |rule: Value| {
        let json = json!({"key": "a", "type": "boolean", "change": "billing", "variants": {"old": false, "new": true},
                          "default_variant": "old", "off_variant": "old", "rules": [rule]});
        snapshot(vec![Flag::parse(&json.to_string()).unwrap()], &groups)
    };
    let context = json!({"targetingKey": "g1", "plan": "pro"});
    for (rule, expected) in [
        (json!({"cohort": "conditions", "serve": {"variant": "new"}}), "old DEFAULT"),
        (json!({"except_cohort": "conditions", "serve": {"variant": "new"}}), "old DEFAULT"),
        (json!({"clauses": [{"attribute": "plan", "operator": "exists"}], "serve": {"variant": "new"}}), "old DEFAULT"),
        (
            json!({"clauses": [{"attribute": "plan", "operator": "exists", "negate": true}], "serve": {"variant": "new"}}),
            "old DEFAULT",
        ),
        (
            json!({"serve": {"rollout": {"attribute": "plan", "ranges": [{"variant": "new", "from": 0, "to": 100_000}]}}}),
            "old DEFAULT",
        ),
        (
            json!({"clauses": [{"attribute": "targetingKey", "operator": "equals", "value": "g1"}], "serve": {"variant": "new"}}),
            "new TARGETING_MATCH",
        ),
    ] {
        assert_eq!(answer(&change(rule.clone()), "a", context.clone(), NOW), expected, "{rule}");
    }
}
