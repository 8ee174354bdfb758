//! Holds journals against the tables: everything that was committed is there, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use changeover::database::DatabaseConnection;
use serde_json::Value as Json;

use super::{Task, lines_of};

/// The journals of many writers.
#[derive(Default)]
pub struct Books {
    writers: Vec<Book>,
    pub errors: Vec<Json>,
}

struct Book {
    task: Task,
    deeds: BTreeMap<i64, Vec<Json>>,
    acknowledged: BTreeSet<i64>,
    retries: u64,
}

/// What there was to hold against the tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers {
    pub committed: u64,
    pub retries: u64,
}

impl Numbers {
    /// Retries for each hundred transactions.
    pub fn retried_percent(self) -> f64 {
        self.retries as f64 * 100.0 / self.committed.max(1) as f64
    }
}

impl Books {
    pub fn read(&mut self, task: &Task) {
        let mut book = Book { task: task.clone(), deeds: BTreeMap::new(), acknowledged: BTreeSet::new(), retries: 0 };
        for line in lines_of(&task.journal) {
            if let Some(number) = line["n"].as_i64() {
                book.deeds.insert(number, line["ops"].as_array().unwrap().clone());
            } else if let Some(number) = line["ok"].as_i64() {
                book.acknowledged.insert(number);
            } else if let Some(retries) = line["retries"].as_u64() {
                book.retries = retries;
            } else {
                self.errors.push(line);
            }
        }
        self.writers.push(book);
    }

    /// Panics unless the tables hold what was committed.
    pub fn assert_kept(&self, connection: &mut DatabaseConnection) -> Numbers {
        let mut numbers = Numbers::default();
        let mut counters: BTreeMap<i64, i64> = BTreeMap::new();
        let mut weights: BTreeMap<i64, i64> = BTreeMap::new();
        for book in &self.writers {
            let marked = book.marked(connection);
            let lost: Vec<&i64> = book.acknowledged.difference(&marked).collect();
            assert!(lost.is_empty(), "writer {}: committed and lost: {lost:?}", book.task.number);
            assert!(marked.iter().all(|number| book.deeds.contains_key(number)), "a mark that no journal knows");
            numbers.committed += marked.len() as u64;
            numbers.retries += book.retries;
            for effect in marked.iter().flat_map(|number| &book.deeds[number]) {
                let all = match effect["op"].as_str().unwrap() {
                    "count" => &mut counters,
                    "weigh" => &mut weights,
                    _ => continue,
                };
                *all.entry(effect["id"].as_i64().unwrap()).or_default() += effect["value"].as_i64().unwrap();
            }
            book.assert_own_rows(connection, &marked);
        }
        for (id, added) in counters {
            let sql = format!("SELECT amount_minor AS n FROM charges WHERE id = {id}");
            assert_eq!(integer(connection, &sql), id + added, "charge {id} lost an update");
        }
        for (owner, added) in weights {
            let sql = format!(
                "SELECT m.weight AS n FROM memberships m JOIN accounts a ON a.id = m.account_id WHERE a.owner_id = {owner} AND m.user_id = {owner}"
            );
            assert_eq!(integer(connection, &sql), 1 + added, "the weight of owner {owner} lost an update");
        }
        numbers
    }
}

impl Book {
    fn marked(&self, connection: &mut DatabaseConnection) -> BTreeSet<i64> {
        let sql = format!("SELECT number FROM marks WHERE writer = {}", self.task.number);
        connection.query(&sql, &[]).unwrap().iter().map(|row| row.integer("number").unwrap()).collect()
    }

    fn assert_own_rows(&self, connection: &mut DatabaseConnection, marked: &BTreeSet<i64>) {
        let mut charges: BTreeMap<i64, String> = BTreeMap::new();
        let mut users = charges.clone();
        let mut videos = charges.clone();
        for effect in marked.iter().flat_map(|number| &self.deeds[number]) {
            let id = effect["id"].as_i64().unwrap();
            let value = effect["value"].as_str().map_or_else(|| effect["value"].to_string(), str::to_owned);
            match effect["op"].as_str().unwrap() {
                "charge" => drop(charges.insert(id, value)),
                "no charge" => drop(charges.remove(&id)),
                "user" => drop(users.insert(id, value)),
                "video" => drop(videos.insert(id, String::from("null"))),
                "no video" => drop(videos.remove(&id)),
                _ => {}
            }
        }
        let first = self.task.number * 10_000_000;
        for (expected, select) in [
            (charges, "id, CAST(amount_minor AS text) AS value FROM charges"),
            (users, "id, company AS value FROM users"),
            (videos, "id, 'null' AS value FROM videos"),
        ] {
            let sql = format!("SELECT {select} WHERE id >= {first} AND id < {}", first + 10_000_000);
            let rows = connection.query(&sql, &[]).unwrap();
            let found: BTreeMap<i64, String> =
                rows.iter().map(|row| (row.integer("id").unwrap(), row.text("value").unwrap())).collect();
            let number = self.task.number;
            assert!(expected == found, "writer {number}: {select}: {:?}", difference(&expected, &found));
        }
    }
}

type Row<'a> = (&'a i64, Option<&'a String>, Option<&'a String>);

fn difference<'a>(expected: &'a BTreeMap<i64, String>, found: &'a BTreeMap<i64, String>) -> Vec<Row<'a>> {
    let ids: BTreeSet<&i64> = expected.keys().chain(found.keys()).collect();
    let rows = ids.into_iter().map(|id| (id, expected.get(id), found.get(id)));
    rows.filter(|(_, expected, found)| expected != found).take(10).collect()
}

fn integer(connection: &mut DatabaseConnection, sql: &str) -> i64 {
    connection.get_row(sql, &[]).unwrap().integer("n").unwrap()
}
