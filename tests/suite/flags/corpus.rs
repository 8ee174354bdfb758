//! The frozen cases of `tests/corpus/v1/{clauses,rules}.json`, which another implementation made.

use std::sync::Arc;

use changeover::flags::{
    Asked, Cohort, CohortConditions, Context, Evaluation, Flag, Indeterminate, Match, Snapshot, VersionedFlag, Why,
};
use changeover::primitives::{CohortName, Instant};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Clauses {
    values: Vec<Told>,
    paths: Vec<Path>,
}

#[derive(Deserialize)]
struct Told {
    clause: Value,
    yes: Vec<Value>,
    no: Vec<Value>,
    wrong_type: Vec<Value>,
}

#[derive(Deserialize)]
struct Path {
    clause: Value,
    context: Value,
    outcome: String,
}

/// A clause by itself: the only one of a cohort's conditions.
fn ask(clause: &Value, context: Value) -> Match {
    let conditions =
        CohortConditions::parse(&json!([[clause]]).to_string()).unwrap_or_else(|error| panic!("{clause}: {error}"));
    conditions.matches(&Context::from_json(context).unwrap())
}

#[test]
fn clauses_say_what_the_corpus_says() {
    let corpus: Clauses = serde_json::from_str(include_str!("../../corpus/v1/clauses.json")).unwrap();
    let mut asked = 0;
    for Told { mut clause, yes, no, wrong_type } in corpus.values {
        clause["attribute"] = json!("a");
        for negate in [false, true] {
            clause["negate"] = json!(negate);
            let (positive, negative) = if negate { (Match::No, Match::Yes) } else { (Match::Yes, Match::No) };
            let untold = Match::Indeterminate(Indeterminate::WrongType);
            for (values, outcome) in [(&yes, positive), (&no, negative), (&wrong_type, untold)] {
                for value in values {
                    asked += 1;
                    assert_eq!(ask(&clause, json!({"a": value})), outcome, "{clause} {value}");
                }
            }
            if clause["operator"] != json!("exists") {
                assert_eq!(ask(&clause, json!({})), Match::Indeterminate(Indeterminate::Missing), "{clause}");
            }
        }
    }
    assert!(asked > 8_000, "{asked}");
    for Path { clause, context, outcome } in corpus.paths {
        let told = match ask(&clause, context.clone()) {
            Match::Yes => "yes",
            Match::No => "no",
            Match::Indeterminate(Indeterminate::Missing) => "missing",
            Match::Indeterminate(Indeterminate::WrongType) => "wrong_type",
            Match::Indeterminate(Indeterminate::Group) => "group",
        };
        assert_eq!(told, outcome, "{clause} {context}");
    }
}

#[derive(Deserialize)]
struct Rules {
    cohorts: Vec<CohortCase>,
    flags: Vec<Flag>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct CohortCase {
    name: CohortName,
    ids: Vec<String>,
    conditions: CohortConditions,
}

#[derive(Deserialize)]
struct Case {
    flag: String,
    context: Value,
    now: Instant,
    variant: Option<String>,
    value: Option<Value>,
    reason: Option<String>,
    rule: Option<usize>,
    bucket: Option<u32>,
    error: Option<String>,
}

#[test]
fn rules_decide_as_the_corpus_says() {
    let corpus: Rules = serde_json::from_str(include_str!("../../corpus/v1/rules.json")).unwrap();
    let flags = corpus.flags.into_iter().map(|flag| VersionedFlag { flag, version: 1 }).collect();
    let cohort = |CohortCase { name, ids, conditions }| {
        Arc::new(Cohort::new(name, 1, ids.iter().collect()).with_conditions(conditions))
    };
    let snapshot = Snapshot::build(1, Instant::from_micros(0), flags, corpus.cohorts.into_iter().map(cohort).collect());
    assert!(corpus.cases.len() > 500);
    for case in corpus.cases {
        let context = Context::from_json(case.context.clone()).unwrap();
        let told = format!("{} {} {}", case.flag, case.context, case.now);
        let evaluation = snapshot.evaluate(&case.flag, &context, case.now);
        let asked = Asked { context: &context, now: case.now };
        let flag = snapshot.find_flag(&case.flag).unwrap();
        assert_eq!(snapshot.explain_in(flag, asked, &snapshot).evaluation, evaluation, "{told}");
        match evaluation {
            Evaluation::Served(served) => {
                assert_eq!(Some(served.variant.name.as_str()), case.variant.as_deref(), "{told}");
                assert_eq!(Some(served.variant.value.to_json()), case.value, "{told}");
                assert_eq!(Some(served.why.reason().as_str()), case.reason.as_deref(), "{told}");
                assert_eq!(served.why.rule(), case.rule, "{told}");
                let bucket = if let Why::Split { bucket, .. } = served.why { Some(bucket) } else { None };
                assert_eq!(bucket, case.bucket, "{told}");
            }
            Evaluation::Failed(failure) => assert_eq!(Some(failure.code()), case.error.as_deref(), "{told}"),
        }
    }
}
