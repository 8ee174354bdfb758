//! What a translated write costs: inserts of the old row alone, the same with the new model's rows written by hand in one
//! transaction, and the same through translation; both databases, interleaved rounds in one run, ratios of medians.
//!
//! `scripts/bench-translation` runs it. The numbers of docs/reference/performance.md come from here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]
#![allow(clippy::as_conversions, clippy::print_stderr, reason = "a program for people, not a library")]

#[allow(dead_code, reason = "the benchmark uses the part of the harness that it needs")]
#[path = "../../tests/suite/support/cluster.rs"]
mod cluster;
mod postgres;
mod sqlite;
mod workload;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use workload::Workload;

/// Inserts through translation beside inserts of the old row alone and beside inserts of both rows by hand
#[derive(Debug, Parser)]
pub struct Arguments {
    /// Seconds that each variant is measured in each round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds; the median of each variant counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Charges that are there before the first insert
    #[arg(long, default_value_t = 20_000)]
    charges: u64,
    /// Clients on PostgreSQL
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Who writes the new model's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Nobody,
    ByHand,
    Translation,
}

pub const VARIANTS: [Variant; 3] = [Variant::Nobody, Variant::ByHand, Variant::Translation];

/// A workload's inserts a second, by variant and round.
pub struct Measured {
    database: &'static str,
    workload: String,
    per_second: [Vec<f64>; 3],
}

impl Measured {
    pub fn new(database: &'static str, workload: impl Into<String>) -> Self {
        Self { database, workload: workload.into(), per_second: [Vec::new(), Vec::new(), Vec::new()] }
    }

    pub fn add(&mut self, variant: Variant, per_second: f64) {
        eprintln!("  {} {} {variant:?}: {per_second:.0}/s", self.database, self.workload);
        self.per_second[VARIANTS.iter().position(|one| *one == variant).unwrap()].push(per_second);
    }

    fn row(&self) -> String {
        let [nobody, by_hand, translation] = self.per_second.each_ref().map(|rounds| median(rounds));
        format!(
            "| {} | {} | {nobody:.0} | {by_hand:.0} | {translation:.0} | {:.2} | {:.2} |",
            self.database,
            self.workload,
            translation / nobody,
            translation / by_hand
        )
    }
}

fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn main() {
    let arguments = Arguments::parse();
    let mut measured = sqlite::measure(&arguments);
    measured.extend(postgres::measure(&arguments));
    println!(
        "| database | insert | old row alone | both by hand | translated | translated ÷ alone | translated ÷ by hand |"
    );
    println!("|---|---|---|---|---|---|---|");
    for one in &measured {
        println!("{}", one.row());
    }
    println!(
        "\nInserts a second, median of {} rounds of {} s. {} cores; {} charges there before; PostgreSQL: pgbench, {} clients, prepared \
         statements, synchronous_commit off, fsync off; SQLite {}: in process, one writer, WAL, synchronous NORMAL.",
        arguments.rounds,
        arguments.seconds,
        std::thread::available_parallelism().map_or(0, usize::from),
        arguments.charges,
        arguments.clients,
        rusqlite::version(),
    );
}

/// Runs the real binary on a database; any exit code but 0 ends the benchmark.
pub fn changeover(database_url: &str, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_changeover"));
    command.args(arguments).env("CHANGEOVER_DATABASE_URL", database_url).env_remove("CHANGEOVER_APP_DATABASE_URL");
    let output = command.output().expect("the binary starts");
    let code = output.status.code();
    assert!(
        code == Some(0),
        "changeover {}: exit code {code:?}\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The example's data with translation on and everything backfilled.
pub fn load(database_url: &str, charges: u64) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/video-hosting/change.toml");
    let file = file.display().to_string();
    changeover(database_url, &["demo", "load", "--charges", &charges.to_string()]);
    changeover(database_url, &["change", "install", &file]);
    changeover(database_url, &["change", "stage", Workload::CHANGE, "dualwrite"]);
    changeover(database_url, &["backfill", Workload::CHANGE]);
    changeover(database_url, &["verify", Workload::CHANGE]);
}

/// The same data without translation: what the other two variants start from.
pub fn uninstall(database_url: &str) {
    changeover(database_url, &["change", "stage", Workload::CHANGE, "off"]);
    changeover(database_url, &["change", "uninstall", Workload::CHANGE]);
}

/// Translation has kept up with every insert.
pub fn verify(database_url: &str) {
    changeover(database_url, &["verify", Workload::CHANGE]);
}
