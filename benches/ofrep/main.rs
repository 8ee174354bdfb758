//! What a flag evaluation over HTTP costs: the real server's OFREP endpoint beside a bare actix-web handler that parses the same
//! body and answers from a map, and all flags at once beside Unleash Edge, if `CHANGEOVER_BENCH_EDGE` names its program. Interleaved
//! rounds in one run, ratios of medians.
//!
//! `scripts/bench-ofrep` runs it. The numbers of docs/reference/performance.md come from here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]
#![allow(clippy::as_conversions, reason = "a program for people, not a library")]

mod load;
mod servers;

use std::process::Command;
use std::time::Duration;

use clap::Parser;
use load::Load;
use servers::Server;

/// OFREP single evaluation beside a bare handler
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds that each server is measured in each round
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; the median of each server counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections kept alive, each with one request at a time
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the bare server
    #[arg(long, hide = true)]
    bare: bool,
}

/// What an OpenFeature provider sends.
const BODY: &str = r#"{"context":{"targetingKey":"user-4711","account":{"id":1234,"plan":"pro"},"country":"NZ"}}"#;
const KEY: &str = "billing-page";
/// Flags that the server has when one is asked for, and when all are.
const SIZES: [usize; 3] = [1, 100, 5_000];
const BULK: usize = 100;

fn main() {
    let arguments = Arguments::parse();
    if arguments.bare {
        servers::be_bare();
        return;
    }
    let pinned = pin_to_last_core();
    println!("{} connections, {}; medians of {} rounds\n", arguments.connections, machine(pinned), arguments.rounds);
    let mut single: Vec<Server> = SIZES.iter().map(|count| Server::changeover(*count, pinned)).collect();
    single.push(Server::bare(pinned));
    println!("One flag evaluated over HTTP, beside a handler that parses and looks up:\n");
    compare(&single, &arguments, "bare handler");
    drop(single);
    let mut all = Server::changeover(BULK, pinned);
    all.ask_for_all();
    let mut bulk = vec![all];
    let edge = std::env::var_os("CHANGEOVER_BENCH_EDGE");
    bulk.extend(edge.map(|program| Server::edge(program.as_ref(), BULK, pinned)));
    println!("\n{BULK} flags evaluated in one request:\n");
    compare(&bulk, &arguments, "Unleash Edge");
}

/// Measures the servers by turns and prints a table; the last one is what the others are set against.
fn compare(servers: &[Server], arguments: &Arguments, beside: &str) {
    let duration = Duration::from_secs(arguments.seconds);
    for server in servers {
        load::run(server, arguments.connections, Duration::from_secs(1));
    }
    let mut loads: Vec<Vec<Load>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..arguments.rounds.max(1) {
        for (server, loads) in servers.iter().zip(&mut loads) {
            loads.push(load::run(server, arguments.connections, duration));
        }
    }
    println!("| server | requests/s | CPU µs/request | p50 µs | p99 µs | requests/s ÷ {beside} | p99 ÷ {beside} |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let last = loads.last().expect("a server");
    for (server, loads) in servers.iter().zip(&loads) {
        let column = |value: fn(&Load) -> f64| median(loads, value);
        let ratio = |value: fn(&Load) -> f64| median(loads, value) / median(last, value);
        println!(
            "| {} | {:.0} | {:.1} | {:.0} | {:.0} | {:.2} | {:.2} |",
            server.name,
            column(|load| load.per_second),
            column(|load| load.server_cpu_us),
            column(|load| load.p50_us),
            column(|load| load.p99_us),
            ratio(|load| load.per_second),
            ratio(|load| load.p99_us),
        );
    }
}

fn median(loads: &[Load], value: fn(&Load) -> f64) -> f64 {
    let mut values: Vec<f64> = loads.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Keeps this process, which makes the load, to the last core, so that the servers have the others to themselves.
fn pin_to_last_core() -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let last = cores.checked_sub(1).filter(|last| *last > 0)?;
    let own = std::process::id().to_string();
    let output = Command::new("taskset").args(["-cp", &last.to_string(), &own]).output().ok()?;
    output.status.success().then_some(last)
}

fn machine(pinned: Option<usize>) -> String {
    match pinned {
        Some(last) => format!("server on core 0 to {}, load on core {last}", last - 1),
        None => String::from("server and load on the same cores"),
    }
}
