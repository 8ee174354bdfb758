//! A journal of every row that a transaction changes, whoever changes it: what `change laws` judges by. The journal, its triggers and
//! the copies of rows are temporary or rolled back; nobody else ever sees them.

use crate::primitives::Dialect;

use super::catalogue::{KeyKind, Table};
use super::names::{literal, quoted};

/// Reads the journal in the order of the changes.
pub const READ: &str = "SELECT tab, old, new FROM changeover_journal ORDER BY n";
/// Empties it.
pub const FORGET: &str = "DELETE FROM changeover_journal";

/// The journal's table, and triggers on the watched tables, which are called by their position.
#[must_use]
pub fn create(dialect: Dialect, tables: &[&Table]) -> Vec<String> {
    let mut statements = match dialect {
        Dialect::Postgres => vec![
            String::from(
                "CREATE TEMP TABLE changeover_journal (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tab integer NOT NULL, old text, new text)",
            ),
            postgres_function(),
        ],
        Dialect::Sqlite => vec![String::from(
            "CREATE TEMP TABLE changeover_journal (n INTEGER PRIMARY KEY AUTOINCREMENT, tab INTEGER NOT NULL, old TEXT, new TEXT)",
        )],
    };
    for (number, table) in tables.iter().enumerate() {
        match dialect {
            Dialect::Postgres => statements.push(format!(
                "CREATE TRIGGER changeover_journal AFTER INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION pg_temp.changeover_journal({number})",
                table.sql_name()
            )),
            Dialect::Sqlite => statements.extend(sqlite_triggers(number, table)),
        }
    }
    statements
}

/// Images hold each column's text; a row of jsonb would lose the digits of large numbers on its way.
fn postgres_function() -> String {
    let image =
        |row: &str| format!("(SELECT jsonb_object_agg(e.key, e.value)::text FROM jsonb_each_text(to_jsonb({row})) e)");
    format!(
        "CREATE FUNCTION pg_temp.changeover_journal() RETURNS trigger LANGUAGE plpgsql AS $co$\nBEGIN\n\
         \x20 IF TG_OP = 'INSERT' THEN INSERT INTO pg_temp.changeover_journal (tab, new) VALUES (TG_ARGV[0]::integer, {new});\n\
         \x20 ELSIF TG_OP = 'UPDATE' THEN INSERT INTO pg_temp.changeover_journal (tab, old, new) VALUES (TG_ARGV[0]::integer, {old}, {new});\n\
         \x20 ELSE INSERT INTO pg_temp.changeover_journal (tab, old) VALUES (TG_ARGV[0]::integer, {old}); END IF;\n\
         \x20 RETURN NULL;\nEND $co$",
        old = image("OLD"),
        new = image("NEW"),
    )
}

/// Temporary triggers: they fire before those of the file, so that a change stands before what it causes.
fn sqlite_triggers(number: usize, table: &Table) -> Vec<String> {
    let image = |row: &str| {
        let pairs: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("{}, quote({row}.{})", literal(&column.name), quoted(&column.name)))
            .collect();
        format!("json_object({})", pairs.join(", "))
    };
    [("INSERT", "NULL", image("NEW").as_str()), ("UPDATE", &image("OLD"), &image("NEW")), ("DELETE", &image("OLD"), "NULL")]
        .into_iter()
        .map(|(event, old, new)| {
            format!(
                "CREATE TEMP TRIGGER {} AFTER {event} ON main.{} BEGIN INSERT INTO changeover_journal (tab, old, new) VALUES ({number}, {old}, {new}); END",
                quoted(&format!("changeover_journal_{number}_{}", event.to_lowercase())),
                quoted(&table.name),
            )
        })
        .collect()
}

/// The keys of the rows with these ranks (from 1) in key order: columns `k0`, `k1`, …, as text on PostgreSQL and as literals on SQLite.
#[must_use]
pub fn keys_at(dialect: Dialect, table: &Table, key: &[String], ranks: &[i64]) -> String {
    let columns: Vec<String> = key.iter().map(|column| quoted(column)).collect();
    let literals: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| match dialect {
            Dialect::Postgres => format!("x.{column}::text AS k{index}"),
            Dialect::Sqlite => format!("quote(x.{column}) AS k{index}"),
        })
        .collect();
    let ranks: Vec<String> = ranks.iter().map(i64::to_string).collect();
    format!(
        "SELECT {} FROM (SELECT {columns}, row_number() OVER (ORDER BY {columns}) AS changeover_rank FROM {}) x\n\
         WHERE x.changeover_rank IN ({}) ORDER BY x.changeover_rank",
        literals.join(", "),
        table.sql_name(),
        ranks.join(", "),
        columns = columns.join(", "),
    )
}

/// `a = 1 AND b = 'x'`: the row with that key, whose values are SQL literals.
#[must_use]
pub fn row_is(prefix: &str, key: &[String], values: &[String]) -> String {
    let pairs: Vec<String> =
        key.iter().zip(values).map(|(column, value)| format!("{prefix}{} = {value}", quoted(column))).collect();
    pairs.join(" AND ")
}

/// A copy of some rows, under the name `changeover_kept`.
#[must_use]
pub fn keep(table: &Table, key: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let any: Vec<String> = rows.iter().map(|values| format!("({})", row_is("t.", key, values))).collect();
    let condition = if any.is_empty() { String::from("1 = 0") } else { any.join(" OR ") };
    vec![
        String::from("DROP TABLE IF EXISTS changeover_kept"),
        format!("CREATE TEMP TABLE changeover_kept AS SELECT t.* FROM {} t WHERE {condition}", table.sql_name()),
    ]
}

/// A scalar subquery: the kept row's own value, and a little more, so that values are tried which no row has; `None` for a column that is
/// neither a number nor a text.
#[must_use]
pub fn varied_value(table: &Table, column: &str, key: &[String], values: &[String]) -> Option<String> {
    let kind = table.columns.iter().find(|found| found.name == column)?.kind;
    let name = quoted(column);
    let more = match kind {
        KeyKind::Integer => format!("k.{name} + 1"),
        KeyKind::Text => format!("k.{name} || ' ~Ä'"),
        KeyKind::Uuid | KeyKind::Other => return None,
    };
    Some(format!("(SELECT {more} FROM changeover_kept k WHERE {})", row_is("k.", key, values)))
}

/// A scalar subquery: the column's value in some other kept row that has another one, the `nth` round the corner; NULL if there is none.
#[must_use]
pub fn another_value(dialect: Dialect, column: &str, key: &[String], values: &[String], nth: u64) -> String {
    let column = quoted(column);
    let differs = match dialect {
        Dialect::Postgres => "IS DISTINCT FROM",
        Dialect::Sqlite => "IS NOT",
    };
    let own = row_is("o.", key, values);
    let from = format!(
        "FROM (SELECT DISTINCT k.{column} AS v FROM changeover_kept k WHERE k.{column} {differs} (SELECT o.{column} FROM changeover_kept o WHERE {own})) d"
    );
    format!(
        "(SELECT d.v {from} ORDER BY d.v LIMIT 1 OFFSET (SELECT CASE WHEN count(*) = 0 THEN 0 ELSE {nth} % count(*) END {from}))"
    )
}
