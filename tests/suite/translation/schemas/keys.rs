//! Keys of several columns, of other columns than the primary key, and several blocks that fill one table.

use changeover::change::Stage;
use changeover::database::Dialect;

use super::{Scene, each_scene, mistakes};
use crate::support::Random;

const ORDERS: &str = "
    CREATE TABLE products (sku TEXT PRIMARY KEY, price INTEGER NOT NULL);
    CREATE TABLE order_lines (order_id BIGINT NOT NULL, line TEXT NOT NULL, sku TEXT NOT NULL REFERENCES products (sku), quantity INTEGER NOT NULL,
      PRIMARY KEY (order_id, line));
    CREATE INDEX order_lines_sku ON order_lines (sku);
    CREATE TABLE items (ord BIGINT NOT NULL, pos TEXT NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (ord, pos));
    CREATE TABLE shares (ord BIGINT NOT NULL, pos TEXT NOT NULL, party INTEGER NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (pos, ord, party));
    CREATE INDEX shares_key ON shares (ord, pos);
    CREATE TABLE parties (party INTEGER PRIMARY KEY, weight INTEGER NOT NULL);
    INSERT INTO parties VALUES (1, 1), (2, 2), (3, 0);
    INSERT INTO products VALUES ('a', 7), ('ä''\"\\', 11), ('c', 0);
    INSERT INTO order_lines VALUES (1, 'x', 'a', 2), (1, 'Ü \"q\" \\', 'c', 1), (2, 'x', 'ä''\"\\', 3), (-3, '', 'a', 5), (30, '[1]', 'a', 9);";

const ORDERS_FILE: &str = r#"
[[forward]]
into  = "items"
from  = "order_lines"
key   = ["ord", "pos"]
query = "SELECT l.order_id AS ord, l.line AS pos, l.quantity * p.price AS amount FROM order_lines l JOIN products p ON p.sku = l.sku"
  [[forward.follows]]
  table = "products"
  by    = "sku"
  keys  = "SELECT l.order_id, l.line FROM order_lines l JOIN changed c ON c.sku = l.sku"
  reads = "SELECT sku FROM changed"

[[forward]]
into  = "shares"
from  = "order_lines"
key   = ["ord", "pos"]
query = "SELECT l.order_id AS ord, l.line AS pos, s.party, s.weight, l.quantity AS amount FROM order_lines l CROSS JOIN parties s"
split = { amount = "amount", by = "weight" }
constant = ["parties"]
"#;

const LINES: [&str; 5] = ["x", "y", "Ü \"q\" \\", "", "o''clock"];

fn order_deed(random: &mut Random, fresh: u64) -> Vec<String> {
    let order = random.below(6) as i64 - 2;
    let line = LINES[random.index(LINES.len())];
    let sku = ["a", "ä''\"\\", "c"][random.index(3)];
    let quantity = random.below(100);
    let at = format!("order_id = {order} AND line = '{line}'");
    vec![match random.below(10) {
        0..=2 => format!("INSERT INTO order_lines VALUES ({order}, '{line}', '{sku}', {quantity})"),
        3 => format!(
            "INSERT INTO order_lines SELECT {fresh}, line, sku, quantity FROM order_lines WHERE order_id = {order}"
        ),
        4 => format!("UPDATE order_lines SET quantity = {quantity} WHERE {at}"),
        5 => format!("UPDATE order_lines SET order_id = {fresh} WHERE {at}"),
        6 => format!("UPDATE order_lines SET line = line || '+' WHERE order_id = {order}"),
        7 => format!("UPDATE products SET price = {quantity} WHERE sku = '{sku}'"),
        8 => format!("DELETE FROM order_lines WHERE order_id = {order} AND quantity > 30"),
        _ => format!("DELETE FROM order_lines WHERE {at}"),
    }]
}

#[test]
fn a_key_of_several_columns_is_refreshed_as_a_whole() {
    each_scene(ORDERS, ORDERS_FILE, Stage::Shadow, |scene| {
        scene.history(8, 40, order_deed);
        scene.assert_same(
            "SELECT l.order_id || '/' || l.line || '/' || (l.quantity * p.price) AS v FROM order_lines l JOIN products p ON p.sku = l.sku",
            "SELECT ord || '/' || pos || '/' || amount AS v FROM items",
        );
        scene.assert_same(
            "SELECT order_id || '/' || line || '/' || quantity AS v FROM order_lines",
            "SELECT ord || '/' || pos || '/' || CAST(sum(amount) AS text) AS v FROM shares GROUP BY ord, pos",
        );
    });
}

#[test]
fn drift_of_a_composite_key_is_found_and_repaired() {
    each_scene(ORDERS, ORDERS_FILE, Stage::Shadow, |scene| {
        scene.run("UPDATE items SET amount = amount + 1 WHERE pos = 'Ü \"q\" \\'; DELETE FROM items WHERE ord = 2; INSERT INTO items VALUES (9, '\"', 1)");
        let mut connection = scene.connection();
        let options = changeover::translation::VerifyOptions::default();
        let found = changeover::translation::repair(&mut connection, &scene.model, options, &mut |_, _| {}).unwrap();
        let keys: Vec<&str> = found[0].samples.iter().map(|row| row.key.as_str()).collect();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, [r#"["1","Ü \"q\" \\"]"#, r#"["2","x"]"#, r#"["9","\""]"#]);
        scene.assert_clean("repaired");
    });
}

/// pgbench's tables, their balances merged into one and the branch of an account moved into a link.
const BANK: &str = "
    CREATE TABLE branches (bid INTEGER PRIMARY KEY, bbalance INTEGER);
    CREATE TABLE tellers (tid INTEGER PRIMARY KEY, bid INTEGER, tbalance INTEGER);
    CREATE TABLE accounts (aid INTEGER PRIMARY KEY, bid INTEGER, abalance INTEGER);
    CREATE TABLE balances (kind TEXT NOT NULL, id INTEGER NOT NULL, amount INTEGER, PRIMARY KEY (kind, id));
    CREATE INDEX balances_id ON balances (id);
    CREATE TABLE account_branches (aid INTEGER PRIMARY KEY, bid INTEGER);
    INSERT INTO branches VALUES (1, 0), (2, 5);
    INSERT INTO tellers VALUES (1, 1, 3), (2, 1, NULL), (3, 2, 4);
    INSERT INTO accounts VALUES (1, 1, 10), (2, 1, 20), (3, 2, -30), (4, 2, NULL), (5, NULL, 0);";

const BANK_FILE: &str = r#"
[[forward]]
into = "balances"
from = "accounts"
key  = "id"
owns = "kind = 'account'"
columns = { kind = "'account'", id = "aid", amount = "abalance" }

[[forward]]
into = "balances"
from = "tellers"
key  = "id"
owns = "kind = 'teller'"
columns = { kind = "'teller'", id = "tid", amount = "tbalance" }

[[forward]]
into = "balances"
from = "branches"
key  = "id"
owns = "kind = 'branch'"
columns = { kind = "'branch'", id = "bid", amount = "bbalance" }

[[forward]]
into = "account_branches"
from = "accounts"
key  = "aid"
columns = { aid = "aid", bid = "bid" }

[[backward]]
into = "accounts"
from = "balances"
key  = { aid = "id" }
insert = false
query = "SELECT id AS aid, amount AS abalance FROM balances WHERE kind = 'account'"

[[backward]]
into = "tellers"
from = "balances"
key  = { tid = "id" }
insert = false
query = "SELECT id AS tid, amount AS tbalance FROM balances WHERE kind = 'teller'"

[[backward]]
into = "branches"
from = "balances"
key  = { bid = "id" }
insert = false
query = "SELECT id AS bid, amount AS bbalance FROM balances WHERE kind = 'branch'"

[[backward]]
into = "accounts"
from = "account_branches"
key  = "aid"
insert = false
columns = { aid = "aid", bid = "bid" }
"#;

fn bank_deed(random: &mut Random, fresh: u64) -> Vec<String> {
    let (aid, tid, bid) = (random.below(6) + 1, random.below(4) + 1, random.below(3) + 1);
    let delta = random.below(2_000) as i64 - 1_000;
    let kind = ["account", "teller", "branch"][random.index(3)];
    match random.below(9) {
        0..=2 => vec![
            format!("UPDATE accounts SET abalance = abalance + {delta} WHERE aid = {aid}"),
            format!("UPDATE tellers SET tbalance = tbalance + {delta} WHERE tid = {tid}"),
            format!("UPDATE branches SET bbalance = bbalance + {delta} WHERE bid = {bid}"),
        ],
        3 => vec![format!("UPDATE balances SET amount = amount + {delta} WHERE kind = '{kind}' AND id = {tid}")],
        4 => vec![format!("UPDATE balances SET amount = {delta} WHERE id = {bid}")],
        5 => vec![format!("UPDATE account_branches SET bid = {bid} WHERE aid = {aid}")],
        6 => vec![
            format!("INSERT INTO accounts VALUES ({fresh}, {bid}, {delta})"),
            format!("UPDATE accounts SET bid = {bid} WHERE aid = {aid}"),
        ],
        7 => vec![format!("DELETE FROM accounts WHERE aid > 1000 AND aid % 2 = {}", random.below(2))],
        _ => vec![format!(
            "UPDATE accounts SET aid = {fresh} WHERE aid > 1000 AND aid = (SELECT max(aid) FROM accounts)"
        )],
    }
}

#[test]
fn three_tables_are_merged_into_one_and_fed_back_from_it() {
    each_scene(BANK, BANK_FILE, Stage::Live, |scene| {
        scene.history(10, 40, bank_deed);
        scene.assert_same(
            "SELECT 'account' || aid || coalesce(CAST(abalance AS text), '-') AS v FROM accounts UNION ALL
             SELECT 'teller' || tid || coalesce(CAST(tbalance AS text), '-') FROM tellers UNION ALL
             SELECT 'branch' || bid || coalesce(CAST(bbalance AS text), '-') FROM branches",
            "SELECT kind || id || coalesce(CAST(amount AS text), '-') AS v FROM balances",
        );
        scene.assert_same(
            "SELECT aid || '-' || coalesce(CAST(bid AS text), '') AS v FROM accounts",
            "SELECT aid || '-' || coalesce(CAST(bid AS text), '') AS v FROM account_branches",
        );
    });
}

/// Many payments become one total for each customer.
const TOTALS: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY, factor INTEGER NOT NULL);
    CREATE TABLE payments (id INTEGER PRIMARY KEY, customer INTEGER, day TEXT NOT NULL, amount INTEGER NOT NULL);
    CREATE INDEX payments_customer ON payments (customer, day);
    CREATE TABLE totals (customer INTEGER NOT NULL, day TEXT NOT NULL, amount BIGINT NOT NULL, payments BIGINT NOT NULL, note TEXT, PRIMARY KEY (customer, day));
    INSERT INTO customers VALUES (1, 1), (2, 10), (3, 0);
    INSERT INTO payments VALUES (1, 1, 'mo', 5), (2, 1, 'mo', 6), (3, 2, 'tu', 7), (4, NULL, 'we', 8), (5, 3, 'mo', 1);";

const TOTALS_FILE: &str = r#"
[[forward]]
into  = "totals"
from  = "payments"
key   = { customer = "customer", day = "day" }
query = """
SELECT p.customer, p.day, sum(p.amount * c.factor) AS amount, count(*) AS payments
FROM payments p JOIN customers c ON c.id = p.customer GROUP BY p.customer, p.day
"""
  [[forward.follows]]
  table = "customers"
  by    = "id"
  keys  = "SELECT p.customer, p.day FROM payments p JOIN changed c ON c.id = p.customer"
  reads = "SELECT customer FROM changed"
"#;

fn payment_deed(random: &mut Random, fresh: u64) -> Vec<String> {
    let customer = ["1", "2", "3", "NULL"][random.index(4)];
    let day = ["mo", "tu", "we"][random.index(3)];
    let amount = random.below(100) as i64 - 50;
    let id = random.below(40);
    vec![match random.below(9) {
        0..=2 => format!("INSERT INTO payments VALUES ({fresh}, {customer}, '{day}', {amount})"),
        3 => format!("INSERT INTO payments SELECT {fresh} + id, customer, '{day}', amount FROM payments WHERE id < 4"),
        4 => format!("UPDATE payments SET customer = {customer} WHERE id % 40 = {id}"),
        5 => format!("UPDATE payments SET amount = {amount}, day = '{day}' WHERE id % 40 = {id}"),
        6 => format!("UPDATE customers SET factor = {amount} WHERE id = {}", random.below(4)),
        7 => format!("DELETE FROM payments WHERE customer = {customer} AND day = '{day}'"),
        _ => format!("DELETE FROM payments WHERE id % 40 = {id}"),
    }]
}

#[test]
fn many_driving_rows_become_one_row_for_each_value_of_other_columns() {
    each_scene(TOTALS, TOTALS_FILE, Stage::Shadow, |scene| {
        scene.history(10, 40, payment_deed);
        let expected = "SELECT p.customer || p.day || sum(p.amount * c.factor) || '#' || count(*) AS v
             FROM payments p JOIN customers c ON c.id = p.customer GROUP BY p.customer, p.day";
        scene.assert_same(expected, "SELECT customer || day || amount || '#' || payments AS v FROM totals");
        // A column of the application's own stays.
        scene.run("UPDATE totals SET note = 'kept'; INSERT INTO payments VALUES (90, 1, 'mo', 1); UPDATE payments SET amount = amount + 1");
        scene.assert_same(
            "SELECT 'kept' AS v FROM totals WHERE note = 'kept'",
            "SELECT note AS v FROM totals WHERE note IS NOT NULL",
        );
        scene.assert_clean("afterwards");
    });
}

#[test]
fn writers_of_one_total_wait_for_one_another() {
    let scene = Scene::new(Dialect::Postgres, TOTALS, TOTALS_FILE, Stage::Shadow);
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let scene = &scene;
            scope.spawn(move || {
                let mut connection = scene.connection();
                let mut random = Random::new(writer);
                for number in 0..60 {
                    let statements = payment_deed(&mut random, 100_000 + writer * 10_000 + number * 100);
                    let retried = connection.in_transaction_with_retry(
                        50,
                        changeover::database::DatabaseError::is_retryable,
                        |connection| statements.iter().try_for_each(|statement| connection.batch(statement)),
                    );
                    retried.unwrap();
                }
            });
        }
    });
    scene.heal();
    scene.assert_clean("four writers");
}

#[test]
fn a_table_without_a_primary_key_is_keyed_by_its_unique_index() {
    let schema = "
        CREATE TABLE codes (wide TEXT, code TEXT NOT NULL, region TEXT NOT NULL, label TEXT);
        CREATE UNIQUE INDEX codes_by_wide ON codes (wide);
        CREATE UNIQUE INDEX codes_by_code ON codes (region, code);
        CREATE TABLE labels (region TEXT NOT NULL, code TEXT NOT NULL, label TEXT, PRIMARY KEY (code, region));
        CREATE INDEX labels_region ON labels (region, code);
        INSERT INTO codes VALUES (NULL, 'a', 'eu', 'x'), (NULL, 'a', 'us', NULL), ('w', 'b', 'eu', '');";
    let file = "[[forward]]\ninto = \"labels\"\nfrom = \"codes\"\nkey = [\"region\", \"code\"]\ncolumns = { code = \"code\", region = \"region\", label = \"label\" }";
    each_scene(schema, file, Stage::Shadow, |scene| {
        scene.run(
            "UPDATE codes SET label = 'new' WHERE code = 'a'; INSERT INTO codes VALUES ('v', 'c', 'eu', NULL);
             UPDATE codes SET code = 'd' WHERE code = 'c'; DELETE FROM codes WHERE region = 'us'; UPDATE codes SET region = 'xx' WHERE code = 'b'",
        );
        scene.assert_clean("written");
        scene.assert_same(
            "SELECT region || code || coalesce(label, '-') AS v FROM codes",
            "SELECT region || code || coalesce(label, '-') AS v FROM labels",
        );
    });
}

#[test]
fn a_key_that_does_not_fit_its_table_is_a_mistake() {
    let schema = "CREATE TABLE a (x INTEGER NOT NULL, y INTEGER, z INTEGER, PRIMARY KEY (x, y));
        CREATE TABLE b (x INTEGER, y INTEGER, PRIMARY KEY (x, y)); CREATE TABLE c (x INTEGER)";
    let file = |from: &str, key: &str| {
        format!("[[forward]]\ninto = \"b\"\nfrom = \"{from}\"\nkey = {key}\nquery = \"SELECT x, x AS y FROM {from}\"\n")
    };
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let said = |from, key| mistakes(dialect, schema, &file(from, key));
        assert!(said("a", "\"x\"").contains("line 6, f1 (b): the key of the driving table `a` is (x, y), but `key` has 1 column; write key = [\"…\", \"…\"]"));
        assert!(said("a", "{ x = \"nix\" }").contains("line 6, f1 (b): the driving table `a` has no column `nix`"));
        assert!(said("c", "\"x\"").contains("neither a primary key nor a unique index over NOT NULL columns"));
        assert!(said("a", "[\"x\", \"nix\"]").contains("`b` has no column `nix`"));
    }
}
