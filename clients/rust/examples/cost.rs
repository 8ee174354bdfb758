//! Measures what the README's table says and prints the table. `clients/rust/bench BINARY` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program of the tests"
)]

#[path = "../tests/support.rs"]
mod support;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use changeover_client::{AsyncClient, Client, Context, Order, Stage};
use support::RealServer;

const ROUNDS: usize = 7;

fn microseconds(times: u32, mut work: impl FnMut()) -> f64 {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..times {
                work();
            }
            began.elapsed() / times
        })
        .collect();
    rounds.sort();
    rounds[ROUNDS / 2].as_secs_f64() * 1e6
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = TaskContext::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn main() {
    let server = RealServer::start();
    server.create_flags();
    for stage in Stage::ALL {
        server.serve(&format!("stage-{stage}"), stage.as_str());
    }
    let client = Client::new(server.url(), &server.admin_token).unwrap();
    let tasks = AsyncClient::from(client.clone());
    let (flag, context) = ("conformance-boolean", Context::new("42").with("plan", "pro"));
    let asked = |what: bool| assert!(what);
    let mut rows = vec![
        (
            "cached evaluation, context a text".to_owned(),
            microseconds(20_000, || asked(client.boolean(flag, false, "42"))),
        ),
        (
            "cached evaluation, context of two attributes".to_owned(),
            microseconds(20_000, || asked(client.boolean(flag, false, &context))),
        ),
        (
            "cached evaluation of a task".to_owned(),
            microseconds(20_000, || asked(block_on(tasks.boolean(flag, false, "42")))),
        ),
        ("remote evaluation".to_owned(), microseconds(200, || asked(client.details_now(flag, false, &context).value))),
        (
            "remote evaluation of a task".to_owned(),
            microseconds(200, || asked(block_on(tasks.details_now(flag, false, &context)).value)),
        ),
    ];
    let one = || Ok::<_, Infallible>(1);
    for stage in Stage::ALL {
        let migrator = client.migrator::<i32>(&format!("stage-{stage}"));
        rows.push((format!("migrator read at `{stage}`"), microseconds(1_000, || _ = migrator.read("42", one, one))));
    }
    let shadow = || client.migrator::<i32>("stage-shadow");
    for (name, migrator) in
        [("concurrent", shadow().order(Order::Concurrent)), ("a sample of 0.01", shadow().sample(0.01))]
    {
        rows.push((
            format!("migrator read at `shadow`, {name}"),
            microseconds(1_000, || _ = migrator.read("42", one, one)),
        ));
    }
    println!("| | µs |\n|---|---:|");
    for (name, took) in rows {
        let digits = if took < 10.0 { 2 } else { 0 };
        println!("| {name} | {took:.digits$} |");
    }
}
