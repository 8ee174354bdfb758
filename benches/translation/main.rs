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
mod scale;
mod sqlite;
mod workload;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use changeover::database::{DatabaseConnection, DatabaseUrl};
use clap::Parser;

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
    /// Rows of the measurements at scale on PostgreSQL: bulk insert, backfill, verify; 0 leaves them out
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Only the measurements at scale
    #[arg(long)]
    only_scale: bool,
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

pub fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn main() {
    let arguments = Arguments::parse();
    if !arguments.only_scale {
        single_and_batched(&arguments);
    }
    if arguments.rows > 0 {
        scale::measure(&arguments);
    }
}

fn single_and_batched(arguments: &Arguments) {
    let mut measured = sqlite::measure(arguments);
    measured.extend(postgres::measure(arguments));
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

/// The changes that are measured, and the files that describe them.
const CHANGES: [(&str, &str); 2] =
    [("billing-allocation", "examples/video-hosting/change.toml"), (ONE_TO_ONE, "benches/translation/one-to-one.toml")];

/// The change of one block over its driving table alone.
pub const ONE_TO_ONE: &str = "one-to-one";

/// The example's data, and documents beside it, with translation on and everything backfilled.
pub fn load(database_url: &str, charges: u64, documents_schema: &str) {
    changeover(database_url, &["demo", "load", "--charges", &charges.to_string()]);
    batch(database_url, documents_schema);
    for (name, file) in CHANGES {
        install(database_url, name, file);
        changeover(database_url, &["backfill", name]);
    }
    verify(database_url);
}

/// Installs a change of this repository, and translates.
pub fn install(database_url: &str, name: &str, file: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file).display().to_string();
    changeover(database_url, &["change", "install", &file]);
    changeover(database_url, &["change", "stage", name, "dualwrite"]);
}

/// The same data without translation: what the other two variants start from.
pub fn uninstall(database_url: &str) {
    for (name, _) in CHANGES {
        changeover(database_url, &["change", "stage", name, "off"]);
        changeover(database_url, &["change", "uninstall", name]);
    }
}

/// Translation has kept up with every insert.
pub fn verify(database_url: &str) {
    for (name, _) in CHANGES {
        changeover(database_url, &["verify", name]);
    }
}

/// Runs statements on a database.
pub fn batch(database_url: &str, sql: &str) {
    let url: DatabaseUrl = database_url.parse().expect("a database URL");
    DatabaseConnection::open(&url).expect("the database opens").batch(sql).expect("the statements run");
}
