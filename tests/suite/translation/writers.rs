//! Old and new code as processes of their own: this test binary, run again with a task in its environment. Each process writes in
//! transactions and keeps a journal of them; what its journal and the database together say must be what the tables hold.
//!
//! A line is in the journal before its transaction commits, and the transaction itself leaves a mark in the table `marks`: so also
//! after a SIGKILL in the middle of a COMMIT it is certain what was committed.

mod book;
mod deeds;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use changeover::database::{DatabaseConnection, DatabaseError, Dialect};
use serde_json::{Value as Json, json};

pub use book::Books;
use deeds::{Deed, Deeds};

use crate::support::{Random, TestDatabase};

const TASK: &str = "CHANGEOVER_TEST_WRITER_TASK";

/// How many rows there are when the writers begin.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    pub users: i64,
    pub videos: i64,
    pub charges: i64,
}

impl Rows {
    /// Sixty rows that everybody wants.
    pub const HOT: Self = Self { users: 20, videos: 20, charges: 20 };
    pub const MANY: Self = Self { users: 2_000, videos: 4_000, charges: 14_000 };

    /// The example's old tables with so many rows, and the table of marks.
    pub fn load(self, connection: &mut DatabaseConnection) {
        connection.batch(super::fixture::schema(connection.dialect())).unwrap();
        let numbers = |count: i64| {
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) n"
            )
        };
        let Self { users, videos, charges } = self;
        connection
            .batch(&format!(
                "CREATE TABLE marks (writer BIGINT NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (writer, number));
                 INSERT INTO periods (period) VALUES ('2026-10'), ('2026-11');
                 INSERT INTO users (id, name) SELECT i, 'user ' || i FROM {};
                 INSERT INTO videos (id, user_id, title) SELECT i, 1 + i % {users}, 'video' FROM {};
                 INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)
                 SELECT i, 1 + i % {users}, 1 + i % {videos}, '2026-11', 'EUR', i FROM {}",
                numbers(users),
                numbers(videos),
                numbers(charges),
            ))
            .unwrap();
    }

    /// Charges up to this one are counters: everybody adds to their amounts, nobody deletes them.
    pub fn counters(self) -> i64 {
        self.charges / 2
    }
}

/// What one writer process is to do.
#[derive(Debug, Clone)]
pub struct Task {
    pub url: String,
    pub journal: PathBuf,
    pub number: i64,
    pub is_new: bool,
    pub rows: Rows,
    pub seed: u64,
    /// Some transactions are SERIALIZABLE.
    pub mixed: bool,
}

impl Task {
    fn to_json(&self) -> String {
        let Rows { users, videos, charges } = self.rows;
        json!({"url": self.url, "journal": self.journal, "number": self.number, "is_new": self.is_new, "users": users,
            "videos": videos, "charges": charges, "seed": self.seed, "mixed": self.mixed})
        .to_string()
    }

    fn parse(text: &str) -> Self {
        let json: Json = serde_json::from_str(text).unwrap();
        let integer = |name: &str| json[name].as_i64().unwrap();
        Self {
            url: json["url"].as_str().unwrap().to_owned(),
            journal: json["journal"].as_str().unwrap().into(),
            number: integer("number"),
            is_new: json["is_new"].as_bool().unwrap(),
            rows: Rows { users: integer("users"), videos: integer("videos"), charges: integer("charges") },
            seed: integer("seed").unsigned_abs(),
            mixed: json["mixed"].as_bool().unwrap(),
        }
    }
}

/// A crowd of writer processes and their journals. Dropping it kills them.
pub struct Crowd {
    processes: Vec<(Task, Child)>,
    journals: tempfile::TempDir,
}

impl Crowd {
    pub fn new() -> Self {
        Self { processes: Vec::new(), journals: tempfile::tempdir().unwrap() }
    }

    /// Starts writers, numbered on from those there are. A number is never used twice in one database.
    pub fn start(&mut self, url: &str, (old, new): (i64, i64), rows: Rows, seed: u64, mixed: bool) {
        for nth in 0..old + new {
            let number = self.processes.len() as i64 + 1;
            let journal = self.journals.path().join(format!("{number}.jsonl"));
            let task = Task { url: url.to_owned(), journal, number, is_new: nth >= old, rows, seed, mixed };
            let child = spawn(&task);
            self.processes.push((task, child));
        }
    }

    /// Kills the `nth` writer, as the system would.
    pub fn kill(&mut self, nth: usize) {
        let (_, child) = &mut self.processes[nth];
        drop(child.kill());
        drop(child.wait());
    }

    pub fn running(&mut self) -> Vec<usize> {
        let states = self.processes.iter_mut().map(|(_, child)| child.try_wait().unwrap().is_none());
        states.enumerate().filter(|(_, is_running)| *is_running).map(|(nth, _)| nth).collect()
    }

    /// Lets every writer that still runs finish its transaction and end, and reads all journals.
    pub fn stop(mut self) -> Books {
        for (_, child) in &mut self.processes {
            drop(child.stdin.take());
        }
        let mut books = Books::default();
        for (task, child) in &mut self.processes {
            let status = child.wait().unwrap();
            books.read(task);
            let is_killed = status.code().is_none();
            assert!(status.success() || is_killed, "writer {} failed: {:?}", task.number, books.errors);
        }
        assert!(books.errors.is_empty(), "errors that are not the writer's to retry: {:#?}", books.errors);
        books
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn spawn(task: &Task) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "translation::writers::a_writer_alone_is_what_its_journal_says", "--nocapture"]);
    command.env(TASK, task.to_json()).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Run by hand or by `cargo test` it is a test; with a task in its environment it is one of the processes that other tests start.
#[test]
fn a_writer_alone_is_what_its_journal_says() {
    if let Ok(task) = std::env::var(TASK) {
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        std::thread::spawn(move || {
            // The parent closes the pipe when it has enough, or when it is gone.
            drop(std::io::stdin().read_to_end(&mut Vec::new()));
            flag.store(true, Ordering::Relaxed);
        });
        Writer::new(Task::parse(&task)).write_while(|_| !is_over.load(Ordering::Relaxed));
        return;
    }
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let database = TestDatabase::new(dialect);
        Rows::HOT.load(&mut database.connection());
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("1.jsonl");
        let task = Task {
            url: database.url().into(),
            journal,
            number: 1,
            is_new: false,
            rows: Rows::HOT,
            seed: 5,
            mixed: true,
        };
        Writer::new(task.clone()).write_while(|count| count < 300);
        let mut books = Books::default();
        books.read(&task);
        let numbers = books.assert_kept(&mut database.connection());
        assert_eq!(numbers.committed, 300);
    }
}

struct Writer {
    task: Task,
    journal: File,
    random: Random,
}

impl Writer {
    fn new(task: Task) -> Self {
        let journal = File::create(&task.journal).unwrap();
        let random = Random::new(task.seed * 1_000 + task.number.unsigned_abs());
        Self { task, journal, random }
    }

    fn write_while(&mut self, goes_on: impl Fn(u64) -> bool) {
        let mut deeds = Deeds::new(&self.task);
        let mut connection = None;
        let (mut count, mut retries) = (0, 0);
        while goes_on(count) {
            let deed = deeds.next(&mut self.random);
            count += 1;
            self.note(&json!({"n": count, "ops": deed.effects}));
            let Some(tries) = self.commit(&mut connection, &deed, count, &goes_on) else { break };
            retries += tries;
            deeds.done(&deed);
            self.note(&json!({"ok": count}));
        }
        self.note(&json!({"retries": retries}));
    }

    /// Commits a deed; retries what an application would. `None` if the writers were told to end meanwhile.
    fn commit(
        &mut self,
        connection: &mut Option<DatabaseConnection>,
        deed: &Deed,
        number: u64,
        goes_on: &impl Fn(u64) -> bool,
    ) -> Option<u64> {
        for tries in 0.. {
            if connection.is_none() {
                *connection = DatabaseConnection::open(&self.task.url.parse().unwrap()).ok();
            }
            let outcome = match connection {
                Some(connection) => self.attempt(connection, deed, number),
                None => Err(DatabaseError::NoRow),
            };
            let Err(error) = outcome else { return Some(tries) };
            let is_gone = connection.is_none() || error.is_disconnected() || is_starting(&error);
            if is_gone {
                *connection = None;
                // A COMMIT that was never answered: the mark will tell. What follows builds on the answer, so ask for it.
                match self.is_marked(number, goes_on) {
                    Some(true) => return Some(tries),
                    Some(false) => {}
                    None => return None,
                }
            } else if !error.is_retryable() {
                self.note(&json!({"error": error.to_string(), "statements": deed.statements}));
                panic!("{error}\n{:#?}", deed.statements);
            }
            // As every client library does: a victim that comes back at once meets the same transaction again.
            std::thread::sleep(Duration::from_micros(200 + self.random.below(1_000 << tries.min(6))));
        }
        None
    }

    fn attempt(&mut self, connection: &mut DatabaseConnection, deed: &Deed, number: u64) -> Result<(), DatabaseError> {
        let serializable = self.task.mixed && self.random.is_one_in(3) && connection.dialect() == Dialect::Postgres;
        connection.in_transaction(|connection| {
            if serializable {
                connection.batch("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")?;
            }
            for statement in &deed.statements {
                connection.batch(statement)?;
            }
            connection.batch(&format!("INSERT INTO marks VALUES ({}, {number})", self.task.number))
        })
    }

    fn is_marked(&self, number: u64, goes_on: &impl Fn(u64) -> bool) -> Option<bool> {
        let sql = format!("SELECT count(*) AS n FROM marks WHERE writer = {} AND number = {number}", self.task.number);
        loop {
            if let Ok(mut connection) = DatabaseConnection::open(&self.task.url.parse().unwrap())
                && let Ok(row) = connection.get_row(&sql, &[])
            {
                return Some(row.boolean("n").unwrap());
            }
            if !goes_on(0) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn note(&mut self, line: &Json) {
        // One write, so that a killed writer leaves whole lines, but perhaps for the last.
        self.journal.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// A server that shuts down, crashes or recovers turns connections away.
fn is_starting(error: &DatabaseError) -> bool {
    let text = error.to_string();
    ["starting up", "shutting down", "recovery mode", "crash of another", "not yet accepting", "terminated abnormally"]
        .iter()
        .any(|part| text.contains(part))
}

/// The journal of a task, as far as its lines are whole.
fn lines_of(journal: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
