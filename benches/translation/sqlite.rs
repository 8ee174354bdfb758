//! SQLite: three files, written in process by one connection with prepared statements, as an application does.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::{Connection, Statement, ToSql};

use crate::workload::{WORKLOADS, Workload};
use crate::{Arguments, Measured, VARIANTS, Variant, load, uninstall, verify};

/// The 1:1 block's tables.
const DOCUMENTS: &str = "
    CREATE TABLE documents (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, title TEXT NOT NULL);
    CREATE TABLE papers (id INTEGER PRIMARY KEY, owner_id INTEGER NOT NULL, name TEXT NOT NULL);";

/// Inserts in one transaction: what a request does, and what a batch does.
const BATCHES: [u32; 2] = [1, 1000];

pub fn measure(arguments: &Arguments) -> Vec<Measured> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |variant: Variant| directory.path().join(format!("{variant:?}.db"));
    load(&url(&path(Variant::Translation)), arguments.charges, DOCUMENTS);
    copy(&path(Variant::Translation), &path(Variant::ByHand));
    uninstall(&url(&path(Variant::ByHand)));
    copy(&path(Variant::ByHand), &path(Variant::Nobody));
    let mut measured = Vec::new();
    for batch in BATCHES {
        for workload in WORKLOADS {
            let suffix = if batch == 1 { String::new() } else { format!(", {batch} a transaction") };
            let mut one = Measured::new("SQLite", format!("{}{suffix}", workload.title()));
            for _ in 0..arguments.rounds {
                for variant in VARIANTS {
                    let connection = open(&path(variant));
                    let per_second = Writer::new(&connection, arguments).run(workload, variant, batch, arguments);
                    one.add(variant, per_second);
                }
            }
            measured.push(one);
        }
    }
    verify(&url(&path(Variant::Translation)));
    measured
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Copies a database whose log has been written back.
fn copy(from: &PathBuf, to: &PathBuf) {
    let connection = Connection::open(from).expect("the file opens");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    drop(connection);
    fs::copy(from, to).expect("the file is copied");
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("the file opens");
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON";
    connection.execute_batch(settings).expect("the settings");
    connection
}

/// One connection's prepared statements and the random numbers that it writes.
struct Writer<'c> {
    connection: &'c Connection,
    prepared: HashMap<&'static str, Statement<'c>>,
    users: i64,
    videos: i64,
    random: u64,
}

impl<'c> Writer<'c> {
    fn new(connection: &'c Connection, arguments: &Arguments) -> Self {
        let charges = i64::try_from(arguments.charges).expect("a number of charges");
        let (users, videos) = (charges / 20, charges / 5);
        Self { connection, prepared: HashMap::new(), users, videos, random: 0x9E37_79B9_7F4A_7C15 }
    }

    fn run(&mut self, workload: Workload, variant: Variant, batch: u32, arguments: &Arguments) -> f64 {
        let (started, limit) = (Instant::now(), arguments.duration());
        let mut inserts = 0u64;
        let is_single = batch == 1 && variant != Variant::ByHand;
        while started.elapsed() < limit {
            if !is_single {
                self.execute("BEGIN IMMEDIATE", &[]);
            }
            for _ in 0..batch {
                self.insert(workload, variant);
                inserts += 1;
            }
            if !is_single {
                self.execute("COMMIT", &[]);
            }
        }
        inserts as f64 / started.elapsed().as_secs_f64()
    }

    fn insert(&mut self, workload: Workload, variant: Variant) {
        let mut values: Vec<(&str, i64)> = Vec::with_capacity(5);
        for (name, most) in [(":user", self.users), (":video", self.videos), (":amount", 100_000)] {
            values.push((name, self.up_to(most)));
        }
        match variant {
            Variant::Nobody | Variant::Translation => self.execute(workload.old_row(), &values),
            Variant::ByHand => {
                for statement in workload.by_hand() {
                    match statement.returns {
                        None => self.execute(statement.sql, &values),
                        Some(name) => {
                            let id = self.returned_id(statement.sql, &values);
                            values.push((if name == "id" { ":id" } else { ":account" }, id));
                        }
                    }
                }
            }
        }
    }

    fn execute(&mut self, sql: &'static str, values: &[(&str, i64)]) {
        self.prepared(sql).execute(&*used(sql, values)).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn returned_id(&mut self, sql: &'static str, values: &[(&str, i64)]) -> i64 {
        let returned = self.prepared(sql).query_row(&*used(sql, values), |row| row.get(0));
        returned.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn prepared(&mut self, sql: &'static str) -> &mut Statement<'c> {
        let connection = self.connection;
        self.prepared.entry(sql).or_insert_with(|| connection.prepare(sql).expect("the statement is prepared"))
    }

    /// From 1 to `most`, by xorshift64: fast, and the same sequence in every run.
    fn up_to(&mut self, most: i64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 1) as i64 % most + 1
    }
}

/// The parameters that a statement names.
fn used<'a>(sql: &str, values: &'a [(&'a str, i64)]) -> Vec<(&'a str, &'a dyn ToSql)> {
    let named = values.iter().filter(|(name, _)| sql.contains(name));
    named.map(|(name, value)| (*name, value as &dyn ToSql)).collect()
}
