//! Temporary tables in front of the targets: the same columns, keys and checks, the same rows to begin with, sequences of their own.

use std::ops::ControlFlow;

use sqlparser::ast::visit_relations;

use super::compare::CompareError;
use super::what_if::unsupported;
use crate::change::{ChangeFile, Direction};
use crate::database::{DatabaseConnection, Dialect, Value};
use crate::sql::model::{ChangeModel, TableModel, trimmed};
use crate::sql::names::quoted;
use crate::sql::rewrite::parse_select;
use crate::sql::scan::find_identifier;

/// Makes the temporary table that stands in front of `target` until the transaction ends.
pub fn shadow(connection: &mut DatabaseConnection, target: &TableModel) -> Result<(), CompareError> {
    match connection.dialect() {
        Dialect::Postgres => shadow_on_postgres(connection, target),
        Dialect::Sqlite => shadow_on_sqlite(connection, target),
    }
}

fn shadow_on_postgres(connection: &mut DatabaseConnection, target: &TableModel) -> Result<(), CompareError> {
    let sql = "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = to_regclass($1)";
    let real = connection.get_row(sql, &[Value::from(target.sql.as_str())])?.text("name")?;
    let (bare, temporary) = (quoted(&target.name), format!("pg_temp.{}", quoted(&target.name)));
    if !is_same(connection, &bare, &target.sql)? {
        return Err(unsupported(format!(
            "what-if puts a temporary table in front of {real}, which its bare name does not mean here: put its schema into the search_path"
        )));
    }
    connection.batch(&format!("CREATE TEMP TABLE {} (LIKE {real} INCLUDING ALL)", quoted(&target.name)))?;
    if !is_same(connection, &bare, &temporary)? {
        return Err(unsupported(format!(
            "what-if puts temporary tables in front of the targets, and the search_path has pg_temp behind {real}: take it out"
        )));
    }
    let sql = "SELECT a.attname::text AS name, a.attidentity <> '' AS is_identity,
                 coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false) AS is_serial, a.attgenerated <> '' AS is_generated
               FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
               WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let columns = connection.query(sql, &[Value::from(temporary.as_str())])?;
    let mut copied = Vec::new();
    let mut minted = Vec::new();
    for (number, column) in columns.iter().enumerate() {
        let name = quoted(&column.text("name")?);
        if column.boolean("is_serial")? && !column.boolean("is_generated")? {
            // The default would draw from the real table's sequence.
            let sequence = quoted(&format!("co_{number}_{}", target.name).chars().take(60).collect::<String>());
            connection.batch(&format!(
                "CREATE TEMP SEQUENCE {sequence}; \
                 ALTER TABLE {temporary} ALTER COLUMN {name} SET DEFAULT nextval('pg_temp.{}'::regclass)",
                sequence.replace('\'', "''")
            ))?;
            minted.push((name.clone(), format!("'pg_temp.{}'::regclass", sequence.replace('\'', "''"))));
        } else if column.boolean("is_identity")? {
            let table = temporary.replace('\'', "''");
            let plain = column.text("name")?.replace('\'', "''");
            minted.push((name.clone(), format!("pg_get_serial_sequence('{table}', '{plain}')::regclass")));
        }
        if !column.boolean("is_generated")? {
            copied.push(name);
        }
    }
    let copied = copied.join(", ");
    connection
        .batch(&format!("INSERT INTO {temporary} ({copied}) OVERRIDING SYSTEM VALUE SELECT {copied} FROM {real}"))?;
    for (column, sequence) in minted {
        connection
            .batch(&format!("SELECT setval({sequence}, coalesce(max({column}), 0) + 1, false) FROM {temporary}"))?;
    }
    Ok(())
}

/// True if both names mean the same table.
fn is_same(connection: &mut DatabaseConnection, one: &str, other: &str) -> Result<bool, CompareError> {
    let sql = "SELECT coalesce(to_regclass($1) = to_regclass($2), false) AS is_same";
    Ok(connection.get_row(sql, &[Value::from(one), Value::from(other)])?.boolean("is_same")?)
}

fn shadow_on_sqlite(connection: &mut DatabaseConnection, target: &TableModel) -> Result<(), CompareError> {
    let name = Value::from(target.name.as_str());
    let sql = "SELECT type AS kind, sql AS text FROM main.sqlite_schema WHERE tbl_name = $1 COLLATE NOCASE \
               AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type DESC";
    for row in connection.query(sql, std::slice::from_ref(&name))? {
        // SQLite keeps these texts with their first words as it writes them.
        let text = row.text("text")?;
        let made = match text.strip_prefix("CREATE TABLE ") {
            Some(rest) => format!("CREATE TEMP TABLE {rest}"),
            None => text.replacen("INDEX ", "INDEX temp.", 1),
        };
        connection.batch(&made)?;
    }
    let sql = "SELECT name FROM pragma_table_xinfo($1, 'main') WHERE hidden = 0 ORDER BY cid";
    let columns = connection.query(sql, &[name])?;
    let columns: Vec<String> =
        columns.iter().map(|row| Ok(quoted(&row.text("name")?))).collect::<Result<_, CompareError>>()?;
    let (table, columns) = (quoted(&target.name), columns.join(", "));
    connection.batch(&format!("INSERT INTO temp.{table} ({columns}) SELECT {columns} FROM main.{table}"))?;
    Ok(())
}

/// A query that names a target by its schema, or reads it through a view, would read past the temporary table.
pub fn refuse_hidden_reads(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    (model, targets): (&ChangeModel, &[TableModel]),
) -> Result<(), CompareError> {
    let mut queries: Vec<(String, String)> =
        model.blocks_of(Direction::Forward).map(|block| (block.label(), block.query())).collect();
    if let Some(allocation) = &file.allocation {
        let all = [
            ("charges", Some(&allocation.charges)),
            ("old", Some(&allocation.old)),
            ("new", Some(&allocation.new)),
            ("group", Some(&allocation.group)),
            ("expected_payers", allocation.expected_payers.as_ref()),
            ("reverses", allocation.reverses.as_ref()),
        ];
        let all = all.into_iter().filter_map(|(name, query)| Some((name.to_owned(), query?)));
        queries.extend(all.map(|(name, query)| (name, trimmed(&query.value).to_owned())));
    }
    let views = views_over(connection, targets)?;
    for (name, query) in &queries {
        if let Some(table) = qualified(query, targets, model.dialect) {
            return Err(unsupported(format!(
                "`{name}` names {table} with its schema, and so would not see what what-if fills: leave the schema out"
            )));
        }
        if let Some(view) = views.iter().find(|view| find_identifier(query, view).is_some()) {
            return Err(unsupported(format!(
                "`{name}` reads the view `{view}`, which reads a table that a block writes: what-if cannot stand in front of it; \
                 write the view's query instead, or try it on a copy of the database"
            )));
        }
    }
    Ok(())
}

/// The first of the targets that the query names with a schema.
fn qualified(query: &str, targets: &[TableModel], dialect: Dialect) -> Option<String> {
    let parsed = parse_select(query, dialect).ok()?;
    let found = visit_relations(&*parsed, |name| {
        let is_target = |last: &str| targets.iter().any(|target| target.name.eq_ignore_ascii_case(last));
        let last = name.0.last().map(ToString::to_string).unwrap_or_default();
        if name.0.len() > 1 && is_target(last.trim_matches('"')) {
            return ControlFlow::Break(name.to_string());
        }
        ControlFlow::Continue(())
    });
    match found {
        ControlFlow::Break(name) => Some(name),
        ControlFlow::Continue(()) => None,
    }
}

/// The names of the views that read one of the tables, directly or through others.
fn views_over(connection: &mut DatabaseConnection, targets: &[TableModel]) -> Result<Vec<String>, CompareError> {
    let mut found: Vec<String> = Vec::new();
    match connection.dialect() {
        Dialect::Postgres => {
            let sql = "WITH RECURSIVE reads (view) AS (
                SELECT r.ev_class FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1)
                UNION SELECT r.ev_class FROM reads JOIN pg_depend d ON d.refobjid = reads.view AND d.refclassid = 'pg_class'::regclass
                  AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite r ON r.oid = d.objid)
                SELECT c.relname::text AS name FROM reads JOIN pg_class c ON c.oid = reads.view
                WHERE c.oid <> to_regclass($1) AND c.relkind IN ('v', 'm')";
            for target in targets {
                for row in connection.query(sql, &[Value::from(target.sql.as_str())])? {
                    found.push(row.text("name")?);
                }
            }
        }
        Dialect::Sqlite => {
            let mut views = Vec::new();
            for row in connection.query("SELECT name, sql AS text FROM main.sqlite_schema WHERE type = 'view'", &[])? {
                views.push((row.text("name")?, row.text("text")?));
            }
            loop {
                let before = found.len();
                for (name, text) in &views {
                    let reads = |table: &str| find_identifier(text, table).is_some();
                    let is_over =
                        targets.iter().any(|target| reads(&target.name)) || found.iter().any(|view| reads(view));
                    if is_over && !found.contains(name) {
                        found.push(name.clone());
                    }
                }
                if found.len() == before {
                    break;
                }
            }
        }
    }
    Ok(found)
}
