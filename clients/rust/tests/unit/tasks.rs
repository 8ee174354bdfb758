//! Tasks, on an executor of a few lines and on Tokio: many evaluations, routing, writes, gates.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use serde_json::json;

use super::support::{RealServer, eventually};
use crate::{AsyncClient, Client, Operation, Side};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor there is.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_evaluations_from_fifty_tasks() {
    let server = RealServer::start();
    server.create_flags();
    let client = AsyncClient::new(server.url(), &server.admin_token).unwrap();
    let tasks: Vec<_> = (0..50u64)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut right = 0;
                for n in 0..200 {
                    right += u32::from(client.boolean("conformance-boolean", false, (number + n) % 40).await);
                }
                right
            })
        })
        .collect();
    let mut right = 0;
    for task in tasks {
        right += task.await.unwrap();
    }
    assert_eq!((right, client.blocking.inner().flags.kept_count_and_bytes().0), (10_000, 40));
    let details = client.details_now("conformance-integer", 0, "1").await;
    assert_eq!((details.value, details.error_code), (10, None));
    client.close().await;
    assert!(client.boolean("conformance-boolean", false, 1u64).await);
    assert!(!client.boolean("conformance-boolean", false, "a newcomer").await);
}

#[test]
fn any_executor_will_do() {
    let server = RealServer::start();
    server.create_flags();
    let client = AsyncClient::from(Client::new(server.url(), &server.admin_token).unwrap());
    assert!(block_on(client.boolean("conformance-boolean", false, "1")));
    assert_eq!(block_on(client.integer("conformance-integer", 0, "1")), 10);
    assert!(block_on(client.flush(Duration::from_secs(5))));
    block_on(client.close());
}

#[tokio::test]
async fn sides_allocations_and_writes() {
    let server = RealServer::start_with_change();
    let client = AsyncClient::new(server.url(), &server.admin_token).unwrap();
    let change = "billing-allocation";
    assert_eq!(client.sides(change).of(7).await.unwrap(), Side::Old);
    assert_eq!(client.sides("no-such-change").of_or(7, Side::New).await, Side::New);
    assert!(client.sides("no-such-change").of(7).await.is_err());
    let many = client.sides(change).period("2030-01").without_recording().of_many(1..=1200).await.unwrap();
    assert_eq!((many.len(), many[1199].user.as_str(), many[0].side.as_ref().unwrap()), (1200, "1200", &Side::Old));
    assert_eq!(client.allocation_of(change, 5).await.unwrap().side, Side::Old);
    let ada = Operation::insert("users", json!({"name": "Ada", "company": "A"}));
    let result = client.writes(change).dry_run().run(&[ada]).await.unwrap();
    assert_eq!(result.operations[0]["rows"][0]["name"], "Ada");
    assert!(client.writes(change).schema().await.unwrap()["tables"].is_array() || !result.is_replayed);
}

#[tokio::test]
async fn a_gate() {
    let server = RealServer::start();
    server.request("PUT", "/api/v1/gates/loop", &json!({"single_instance": true, "lease_seconds": 2}));
    let client = AsyncClient::new(server.url(), &server.admin_token).unwrap();
    let first = client.gate("loop").run(async |lease| lease.fencing_token().unwrap()).await.unwrap().unwrap();
    // A run that is dropped gives its lease back.
    let (started, begun) = tokio::sync::oneshot::channel();
    let mut started = Some(started);
    let gate = client.gate("loop");
    let task = tokio::spawn(async move {
        let run = gate.run(move |lease| {
            let started = started.take();
            async move {
                started.map(|started| started.send(lease));
                std::future::pending::<()>().await;
            }
        });
        run.await
    });
    let lease = begun.await.unwrap();
    assert!(lease.is_allowed());
    task.abort();
    lease.ended().await;
    assert!(!lease.is_allowed());
    let second = client.gate("loop").run(async |lease| lease.fencing_token().unwrap()).await.unwrap().unwrap();
    assert!(first < lease.fencing_token().unwrap() && lease.fencing_token().unwrap() < second);
    let (gate, stopped) = (client.gate("nowhere"), client.gate("nowhere"));
    gate.stop();
    assert!(gate.run(async |_| ()).await.unwrap().is_none());
    drop(stopped);
    let held = || {
        server.request("GET", "/api/v1/gates/loop", &serde_json::Value::Null)["details"]["lease"]["held"] == json!(true)
    };
    eventually("the lease is given back", || !held());
}
