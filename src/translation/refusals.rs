//! What a target refuses: read from the catalogue, for refreshes whose failure must not reach the writer.

use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::catalogue::Table;
use crate::sql::model::{ParentModel, RefusalModel};
use crate::sql::names::quoted;

/// What `target` refuses of rows whose `mapped` columns are written and that `identity` identifies.
pub fn read_refusals(
    connection: &mut DatabaseConnection,
    target: &Table,
    mapped: &[String],
    identity: &[String],
) -> Result<RefusalModel, DatabaseError> {
    let is_mapped = |column: &String| mapped.contains(column);
    // A NULL for a key of one integer column asks SQLite for the next number.
    let is_number = |column: &String| target.primary_key == [column.clone()] && target.dialect == Dialect::Sqlite;
    let not_null = target.columns.iter().filter(|column| column.not_null).map(|column| column.name.clone());
    let others = target.unique_indexes.iter().filter(|index| *index != identity && index.iter().all(is_mapped));
    let mut unique: Vec<Vec<String>> = others.cloned().collect();
    unique.dedup();
    Ok(RefusalModel {
        not_null: not_null.filter(|column| is_mapped(column) && !is_number(column)).collect(),
        unique,
        parents: match connection.dialect() {
            Dialect::Postgres => Vec::new(),
            Dialect::Sqlite => parents(connection, target, mapped)?,
        },
        checks: connection.dialect() == Dialect::Sqlite && has_checks(connection, target)?,
        deferred: match connection.dialect() {
            Dialect::Postgres => deferred(connection, target)?,
            Dialect::Sqlite => Vec::new(),
        },
    })
}

/// What looks like one is taken for one: that costs a little time.
fn has_checks(connection: &mut DatabaseConnection, target: &Table) -> Result<bool, DatabaseError> {
    let sql = "SELECT upper(sql) LIKE '%CHECK%' AS checks FROM sqlite_master WHERE type = 'table' AND name = $1";
    let found = connection.find_row(sql, &[Value::from(target.name.as_str())])?;
    found.map_or(Ok(true), |row| row.boolean("checks"))
}

/// Constraints of the table, and foreign keys of others to it, that wait for the commit.
fn deferred(connection: &mut DatabaseConnection, target: &Table) -> Result<Vec<String>, DatabaseError> {
    let sql = "SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.conname) AS name
               FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
               WHERE c.condeferred AND to_regclass($1)::oid IN (c.conrelid, c.confrelid) ORDER BY 1";
    let rows = connection.query(sql, &[Value::from(target.sql_name())])?;
    rows.iter().map(|row| row.text("name")).collect()
}

// A foreign key that names no column there means the primary key. One to the table itself may be satisfied by the same refresh.
const PARENTS: &str = "
SELECT f.id, f.\"table\" AS parent, f.\"from\" AS here,
       coalesce(f.\"to\", (SELECT p.name FROM pragma_table_info(f.\"table\") p WHERE p.pk = f.seq + 1)) AS there
FROM pragma_foreign_key_list($1) f WHERE lower(f.\"table\") <> lower($1) ORDER BY f.id, f.seq";

fn parents(
    connection: &mut DatabaseConnection,
    target: &Table,
    mapped: &[String],
) -> Result<Vec<ParentModel>, DatabaseError> {
    let mut found: Vec<(i64, ParentModel)> = Vec::new();
    for row in connection.query(PARENTS, &[Value::from(target.name.as_str())])? {
        let id = row.integer("id")?;
        let Some(there) = row.find_text("there")? else { continue };
        let here = target.find_column(&quoted(&row.text("here")?)).map(|column| column.name.clone());
        let pair = (here.unwrap_or_default(), there);
        match found.last_mut() {
            Some((last, parent)) if *last == id => parent.columns.push(pair),
            _ => found.push((id, ParentModel { table: quoted(&row.text("parent")?), columns: vec![pair] })),
        }
    }
    let all_mapped = |parent: &ParentModel| parent.columns.iter().all(|(here, _)| mapped.contains(here));
    Ok(found.into_iter().map(|(_, parent)| parent).filter(all_mapped).collect())
}
