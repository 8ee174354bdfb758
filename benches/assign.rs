//! What it costs to put a million groups on their sides: a whole period, the same again, in a long stream of questions, and by bulk moves,
//! beside one hand-written statement that stores as many rows.
//!
//! `scripts/bench-assign` runs it. The numbers of docs/reference/performance.md come from here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]
#![allow(clippy::as_conversions, clippy::print_stderr, reason = "a program for people, not a library")]

#[allow(dead_code, reason = "the benchmark uses the part of the harness that it needs")]
#[path = "../tests/suite/support/cluster.rs"]
mod cluster;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant as Clock;

use changeover::change::ChangeFile;
use changeover::database::{Database, DatabaseConnection, DatabaseUrl, Dialect};
use changeover::flags::{Cohort, CohortIds, Flag, Snapshot, VersionedFlag};
use changeover::primitives::{ChangeName, CohortName, Instant, Period};
use changeover::routing::{Asking, Assigning, BulkMove, GroupId, RoutedChange, Router, Side, assign, move_groups};
use changeover::sql::names::own;
use changeover::sql::{assignment, effective};
use changeover::translation::own::create_tables;
use clap::Parser;
use serde_json::json;

/// A million groups assigned, asked for and moved, on both databases
#[derive(Debug, Parser)]
struct Arguments {
    /// Groups
    #[arg(long, default_value_t = 1_000_000)]
    groups: u32,
    /// Users of the pilot cohort
    #[arg(long, default_value_t = 100_000)]
    cohort: u32,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

const FILE: &str = r#"
format = 1
name   = "billing-allocation"
title  = "Charge an account's members"

[routing]
flag   = "billing-allocation"
period = "month"
group_of_user = "SELECT account_id FROM memberships WHERE user_id = :user ORDER BY account_id LIMIT 1"

[[forward]]
into    = "accounts"
from    = "memberships"
key     = "id"
columns = { id = "account_id" }

[allocation]
charges = "SELECT id AS charge_id, period, currency, amount_minor AS amount FROM charges"
old     = "SELECT id AS charge_id, user_id AS payer, amount_minor AS amount FROM charges"
new     = "SELECT id AS charge_id, user_id AS payer, amount_minor AS amount FROM charges"
group   = "SELECT id AS charge_id, account_id AS group_id FROM charges"
"#;

/// One charge and one member an account.
fn load(connection: &mut DatabaseConnection, groups: u32) {
    let dialect = connection.dialect();
    let numbers = match dialect {
        Dialect::Postgres => format!("generate_series(1, {groups}) AS n(i)"),
        Dialect::Sqlite => format!(
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {groups}) SELECT i FROM n) AS n"
        ),
    };
    for sql in [
        "CREATE TABLE memberships (account_id bigint NOT NULL, user_id bigint PRIMARY KEY)",
        "CREATE TABLE charges (id bigint PRIMARY KEY, account_id bigint, user_id bigint NOT NULL, period text NOT NULL,
             currency text NOT NULL, amount_minor bigint NOT NULL)",
        &format!("INSERT INTO memberships SELECT i, i + 10000000 FROM {numbers}"),
        &format!("INSERT INTO charges SELECT i, i, i + 10000000, '2026-11', 'EUR', i % 10000 FROM {numbers}"),
    ] {
        connection.batch(sql).unwrap();
    }
    install(connection);
    connection.batch(if dialect == Dialect::Postgres { "VACUUM ANALYZE" } else { "ANALYZE" }).unwrap();
}

/// As `change install` and stages up to `live` leave it, without triggers: nothing is translated here.
fn install(connection: &mut DatabaseConnection) {
    let dialect = connection.dialect();
    if dialect == Dialect::Postgres {
        connection.batch("CREATE SCHEMA changeover").unwrap();
    }
    let file = ChangeFile::parse(FILE).unwrap();
    let mut statements = create_tables(dialect);
    statements.extend(assignment::create(dialect));
    statements.extend(effective::create(dialect, &file.name, file.allocation.as_ref().unwrap()));
    statements.iter().for_each(|statement| connection.batch(statement).unwrap());
    let change = own(dialect, "change");
    let sql = format!(
        "INSERT INTO {change} (name, title, file, stage, installed_at, stage_at) VALUES ($1, '', $2, 'live', 1, 1)"
    );
    connection.execute(&sql, &[file.name.as_str().into(), FILE.into()]).unwrap();
}

/// The pilot's groups are new, and a fifth of all others.
fn snapshot(cohort: u32) -> Snapshot {
    let flag = json!({
        "key": "billing-allocation", "type": "boolean", "variants": { "old": false, "new": true }, "default_variant": "old",
        "off_variant": "old", "change": "billing-allocation",
        "rules": [
            { "cohort": "pilot", "serve": { "variant": "new" } },
            { "serve": { "rollout": { "ranges": [
                { "variant": "new", "from": 0, "to": 20_000 }, { "variant": "old", "from": 20_000, "to": 100_000 }] } } },
        ],
    });
    let flag = VersionedFlag { flag: Flag::parse(&flag.to_string()).unwrap(), version: 5 };
    let users: Vec<String> = (0..cohort).map(|n| (10_000_001 + n * 3).to_string()).collect();
    let ids: CohortIds = users.iter().map(String::as_str).collect();
    let pilot = Cohort::new(CohortName::new("pilot").unwrap(), 1, ids);
    Snapshot::build(7, Instant::from_micros(0), vec![flag], vec![std::sync::Arc::new(pilot)])
}

struct Line<'a> {
    title: &'a str,
    seconds: f64,
    of_hand: Option<f64>,
}

fn measure(url: &str, arguments: &Arguments) -> Vec<Line<'static>> {
    let url: DatabaseUrl = url.parse().expect("a database URL");
    let mut connection = DatabaseConnection::open(&url).expect("the database opens");
    load(&mut connection, arguments.groups);
    let (snapshot, name) = (snapshot(arguments.cohort), ChangeName::new("billing-allocation").unwrap());
    let change = RoutedChange::get(&mut connection, &name).unwrap();
    let period = |text: &str| text.parse::<Period>().unwrap();
    let timed = |work: &mut dyn FnMut()| {
        let begun = Clock::now();
        work();
        begun.elapsed().as_secs_f64()
    };

    let table = own(connection.dialect(), "assignment");
    let by_hand = format!(
        "INSERT INTO {table} (change, period, group_id, side, at, actor, reason, flag_version)
         SELECT DISTINCT 'billing-allocation', '2026-09', CAST(account_id AS text), 'old', 1, 'ann', 'by hand', 5 FROM charges"
    );
    let hand = timed(&mut || connection.batch(&by_hand).unwrap());
    let assigned = |connection: &mut DatabaseConnection, text: &str| {
        let assigning = Assigning { period: period(text), actor: "ann", at: Instant::from_micros(1_000) };
        let mut receipt = None;
        let seconds = timed(&mut || receipt = Some(assign(connection, &change, &snapshot, &assigning).unwrap()));
        (seconds, receipt.unwrap())
    };
    let (first, receipt) = assigned(&mut connection, "2026-11");
    assert_eq!((receipt.groups, receipt.already_assigned), (arguments.groups as usize, 0));
    let (again, receipt) = assigned(&mut connection, "2026-11");
    assert_eq!(receipt.already_assigned, arguments.groups as usize);

    let mut lines = String::new();
    for group in 1..=arguments.groups {
        writeln!(lines, "{{\"user\":\"{}\"}}", u64::from(group) + 10_000_000).unwrap();
    }
    let router = Router::new(Database::open(url.clone()).unwrap());
    let ask = |text: &str| {
        let asking = Asking {
            change: &name,
            period: Some(period(text)),
            actor: "bulk",
            at: Instant::from_micros(2_000),
            record: true,
        };
        let mut answers = std::io::sink();
        timed(&mut || {
            let asked = router.ask_lines(&snapshot, asking, lines.as_bytes(), &mut answers).unwrap();
            assert_eq!((asked.lines, asked.errors), (u64::from(arguments.groups), 0));
        })
    };
    let (questions, first_questions) = (ask("2026-11"), ask("2026-12"));

    let groups: BTreeSet<GroupId> =
        (1..=arguments.groups.min(100_000)).map(|id| GroupId::new(&id.to_string()).unwrap()).collect();
    let moving = BulkMove {
        groups: &groups,
        period: period("2026-11"),
        side: Side::New,
        actor: "ann",
        reason: "wave 2",
        at: Instant::from_micros(3_000),
    };
    let moves = timed(&mut || drop(move_groups(&mut connection, &change, &moving, false).unwrap()));
    vec![
        Line { title: "one statement by hand that stores as many rows", seconds: hand, of_hand: None },
        Line {
            title: "`assign`: cohort widened, flag evaluated, side recorded",
            seconds: first,
            of_hand: Some(first / hand),
        },
        Line { title: "`assign` once more, nothing to do", seconds: again, of_hand: Some(again / hand) },
        Line { title: "a question for each user, one stream", seconds: questions, of_hand: Some(questions / hand) },
        Line {
            title: "the same where each is the first of its group",
            seconds: first_questions,
            of_hand: Some(first_questions / hand),
        },
        Line { title: "a bulk move of 100,000 groups", seconds: moves, of_hand: None },
    ]
}

fn main() {
    let arguments = Arguments::parse();
    let directory = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}", directory.path().join("assign.db").display());
    let cluster = cluster::Cluster::shared();
    let maintenance: DatabaseUrl = cluster.maintenance_url().parse().unwrap();
    DatabaseConnection::open(&maintenance).unwrap().batch("CREATE DATABASE assign").unwrap();
    println!(
        "| {} groups, a cohort of {} users | s | ÷ by hand |\n|---|---:|---:|",
        arguments.groups, arguments.cohort
    );
    for (database, url) in [("SQLite", sqlite), ("PostgreSQL", cluster.url("assign"))] {
        for line in measure(&url, &arguments) {
            let ratio = line.of_hand.map_or_else(String::new, |ratio| format!("{ratio:.1}"));
            println!("| {database}: {} | {:.1} | {ratio} |", line.title, line.seconds);
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    println!("\nMemory of this program at its peak, the questions' text included:{peak}");
}
