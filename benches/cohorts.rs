//! Cohorts of millions of ids: what they take in memory, how long a look-up takes, and how long import, load and a refresh after one
//! more id take on both databases.
//!
//! `scripts/bench-cohorts` runs it. The numbers of docs/reference/performance.md come from here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]
#![allow(clippy::as_conversions, clippy::print_stderr, reason = "a program for people, not a library")]

#[allow(dead_code, reason = "the benchmark uses the part of the harness that it needs")]
#[path = "../tests/suite/support/cluster.rs"]
mod cluster;

use std::hint::black_box;
use std::time::Instant;

use changeover::database::{Database, DatabaseConnection, DatabaseUrl};
use changeover::flags::CohortIds;
use changeover::primitives::CohortName;
use changeover::store::cohort_export::{self, ExportFormat};
use changeover::store::cohort_generations::Keep;
use changeover::store::cohort_leaves::{AsOf, LeafReader};
use changeover::store::cohorts::{self, Edit};
use changeover::store::sorted_ids::SortedIds;
use changeover::store::upload::{UploadFormat, UploadReader};
use changeover::store::{Memory, Origin, Store, cohort_generations};
use clap::Parser;

/// Cohorts of millions of ids: memory, look-ups, import, load, refresh
#[derive(Debug, Parser)]
struct Arguments {
    /// Ids in each cohort
    #[arg(long, default_value_t = 1_000_000)]
    ids: u64,
    /// Only memory and look-ups, no database
    #[arg(long)]
    only_memory: bool,
    /// Only decimals
    #[arg(long)]
    only_decimals: bool,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

type Make = fn(u64) -> String;

/// A number that looks random and is another one for every other input.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 31)
}

fn uuid(number: u64) -> String {
    let text = format!("{:016x}{:016x}", mixed(number), mixed(!number));
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

const KINDS: [(&str, Make); 7] = [
    ("decimals", |n| (n * 7).to_string()),
    ("decimals of 18 digits", |n| (mixed(n) % 1_000_000_000_000_000_000).to_string()),
    ("negative decimals", |n| format!("-{}", n * 7)),
    ("`user-00000000001234`", |n| format!("user-{:014}", n * 7)),
    ("UUIDs", uuid),
    ("UUIDs in upper case, no dashes", |n| uuid(n).replace('-', "").to_uppercase()),
    ("texts of 20 bytes", |n| format!("{:016x}@mail", mixed(n)).replace('0', "o")),
];

fn main() {
    let arguments = Arguments::parse();
    let kinds = if arguments.only_decimals { &KINDS[..1] } else { &KINDS[..] };
    println!("\n{} ids, in memory\n", arguments.ids);
    println!("| ids | MiB | found ns | not found ns | build s | bytes MiB | from bytes s |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, make) in kinds {
        in_memory(name, arguments.ids, *make);
    }
    if arguments.only_memory {
        return;
    }
    println!("\n{} ids, in a database (seconds)\n", arguments.ids);
    println!(
        "| database | ids | read upload | store | same again | start a server | one more id | refresh after it | export |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    let directory = tempfile::tempdir().unwrap();
    let kinds: Vec<_> =
        kinds.iter().filter(|(name, _)| matches!(*name, "decimals" | "UUIDs" | "texts of 20 bytes")).collect();
    for (name, make) in &kinds {
        let url = format!("sqlite:{}", directory.path().join(format!("{name}.db")).display());
        in_database("SQLite", &url, (name, *make), arguments.ids);
    }
    for (name, make) in &kinds {
        let cluster = cluster::Cluster::shared();
        let database = format!("cohorts_{}", name.replace(' ', "_").to_lowercase());
        let mut maintenance = DatabaseConnection::open(&cluster.maintenance_url().parse().unwrap()).unwrap();
        maintenance.batch(&format!("CREATE DATABASE {database}")).unwrap();
        in_database("PostgreSQL", &cluster.url(&database), (name, *make), arguments.ids);
    }
    println!("\nmost memory that this process had: {} MiB", peak_mebibytes());
}

fn in_memory(name: &str, count: u64, make: Make) {
    let ids: Vec<String> = (0..count).map(make).collect();
    let started = Instant::now();
    let set: CohortIds = ids.iter().collect();
    let build = started.elapsed();
    let bytes = set.to_bytes();
    let started = Instant::now();
    let again = CohortIds::from_bytes(&bytes).unwrap();
    let read = started.elapsed();
    assert_eq!(again.len(), ids.len());
    // In an order in which no cache helps.
    let order: Vec<&String> = (0..1_000_000.min(count)).map(|n| &ids[(mixed(n) % count) as usize]).collect();
    let asked: Vec<String> = order.iter().map(|id| (*id).clone()).collect();
    let others: Vec<String> = (0..1_000_000.min(count)).map(|n| make(count + mixed(n) % (count * 8))).collect();
    let per_look = |ids: &[String]| {
        let mut best = f64::MAX;
        for _ in 0..3 {
            let before = cpu_nanos();
            let found = ids.iter().filter(|id| set.contains(black_box(id))).count();
            black_box(found);
            best = best.min((cpu_nanos() - before) as f64 / ids.len() as f64);
        }
        best
    };
    println!(
        "| {name} | {:.1} | {:.0} | {:.0} | {:.2} | {:.1} | {:.2} |",
        set.size_bytes() as f64 / f64::from(1 << 20),
        per_look(&asked),
        per_look(&others),
        build.as_secs_f64(),
        bytes.len() as f64 / f64::from(1 << 20),
        read.as_secs_f64(),
    );
}

fn in_database(database: &str, url: &str, (name, make): (&str, Make), count: u64) {
    let store = Store::open(Database::open(url.parse::<DatabaseUrl>().unwrap()).unwrap()).unwrap();
    let origin = Origin { actor: "bench", reason: "" };
    let cohort = CohortName::new("c").unwrap();
    store.write(|conn| cohorts::create(conn, &cohort, "", origin)).unwrap();
    let seconds = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    };
    let mut reader = UploadReader::new(UploadFormat::Lines);
    let mut read = 0.0;
    let mut piece = String::new();
    for number in 0..count {
        // Every id once, in an order that looks like none.
        piece.push_str(&make((number * 7_919 + 13) % count));
        piece.push('\n');
        if piece.len() > 60_000 || number + 1 == count {
            read += seconds(&mut || reader.feed(piece.as_bytes()).unwrap());
            piece.clear();
        }
    }
    let started = Instant::now();
    let upload = reader.finish().unwrap();
    read += started.elapsed().as_secs_f64();
    assert_eq!(upload.ids.len(), count);
    let edit = |edit: Edit<'_>| store.write(|conn| cohorts::edit(conn, &cohort, edit, None, origin)).unwrap();
    let stored = seconds(&mut || drop(edit(Edit::Replace(&upload.ids))));
    let again = seconds(&mut || drop(edit(Edit::Replace(&upload.ids))));
    let mut memory = None;
    let start = seconds(&mut || memory = Some(Memory::load(store.clone()).unwrap()));
    let memory = memory.unwrap();
    let one = SortedIds::of(["one more"]);
    let add = seconds(&mut || drop(edit(Edit::Add(&one))));
    let refresh = seconds(&mut || {
        memory.refresh().unwrap();
    });
    let export = seconds(&mut || {
        let mut reader = LeafReader::new(&cohort, AsOf::Now, None);
        let mut bytes = 0;
        loop {
            let text = store.read(|conn| reader.next_several(conn)).unwrap();
            if text.is_empty() {
                break;
            }
            bytes += cohort_export::written(ExportFormat::Lines, &text, false).len();
        }
        assert!(bytes as u64 > count);
    });
    store.write(|conn| cohort_generations::prune(conn, &cohort, Keep::default())).unwrap();
    println!(
        "| {database} | {name} | {read:.2} | {stored:.2} | {again:.2} | {start:.2} | {add:.3} | {refresh:.3} | {export:.2} |"
    );
}

/// What this thread has had of a processor: on a busy machine it says more than the clock.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

fn peak_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) / 1024
}
