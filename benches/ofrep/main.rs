//! What a flag evaluation over HTTP costs: the real server's OFREP endpoint beside a bare actix-web handler that parses the same
//! body and answers from a map. Interleaved rounds in one run, ratios of medians.
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

fn main() {
    let arguments = Arguments::parse();
    if arguments.bare {
        servers::be_bare();
        return;
    }
    let pinned = pin_to_last_core();
    let ours = Server::changeover(pinned);
    let bare = Server::bare(pinned);
    let duration = Duration::from_secs(arguments.seconds);
    let measure = |server: &Server| load::run(server, arguments.connections, duration);
    for server in [&ours, &bare] {
        load::run(server, arguments.connections, Duration::from_secs(1));
    }
    let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        of_ours.push(measure(&ours));
        of_bare.push(measure(&bare));
    }
    println!("OFREP single evaluation over HTTP, {} connections, {}", arguments.connections, machine(pinned));
    println!("| server | requests/s | CPU µs/request | p50 µs | p99 µs |");
    println!("|---|---:|---:|---:|---:|");
    for (name, loads) in [("changeover serve", &of_ours), ("bare handler", &of_bare)] {
        let column = |value: fn(&Load) -> f64| median(loads, value);
        let (rate, cpu) = (column(|load| load.per_second), column(|load| load.server_cpu_us));
        println!(
            "| {name} | {rate:.0} | {cpu:.1} | {:.0} | {:.0} |",
            column(|load| load.p50_us),
            column(|load| load.p99_us)
        );
    }
    let ratio = |value: fn(&Load) -> f64| median(&of_ours, value) / median(&of_bare, value);
    println!("\nratio: {:.2} of the bare handler's requests/s", ratio(|load| load.per_second));
    println!("ratio: {:.2} times the bare handler's CPU time a request", ratio(|load| load.server_cpu_us));
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
