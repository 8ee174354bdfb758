//! The application's tables: what has changed since the install that a block depends on.

use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::ChangeName;
use crate::sql::catalogue::Table;
use crate::sql::model::ChangeModel;
use crate::sql::names::quoted;
use crate::translation::catalogue::find_table;
use crate::translation::objects::{TableShape, noted, tables_of};

use super::Code;
use super::found::{Found, shown};

pub(super) fn audit(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    model: Option<&ChangeModel>,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    for object in noted(connection, change, "table")? {
        let Ok(was) = serde_json::from_str::<TableShape>(&object.definition) else { continue };
        match find_table(connection, &object.name)? {
            Some(table) => compare(&object.name, &was, &table, found),
            None => {
                let remedy = "rename it back, or uninstall the change before its tables go";
                found.add(Code::TableMissing, &shown(&object.name), "the table is gone or renamed", remedy);
            }
        }
    }
    let Some(model) = model else { return Ok(()) };
    for table in tables_of(model) {
        if let Some(live) = find_table(connection, &table.sql)? {
            audit_target(model, &live, found);
        }
        if connection.dialect() == Dialect::Postgres {
            audit_storage(connection, &table.sql, found)?;
        }
    }
    Ok(())
}

fn compare(name: &str, was: &TableShape, table: &Table, found: &mut Found) {
    let is = TableShape::from(table);
    let object = |column: &str| format!("{}.{column}", shown(name));
    for (column, data_type, _) in &was.columns {
        match is.columns.iter().find(|(other, _, _)| other == column) {
            None => {
                let added = is.columns.iter().filter(|(other, of, _)| {
                    of == data_type && !was.columns.iter().any(|(known, _, _)| known == other)
                });
                let added: Vec<&str> = added.map(|(other, _, _)| other.as_str()).collect();
                let what = match added.as_slice() {
                    [only] => format!("the column is gone, perhaps renamed to {only}"),
                    _ => String::from("the column is gone"),
                };
                let remedy = "if a block reads or fills it put it back; otherwise `changeover change update` with the installed file takes the table as it is";
                found.add(Code::ColumnMissing, &object(column), &what, remedy);
            }
            Some((_, now, _)) if now != data_type => {
                let what = format!("the column is {now}, and was {data_type} when the change was installed");
                let remedy = "see that the results still fit (`changeover change check`); `changeover change update` with the installed file \
                              takes the table as it is";
                found.add(Code::ColumnRetyped, &object(column), &what, remedy);
            }
            Some(_) => {}
        }
    }
    if was.primary_key != is.primary_key {
        let list = |key: &[String]| if key.is_empty() { String::from("none") } else { format!("({})", key.join(", ")) };
        let what = format!("the primary key is {}, and was {}", list(&is.primary_key), list(&was.primary_key));
        found.add(Code::KeyChanged, &shown(name), &what, "put it back: blocks compute and find rows by it");
    }
    for columns in was.unique.iter().filter(|columns| !is.unique.contains(columns) && **columns != was.primary_key) {
        let what = format!("the unique index on ({}) is gone", columns.join(", "));
        let remedy = format!("CREATE UNIQUE INDEX{} ON {name} ({})", concurrently(table), list_quoted(columns));
        found.add(Code::KeyChanged, &shown(name), &what, &remedy);
    }
    for columns in was.indexes.iter().filter(|columns| !was.unique.contains(columns) && !columns.is_empty()) {
        if !is.indexes.iter().any(|index| index.starts_with(columns)) {
            let what = format!("the index on ({}) is gone: translated writes may scan the table", columns.join(", "));
            let remedy = format!("CREATE INDEX{} ON {name} ({})", concurrently(table), list_quoted(columns));
            found.add(Code::IndexMissing, &shown(name), &what, &remedy);
        }
    }
}

fn concurrently(table: &Table) -> &'static str {
    if table.dialect == Dialect::Postgres { " CONCURRENTLY" } else { " …" }
}

fn list_quoted(columns: &[String]) -> String {
    columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
}

/// The target still takes what its blocks write.
fn audit_target(model: &ChangeModel, table: &Table, found: &mut Found) {
    for block in model.blocks.iter().filter(|block| block.target.sql == table.sql_name() && block.insert) {
        for column in &table.columns {
            if column.not_null && !column.has_default && !block.mapped.contains(&column.name) {
                let what =
                    format!("the column is NOT NULL without a default, and block {} does not fill it", block.label());
                let remedy = format!(
                    "ALTER TABLE … ALTER COLUMN {} SET DEFAULT …, or let the block fill it",
                    quoted(&column.name)
                );
                found.add(Code::ColumnUnfilled, &format!("{}.{}", table.shown(), column.name), &what, &remedy);
            }
        }
        if !table.is_unique_on(&block.identity) {
            let columns = block.identity.join(", ");
            let what = format!(
                "no valid unique index is on the identity ({columns}) of block {}: its writes fail",
                block.label()
            );
            let remedy = format!("CREATE UNIQUE INDEX ON {} ({})", table.sql_name(), list_quoted(&block.identity));
            found.add(Code::KeyChanged, &table.shown(), &what, &remedy);
        }
    }
}

/// Indexes that a failed CREATE INDEX CONCURRENTLY has left, and tables that a crash would empty.
fn audit_storage(connection: &mut DatabaseConnection, table: &str, found: &mut Found) -> Result<(), DatabaseError> {
    let invalid = "SELECT i.indexrelid::regclass::text AS name FROM pg_index i
                   WHERE i.indrelid = to_regclass($1) AND NOT (i.indisvalid AND i.indisready) ORDER BY 1";
    for row in connection.query(invalid, &[Value::from(table)])? {
        let name = row.text("name")?;
        let remedy = format!("REINDEX INDEX CONCURRENTLY {name}");
        found.add(
            Code::IndexInvalid,
            &name,
            &format!("the index of {} is not valid, so nothing uses it", shown(table)),
            &remedy,
        );
    }
    let unlogged = "SELECT relpersistence::text AS kept FROM pg_class WHERE oid = to_regclass($1)";
    let kept = connection.find_row(unlogged, &[Value::from(table)])?.map(|row| row.text("kept")).transpose()?;
    if kept.as_deref() == Some("u") {
        let what = "the table is UNLOGGED: a crash empties it without firing a trigger";
        found.add(Code::TableUnlogged, &shown(table), what, &format!("ALTER TABLE {table} SET LOGGED"));
    }
    Ok(())
}
