//! One case for every mistake that the live catalogue can show: what is said, on which line, in both databases.

use std::fmt::Write as _;

use changeover::primitives::Dialect;

use super::check::{DESIGN, checked, schema};
use crate::support::each_database;

/// What is changed in the design's example, and the name of the case.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)]);

/// Tables that the cases need besides the example's.
const MORE: &str = "
CREATE TABLE plans (id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, price BIGINT NOT NULL);
CREATE TABLE pairs (a BIGINT, b BIGINT, PRIMARY KEY (a, b));
CREATE TABLE keyless (a BIGINT, b BIGINT);
CREATE TABLE floating (charge_id BIGINT PRIMARY KEY, amount_minor REAL, doubled BIGINT GENERATED ALWAYS AS (2 * charge_id) STORED);
CREATE VIEW active_users AS SELECT id, company FROM users;
";

/// Runs the cases on both databases. A case that both see the same way is told once.
fn told(cases: &[Case<'_>]) -> String {
    let results = std::sync::Mutex::new(vec![Vec::new(); cases.len()]);
    each_database(|database| {
        database.connection().batch(schema(database.dialect())).unwrap();
        database.connection().batch(MORE).unwrap();
        for (index, (name, edits)) in cases.iter().enumerate() {
            let mut text = DESIGN.to_owned();
            for (from, to) in *edits {
                assert!(text.contains(from), "{name}: `{from}` is not in the file");
                text = text.replacen(from, to, 1);
            }
            let found = checked(&database, &text);
            let warnings = found.warnings.iter().filter(|warning| !warning.what.contains("INSERT OR REPLACE"));
            let mut said: Vec<String> = found.mistakes.iter().map(ToString::to_string).collect();
            said.extend(warnings.map(|warning| format!("warning: {warning}")));
            results.lock().unwrap()[index].push((database.dialect(), said));
        }
    });
    let mut story = String::new();
    for ((name, _), results) in cases.iter().zip(results.into_inner().unwrap()) {
        writeln!(story, "── {name}").unwrap();
        let is_same = results.iter().all(|(_, said)| *said == results[0].1);
        for (dialect, said) in results.iter().take(if is_same { 1 } else { results.len() }) {
            let prefix = if is_same { String::new() } else { format!("{dialect}: ") };
            if said.is_empty() {
                // SQLite does not know the types of a query's results.
                assert!(!is_same && *dialect == Dialect::Sqlite, "{name}: {dialect} finds nothing");
                writeln!(story, "{prefix}nothing").unwrap();
            }
            for line in said {
                writeln!(story, "{prefix}{line}").unwrap();
            }
        }
    }
    story
}

const F2: &str = "SELECT u.id AS user_id, a.id AS account_id, 'owner' AS role, 1 AS weight\nFROM users u JOIN accounts a ON a.owner_id = u.id";

#[test]
fn a_query_is_exactly_one_select_that_only_reads() {
    let story = told(&[
        ("two statements", &[(F2, "SELECT 1 AS user_id; SELECT 2")]),
        ("two statements, the second one ends the transaction", &[(F2, "SELECT 1 AS user_id; COMMIT")]),
        ("an insert", &[(F2, "INSERT INTO users (name) VALUES ('x')")]),
        ("a delete that returns", &[(F2, "DELETE FROM users RETURNING id AS user_id")]),
        (
            "a data-modifying CTE",
            &[(F2, "WITH gone AS (DELETE FROM users RETURNING id) SELECT id AS user_id FROM gone")],
        ),
        ("a locking select", &[(F2, &format!("{F2} FOR UPDATE"))]),
        ("select into", &[(F2, "SELECT id AS user_id INTO copied FROM users")]),
        ("something else", &[(F2, "PRAGMA table_list")]),
        ("an explanation", &[(F2, "EXPLAIN SELECT 1 AS user_id")]),
        ("parentheses that would leave the subquery", &[(F2, "SELECT 1 AS user_id) q, (SELECT 2 AS x")]),
        ("a syntax error on the second line", &[("\nFROM users u JOIN accounts", "\nFORM users u JOIN accounts")]),
        ("a column returned twice", &[("1 AS weight\n", "1 AS role\n")]),
        ("a parameter", &[("ON a.owner_id = u.id\n", "ON a.owner_id = :user\n")]),
        ("a numbered parameter", &[("ON a.owner_id = u.id\n", "ON a.owner_id = $1\n")]),
        ("changed outside of keys and reads", &[("FROM users u JOIN accounts a", "FROM changed u JOIN accounts a")]),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn every_table_and_column_exists() {
    let story = told(&[
        ("into", &[("into     = \"accounts\"", "into     = \"acounts\"")]),
        ("from", &[("from     = \"users\"", "from     = \"nobody\"")]),
        ("a table in the query", &[("JOIN accounts a ON a.owner_id = u.id", "JOIN acounts a ON a.owner_id = u.id")]),
        ("a column in the query", &[("JOIN accounts a ON a.owner_id = u.id", "JOIN accounts a ON a.owner = u.id")]),
        ("a column in columns", &[("name = \"company\"", "name = \"compny\"")]),
        ("key", &[("key   = \"user_id\"", "key   = \"userid\"")]),
        ("identity", &[("identity = [\"owner_id\"]", "identity = [\"owner\"]")]),
        ("follows", &[("table = \"accounts\"", "table = \"accuonts\"")]),
        ("by", &[("by    = \"owner_id\"", "by    = \"owner\"")]),
        ("a column in keys", &[("keys  = \"SELECT owner_id FROM changed\"", "keys  = \"SELECT owner FROM changed\"")]),
        ("a table in reads", &[("reads = \"SELECT id FROM changed\"", "reads = \"SELECT id FROM changed, nowhere\"")]),
        ("owns", &[("role = 'owner'\"", "rolle = 'owner'\"")]),
        ("frozen", &[("WHERE period < :open_period", "WHERE perod < :open_period")]),
        ("constant", &[("key   = \"user_id\"", "key   = \"user_id\"\nconstant = [\"plan\"]")]),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn the_result_fits_the_target() {
    let story = told(&[
        ("a column that the target lacks", &[("1 AS weight\n", "1 AS wieght\n")]),
        ("a NOT NULL column that nobody fills", &[("a.id AS account_id, 'owner'", "'owner'")]),
        ("a key that is not returned", &[("u.id AS user_id, a.id", "a.id")]),
        ("an identity that is not returned", &[("identity = [\"owner_id\"] ", "")]),
        ("an identity without a unique index", &[("identity = [\"owner_id\"]", "identity = [\"name\"]")]),
        ("a target without a key", &[("into     = \"accounts\"", "into     = \"keyless\"")]),
        (
            "a generated column",
            &[
                ("into     = \"accounts\"", "into     = \"floating\""),
                ("key      = \"owner_id\"", "key      = \"charge_id\""),
                ("identity = [\"owner_id\"]", "identity = [\"charge_id\"]"),
                ("{ owner_id = \"id\", name = \"company\" }", "{ charge_id = \"id\", doubled = \"2\" }"),
            ],
        ),
        ("a type that does not fit", &[("'owner' AS role, 1 AS weight", "'owner' AS role, u.name AS weight")]),
        ("owns over another table", &[("role = 'owner'\"", "user_id IN (SELECT id FROM users)\"")]),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn driving_tables_are_tables_with_a_key() {
    let story = told(&[
        (
            "a composite key",
            &[
                ("from     = \"users\"", "from     = \"pairs\""),
                ("{ owner_id = \"id\", name = \"company\" }", "{ owner_id = \"a\" }"),
            ],
        ),
        (
            "no key",
            &[
                ("from     = \"users\"", "from     = \"keyless\""),
                ("{ owner_id = \"id\", name = \"company\" }", "{ owner_id = \"a\" }"),
            ],
        ),
        ("a view", &[("from     = \"users\"", "from     = \"active_users\"")]),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn every_table_that_a_query_reads_is_accounted_for() {
    let story = told(&[
        (
            "a join",
            &[(
                "JOIN accounts a ON a.owner_id = u.id\n",
                "JOIN accounts a ON a.owner_id = u.id\nJOIN plans p ON p.user_id = u.id\n",
            )],
        ),
        ("a sub-select in columns", &[("name = \"company\"", "name = \"(SELECT 'plan' FROM plans)\"")]),
        (
            "behind a view",
            &[(
                "FROM videos v JOIN accounts a",
                "FROM videos v JOIN active_users x ON x.id = v.user_id JOIN accounts a",
            )],
        ),
        ("an entry that is not needed", &[("key   = \"user_id\"", "key   = \"user_id\"\nconstant = [\"plans\"]")]),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn blocks_stand_in_the_order_in_which_they_depend_on_one_another() {
    let story = told(&[
        (
            "a cycle",
            &[
                (
                    "columns  = { owner_id = \"id\", name = \"company\" }",
                    "query = \"SELECT m.user_id AS owner_id FROM users u JOIN memberships m ON m.user_id = u.id\"\nconstant = []",
                ),
                (
                    "constant = []",
                    "[[forward.follows]]\ntable = \"memberships\"\nby = \"user_id\"\nkeys = \"SELECT user_id FROM changed\"\nreads = \"SELECT id FROM changed\"\n",
                ),
            ],
        ),
        (
            "a block before the one that fills what it reads",
            &[(
                "[[forward]]\ninto     = \"accounts\"",
                "[[forward]]\ninto = \"plans\"\nfrom = \"users\"\nkey = \"user_id\"\nidentity = [\"id\"]\n\
              query = \"SELECT u.id, u.id AS user_id, a.id AS price FROM users u JOIN accounts a ON a.owner_id = u.id\"\n[[forward.follows]]\ntable = \"accounts\"\n\
              by = \"owner_id\"\nkeys = \"SELECT owner_id FROM changed\"\nreads = \"SELECT id FROM changed\"\n[[forward]]\ninto     = \"accounts\"",
            )],
        ),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn neither_direction_overwrites_what_the_other_cannot_know() {
    let story = told(&[
        (
            "a backward block writes a column that no forward block reads",
            &[("END AS user_id   -- the owner", "END AS user_id, a.name AS title   -- the owner")],
        ),
        (
            "a forward block writes a column that no backward block reads",
            &[
                ("a.id AS account_id, 'owner' AS role", "a.id AS account_id, 'owner' AS role"),
                ("from    = \"video_accounts\"", "from    = \"memberships\""),
            ],
        ),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn follows_and_frozen_return_keys() {
    let story = told(&[
        (
            "two columns",
            &[("keys  = \"SELECT owner_id FROM changed\"", "keys  = \"SELECT owner_id, id FROM changed\"")],
        ),
        (
            "without changed",
            &[("keys  = \"SELECT owner_id FROM changed\"", "keys  = \"SELECT owner_id FROM accounts\"")],
        ),
        (
            "changed is a CTE",
            &[(
                "reads = \"SELECT id FROM changed\"",
                "reads = \"WITH changed AS (SELECT 1 AS id) SELECT id FROM changed\"",
            )],
        ),
        ("text for a number", &[("keys  = \"SELECT owner_id FROM changed\"", "keys  = \"SELECT name FROM changed\"")]),
        ("no reads", &[("  reads = \"SELECT id FROM changed\" ", "")]),
        (
            "reads of the wrong table's columns",
            &[("reads = \"SELECT id FROM changed\"", "reads = \"SELECT owner_id FROM changed\"")],
        ),
        ("frozen with another parameter", &[("period < :open_period", "period < :period")]),
        ("frozen with two columns", &[("\"SELECT id FROM charges WHERE", "\"SELECT id, period FROM charges WHERE")]),
        ("no index on key and by", &[("by    = \"owner_id\"", "by    = \"name\"")]),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn a_split_divides_integers() {
    let story = told(&[
        ("an amount that is not returned", &[("amount = \"amount_minor\"", "amount = \"amount\"")]),
        ("a weight that is not returned", &[("by = \"weight\"", "by = \"share\"")]),
        ("first is no boolean", &[("(m.user_id = c.user_id) AS uploader", "'x' AS uploader")]),
        (
            "a float",
            &[
                ("into  = \"charge_allocations\"", "into  = \"floating\"\nidentity = [\"charge_id\"]"),
                (
                    "SELECT c.id AS charge_id, m.user_id AS payer_id, m.account_id, m.weight, c.amount_minor, c.currency,",
                    "SELECT c.id AS charge_id, m.weight AS share, c.amount_minor * 1.5 AS amount_minor,",
                ),
                ("by = \"weight\"", "by = \"share\""),
            ],
        ),
    ]);
    insta::assert_snapshot!(story);
}

#[test]
fn routing_and_allocation_return_what_they_must() {
    let story = told(&[
        ("group_of_user without :user", &[("WHERE user_id = :user ORDER", "ORDER")]),
        ("group_of_user with another parameter", &[("user_id = :user", "user_id = :usr")]),
        (
            "group_of_user with two columns",
            &[("\"SELECT account_id FROM memberships", "\"SELECT account_id, user_id FROM memberships")],
        ),
        ("charges without period", &[("id AS charge_id, period, currency", "id AS charge_id, currency")]),
        (
            "old without payer",
            &[(
                "user_id AS payer, amount_minor AS amount FROM charges",
                "user_id, amount_minor AS amount FROM charges",
            )],
        ),
        (
            "new with a mistyped column",
            &[("SELECT charge_id, payer_id AS payer", "SELECT charge_id, payerid AS payer")],
        ),
        (
            "group with a missing table",
            &[(
                "JOIN video_accounts v ON v.video_id = c.video_id\"\nexpected",
                "JOIN video_account v ON v.video_id = c.video_id\"\nexpected",
            )],
        ),
        (
            "expected payers that are none",
            &[("SELECT c.id AS charge_id, m.user_id AS payer\n", "SELECT c.id AS charge_id\n")],
        ),
        (
            "reverses without reverses_id",
            &[("SELECT id AS charge_id, reverses_id FROM", "SELECT id AS charge_id FROM")],
        ),
        ("a parameter", &[("WHERE reverses_id IS NOT NULL", "WHERE period = :open_period")]),
        (
            "a float",
            &[
                (
                    "currency, amount_minor AS amount FROM",
                    "currency, CAST(amount_minor AS double precision) AS amount FROM",
                ),
                ("id AS charge_id, period,", "id AS charge_id, 2026 AS period,"),
            ],
        ),
    ]);
    insta::assert_snapshot!(story);
}
