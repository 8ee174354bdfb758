//! What a million ids take: each engine loads them in a process of its own, from what its server would send.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use crate::{MILLION, launchdarkly, ours, yggdrasil};

const ENGINES: [&str; 3] = ["ours", "unleash-yggdrasil", "launchdarkly-server-sdk-evaluation"];

/// Prints a row for each engine.
pub fn table() {
    println!("| a million ids of 20 characters | resident MiB | peak MiB | load ms |");
    println!("|---|---:|---:|---:|");
    let program = std::env::current_exe().expect("the path of this program");
    for engine in ENGINES {
        let output = Command::new(&program).args(["hold", engine]).output().expect("this program runs again");
        println!("| {engine} | {} |", String::from_utf8_lossy(&output.stdout).trim());
    }
}

/// Loads the ids and prints what that took.
pub fn hold(engine: &str) {
    match engine {
        "ours" => measured(
            || (0..MILLION).map(|number| crate::id(number) + "\n").collect::<String>(),
            |ids| ours::snapshot(ids.lines().collect()),
        ),
        "unleash-yggdrasil" => measured(|| yggdrasil::state(MILLION), |state| yggdrasil::load(&state)),
        _ => measured(|| launchdarkly::segment(MILLION), |segment| launchdarkly::load(&segment)),
    }
}

/// What the input takes is not counted: it is gone when the rest is measured, and was there before the peak is.
fn measured<I, T>(input: impl FnOnce() -> I, load: impl FnOnce(I) -> T) {
    let nothing = status("VmRSS");
    let input = input();
    let before = status("VmRSS");
    let began = Instant::now();
    let loaded = load(input);
    let took = began.elapsed();
    let (resident, peak) = (status("VmRSS").saturating_sub(nothing), status("VmHWM").saturating_sub(before));
    black_box(&loaded);
    println!("{} | {} | {}", resident / 1024, peak / 1024, took.as_millis());
}

/// A field of this process's status, in KiB.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse().ok()).unwrap_or(0)
}
