//! What a comparison of old and new allocation costs on PostgreSQL, beside hand-written full outer joins and beside reladiff, on the same
//! tables in the same run, by turns.
//!
//! `scripts/bench-report` runs it. The numbers of docs/reference/performance.md come from here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]
#![allow(clippy::as_conversions, clippy::print_stderr, reason = "a program for people, not a library")]

#[allow(dead_code, reason = "the benchmark uses the part of the harness that it needs")]
#[path = "../../tests/suite/support/cluster.rs"]
mod cluster;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use changeover::allocation::Comparison;
use changeover::change::{Allocation, Located};
use changeover::database::{DatabaseConnection, DatabaseUrl};
use changeover::translation::compare::{CompareRequest, CompareWatcher, compare};
use clap::Parser;

/// A comparison beside hand-written full outer joins of the same tables, and beside reladiff
#[derive(Debug, Parser)]
struct Arguments {
    /// Charges to compare
    #[arg(long, default_value_t = 5_000_000)]
    charges: u64,
    /// Rounds; the median of each counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The program `reladiff` (PyPI, with `[postgresql]`); without it the others are measured alone
    #[arg(long, env = "RELADIFF")]
    reladiff: Option<PathBuf>,
    /// A database that was loaded by an earlier run, instead of a throw-away cluster
    #[arg(long)]
    url: Option<String>,
    /// Load the tables into `--url` first
    #[arg(long)]
    load: bool,
    /// Charges in one statement; 0: as the comparison itself chooses
    #[arg(long, default_value_t = 0)]
    chunk_charges: u64,
    /// Compare once in this process, and print seconds, resident memory at its peak and what was found
    #[arg(long, hide = true)]
    once: bool,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// 200,000 payers. One charge in ten belongs to an account of three, the others to their payer alone: 1.2 new rows a charge. Some faults
/// of each kind: sums that differ, nobody, somebody who is not expected, an allocation without a charge.
const SCHEMA: &str = "
DROP TABLE IF EXISTS charges, old_allocations, new_allocations, members;
CREATE TABLE charges (id bigint PRIMARY KEY, account_id bigint NOT NULL, period text NOT NULL, currency text NOT NULL, amount bigint NOT NULL);
CREATE TABLE members (account_id bigint NOT NULL, user_id bigint NOT NULL, PRIMARY KEY (account_id, user_id));
CREATE TABLE old_allocations (charge_id bigint NOT NULL, payer bigint NOT NULL, amount bigint NOT NULL, PRIMARY KEY (charge_id, payer));
CREATE TABLE new_allocations (charge_id bigint NOT NULL, payer bigint NOT NULL, amount bigint NOT NULL, PRIMARY KEY (charge_id, payer))";

fn rows(charges: u64) -> Vec<String> {
    vec![
        String::from("INSERT INTO members SELECT u, u FROM generate_series(1, 200000) u"),
        String::from(
            "INSERT INTO members SELECT u, (u + more - 1) % 200000 + 1 FROM generate_series(10, 200000, 10) u, generate_series(1, 2) more",
        ),
        format!(
            "INSERT INTO charges SELECT i, i * 7919 % 200000 + 1, CASE WHEN i * 2 > {charges} THEN '2026-11' ELSE '2026-10' END,
               CASE WHEN i % 10 = 0 THEN 'USD' ELSE 'EUR' END, i * 31337 % 100000 + 1 FROM generate_series(1, CAST({charges} AS bigint)) i"
        ),
        String::from("INSERT INTO old_allocations SELECT id, account_id, amount FROM charges"),
        String::from(
            "INSERT INTO new_allocations SELECT c.id, m.user_id, CASE WHEN c.account_id % 10 > 0 THEN c.amount
               WHEN m.user_id = c.account_id THEN c.amount - c.amount / 3 * 2 ELSE c.amount / 3 END
             FROM charges c JOIN members m ON m.account_id = c.account_id ORDER BY c.id, m.user_id",
        ),
        String::from("UPDATE new_allocations SET amount = amount + 1 WHERE charge_id % 10007 = 0"),
        String::from("DELETE FROM new_allocations WHERE charge_id % 20011 = 0"),
        String::from("UPDATE new_allocations SET payer = 300000 WHERE charge_id % 30011 = 0 AND payer % 10 > 2"),
        String::from("DELETE FROM charges WHERE id % 50021 = 0"),
        String::from("VACUUM ANALYZE"),
    ]
}

/// Every pair of charge and payer whose amounts differ, divided charges included: what reladiff answers too.
const PAIRS: &str = "SELECT coalesce(o.charge_id, n.charge_id) AS charge_id, coalesce(o.payer, n.payer) AS payer, o.amount AS old, n.amount AS new
FROM old_allocations o FULL JOIN new_allocations n ON n.charge_id = o.charge_id AND n.payer = o.payer
WHERE o.amount IS DISTINCT FROM n.amount";

/// The charges that are wrong: the same that the comparison finds, as one would write it by hand.
const WRONG: &str = "SELECT coalesce(c.id, p.charge_id) AS charge_id, c.amount, CAST(p.old AS text) AS old, CAST(p.new AS text) AS new
FROM charges c FULL JOIN (
  SELECT coalesce(o.charge_id, n.charge_id, e.charge_id) AS charge_id, sum(o.amount) AS old, sum(n.amount) AS new,
    bool_or((n.charge_id IS NULL) <> (e.charge_id IS NULL)) AS unexpected
  FROM old_allocations o FULL JOIN new_allocations n ON n.charge_id = o.charge_id AND n.payer = o.payer
  FULL JOIN (SELECT c.id AS charge_id, m.user_id AS payer FROM charges c JOIN members m ON m.account_id = c.account_id) e
    ON e.charge_id = coalesce(o.charge_id, n.charge_id) AND e.payer = coalesce(o.payer, n.payer)
  GROUP BY 1) p ON p.charge_id = c.id
WHERE c.amount IS DISTINCT FROM p.old OR c.amount IS DISTINCT FROM p.new OR p.unexpected";

fn located(text: &str) -> Located<String> {
    Located { value: text.to_owned(), line: 1 }
}

fn allocation() -> Allocation {
    Allocation {
        line: 1,
        charges: located("SELECT id AS charge_id, period, currency, amount FROM charges"),
        old: located("SELECT charge_id, payer, amount FROM old_allocations"),
        new: located("SELECT charge_id, payer, amount FROM new_allocations"),
        group: located("SELECT id AS charge_id, account_id AS group_id FROM charges"),
        expected_payers: Some(located(
            "SELECT c.id AS charge_id, m.user_id AS payer FROM charges c JOIN members m ON m.account_id = c.account_id",
        )),
        reverses: None,
        exponent: None,
        scale: None,
    }
}

fn open(url: &str) -> DatabaseConnection {
    let url: DatabaseUrl = url.parse().expect("a database URL");
    DatabaseConnection::open(&url).expect("the database opens")
}

/// Reads every row, as whoever wants the differences does; returns how many charges or pairs there are.
fn read(connection: &mut DatabaseConnection, sql: &str) -> u64 {
    let mut rows = 0;
    connection
        .query_each(sql, |_| {
            rows += 1;
            Ok::<(), changeover::database::DatabaseError>(())
        })
        .expect("the statement runs");
    rows
}

/// Takes all exceptions, as a report that lists them in full does.
#[derive(Default)]
struct Counting(u64);

impl CompareWatcher for Counting {
    fn exceptions(
        &mut self,
        lines: Vec<changeover::allocation::ExceptionLine>,
    ) -> Result<(), changeover::translation::compare::CompareError> {
        self.0 += lines.len() as u64;
        Ok(())
    }

    fn keeps_parts(&self) -> bool {
        false
    }
}

fn once(url: &str, chunk_charges: u64) {
    let mut connection = open(url);
    let allocation = allocation();
    let beside: DatabaseUrl = url.parse().expect("a database URL");
    let request = CompareRequest {
        use_effective_view: false,
        chunk_charges,
        beside: Some(&beside),
        ..CompareRequest::of(&allocation)
    };
    let mut counting = Counting::default();
    let begun = Instant::now();
    let comparison: Comparison = compare(&mut connection, &request, &mut counting)
        .expect("the comparison runs")
        .finished()
        .expect("not stopped");
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(counting.0, comparison.exceptions_total);
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM").trim().trim_end_matches(" kB");
    let payers: u64 = comparison.payers.iter().map(|total| total.payers).sum();
    println!("{seconds} {} {} {} {payers}", peak.trim(), comparison.exceptions_total, comparison.charges());
}

struct Ours {
    seconds: f64,
    peak_mib: f64,
    exceptions: u64,
}

/// In a process of its own, so that its memory is told apart from this one's.
fn ours(url: &str, arguments: &Arguments) -> Ours {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--once", "--url", url, "--chunk-charges", &arguments.chunk_charges.to_string()])
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    Ours { seconds: numbers[0], peak_mib: numbers[1] / 1024.0, exceptions: numbers[2] as u64 }
}

fn reladiff(program: &PathBuf, url: &str, algorithm: &str) -> f64 {
    // It knows the scheme by its long name only, and ends with 0 where it does not.
    let url = &url.replacen("postgres://", "postgresql://", 1);
    let begun = Instant::now();
    let output = Command::new(program)
        .args([url, "old_allocations", url, "new_allocations", "-k", "charge_id", "-k", "payer", "-c", "amount"])
        .args(["--algorithm", algorithm, "--stats", "--threads", "2"])
        .output()
        .expect("reladiff runs");
    let seconds = begun.elapsed().as_secs_f64();
    let told = String::from_utf8_lossy(&output.stdout);
    eprintln!("{}", told.trim());
    assert!(
        output.status.success() && told.contains("difference score"),
        "reladiff: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    seconds
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.once {
        return once(arguments.url.as_deref().expect("--url"), arguments.chunk_charges);
    }
    let url = arguments.url.clone().unwrap_or_else(|| {
        let cluster = cluster::Cluster::shared();
        open(&cluster.maintenance_url()).batch("CREATE DATABASE report").expect("CREATE DATABASE");
        cluster.url("report")
    });
    let mut connection = open(&url);
    if arguments.url.is_none() || arguments.load {
        connection.batch(SCHEMA).expect("the schema");
        for statement in rows(arguments.charges) {
            connection.batch(&statement).expect("the rows");
        }
    }
    connection.batch("SET jit = on; SET work_mem = '64MB'").expect("settings");
    let mut seconds: [Vec<f64>; 5] = Default::default();
    let (mut peak_mib, mut found) = (0.0f64, [0u64; 3]);
    for round in 1..=arguments.rounds {
        let mine = ours(&url, &arguments);
        seconds[0].push(mine.seconds);
        peak_mib = peak_mib.max(mine.peak_mib);
        found[0] = mine.exceptions;
        for (place, sql) in [(1, WRONG), (2, PAIRS)] {
            let begun = Instant::now();
            found[place] = read(&mut connection, sql);
            seconds[place].push(begun.elapsed().as_secs_f64());
        }
        if let Some(program) = &arguments.reladiff {
            for (place, algorithm) in [(3, "joindiff"), (4, "hashdiff")] {
                seconds[place].push(reladiff(program, &url, algorithm));
            }
        }
        let last: Vec<String> =
            seconds.iter().filter_map(|all| all.last()).map(|last| format!("{last:.1} s")).collect();
        eprintln!("round {round}: {}", last.join(", "));
    }
    let mine = median(seconds[0].clone());
    println!(
        "| {} charges, medians of {} rounds | s | finds | ours ÷ it |\n|---|---:|---:|---:|",
        arguments.charges, arguments.rounds
    );
    println!("| `changeover` comparison, peak memory {peak_mib:.0} MiB | {mine:.1} | {} charges | 1 |", found[0]);
    for (place, title, unit) in [
        (1, "full outer join that finds the same charges", "charges"),
        (2, "full outer join of pairs of charge and payer", "pairs"),
    ] {
        let it = median(seconds[place].clone());
        println!("| {title} | {it:.1} | {} {unit} | **{:.2}** |", found[place], mine / it);
    }
    for (place, title) in [(3, "reladiff, joindiff"), (4, "reladiff, hashdiff")] {
        if !seconds[place].is_empty() {
            let it = median(seconds[place].clone());
            println!("| {title} | {it:.1} | pairs | **{:.2}** |", mine / it);
        }
    }
}
