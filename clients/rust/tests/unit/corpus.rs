//! The corpus `tests/corpus/v1` that the server and all clients share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::support::{FakeServer, RealServer, Told, corpus};
use crate::details::FlagValue;
use crate::kept::Kept;
use crate::{Client, Context, Details, bucket};

/// As JSON, whatever the type.
#[derive(Debug)]
struct Answered {
    value: Value,
    variant: Option<String>,
    reason: String,
    error: Option<&'static str>,
    metadata: Map<String, Value>,
}

impl Answered {
    fn of<T: Into<Value>>(details: Details<T>) -> Self {
        Self {
            value: details.value.into(),
            variant: details.variant,
            reason: details.reason.to_string(),
            error: details.error_code.map(|code| code.as_str()),
            metadata: details.metadata,
        }
    }
}

fn ask_as<T: FlagValue + Into<Value>>(
    client: &Client,
    is_kept: bool,
    key: &str,
    default: &Value,
    context: &Value,
) -> Answered {
    let default = T::of(default).unwrap();
    let context = Context::from(context);
    Answered::of(if is_kept {
        client.details(key, default, context)
    } else {
        client.details_now(key, default, context)
    })
}

fn ask(client: &Client, is_kept: bool, kind: &str, key: &str, default: &Value, context: &Value) -> Answered {
    let ask = match kind {
        "boolean" => ask_as::<bool>,
        "string" => ask_as::<String>,
        "integer" => ask_as::<i64>,
        "float" => ask_as::<f64>,
        "object" => ask_as::<Map<String, Value>>,
        other => panic!("{other} is no type"),
    };
    ask(client, is_kept, key, default, context)
}

/// The value that a case wants, as the type asked for writes it.
fn wanted(kind: &str, value: &Value) -> Value {
    match kind {
        "integer" => json!(i64::of(value).unwrap()),
        "float" => json!(value.as_f64().unwrap()),
        _ => value.clone(),
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

#[test]
fn evaluations_are_what_the_corpus_says() {
    let server = RealServer::start();
    let (own, shared) = (corpus("clients/evaluations.json"), corpus("evaluations.json"));
    server.load(&shared);
    server.load(&own);
    let client = Client::new(server.url(), server.token("evaluate")).unwrap();

    let cases = own["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let kind = text(&case["ask"]).unwrap();
        for is_kept in [true, false] {
            let found = ask(&client, is_kept, kind, text(&case["flag"]).unwrap(), &case["default"], &case["context"]);
            let found = (found.value, found.variant.as_deref().map(str::to_owned), found.reason, found.error);
            let wanted = wanted(kind, &case["value"]);
            let variant = text(&case["variant"]).map(str::to_owned);
            assert_eq!(
                found,
                (wanted, variant, text(&case["reason"]).unwrap().to_owned(), text(&case["error"])),
                "{case}"
            );
        }
    }

    let of_flag = |flag: &Value| (flag["key"].as_str().unwrap().to_owned(), flag["type"].as_str().unwrap().to_owned());
    let kinds: HashMap<String, String> = shared["flags"].as_array().unwrap().iter().map(of_flag).collect();
    for case in shared["cases"].as_array().unwrap() {
        let key = text(&case["flag"]).unwrap();
        let kind = &kinds[key];
        let default = match kind.as_str() {
            "boolean" => json!(false),
            "string" => json!(""),
            "object" => json!({}),
            _ => json!(0),
        };
        let found = ask(&client, true, kind, key, &default, &case["context"]);
        assert_eq!(found.error, text(&case["error"]), "{case}");
        if found.error.is_none() {
            let null = Value::Null;
            let metadata = |name: &str| found.metadata.get(name).unwrap_or(&null).clone();
            let about = (
                found.value.clone(),
                found.variant.as_deref(),
                found.reason.as_str(),
                metadata("rule"),
                metadata("bucket"),
            );
            let bucket = case.get("bucket").cloned().unwrap_or_default();
            let value = wanted(kind, &case["value"]);
            assert_eq!(
                about,
                (value, text(&case["variant"]), text(&case["reason"]).unwrap(), case["rule"].clone(), bucket),
                "{case}"
            );
        }
    }
}

#[test]
fn buckets_are_what_the_corpus_says() {
    let vectors = corpus("buckets.json");
    for vector in vectors.as_array().unwrap() {
        let found = bucket(text(&vector["seed"]).unwrap(), text(&vector["value"]).unwrap());
        assert_eq!(Some(u64::from(found)), vector["bucket"].as_u64(), "{vector}");
    }
}

#[test]
fn failed_evaluations_are_what_the_corpus_says() {
    let document = corpus("clients/errors.json");
    let told = Arc::new(Mutex::new(Told::Closed));
    let teller = Arc::clone(&told);
    let server = FakeServer::start(move |_| teller.lock().unwrap().clone());
    for case in document["evaluations"].as_array().unwrap() {
        *told.lock().unwrap() = Told::case(case);
        let client = || Client::builder().url(server.url()).token("co_x").events(false).build().unwrap();
        let is_kept = !case["one"].as_bool().unwrap();
        let found = ask(&client(), is_kept, "string", "f", &json!("d"), &json!("u"));
        let wanted = |wanted: &Value| {
            (
                wanted["value"].clone(),
                wanted["reason"].as_str().unwrap().to_owned(),
                text(&wanted["error"]).map(str::to_owned),
            )
        };
        assert_eq!((found.value, found.reason, found.error.map(str::to_owned)), wanted(case), "{case}");
        if !case["kept"].is_null() {
            let client = client();
            let item = json!({"key": "f", "value": "kept", "variant": "k", "reason": "STATIC"});
            let items = HashMap::from([("f".to_owned(), item)]);
            client.inner().flags.put("u", Kept::new(Arc::new(items), None, f64::NEG_INFINITY, 1));
            let found = ask(&client, true, "string", "f", &json!("d"), &json!("u"));
            assert_eq!((found.value, found.reason, found.error.map(str::to_owned)), wanted(&case["kept"]), "{case}");
        }
    }
}
