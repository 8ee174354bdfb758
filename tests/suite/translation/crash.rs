//! A backfill that is killed with SIGKILL at a random moment and started again, while old code writes: it ends with drift 0, and
//! the old tables hold byte for byte what the writers made of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use changeover::database::{DatabaseConnection, Value};

use crate::support::{Random, TestDatabase, changeover};

const CHANGE: &str = "billing-allocation";
const CHANGE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/video-hosting/change.toml");
const ROUNDS: u64 = 10;
const KILLS: u32 = 4;
const CHARGES: i64 = 1_000;
/// How many users and videos the loader makes of that many charges.
const USERS: i64 = CHARGES / 20;

#[test]
fn a_killed_backfill_goes_on_where_it_was_on_sqlite() {
    for round in 1..=ROUNDS {
        kill_and_go_on(&TestDatabase::sqlite(), 1, round);
    }
}

#[test]
fn a_killed_backfill_goes_on_where_it_was_on_postgresql() {
    for round in 1..=ROUNDS {
        kill_and_go_on(&TestDatabase::postgres(), 3, round);
    }
}

/// The rows of the old tables by table and id.
type Tables = BTreeMap<(&'static str, i64), Vec<Option<String>>>;

fn kill_and_go_on(database: &TestDatabase, writers: i64, round: u64) {
    let run = |arguments: &[&str]| changeover().service(database).args(arguments).run().expect_code(0);
    run(&["demo", "load", "--charges", &CHARGES.to_string(), "--seed", &round.to_string()]);
    run(&["change", "install", CHANGE_FILE]);
    run(&["change", "stage", CHANGE, "dualwrite"]);
    let before = old_tables(&mut database.connection());
    let is_over = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let handles: Vec<_> = (0..writers)
            .map(|nth| {
                let mut writer = Writer::new(database.connection(), nth, writers, round);
                let (before, is_over) = (&before, &is_over);
                scope.spawn(move || writer.write_until(is_over, before))
            })
            .collect();
        let over = OverWhenDropped(&is_over);
        let mut random = Random::new(round);
        let killed = (0..KILLS).filter(|_| is_killed_in_time(database, &mut random)).count();
        assert!(killed > 0, "every backfill had ended before it was killed: nothing was tested");
        run(&["backfill", CHANGE]);
        drop(over);
        handles.into_iter().map(|handle| handle.join().expect("the writer wrote")).collect::<Vec<_>>()
    });
    let mut expected = before;
    for writer in written {
        assert!(writer.count > 20, "a writer wrote only {} times", writer.count);
        expected.extend(writer.rows);
        expected.retain(|id, _| !writer.deleted.contains(id));
    }
    let mut connection = database.connection();
    assert_same(&expected, &old_tables(&mut connection));
    run(&["verify", CHANGE]);
    assert_every_charge_is_allocated_once(&mut connection);
}

/// The writers stop even when an assertion fails beside them.
struct OverWhenDropped<'a>(&'a AtomicBool);

impl Drop for OverWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts a backfill in small batches and kills it a few random milliseconds later. False if it had ended by itself.
fn is_killed_in_time(database: &TestDatabase, random: &mut Random) -> bool {
    let mut backfill = changeover().service(database).args(["backfill", CHANGE, "--batch-rows", "20"]).spawn();
    let moment = Duration::from_micros(5_000 + random.below(250_000));
    // The moment itself is what is random here: no event stands for it.
    thread::sleep(moment);
    let has_ended = backfill.try_wait().expect("its state").is_some();
    backfill.kill().expect("SIGKILL");
    backfill.wait().expect("it ends");
    !has_ended
}

fn old_tables(connection: &mut DatabaseConnection) -> Tables {
    let mut tables = Tables::new();
    for table in ["users", "videos", "charges"] {
        for row in connection.query(&format!("SELECT * FROM {table} ORDER BY id"), &[]).unwrap() {
            let values = row.columns().iter().map(|(_, value)| value.to_text()).collect();
            tables.insert((table, row.integer("id").unwrap()), values);
        }
    }
    tables
}

fn assert_same(expected: &Tables, found: &Tables) {
    for (id, row) in expected {
        assert_eq!(Some(row), found.get(id), "{id:?} is not what its writer made of it");
    }
    assert_eq!(expected.len(), found.len(), "rows that no writer made");
}

/// Asked of the tables themselves, in other words than the change file's.
fn assert_every_charge_is_allocated_once(connection: &mut DatabaseConnection) {
    let mut count = |sql: &str| connection.get_row(sql, &[]).unwrap().integer("n").unwrap();
    let wrong = count(
        "SELECT count(*) AS n FROM charges c WHERE amount_minor <> \
         coalesce((SELECT sum(a.amount_minor) FROM charge_allocations a WHERE a.charge_id = c.id), amount_minor + 1)",
    );
    assert_eq!(wrong, 0, "charges whose parts do not sum to them");
    let orphans = count("SELECT count(*) AS n FROM charge_allocations WHERE charge_id NOT IN (SELECT id FROM charges)");
    assert_eq!(orphans, 0, "allocations of charges that are gone");
    let strangers = count(
        "SELECT count(*) AS n FROM charge_allocations a JOIN charges c ON c.id = a.charge_id \
         JOIN video_accounts v ON v.video_id = c.video_id \
         LEFT JOIN memberships m ON m.account_id = v.account_id AND m.user_id = a.payer_id WHERE m.user_id IS NULL",
    );
    assert_eq!(strangers, 0, "payers who are no members of the video's account");
    let unlinked = count("SELECT count(*) AS n FROM videos WHERE id NOT IN (SELECT video_id FROM video_accounts)");
    assert_eq!(unlinked, 0, "videos without an account");
    let ownerless = count("SELECT count(*) AS n FROM users WHERE id NOT IN (SELECT owner_id FROM accounts)");
    assert_eq!(ownerless, 0, "users without an account");
}

/// Old code: it knows the old tables only, and keeps a book of what it wrote. Each writer has users of its own and what is theirs,
/// so that its book alone says what those rows are.
struct Writer {
    connection: DatabaseConnection,
    random: Random,
    nth: i64,
    writers: i64,
    next_id: i64,
    own: Vec<(&'static str, i64)>,
    book: Book,
}

#[derive(Default)]
struct Book {
    rows: Tables,
    deleted: Vec<(&'static str, i64)>,
    count: u32,
}

impl Writer {
    fn new(connection: DatabaseConnection, nth: i64, writers: i64, round: u64) -> Self {
        let random = Random::new(round * 31 + nth.unsigned_abs());
        Self {
            connection,
            random,
            nth,
            writers,
            next_id: 1_000_000 * (nth + 1),
            own: Vec::new(),
            book: Book::default(),
        }
    }

    fn write_until(&mut self, is_over: &AtomicBool, before: &Tables) -> Book {
        let owns = |values: &Vec<Option<String>>| {
            let user: i64 = values[1].as_deref().unwrap().parse().unwrap();
            user % self.writers == self.nth
        };
        let own = before.iter().filter(|((table, _), values)| *table != "users" && owns(values));
        self.own = own.map(|(id, _)| *id).collect();
        self.book.rows = self.own.iter().map(|id| (*id, before[id].clone())).collect();
        while !is_over.load(Ordering::Relaxed) {
            self.write_once();
            self.book.count += 1;
        }
        std::mem::take(&mut self.book)
    }

    fn write_once(&mut self) {
        match self.random.below(10) {
            0 => self.insert("users", vec![Some(String::from("Näw user")), None]),
            1 => {
                let user = self.user();
                self.insert("videos", vec![Some(user), Some(String::from("O'Film"))]);
            }
            2..=4 => {
                let (user, Some(video)) = (self.user(), self.any("videos")) else { return };
                let amount = (self.random.below(20_000) as i64 - 5_000).to_string();
                let texts = [user, video.to_string(), String::from("2026-11"), String::from("EUR"), amount];
                self.insert("charges", texts.map(Some).into_iter().chain([None]).collect());
            }
            5 => {
                let (user, Some(id)) = (self.user(), self.any("videos")) else { return };
                self.update("videos", id, "user_id", 1, user);
            }
            6 => {
                let (Some(id), Some(video)) = (self.any("charges"), self.any("videos")) else { return };
                self.update("charges", id, "video_id", 2, video.to_string());
            }
            7 | 8 => {
                let Some(id) = self.any("charges") else { return };
                let amount = self.random.below(100_000).to_string();
                self.update("charges", id, "amount_minor", 5, amount);
            }
            _ => self.delete_own_charge(),
        }
    }

    /// A user of this writer's who was there from the start.
    fn user(&mut self) -> String {
        let turns = (USERS - self.nth - 1) / self.writers;
        let nth = self.nth + self.writers * self.random.below(turns.unsigned_abs()) as i64;
        (if nth == 0 { self.writers } else { nth }).to_string()
    }

    fn any(&mut self, table: &str) -> Option<i64> {
        let ids: Vec<i64> = self.own.iter().filter(|(of, _)| *of == table).map(|(_, id)| *id).collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len() as u64) as usize])
    }

    fn insert(&mut self, table: &'static str, values: Vec<Option<String>>) {
        let id = self.next_id;
        self.next_id += 1;
        let literal = |value: &Option<String>| match value {
            Some(text) => format!("'{}'", text.replace('\'', "''")),
            None => String::from("NULL"),
        };
        let list: Vec<String> = values.iter().map(literal).collect();
        self.run(&format!("INSERT INTO {table} VALUES ({id}, {})", list.join(", ")), &[]);
        self.own.push((table, id));
        self.book.rows.insert((table, id), [vec![Some(id.to_string())], values].concat());
    }

    fn update(&mut self, table: &'static str, id: i64, column: &str, position: usize, value: String) {
        self.run(&format!("UPDATE {table} SET {column} = {value} WHERE id = $1"), &[Value::Integer(id)]);
        self.book.rows.get_mut(&(table, id)).unwrap()[position] = Some(value);
    }

    /// Only what this writer inserted: a charge from before may have a refund that points to it.
    fn delete_own_charge(&mut self) {
        let Some(at) = self.own.iter().rposition(|(table, id)| *table == "charges" && *id >= 1_000_000) else { return };
        let (table, id) = self.own.remove(at);
        self.run("DELETE FROM charges WHERE id = $1", &[Value::Integer(id)]);
        self.book.rows.remove(&(table, id));
        self.book.deleted.push((table, id));
    }

    /// A deadlock's victim tries again, as every application does; any other error is translation's and fails the test.
    fn run(&mut self, sql: &str, values: &[Value]) {
        for _ in 0..50 {
            match self.connection.execute(sql, values) {
                Ok(rows) => return assert_eq!(rows, 1, "{sql}"),
                Err(error) => assert!(error.is_retryable(), "{sql}: {error}"),
            }
        }
        panic!("aborted fifty times in a row: {sql}");
    }
}
