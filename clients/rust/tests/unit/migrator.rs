//! Traces and stages of the corpus, for threads and for tasks; and what is Rust's own: panics, and errors' classes.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use serde::Serialize;
use serde::ser::{Error as _, Serializer};
use serde_json::{Value, json};

use super::support::corpus;
use super::tasks::block_on;
use crate::kept::Kept;
use crate::outcome::class_of;
use crate::sync::lock;
use crate::{AsyncClient, Client, Migrator, Order, Stage};

/// A value of a trace: JSON, or an object that is none and equals those with the same number.
#[derive(Clone, Debug, PartialEq)]
struct Shown(Value);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.get("$object"), self.0.get("$text")) {
            (Some(_), _) => Err(S::Error::custom("no JSON")),
            (_, Some(length)) => {
                serializer.serialize_str(&"x".repeat(usize::try_from(length.as_u64().unwrap()).unwrap()))
            }
            _ => self.0.serialize(serializer),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Failure {
    Boom,
    Bang,
}

fn outcome(of: &Value) -> Result<Shown, Failure> {
    match of["raises"].as_str() {
        Some("Boom") => Err(Failure::Boom),
        Some("Bang") => Err(Failure::Bang),
        _ => Ok(Shown(of["returns"].clone())),
    }
}

fn answered(result: Result<Shown, Failure>) -> Value {
    match result {
        Ok(value) => json!({"returns": value.0}),
        Err(error) => json!({"raises": format!("{error:?}")}),
    }
}

type Draws = Arc<Mutex<Vec<f64>>>;
type Observed = Arc<Mutex<Vec<(String, String)>>>;

fn client() -> (Client, Draws, Observed) {
    let (draws, observed) = (Draws::default(), Observed::default());
    let drawn = Arc::clone(&draws);
    let mut builder = Client::builder().url("http://127.0.0.1:1").token("co_x").events(false);
    builder.random = Arc::new(move || lock(&drawn).remove(0));
    let client = builder.build().unwrap();
    let seen = Arc::clone(&observed);
    let observer = move |path: &str, text: &str| lock(&seen).push((path.to_owned(), text.to_owned()));
    *lock(&client.inner().observations.observer) = Some(Arc::new(observer));
    (client, draws, observed)
}

fn serve(client: &Client, stage: &Value) {
    let item = json!({"key": "shop-flag", "value": stage, "reason": "STATIC"});
    let kept = Kept::new(Arc::new(HashMap::from([("shop-flag".to_owned(), item)])), None, f64::INFINITY, 1);
    client.inner().flags.put("u", kept);
}

fn prepared<M>(mut migrator: Migrator<Shown, M>, trace: &Value) -> Migrator<Shown, M> {
    migrator = migrator.name("shop").change("billing").sample(trace["sample"].as_f64().unwrap());
    migrator = migrator.order(match trace["order"].as_str().unwrap() {
        "serial" => Order::Serial,
        "concurrent" => Order::Concurrent,
        _ => Order::Random,
    });
    if trace["values"] == json!(false) {
        migrator = migrator.without_values();
    }
    migrator = match trace["compare"].as_str() {
        Some("equal") => migrator.compare(Shown::eq),
        Some("within_1") => {
            migrator.compare(|old, new| (old.0.as_f64().unwrap() - new.0.as_f64().unwrap()).abs() <= 1.0)
        }
        Some("fails") => migrator.compare(|_, _| panic!("a comparison that fails")),
        _ => migrator,
    };
    for ignore in trace["ignore"].as_array().unwrap() {
        migrator = match ignore.as_str().unwrap() {
            "always" => migrator.ignore(|_, _| true),
            "never" => migrator.ignore(|_, _| false),
            "fails" => migrator.ignore(|_, _| panic!("an ignore that fails")),
            _ => migrator.ignore(|_, new| new.0.is_null()),
        };
    }
    migrator
}

fn begin(trace: &Value, client: &Client, draws: &Draws, observed: &Observed) {
    let first = if trace["first"] == "old" { 0.0 } else { 0.9 };
    *lock(draws) = vec![trace["draw"].as_f64().unwrap(), first];
    lock(observed).clear();
    serve(client, &trace["stage"]);
}

fn check(trace: &Value, mut calls: Vec<String>, result: Result<Shown, Failure>, observed: &Observed) {
    let strings = |list: &Value| {
        list.as_array().unwrap().iter().map(|call| call.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut wanted = strings(&trace["calls"]);
    if trace["together"] == json!(true) {
        calls.sort();
        wanted.sort();
    }
    assert_eq!(calls, wanted, "{trace}");
    assert_eq!(answered(result), trace["result"], "{trace}");
    let observed = lock(observed).clone();
    if trace["observation"].is_null() {
        assert!(observed.is_empty(), "{trace}: {observed:?}");
        return;
    }
    let [(path, text)] = &observed[..] else { panic!("{trace}: {observed:?}") };
    assert_eq!(path, "/api/v1/changes/billing/observations");
    let mut found: Value = serde_json::from_str(text).unwrap();
    let fields = found.as_object_mut().unwrap();
    assert!(fields.remove("id").unwrap().as_str().unwrap().len() == 32);
    assert!(fields.remove("at").unwrap().as_str().unwrap().ends_with('Z'));
    for side in ["old", "new"] {
        assert!(fields[side].as_object_mut().unwrap().remove("duration_us").unwrap().is_u64());
    }
    assert_eq!(found, trace["observation"], "{trace}");
}

#[test]
fn traces_are_what_the_corpus_says() {
    let document = corpus("clients/migrator.json");
    let traces = document["traces"].as_array().unwrap();
    assert!(traces.len() > 200);
    let (client, draws, observed) = client();
    for trace in traces {
        begin(trace, &client, &draws, &observed);
        let migrator = prepared(client.migrator::<Shown>("shop-flag"), trace);
        let calls = Mutex::new(Vec::new());
        let operation = trace["operation"].as_str().unwrap();
        let barrier = (trace["together"] == json!(true)).then(|| Barrier::new(2));
        let call = |side: &str| {
            lock(&calls).push(format!("{side}.{operation}"));
            if let Some(barrier) = &barrier {
                barrier.wait();
            }
            outcome(&trace[side])
        };
        let result = if operation == "read" {
            migrator.read("u", || call("old"), || call("new"))
        } else {
            migrator.write("u", || call("old"), || call("new"))
        };
        check(trace, calls.into_inner().unwrap(), result, &observed);
    }
}

/// Ends when two have come.
async fn meeting(arrived: &AtomicUsize) {
    arrived.fetch_add(1, Ordering::Relaxed);
    std::future::poll_fn(|context| {
        if arrived.load(Ordering::Relaxed) >= 2 {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn traces_of_tasks_are_what_the_corpus_says() {
    let document = corpus("clients/migrator.json");
    let (client, draws, observed) = client();
    let tasks = AsyncClient::from(client.clone());
    for trace in document["traces"].as_array().unwrap() {
        begin(trace, &client, &draws, &observed);
        let migrator = prepared(tasks.migrator::<Shown>("shop-flag"), trace);
        let (calls, arrived) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let operation = trace["operation"].as_str().unwrap();
        let call = async |side: &str| {
            lock(&calls).push(format!("{side}.{operation}"));
            if trace["together"] == json!(true) {
                meeting(&arrived).await;
            }
            outcome(&trace[side])
        };
        let result = if operation == "read" {
            block_on(migrator.read("u", || call("old"), || call("new")))
        } else {
            block_on(migrator.write("u", || call("old"), || call("new")))
        };
        check(trace, lock(&calls).clone(), result, &observed);
    }
}

#[test]
fn stages_are_what_the_corpus_says() {
    let document = corpus("clients/migrator.json");
    for case in document["stages"].as_array().unwrap() {
        let client = Client::builder().url("http://127.0.0.1:1").token("co_x").events(false).build().unwrap();
        let migrator =
            client.migrator::<Value>("f").default_stage(case["default_stage"].as_str().unwrap().parse().unwrap());
        let mut stages = Vec::new();
        for answer in case["answers"].as_array().unwrap() {
            let context = answer["context"].as_str().unwrap_or("a");
            let mut item = json!({"key": "f", "value": answer["value"], "reason": "STATIC"});
            if !answer["error"].is_null() {
                item = json!({"key": "f", "errorCode": answer["error"]});
            }
            let kept = Kept::new(Arc::new(HashMap::from([("f".to_owned(), item)])), None, f64::INFINITY, 1);
            client.inner().flags.put(context, kept);
            let task = AsyncClient::from(client.clone()).migrator::<Value>("f");
            let task = task.default_stage(case["default_stage"].as_str().unwrap().parse().unwrap());
            stages.push(migrator.stage(context).to_string());
            assert_eq!(block_on(task.stage(context)), migrator.stage(context));
        }
        assert_eq!(json!(stages), case["stages"], "{case}");
    }
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Box<dyn std::any::Any + Send>> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
}

#[test]
fn a_panic_of_the_other_side_goes_no_further() {
    let (client, draws, observed) = client();
    let tasks = AsyncClient::from(client.clone());
    let counts = || Ok::<_, Failure>(Shown(json!(1)));
    for order in [Order::Serial, Order::Concurrent] {
        serve(&client, &json!("shadow"));
        *lock(&draws) = vec![0.0; 8];
        lock(&observed).clear();
        let migrator = client.migrator::<Shown>("shop-flag").order(order);
        assert_eq!(migrator.read("u", counts, || panic!("the other side")), Ok(Shown(json!(1))));
        assert!(caught(|| migrator.read("u", || panic!("the side that counts"), counts)).is_err());
        assert_eq!(migrator.write("u", || Ok::<_, Failure>(2), || panic!("the other side")), Ok(2));
        let task = tasks.migrator::<Shown>("shop-flag").order(order);
        let read = task.read("u", || async { counts() }, || async { panic!("the other side") });
        assert_eq!(block_on(read), Ok(Shown(json!(1))));
        let texts: Vec<Value> = lock(&observed).iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
        let errors: Vec<_> =
            texts.iter().map(|one| (one["old"]["error"].as_str(), one["new"]["error"].as_str())).collect();
        let (other, both) = ((None, Some("panic")), (Some("panic"), None));
        assert_eq!(errors, [other, both, other, other]);
    }
}

#[test]
fn a_read_that_is_dropped_observes_nothing() {
    let (client, draws, observed) = client();
    serve(&client, &json!("live"));
    *lock(&draws) = vec![0.0];
    let migrator = AsyncClient::from(client.clone()).migrator::<i64>("shop-flag").order(Order::Concurrent);
    let mut read =
        Box::pin(migrator.read("u", async || Ok::<_, Failure>(1), std::future::pending::<Result<i64, Failure>>));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(read.as_mut().poll(&mut context).is_pending());
    drop(read);
    assert!(lock(&observed).is_empty());
}

#[test]
fn values_of_any_kind_are_compared_here() {
    let (client, draws, observed) = client();
    serve(&client, &json!("shadow"));
    *lock(&draws) = vec![0.0; 2];
    let migrator = client.migrator_comparing::<Arc<Mutex<i64>>>("shop-flag", |old, new| *lock(old) == *lock(new));
    let value = |number| move || Ok::<_, Failure>(Arc::new(Mutex::new(number)));
    migrator.read("u", value(1), value(1)).unwrap();
    migrator.clone().read("u", value(1), value(2)).unwrap();
    let found: Vec<Value> = lock(&observed)
        .iter()
        .map(|(_, text)| serde_json::from_str::<Value>(text).unwrap()["matches"].clone())
        .collect();
    assert_eq!(found, [json!(true), json!(false)]);
    assert_eq!(client.stats().mismatches, 1);
}

#[test]
fn an_error_is_told_by_its_class_and_never_by_what_it_says() {
    #[derive(Debug)]
    #[allow(dead_code, reason = "only shown")]
    struct Late {
        after: u32,
    }
    let boxed: Box<dyn std::error::Error> = "the invoice of Ada".into();
    assert_eq!(class_of(&Failure::Boom), "Boom");
    assert_eq!(class_of(&Late { after: 1 }), "Late");
    assert_eq!(class_of(&Some(1)), "Some");
    assert_eq!(class_of(&"secret"), "str");
    assert_eq!(class_of(&"Secret".to_owned()), "String");
    assert_eq!(class_of(&boxed), "Box");
    assert_eq!(class_of(&std::io::Error::from(std::io::ErrorKind::NotFound)), "Kind");
    assert_eq!("off".parse(), Ok(Stage::Off));
    assert!("OFF".parse::<Stage>().is_err());
}
