//! The frozen cases of `tests/corpus/v1/{evaluations,rules}.json`, in the library and over HTTP, one by one and in bulk.

use std::sync::Arc;

use changeover::flags::{Asked, Cohort, CohortConditions, Context, Evaluation, Flag, Snapshot, VersionedFlag, Why};
use changeover::primitives::{CohortName, Instant};
use serde::Deserialize;
use serde_json::{Value, json};

use super::host::TestServer;

const NOW: Instant = Instant::from_micros(0);

#[derive(Deserialize)]
struct Corpus {
    cohorts: Vec<Ids>,
    flags: Vec<Flag>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Ids {
    name: CohortName,
    ids: Vec<String>,
}

#[derive(Deserialize)]
struct Case {
    flag: String,
    context: Value,
    variant: Option<String>,
    value: Option<Value>,
    reason: Option<String>,
    rule: Option<usize>,
    bucket: Option<u32>,
    error: Option<String>,
}

fn corpus() -> (Snapshot, Vec<Case>) {
    let corpus: Corpus = serde_json::from_str(include_str!("../../corpus/v1/evaluations.json")).unwrap();
    let flags = corpus.flags.into_iter().map(|flag| VersionedFlag { flag, version: 1 }).collect();
    let cohorts =
        corpus.cohorts.into_iter().map(|Ids { name, ids }| Arc::new(Cohort::new(name, 1, ids.iter().collect())));
    (Snapshot::build(1, Instant::from_micros(0), flags, cohorts.collect()), corpus.cases)
}

#[test]
fn the_library_answers_as_the_corpus_says() {
    let (snapshot, cases) = corpus();
    assert!(cases.len() > 800);
    for case in cases {
        let context = Context::from_json(case.context.clone()).unwrap();
        let told = format!("{} {}", case.flag, case.context);
        match snapshot.evaluate(&case.flag, &context, NOW) {
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

#[test]
fn explain_ends_where_the_evaluation_does() {
    let (snapshot, cases) = corpus();
    for case in cases {
        let context = Context::from_json(case.context.clone()).unwrap();
        let flag = snapshot.find_flag(&case.flag).unwrap();
        let explanation = snapshot.explain_in(flag, Asked { context: &context, now: NOW }, &snapshot);
        assert_eq!(explanation.evaluation, snapshot.evaluate(&case.flag, &context, NOW));
        let asked = match (case.rule, case.error, case.reason.as_deref()) {
            (Some(rule), _, _) => rule + 1,
            (None, None, Some("DISABLED")) => 0,
            (None, None, _) => flag.flag().rules().len(),
            (None, Some(_), _) => explanation.trace.rules.len(),
        };
        assert_eq!(explanation.trace.rules.len(), asked, "{} {}", case.flag, case.context);
        assert!(explanation.trace.rules.iter().all(|trace| !trace.sentence.is_empty()));
    }
}

#[test]
fn both_endpoints_answer_as_the_corpus_says() {
    let (snapshot, cases) = corpus();
    let server = TestServer::start(snapshot);
    let mut bulk: Option<(Value, Value)> = None;
    let mut cases: Vec<Case> = cases.into_iter().step_by(3).collect();
    cases.sort_by_key(|case| case.context.to_string());
    for case in cases {
        let body = json!({"context": case.context});
        let single = server.post(&format!("/ofrep/v1/evaluate/flags/{}", case.flag), body.to_string());
        let told = format!("{} {} {}", case.flag, case.context, single.text);
        assert_eq!(single.header("content-type"), "application/json");
        match case.error {
            None => {
                let value = case.value.unwrap();
                let metadata = &single.json["metadata"];
                assert_eq!((&metadata["flagVersion"], &metadata["configVersion"]), (&json!(1), &json!(1)), "{told}");
                assert_eq!(metadata["rule"], json!(case.rule), "{told}");
                let expected = json!({"key": case.flag, "value": value, "reason": case.reason, "variant": case.variant,
                                      "metadata": metadata});
                assert_eq!((single.status, &single.json), (200, &expected), "{told}");
                // Equal as text too: 10 and 10.0 are one number to some readers of JSON, and two to others.
                assert!(single.text.contains(&format!("\"value\":{value},")), "{told}");
            }
            Some(code) => {
                assert_eq!((single.status, single.json["errorCode"].as_str()), (400, Some(code.as_str())), "{told}");
                assert_eq!(single.json["key"], json!(case.flag));
                assert!(single.json["errorDetails"].is_string());
            }
        }
        if bulk.as_ref().is_none_or(|(context, _)| *context != case.context) {
            bulk = Some((case.context.clone(), server.bulk("", "", &body).json));
        }
        let items = bulk.as_ref().unwrap().1["flags"].as_array().unwrap();
        let item = items.iter().find(|item| item["key"] == json!(case.flag)).unwrap();
        assert_eq!(*item, single.json, "{told}");
    }
}

#[derive(Deserialize)]
struct Rules {
    cohorts: Vec<CohortWithConditions>,
    flags: Vec<Flag>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct CohortWithConditions {
    name: CohortName,
    ids: Vec<String>,
    conditions: CohortConditions,
}

#[test]
fn rules_are_served_as_the_corpus_says() {
    let corpus: Rules = serde_json::from_str(include_str!("../../corpus/v1/rules.json")).unwrap();
    let flags = corpus.flags.into_iter().map(|flag| VersionedFlag { flag, version: 1 }).collect();
    let cohort = |CohortWithConditions { name, ids, conditions }| {
        Arc::new(Cohort::new(name, 1, ids.iter().collect()).with_conditions(conditions))
    };
    let cohorts = corpus.cohorts.into_iter().map(cohort).collect();
    let snapshot = Snapshot::build(1, Instant::from_micros(0), flags, cohorts);
    // The server's clock is today's: of schedules, only those cases are asked that say of today what they say of their own time.
    let micros = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let today = Instant::from_micros(i64::try_from(micros).unwrap());
    let is_of_today = |case: &Case| {
        let context = Context::from_json(case.context.clone()).unwrap();
        match snapshot.evaluate(&case.flag, &context, today) {
            Evaluation::Served(served) => {
                Some(served.variant.name.as_str()) == case.variant.as_deref() && served.why.rule() == case.rule
            }
            Evaluation::Failed(failure) => Some(failure.code()) == case.error.as_deref(),
        }
    };
    // A flag that needs routing is answered by the host, which has groups of its own.
    let is_routed = |case: &Case| snapshot.find_flag(&case.flag).unwrap().needs_routing();
    let cases: Vec<Case> = corpus.cases.into_iter().filter(|case| is_of_today(case) && !is_routed(case)).collect();
    assert!(cases.len() > 400, "only {} cases are of today", cases.len());
    let server = TestServer::start(snapshot);
    for case in cases {
        let body = json!({"context": case.context});
        let single = server.post(&format!("/ofrep/v1/evaluate/flags/{}", case.flag), body.to_string());
        let told = format!("{} {} {}", case.flag, case.context, single.text);
        let field = |name: &str| single.json.get(name).cloned();
        match case.error {
            None => {
                assert_eq!(
                    (single.status, field("value"), field("variant")),
                    (200, case.value, case.variant.map(Value::from)),
                    "{told}"
                );
                assert_eq!(field("reason"), case.reason.map(Value::from), "{told}");
            }
            Some(code) => assert_eq!((single.status, field("errorCode")), (400, Some(json!(code))), "{told}"),
        }
    }
}
