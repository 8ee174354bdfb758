//! What must hold of any flag and any context.

use changeover::flags::{
    Asked, Clause, CohortConditions, Context, Evaluation, Failure, Flag, FlagDraft, Match, RuleOutcome, Snapshot, Why,
};
use changeover::primitives::Instant;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::arbitrary::{any_clause, any_conditions, any_context, any_flag, lone_flag, snapshot};

fn any_now() -> impl Strategy<Value = Instant> {
    (0_i64..2_100_000_000).prop_map(|second| Instant::from_micros(second * 1_000_000))
}

/// The value that a clause asks for, found another way than the evaluator finds it.
fn found<'c>(context: &'c Value, attribute: &str) -> Option<&'c Value> {
    let pointer = format!("/{}", attribute.replace('.', "/"));
    context.get(attribute).or_else(|| context.pointer(&pointer)).filter(|value| !value.is_null())
}

/// Whether an operator can say anything of a value of this type.
fn is_comparable(operator: &str, comparand: &Value, value: &Value) -> bool {
    match operator {
        "exists" => true,
        "equals" | "in" => std::mem::discriminant(comparand) == std::mem::discriminant(value),
        "contains" => value.is_array() || (value.is_string() && comparand.is_string()),
        "less_than" | "at_most" | "more_than" | "at_least" => value.is_number(),
        _ => value.is_string(),
    }
}

fn one_rule(clause: &Value) -> Snapshot {
    let flag = json!({"key": "flag", "type": "boolean", "variants": {"on": true, "off": false}, "default_variant": "off",
                      "off_variant": "off", "rules": [{"clauses": [clause], "serve": {"variant": "on"}}]});
    snapshot(vec![Flag::parse(&flag.to_string()).unwrap()], &json!([]))
}

fn serves_on(snapshot: &Snapshot, context: &Context) -> bool {
    match snapshot.evaluate("flag", context, Instant::from_micros(0)) {
        Evaluation::Served(served) => served.variant.name.as_str() == "on",
        Evaluation::Failed(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_clause_that_cannot_be_told_matches_nobody(clause in any_clause(), context in any_context()) {
        let Ok(parsed) = Context::from_json(context.clone()) else { return Ok(()) };
        let mut negated = clause.clone();
        negated["negate"] = json!(clause["negate"] != json!(true));
        let both = [serves_on(&one_rule(&clause), &parsed), serves_on(&one_rule(&negated), &parsed)];
        let operator = clause["operator"].as_str().unwrap();
        let comparand = clause.get("value").unwrap_or(&clause["values"][0]);
        let told = match found(&context, clause["attribute"].as_str().unwrap()) {
            None => operator == "exists",
            Some(value) => is_comparable(operator, comparand, value),
        };
        prop_assert!(told || both == [false, false], "{} {}", clause, context);
        prop_assert!(both != [true, true], "both a clause and its negation match: {} {}", clause, context);
    }

    #[test]
    fn any_flag_has_an_answer_and_its_explanation_is_the_same(
        flags in (any_flag("flag", &["b", "c", "change"]), any_flag("b", &["c", "flag"]), any_flag("c", &["b", "change"]),
                  any_flag("change", &["b"])),
        conditions in any_conditions(),
        context in any_context(),
        now in any_now(),
    ) {
        let Ok(context) = Context::from_json(context) else { return Ok(()) };
        let snapshot = snapshot(vec![flags.0, flags.1, flags.2, flags.3], &conditions);
        for flag in snapshot.flags() {
            let evaluation = snapshot.evaluate(flag.flag().key().as_str(), &context, now);
            let explanation = snapshot.explain_in(flag, Asked { context: &context, now }, &snapshot);
            prop_assert_eq!(&explanation.evaluation, &evaluation);
            let trace = &explanation.trace;
            let decided = trace.rules.iter().find(|rule| !matches!(rule.outcome, RuleOutcome::Passes(_)));
            for rule in &trace.rules {
                prop_assert!(!rule.sentence.is_empty());
                // Whatever can't be told keeps a rule from serving.
                let untold = rule.clauses.iter().any(|clause| clause.outcome != "yes")
                    || rule.cohort.as_ref().is_some_and(|cohort| cohort.is_member != Some(true))
                    || rule.except_cohort.as_ref().is_some_and(|cohort| cohort.is_member != Some(false));
                prop_assert!(!(rule.is_match && untold), "{:?}", rule);
            }
            match &evaluation {
                Evaluation::Served(served) => {
                    prop_assert_eq!(trace.variant.as_deref(), Some(served.variant.name.as_str()));
                    prop_assert_eq!(trace.rules.iter().find(|rule| rule.is_match).map(|rule| rule.rule), served.why.rule());
                    let unmet = trace.prerequisites.iter().position(|prerequisite| !prerequisite.is_met);
                    let by_prerequisite = if let Why::Prerequisite(at) = served.why { Some(at) } else { None };
                    prop_assert_eq!(unmet, by_prerequisite);
                    if let Why::Split { bucket, .. } = served.why {
                        let rollout = decided.and_then(|rule| rule.rollout.clone()).unwrap();
                        prop_assert_eq!(rollout.bucket, Some(bucket));
                        prop_assert_eq!(rollout.range.map(|range| range.variant), trace.variant.clone());
                    }
                }
                Evaluation::Failed(Failure::TargetingKeyMissing { .. }) => {
                    prop_assert_eq!(context.targeting_key(), None);
                }
                Evaluation::Failed(Failure::General(_)) => prop_assert!(flag.needs_routing()),
                Evaluation::Failed(other) => prop_assert!(false, "{}", other),
            }
            prop_assert!(serde_json::to_value(&explanation).unwrap()["sentence"].is_string());
        }
    }

    #[test]
    fn a_flag_is_read_back_as_it_was_written(flag in lone_flag(), conditions in any_conditions()) {
        let text = serde_json::to_string(&flag).unwrap();
        let again = Flag::parse(&text).unwrap();
        prop_assert_eq!(&again, &flag);
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), text);
        let draft: FlagDraft = flag.to_draft();
        prop_assert_eq!(Flag::try_from(draft).unwrap(), flag);
        let conditions = CohortConditions::parse(&conditions.to_string()).unwrap();
        let text = serde_json::to_string(&conditions).unwrap();
        prop_assert_eq!(CohortConditions::parse(&text).unwrap(), conditions);
    }

    #[test]
    fn what_is_stored_in_another_order_answers_the_same(
        flags in (any_flag("flag", &["b", "c"]), any_flag("b", &["c", "flag"]), any_flag("c", &["b", "missing"])),
        conditions in any_conditions(),
        context in any_context(),
        now in any_now(),
    ) {
        let Ok(context) = Context::from_json(context) else { return Ok(()) };
        let flags = [flags.0, flags.1, flags.2];
        let one = snapshot(flags.to_vec(), &conditions);
        let other = snapshot(flags.iter().rev().map(with_ranges_reversed).collect(), &conditions);
        for key in ["flag", "b", "c"] {
            let answer = |snapshot: &Snapshot| match snapshot.evaluate(key, &context, now) {
                Evaluation::Served(served) => format!("{} {:?}", served.variant.name, served.why),
                Evaluation::Failed(failure) => failure.to_string(),
            };
            prop_assert_eq!(answer(&one), answer(&other));
        }
    }

    #[test]
    fn disjoint_rules_may_stand_in_any_order(
        order in Just(["pro", "team", "free", "none"].to_vec()).prop_shuffle(),
        context in any_context(),
    ) {
        let Ok(context) = Context::from_json(context) else { return Ok(()) };
        let rule = |plan: &&str| {
            let variant = if plan.len() == 4 { "new" } else { "other" };
            json!({"clauses": [{"attribute": "plan", "operator": "equals", "value": plan}], "serve": {"variant": variant}})
        };
        let flag = |plans: &[&str]| {
            let rules: Vec<Value> = plans.iter().map(rule).collect();
            let flag = json!({"key": "flag", "type": "integer", "variants": {"old": 1, "new": 2, "other": 3},
                              "default_variant": "old", "off_variant": "old", "rules": rules});
            snapshot(vec![Flag::parse(&flag.to_string()).unwrap()], &json!([]))
        };
        let served = |snapshot: &Snapshot| match snapshot.evaluate("flag", &context, Instant::from_micros(0)) {
            Evaluation::Served(served) => served.variant.name.to_string(),
            Evaluation::Failed(failure) => failure.to_string(),
        };
        prop_assert_eq!(served(&flag(&order)), served(&flag(&["pro", "team", "free", "none"])));
    }

    #[test]
    fn between_scheduled_instants_every_answer_stays(
        flag in lone_flag(),
        context in any_context(),
        (one, other) in (any_now(), any_now()),
    ) {
        let Ok(context) = Context::from_json(context) else { return Ok(()) };
        let snapshot = snapshot(vec![flag], &json!([]));
        let (one, other) = (one.min(other), one.max(other));
        if snapshot.schedule_step(one) == snapshot.schedule_step(other) {
            let (before, after) = (snapshot.evaluate("flag", &context, one), snapshot.evaluate("flag", &context, other));
            prop_assert_eq!(before, after);
            prop_assert_eq!(snapshot.next_scheduled(one), snapshot.next_scheduled(other));
        } else {
            prop_assert!(snapshot.next_scheduled(one).is_some_and(|next| one < next && next <= other));
        }
    }

    #[test]
    fn a_group_of_conditions_is_all_of_its_clauses(
        groups in prop::collection::vec(prop::collection::vec(any_clause(), 1..4), 0..4),
        context in any_context(),
    ) {
        let Ok(context) = Context::from_json(context) else { return Ok(()) };
        let conditions = CohortConditions::parse(&json!(groups).to_string()).unwrap();
        let all_hold = |group: &Vec<Clause>| group.iter().all(|clause| clause.matches(&context) == Match::Yes);
        let one_fails = |group: &Vec<Clause>| group.iter().any(|clause| clause.matches(&context) == Match::No);
        let outcome = conditions.matches(&context);
        prop_assert_eq!(outcome == Match::Yes, conditions.groups().iter().any(all_hold));
        prop_assert_eq!(outcome == Match::No, conditions.groups().iter().all(one_fails));
    }
}

/// The same flag, with each rollout's ranges stored the other way round.
fn with_ranges_reversed(flag: &Flag) -> Flag {
    let mut json = serde_json::to_value(flag).unwrap();
    for rule in json["rules"].as_array_mut().unwrap() {
        if let Some(ranges) = rule["serve"].pointer_mut("/rollout/ranges").and_then(Value::as_array_mut) {
            ranges.reverse();
        }
    }
    Flag::parse(&json.to_string()).unwrap()
}
