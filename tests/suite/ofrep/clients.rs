//! The frozen cases of `tests/corpus/v1/clients`, as far as they are about a server: what it serves, and with which status it answers a code.

use std::collections::HashMap;
use std::sync::Arc;

use changeover::flags::{Cohort, Flag, Snapshot, VersionedFlag};
use changeover::primitives::{CohortName, Instant};
use serde::Deserialize;
use serde_json::{Value, json};

use super::host::TestServer;

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
    ask: String,
    context: Value,
    variant: Option<String>,
    value: Value,
    reason: String,
    error: Option<String>,
}

#[test]
fn clients_are_answered_as_their_corpus_says() {
    let Corpus { cohorts, flags, cases } =
        serde_json::from_str(include_str!("../../corpus/v1/clients/evaluations.json")).unwrap();
    assert!(cases.len() > 100);
    let types: HashMap<String, String> =
        flags.iter().map(|flag| (flag.key().to_string(), json!(flag)["type"].as_str().unwrap().to_owned())).collect();
    let flags = flags.into_iter().map(|flag| VersionedFlag { flag, version: 1 }).collect();
    let cohorts = cohorts.into_iter().map(|Ids { name, ids }| Arc::new(Cohort::new(name, 1, ids.iter().collect())));
    let server = TestServer::start(Snapshot::build(1, Instant::from_micros(0), flags, cohorts.collect()));
    for case in cases {
        let body = json!({"context": case.context});
        let single = server.post(&format!("/ofrep/v1/evaluate/flags/{}", case.flag), body.to_string());
        let told = format!("{} as {} {}: {}", case.flag, case.ask, case.context, single.text);
        let field = |name: &str| single.json[name].as_str();
        match case.error.as_deref() {
            None => {
                assert_eq!(
                    (single.status, &single.json["value"], field("variant"), field("reason")),
                    (200, &case.value, case.variant.as_deref(), Some(case.reason.as_str())),
                    "{told}"
                );
            }
            // Types are the client's matter: the server serves the flag, which is of another one.
            Some("TYPE_MISMATCH") => {
                assert_eq!(single.status, 200, "{told}");
                assert_ne!(types[&case.flag], case.ask, "{told}");
            }
            Some(code) => {
                let status = if code == "FLAG_NOT_FOUND" { 404 } else { 400 };
                assert_eq!((single.status, field("errorCode")), (status, Some(code)), "{told}");
            }
        }
    }
}

#[derive(Deserialize)]
struct Errors {
    mappings: Vec<Mapping>,
}

#[derive(Deserialize)]
struct Mapping {
    status: u16,
    code: Option<String>,
}

/// Clients tell errors apart by code first: a code must come with the status that their corpus knows it by.
#[test]
fn codes_have_the_status_that_clients_know_them_by() {
    let page = include_str!("../../../docs/reference/problems.md");
    let statuses: HashMap<&str, u16> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            Some((cells.next()?.strip_prefix('`')?.strip_suffix('`')?, cells.next()?.parse().ok()?))
        })
        .collect();
    assert!(statuses.len() > 40);
    let errors: Errors = serde_json::from_str(include_str!("../../corpus/v1/clients/errors.json")).unwrap();
    let mut found = 0;
    for Mapping { status, code } in errors.mappings {
        let Some(code) = code else { continue };
        if let Some(ours) = statuses.get(code.as_str()) {
            assert_eq!(*ours, status, "{code}");
            found += 1;
        }
    }
    assert!(found > 30, "only {found} codes are the server's");
}
