//! Errors, retries, sides and allocations as the corpus has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{FakeServer, Told, corpus};
use super::tasks::block_on;
use crate::sync::lock;
use crate::{AsyncClient, Client, Error, Operation, Side};

type Pauses = Arc<Mutex<Vec<Duration>>>;

fn client(server: &FakeServer, timeout: Duration) -> (Client, Pauses) {
    let pauses = Pauses::default();
    let slept = Arc::clone(&pauses);
    let mut builder = Client::builder().url(server.url()).token("co_x").events(false).timeout(timeout);
    builder.sleep = Arc::new(move |pause| lock(&slept).push(pause));
    (builder.build().unwrap(), pauses)
}

#[test]
fn errors_are_what_the_corpus_says() {
    let document = corpus("clients/errors.json");
    let told = Arc::new(Mutex::new(Told::Closed));
    let teller = Arc::clone(&told);
    let server = FakeServer::start(move |_| lock(&teller).clone());
    let (client, _) = client(&server, Duration::from_secs(2));
    for case in document["mappings"].as_array().unwrap() {
        *lock(&told) = Told::case(case);
        server.forget();
        let error = client.writes("billing").run(&[Operation::insert("users", json!({"name": "Ada"}))]).unwrap_err();
        let found = (error.kind().as_str(), error.code(), json!(error.faults()));
        assert_eq!(found, (case["kind"].as_str().unwrap(), case["code"].as_str(), case["faults"].clone()), "{case}");
        if !case["detail"].is_null() {
            assert_eq!(error.detail(), case["detail"].as_str(), "{case}");
        }
        let seen = server.seen();
        assert_eq!(seen.len(), if case["retried"] == json!(true) { 4 } else { 1 }, "{case}");
        let key = seen[0].header("idempotency-key").unwrap();
        assert_eq!(key.len(), 36);
        assert!(seen.iter().all(|one| one.header("idempotency-key") == Some(key)), "{case}");
        assert_eq!(seen[0].body, r#"{"operations":[{"insert":"users","row":{"name":"Ada"}}]}"#);
    }
}

#[test]
fn retries_are_what_the_corpus_says() {
    let document = corpus("clients/errors.json");
    for case in document["retries"].as_array().unwrap() {
        let answers = Mutex::new(case["answers"].as_array().unwrap().clone());
        let server = FakeServer::start(move |_| {
            let mut answers = lock(&answers);
            let one = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            match (&one["status"], one.get("closed")) {
                (Value::Null, Some(_)) => Told::Closed,
                (Value::Null, None) => Told::Silent,
                (status, _) => {
                    let after = one
                        .get("retry_after")
                        .map(|after| after.as_str().map_or_else(|| after.to_string(), str::to_owned));
                    let headers = after.map(|after| ("Retry-After".to_owned(), after)).into_iter().collect();
                    let body = one.get("code").map_or_else(|| json!({}), |code| json!({"code": code}));
                    Told::Answer(u16::try_from(status.as_u64().unwrap()).unwrap(), headers, body.to_string())
                }
            }
        });
        let (client, pauses) = client(&server, Duration::from_millis(300));
        let result = client.writes("billing").run(&[]);
        let result = result.map_or_else(|error| error.kind().as_str(), |_| "ok");
        let waits = case["waits"].as_array().unwrap();
        let pauses = lock(&pauses).clone();
        let attempts = u64::try_from(server.seen().len()).unwrap();
        let wanted = (case["result"].as_str().unwrap(), case["attempts"].as_u64().unwrap(), waits.len());
        assert_eq!((result, attempts, pauses.len()), wanted, "{case}");
        for (pause, wait) in pauses.iter().zip(waits) {
            let pause = pause.as_secs_f64();
            assert!(wait[0].as_f64().unwrap() <= pause && pause <= wait[1].as_f64().unwrap(), "{case}: {pause}");
        }
    }
}

fn unquoted(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&digits, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn sides_are_what_the_corpus_says() {
    let document = corpus("clients/routing.json");
    let told = Arc::new(Mutex::new(Told::Closed));
    let teller = Arc::clone(&told);
    let server = FakeServer::start(move |_| lock(&teller).clone());
    let (client, _) = client(&server, Duration::from_secs(2));
    let tasks = AsyncClient::from(client.clone());
    for case in document["sides"].as_array().unwrap() {
        server.forget();
        let lines: String = case["answer"].as_array().unwrap().iter().map(|line| format!("{line}\n")).collect();
        *lock(&told) = Told::Answer(200, vec![("Content-Type".into(), "application/x-ndjson".into())], lines);
        let text = |user: &Value| user.as_str().map_or_else(|| user.to_string(), str::to_owned);
        let users: Vec<String> = case["users"].as_array().unwrap().iter().map(text).collect();
        let mut sides = client.sides("billing");
        if let Some(period) = case["period"].as_str() {
            sides = sides.period(period);
        }
        if case["record"] == json!(false) {
            sides = sides.without_recording();
        }
        let result = |side: Result<Side, Error>| match side {
            Ok(side) => json!({"side": side.as_str()}),
            Err(error) => match error.detail() {
                Some(detail) => json!({"error": error.kind().as_str(), "detail": detail}),
                None => json!({"error": error.kind().as_str()}),
            },
        };
        let found: Vec<Value> = sides.of_many(&users).map(|answer| result(answer.unwrap().side)).collect();
        assert_eq!(json!(found), case["result"], "{case}");
        let seen = server.seen();
        if users.is_empty() {
            assert!(seen.is_empty());
            continue;
        }
        let [request] = &seen[..] else { panic!("{case}: {seen:?}") };
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        assert_eq!(path, "/api/v1/changes/billing/assignments/query");
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: BTreeMap<_, _> = pairs.map(|(name, value)| (name, unquoted(value))).collect();
        assert_eq!(json!(pairs), case["query"], "{case}");
        let sent: Vec<Value> = request.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json!(sent), case["sent"], "{case}");
        if case["period"].is_null() {
            let again = block_on(tasks.sides("billing").of_many(&users)).unwrap();
            assert_eq!(
                json!(again.into_iter().map(|answer| result(answer.side)).collect::<Vec<_>>()),
                case["result"],
                "{case}"
            );
        }
    }
}

#[test]
fn allocations_are_what_the_corpus_says() {
    let document = corpus("clients/routing.json");
    let told = Arc::new(Mutex::new(Told::Closed));
    let teller = Arc::clone(&told);
    let server = FakeServer::start(move |_| lock(&teller).clone());
    let (client, _) = client(&server, Duration::from_secs(2));
    for case in document["allocations"].as_array().unwrap() {
        *lock(&told) = Told::json(&case["answer"]);
        let found = client.allocation_of("billing", case["charge"].as_str().unwrap()).unwrap();
        let parts: Vec<Value> =
            found.parts.iter().map(|part| json!({"payer": part.payer, "amount": part.amount})).collect();
        let shown = json!({"charge_id": found.charge_id, "period": found.period, "currency": found.currency,
            "side": found.side.as_str(), "group_id": found.group_id, "parts": parts});
        assert_eq!(shown, case["result"], "{case}");
    }
    *lock(&told) = Told::json(&json!({"queries": []}));
    assert_eq!(client.allocation_of("billing", 1).unwrap_err().kind().as_str(), "unexpected");
}
