//! The bound on who moves: for any two versions of a flag, no more move than it says.

use changeover::flags::{Context, Evaluation, Flag, Snapshot, WHOLE, exposure};
use changeover::primitives::Instant;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::ofrep::host::snapshot;
use crate::support::Random;

const SUBJECTS: u64 = 20_000;
const NOW: Instant = Instant::from_micros(1_795_000_000_000_000);
/// Shares are shares of buckets; of 20,000 subjects a few more may fall into them: six standard deviations.
const CHANCE: u32 = 22_000;

fn percent(before: &Value, after: &Value) -> f64 {
    let (before, after) = (draft(before), draft(after));
    f64::from(exposure(Some(&before), Some(&after), &|name| if name == "tenth" { 100_000 } else { 0 })) / 10_000.0
}

fn draft(flag: &Value) -> changeover::flags::FlagDraft {
    Flag::parse(&flag.to_string()).unwrap_or_else(|invalid| panic!("{invalid}: {flag}")).to_draft()
}

fn flag(rules: Value) -> Value {
    json!({"key": "f", "type": "string", "variants": {"old": "o", "new": "n", "third": "t"}, "default_variant": "old",
           "off_variant": "old", "rules": rules})
}

fn rollout(seed: &str, new: u32) -> Value {
    json!({"rollout": {"seed": seed, "ranges": [{"variant": "new", "from": 0, "to": new}, {"variant": "old", "from": new, "to": 100_000}]}})
}

#[test]
fn what_can_be_told_is_told_exactly() {
    let none = flag(json!([]));
    let share = |new: u32| flag(json!([{"serve": rollout("s", new)}]));
    let killed = |flag: &Value| {
        let mut flag = flag.clone();
        flag["enabled"] = false.into();
        flag
    };
    let everybody = flag(json!([{"serve": {"variant": "new"}}]));
    let clause = |plan: &str, serve: Value| json!({"clauses": [{"attribute": "plan", "operator": "equals", "value": plan}], "serve": serve});
    let cohort = |serve: Value| json!({"cohort": "tenth", "serve": serve});
    let new = json!({"variant": "new"});
    let cases = [
        ("the same", share(5_000), share(5_000), 0.0),
        ("a share grows", share(5_000), share(8_000), 3.0),
        ("a share shrinks", share(8_000), share(5_000), 3.0),
        ("a first rule with a share", none.clone(), share(5_000), 5.0),
        ("the last rule goes", share(5_000), none.clone(), 5.0),
        ("another seed, a small share", share(5_000), flag(json!([{"serve": rollout("t", 5_000)}])), 10.0),
        ("everybody", none.clone(), everybody.clone(), 100.0),
        ("a share becomes everybody", share(40_000), everybody.clone(), 60.0),
        ("a cohort gets it", none.clone(), flag(json!([cohort(new.clone())])), 10.0),
        ("a cohort gets a share", none.clone(), flag(json!([cohort(rollout("s", 3_000))])), 3.0),
        ("a cohort gets the same", none.clone(), flag(json!([cohort(json!({"variant": "old"}))])), 0.0),
        (
            "a cohort before a share",
            share(5_000),
            flag(json!([cohort(new.clone()), {"serve": rollout("s", 5_000)}])),
            10.0,
        ),
        ("nobody knows how many", none.clone(), flag(json!([clause("pro", new.clone())])), 100.0),
        ("but how many of them", none.clone(), flag(json!([clause("pro", rollout("s", 2_000))])), 2.0),
        (
            "two rules change places",
            flag(json!([cohort(new.clone()), clause("pro", json!({"variant": "third"}))])),
            flag(json!([clause("pro", json!({"variant": "third"})), cohort(new.clone())])),
            20.0,
        ),
        (
            "what is never reached",
            flag(json!([{"serve": {"variant": "new"}}, cohort(json!({"variant": "old"}))])),
            everybody,
            0.0,
        ),
        ("the kill switch", share(5_000), killed(&share(5_000)), 5.0),
        ("released", killed(&share(7_000)), share(7_000), 7.0),
        ("edited while killed", killed(&share(7_000)), killed(&none), 0.0),
    ];
    for (what, before, after, expected) in cases {
        assert_eq!(percent(&before, &after), expected, "{what}");
    }
}

#[test]
fn values_defaults_and_prerequisites_are_everybodys() {
    let before = flag(json!([]));
    for (place, value) in [
        ("/variants/old", json!("other")),
        ("/default_variant", json!("new")),
        ("/variants", json!({"old": "O", "new": "n", "third": "t"})),
    ] {
        let mut after = before.clone();
        *after.pointer_mut(place).unwrap() = value;
        assert_eq!(percent(&before, &after), 100.0, "{place}");
    }
    let mut asking = before.clone();
    asking["prerequisites"] = json!([{"flag": "g", "variants": ["on"]}]);
    assert_eq!(percent(&before, &asking), 100.0);
    let mut off = before.clone();
    off["off_variant"] = "new".into();
    assert_eq!(percent(&before, &off), 0.0, "nobody gets it while the flag is enabled");
    let mut asking_off = asking.clone();
    asking_off["off_variant"] = "new".into();
    assert_eq!(percent(&asking, &asking_off), 100.0, "whose prerequisites are not met get it");
    let (draft, share) = (draft(&flag(json!([{"serve": rollout("s", 4_000)}]))), |_: &str| WHOLE);
    assert_eq!(exposure(None, Some(&draft), &share), 40_000, "a new flag counts from its off variant");
    assert_eq!(exposure(Some(&draft), None, &share), 40_000);
    assert_eq!(exposure(None, None, &share), 0);
}

/// A flag of up to four rules, of everything that rules have.
fn any_flag(random: &mut Random) -> Value {
    let rules: Vec<Value> = (0..random.below(5)).map(|_| any_rule(random)).collect();
    let mut flag = flag(json!(rules));
    let names = ["old", "new", "third"];
    flag["default_variant"] = names[random.index(3)].into();
    flag["off_variant"] = names[random.index(3)].into();
    flag["enabled"] = (!random.is_one_in(6)).into();
    if random.is_one_in(8) {
        flag["variants"]["third"] = "another".into();
    }
    flag
}

fn any_rule(random: &mut Random) -> Value {
    let names = ["old", "new", "third"];
    let serve = match random.below(4) {
        0 => json!({"variant": names[random.index(3)]}),
        1 => {
            json!({"schedule": [{"from": "2026-01-01T00:00:00Z", "variant": names[random.index(3)]}, {"from": "2099-01-01T00:00:00Z", "variant": "old"}]})
        }
        _ => {
            let (one, two) = (random.below(100_001), random.below(100_001));
            let ends = [0, one.min(two), one.max(two), 100_000];
            let ranges: Vec<Value> = (0..3)
                .filter(|at| ends[*at] < ends[*at + 1])
                .map(|at| json!({"variant": names[at], "from": ends[at], "to": ends[at + 1]}))
                .collect();
            let seed = ["s", "t"][random.index(2)];
            let attribute = if random.is_one_in(4) { "account" } else { "targetingKey" };
            json!({"rollout": {"seed": seed, "attribute": attribute, "ranges": ranges}})
        }
    };
    let mut rule = json!({"serve": serve});
    match random.below(6) {
        0 | 1 => rule["cohort"] = ["tenth", "third"][random.index(2)].into(),
        2 => rule["except_cohort"] = "tenth".into(),
        3 => rule["clauses"] = json!([{"attribute": "plan", "operator": "equals", "value": "pro"}]),
        _ => {}
    }
    rule
}

/// The same flag with something changed, or another one.
fn any_successor(flag: &Value, random: &mut Random) -> Value {
    let mut next = flag.clone();
    let rules = next["rules"].as_array_mut().unwrap();
    match random.below(6) {
        0 => rules.insert(random.index(rules.len() + 1), any_rule(random)),
        1 if !rules.is_empty() => drop(rules.remove(random.index(rules.len()))),
        2 if rules.len() > 1 => rules.swap(0, 1),
        3 if !rules.is_empty() => {
            let at = random.index(rules.len());
            rules[at]["serve"] = any_rule(random)["serve"].clone();
        }
        4 => next["enabled"] = (!flag["enabled"].as_bool().unwrap()).into(),
        _ => return any_flag(random),
    }
    next
}

fn answers(snapshot: &Snapshot) -> Vec<Value> {
    let answer = |id: u64| {
        let mut context = json!({"targetingKey": id.to_string()});
        if !id.is_multiple_of(3) {
            context["plan"] = ["pro", "free"][(id % 2) as usize].into();
        }
        if !id.is_multiple_of(5) {
            context["account"] = id.into();
        }
        match snapshot.evaluate("f", &Context::from_json(context).unwrap(), NOW) {
            Evaluation::Served(served) => json!([served.variant.name.as_str(), served.variant.value]),
            Evaluation::Failed(failure) => panic!("{failure}"),
        }
    };
    (0..SUBJECTS).map(answer).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::support::full_length(400, 20) as u32))]

    #[test]
    fn no_more_subjects_move_than_the_bound_says(seed: u64) {
        let mut random = Random::new(seed);
        let before = any_flag(&mut random);
        let after = any_successor(&before, &mut random);
        let tenth: Vec<String> = (0..SUBJECTS / 10).map(|id| (id * 7).to_string()).collect();
        let third: Vec<String> = (0..SUBJECTS / 3).map(|id| (id * 2 + 1).to_string()).collect();
        let cohorts = [("tenth", ids(&tenth)), ("third", ids(&third))];
        let cohorts: Vec<(&str, &[&str])> = cohorts.iter().map(|(name, ids)| (*name, ids.as_slice())).collect();
        let answers = |flag: &Value| answers(&snapshot(1, std::slice::from_ref(flag), &cohorts));
        let moved = answers(&before).iter().zip(answers(&after)).filter(|(one, other)| *one != other).count() as u64;
        let share = |name: &str| if name == "tenth" { 100_000 } else { 333_400 };
        let bound = exposure(Some(&draft(&before)), Some(&draft(&after)), &share);
        let real = u32::try_from(moved * u64::from(WHOLE) / SUBJECTS).unwrap();
        let chance = if bound == 0 { 0 } else { CHANCE };
        prop_assert!(real <= bound + chance, "{} of a million moved, {} was the bound:\n{}\n{}", real, bound, before, after);
    }
}

fn ids(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
