//! Shapes of changes: 1:n to m:n and back, one table split into several, blocks that read what they wrote.

use changeover::change::Stage;

use super::each_scene;
use crate::support::Random;

/// A task's one worker becomes any number of workers, one of whom leads. The old column shows the leader.
const TASKS: &str = "
    CREATE TABLE workers (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE tasks (id INTEGER PRIMARY KEY, worker_id INTEGER REFERENCES workers (id), title TEXT NOT NULL);
    CREATE INDEX tasks_worker ON tasks (worker_id);
    CREATE TABLE task_workers (task_id INTEGER NOT NULL, worker_id INTEGER NOT NULL, leads INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (task_id, worker_id));
    CREATE INDEX task_workers_worker ON task_workers (worker_id);
    INSERT INTO workers VALUES (1, 'a'), (2, 'b'), (3, 'c');
    INSERT INTO tasks VALUES (1, 1, 'x'), (2, 2, 'y'), (3, NULL, 'z');";

const TASKS_FILE: &str = r#"
[[forward]]
into  = "task_workers"
from  = "tasks"
key   = "task_id"
query = """
SELECT id AS task_id, worker_id, 1 AS leads FROM tasks WHERE worker_id IS NOT NULL
UNION ALL
SELECT w.task_id, w.worker_id, 0 FROM task_workers w JOIN tasks t ON t.id = w.task_id WHERE w.worker_id IS DISTINCT FROM t.worker_id
"""

# Whoever leads, or nobody.
[[backward]]
into  = "tasks"
from  = "task_workers"
key   = { id = "task_id" }
insert = false
query = """
SELECT t.id, (SELECT min(w.worker_id) FROM task_workers w WHERE w.task_id = t.id AND w.leads = 1) AS worker_id FROM tasks t
"""
"#;

fn task_deed(random: &mut Random, fresh: u64) -> Vec<String> {
    let (task, worker) = (random.below(8) + 1, random.below(3) + 1);
    match random.below(8) {
        0 => vec![format!("INSERT INTO tasks VALUES ({fresh}, {worker}, 't')")],
        1 | 2 => vec![format!("UPDATE tasks SET worker_id = {worker} WHERE id = {task}")],
        3 => vec![format!("UPDATE tasks SET worker_id = NULL, title = 'idle' WHERE id = {task}")],
        4 => vec![
            format!("DELETE FROM task_workers WHERE task_id = (SELECT max(id) FROM tasks)"),
            format!("DELETE FROM tasks WHERE id = (SELECT max(id) FROM tasks) AND id > 100"),
        ],
        // New code hands a task over: who led steps back first.
        _ => vec![
            format!("UPDATE task_workers SET leads = 0 WHERE task_id = {task} AND worker_id <> {worker}"),
            format!(
                "INSERT INTO task_workers SELECT {task}, {worker}, 1 WHERE EXISTS (SELECT 1 FROM tasks WHERE id = {task}) ON CONFLICT (task_id, worker_id) DO UPDATE SET leads = 1"
            ),
        ],
    }
}

#[test]
fn one_to_many_becomes_many_to_many_and_back() {
    each_scene(TASKS, TASKS_FILE, Stage::Live, |scene| {
        scene.history(10, 30, task_deed);
        scene.assert_same(
            "SELECT id || '/' || worker_id AS v FROM tasks WHERE worker_id IS NOT NULL",
            "SELECT task_id || '/' || worker_id AS v FROM task_workers WHERE leads = 1",
        );
    });
}

/// One wide table becomes a narrow one with an id of its own, and one that refers to it by that id.
const SPLIT: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, street TEXT, city TEXT);
    CREATE TABLE people (id INTEGER PRIMARY KEY MINTED, user_id INTEGER NOT NULL UNIQUE, email TEXT NOT NULL);
    CREATE TABLE addresses (person_id INTEGER PRIMARY KEY REFERENCES people (id), user_id INTEGER NOT NULL UNIQUE, street TEXT, city TEXT);
    INSERT INTO users VALUES (1, 'a@x', 'S', 'C'), (2, 'b@x', NULL, NULL), (3, 'c@x', NULL, 'C');";

const SPLIT_FILE: &str = r#"
[[forward]]
into = "people"
from = "users"
key  = "user_id"
identity = ["user_id"]
columns = { user_id = "id", email = "lower(email)" }

[[forward]]
into  = "addresses"
from  = "users"
key   = "user_id"
query = """
SELECT u.id AS user_id, p.id AS person_id, u.street, u.city FROM users u JOIN people p ON p.user_id = u.id
WHERE u.street IS NOT NULL OR u.city IS NOT NULL
"""
  [[forward.follows]]
  table = "people"
  by    = "user_id"
  keys  = "SELECT user_id FROM changed"
  reads = "SELECT id FROM changed"
"#;

fn user_deed(random: &mut Random, fresh: u64) -> Vec<String> {
    let (id, city) = (random.below(12) + 1, ["NULL", "'Ö'", "''"][random.index(3)]);
    vec![match random.below(7) {
        0 => format!("INSERT INTO users VALUES ({fresh}, 'U{fresh}@X', NULL, {city})"),
        1 => format!("INSERT INTO users SELECT {fresh} + id, email, city, street FROM users WHERE id < 4"),
        2 | 3 => format!("UPDATE users SET city = {city}, street = {city} WHERE id % 12 = {id}"),
        4 => format!("UPDATE users SET id = {fresh}, email = 'Moved' WHERE id = (SELECT max(id) FROM users)"),
        5 => String::from("UPDATE users SET email = email || '.'"),
        _ => format!("DELETE FROM users WHERE id % 12 = {id}"),
    }]
}

#[test]
fn one_table_is_split_into_two_with_minted_ids() {
    for (dialect, minted) in [
        (changeover::database::Dialect::Postgres, "GENERATED ALWAYS AS IDENTITY"),
        (changeover::database::Dialect::Postgres, "GENERATED BY DEFAULT AS IDENTITY"),
        (changeover::database::Dialect::Sqlite, "AUTOINCREMENT"),
    ] {
        let schema = SPLIT.replace(
            "INTEGER PRIMARY KEY MINTED",
            &match dialect {
                changeover::database::Dialect::Postgres => format!("INTEGER {minted} PRIMARY KEY"),
                changeover::database::Dialect::Sqlite => format!("INTEGER PRIMARY KEY {minted}"),
            },
        );
        let scene = super::Scene::new(dialect, &schema, SPLIT_FILE, Stage::Shadow);
        let minted = scene.texts("SELECT CAST(id AS text) AS v FROM people WHERE user_id = 1");
        scene.history(8, 30, user_deed);
        scene.assert_same("SELECT id || lower(email) AS v FROM users", "SELECT user_id || email AS v FROM people");
        scene.assert_same(
            "SELECT id || '/' || coalesce(street, '-') || coalesce(city, '-') AS v FROM users WHERE street IS NOT NULL OR city IS NOT NULL",
            "SELECT p.user_id || '/' || coalesce(a.street, '-') || coalesce(a.city, '-') AS v FROM addresses a JOIN people p ON p.id = a.person_id",
        );
        let now = scene.texts("SELECT CAST(id AS text) AS v FROM people WHERE user_id = 1");
        assert!(now.is_empty() || now == minted, "an id stays while its row does");
    }
}

/// Points are put down once, at the price of that moment, and kept while the purchase is unchanged: the block reads its own target.
const KEPT: &str = "
    CREATE TABLE purchases (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
    CREATE TABLE rates (id INTEGER PRIMARY KEY, rate INTEGER NOT NULL);
    CREATE TABLE points (purchase_id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, points INTEGER NOT NULL);
    INSERT INTO rates VALUES (1, 2); INSERT INTO purchases VALUES (1, 10), (2, 20);";

const KEPT_FILE: &str = r#"
[[forward]]
into     = "points"
from     = "purchases"
key      = "purchase_id"
constant = ["rates"]
query = """
SELECT p.id AS purchase_id, p.amount, coalesce(k.points, p.amount * r.rate) AS points
FROM purchases p CROSS JOIN rates r LEFT JOIN points k ON k.purchase_id = p.id AND k.amount = p.amount
"""
"#;

#[test]
fn a_block_that_reads_its_own_target_keeps_what_is_there() {
    each_scene(KEPT, KEPT_FILE, Stage::Shadow, |scene| {
        scene.run(
            "UPDATE rates SET rate = 3; UPDATE purchases SET amount = amount; INSERT INTO purchases VALUES (3, 1)",
        );
        scene.run("UPDATE purchases SET amount = 21 WHERE id = 2; DELETE FROM purchases WHERE id = 1; INSERT INTO purchases VALUES (1, 10)");
        scene.assert_clean("written");
        assert_eq!(scene.texts("SELECT purchase_id || ':' || points AS v FROM points"), ["1:30", "2:63", "3:3"]);
    });
}

/// Two blocks that write one row each keep to their own.
#[test]
fn a_row_of_another_block_is_never_changed_nor_deleted() {
    let schema = "
        CREATE TABLE a (id INTEGER PRIMARY KEY, v INTEGER); CREATE TABLE b (id INTEGER PRIMARY KEY, v INTEGER);
        CREATE TABLE t (id INTEGER PRIMARY KEY, source TEXT NOT NULL, v INTEGER);
        INSERT INTO a VALUES (1, 10), (2, 20); INSERT INTO b VALUES (11, 30);";
    let block = |from: &str| {
        format!(
            "[[forward]]\ninto = \"t\"\nfrom = \"{from}\"\nkey = \"id\"\nowns = \"source = '{from}'\"\ncolumns = {{ id = \"id\", source = \"'{from}'\", v = \"v\" }}\n"
        )
    };
    each_scene(schema, &format!("{}{}", block("a"), block("b")), Stage::Shadow, |scene| {
        // Both claim id 1: whoever was first keeps it.
        scene.run("INSERT INTO b VALUES (1, 99); UPDATE b SET v = 98 WHERE id = 1");
        assert_eq!(scene.texts("SELECT source || v AS v FROM t WHERE id = 1"), ["a10"]);
        scene.run("DELETE FROM b WHERE id = 1; UPDATE a SET v = 11 WHERE id = 1; DELETE FROM b; INSERT INTO t VALUES (5, 'hand', 1)");
        scene.run("INSERT INTO a VALUES (5, 2); DELETE FROM a WHERE id = 5");
        assert_eq!(scene.texts("SELECT source || v AS v FROM t"), ["a11", "a20", "hand1"]);
        scene.assert_clean("written");
    });
}
