//! `change check` explains what a single-row write causes: the index that is missing is named, in time.

use changeover::database::Dialect;

use super::check::{DESIGN, checked, schema};
use crate::support::{TestDatabase, each_database};

const CHANGE: &str = r#"
format = 1
name   = "shelves"
[[forward]]
into  = "labels"
from  = "books"
key   = "book_id"
query = "SELECT b.id AS book_id, w.name AS writer FROM books b JOIN writers w ON w.code = b.writer_code"
  [[forward.follows]]
  table = "writers"
  by    = "code"
  keys  = "SELECT b.id FROM books b JOIN changed w ON w.code = b.writer_code"
  reads = "SELECT writer_code FROM changed"
"#;

/// Empty tables, which a planner gladly scans.
const TABLES: &str = "
    CREATE TABLE writers (id INTEGER PRIMARY KEY, code VARCHAR(9) NOT NULL, name TEXT NOT NULL);
    CREATE TABLE books (id INTEGER PRIMARY KEY, writer_code VARCHAR(9) NOT NULL);
    CREATE TABLE labels (id INTEGER, book_id INTEGER NOT NULL UNIQUE, writer TEXT NOT NULL);";

fn plan_warnings(database: &TestDatabase, text: &str) -> Vec<String> {
    let checked = checked(database, text);
    assert_eq!(checked.mistakes, []);
    let warnings = checked.warnings.iter().filter(|warning| warning.what.contains("the whole of"));
    warnings.map(|warning| format!("{}: {}; {}", warning.line, warning.what, warning.remedy)).collect()
}

#[test]
fn a_missing_index_is_named_although_the_tables_are_empty() {
    each_database(|database| {
        database.connection().batch(TABLES).unwrap();
        let text = CHANGE.replace("key   = \"book_id\"", "key   = \"book_id\"\nidentity = [\"book_id\"]");
        let warnings = plan_warnings(&database, &text);
        let dialect = database.dialect();
        assert_eq!(warnings.len(), 2, "{dialect}: {warnings:#?}");
        assert!(warnings[0].contains("the query reads the whole of `writers`"), "{dialect}: {warnings:#?}");
        assert!(
            warnings[1].contains("`keys` of follows `writers` reads the whole of `books`"),
            "{dialect}: {warnings:#?}"
        );
        if dialect == Dialect::Postgres {
            assert!(
                warnings[0].contains("CREATE INDEX CONCURRENTLY ON \"public\".\"writers\" (code)"),
                "{warnings:#?}"
            );
            assert!(
                warnings[1].contains("CREATE INDEX CONCURRENTLY ON \"public\".\"books\" (writer_code)"),
                "{warnings:#?}"
            );
        }
        let indexes = "CREATE INDEX w_code ON writers (code); CREATE INDEX b_writer ON books (writer_code)";
        database.connection().batch(indexes).unwrap();
        assert_eq!(plan_warnings(&database, &text), Vec::<String>::new(), "{dialect}");
    });
}

#[test]
fn a_small_table_that_is_declared_constant_may_be_read() {
    each_database(|database| {
        database.connection().batch(TABLES).unwrap();
        let text = CHANGE.split("  [[forward.follows]]").next().unwrap().to_owned()
            + "constant = [\"writers\"]\nidentity = [\"book_id\"]\n";
        assert_eq!(plan_warnings(&database, &text), Vec::<String>::new());
    });
}

#[test]
fn every_statement_of_the_examples_finds_its_rows_by_an_index() {
    each_database(|database| {
        database.connection().batch(schema(database.dialect())).unwrap();
        // SQLite computes a joined table of several whole, before it looks one video up.
        let of_design = plan_warnings(&database, DESIGN);
        assert_eq!(of_design.len(), usize::from(database.dialect() == Dialect::Sqlite), "{of_design:#?}");
        let text = include_str!("../../../examples/video-hosting/change.toml");
        assert_eq!(plan_warnings(&database, text), Vec::<String>::new());
        // Known to be empty, every index of a table costs the same.
        database.connection().batch("ANALYZE").unwrap();
        assert_eq!(plan_warnings(&database, text), Vec::<String>::new());
    });
}

#[test]
fn an_index_that_a_bill_run_misses_is_named() {
    let text = include_str!("../../../examples/video-hosting/change.toml");
    let of_bill = |database: &TestDatabase, text: &str| -> Vec<String> {
        let warnings = checked(database, text).warnings;
        warnings.iter().filter(|warning| warning.what.contains("bill run")).map(ToString::to_string).collect()
    };
    each_database(|database| {
        let dialect = database.dialect();
        database.connection().batch(schema(dialect)).unwrap();
        assert_eq!(of_bill(&database, text), Vec::<String>::new());
        // A period that is computed has no index, and a change of the group query costs SQLite its look-up.
        let computed = text.replace(
            "charges = \"SELECT id AS charge_id, period,",
            "charges = \"SELECT id AS charge_id, lower(period) AS period,",
        );
        assert_ne!(computed, text);
        let found = of_bill(&database, &computed);
        assert!(found.len() == 1 && found[0].contains("what is returned AS period"), "{dialect}: {found:#?}");
        let distinct = text.replace("group   = \"SELECT charge_id", "group   = \"SELECT DISTINCT charge_id");
        assert_ne!(distinct, text);
        let found = of_bill(&database, &distinct);
        assert_eq!(found.len(), usize::from(dialect == Dialect::Sqlite), "{found:#?}");

        database.connection().batch("DROP INDEX charges_period").unwrap();
        let found = of_bill(&database, text);
        assert!(found.len() == 1 && found[0].contains("reads the whole of `charges` for one period"), "{found:#?}");
        if dialect == Dialect::Postgres {
            assert!(found[0].contains("CREATE INDEX CONCURRENTLY ON \"public\".\"charges\" (period)"), "{found:#?}");
        }
    });
}

#[test]
fn a_key_that_reads_very_many_rows_is_told_on_postgres() {
    let database = TestDatabase::postgres();
    let mut connection = database.connection();
    connection
        .batch(
            "CREATE TABLE clubs (id INTEGER PRIMARY KEY);
             CREATE TABLE visits (id SERIAL PRIMARY KEY, club_id INTEGER NOT NULL);
             CREATE INDEX ON visits (club_id);
             CREATE TABLE totals (club_id INTEGER PRIMARY KEY, visits BIGINT NOT NULL);
             INSERT INTO clubs VALUES (1), (2);
             INSERT INTO visits (club_id) SELECT 1 + i % 2 FROM generate_series(1, 50000) i;
             ANALYZE",
        )
        .unwrap();
    let text = r#"
format = 1
name   = "clubs"
[[forward]]
into  = "totals"
from  = "clubs"
key   = "club_id"
query = "SELECT c.id AS club_id, count(v.id) AS visits FROM clubs c LEFT JOIN visits v ON v.club_id = c.id GROUP BY c.id"
  [[forward.follows]]
  table = "visits"
  by    = "club_id"
  keys  = "SELECT club_id FROM changed"
  reads = "SELECT id FROM changed"
"#;
    let checked = checked(&database, text);
    assert_eq!(checked.mistakes, []);
    assert!(
        checked.warnings.iter().any(|warning| warning.what.contains("rows for one key")),
        "{:#?}",
        checked.warnings
    );
}

#[test]
fn a_foreign_key_that_does_not_cascade_is_told_on_postgres() {
    let database = TestDatabase::postgres();
    database.connection().batch(TABLES).unwrap();
    database
        .connection()
        .batch("ALTER TABLE labels ADD CONSTRAINT of_book FOREIGN KEY (book_id) REFERENCES books")
        .unwrap();
    let found = |text: &str| {
        let checked = checked(&database, text);
        checked.warnings.iter().any(|warning| warning.what.contains("`of_book`"))
    };
    let text = CHANGE.replace("key   = \"book_id\"", "key   = \"book_id\"\nidentity = [\"book_id\"]");
    assert!(found(&text));
    database.connection().batch("ALTER TABLE labels ALTER CONSTRAINT of_book DEFERRABLE INITIALLY DEFERRED").unwrap();
    assert!(!found(&text));
}
