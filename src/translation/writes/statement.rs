//! The statements of a write as data: text and parameters. Identifiers come from the catalogue alone, values only as parameters.

use super::kind::{Kind, Parameter};
use super::rows::{ROW, select_list};
use super::tables::{Column, WritableTable};
use crate::database::Value;
use crate::primitives::Dialect;
use crate::sql::names::quoted;

/// One statement. Parameters are numbered in the order in which they stand, as SQLite wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub sql: String,
    pub values: Vec<Value>,
}

/// A column and what it is set to or compared with.
pub type Assignment = (usize, Parameter);

impl Statement {
    #[must_use]
    pub fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    pub fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// The next parameter.
    pub fn bind(&mut self, parameter: &Parameter) {
        self.values.push(parameter.value.clone());
        let number = self.values.len();
        let text = if parameter.is_bytes { format!("unhex(${number})") } else { format!("${number}") };
        self.push(&text);
    }

    /// The next parameter, read as the column's type.
    fn bind_for(&mut self, column: &Column, parameter: &Parameter) {
        if column.cast.is_empty() {
            return self.bind(parameter);
        }
        self.push("CAST(");
        self.bind(parameter);
        self.push(&format!(" AS {})", column.cast));
    }

    fn condition(&mut self, table: &WritableTable, key: &[Assignment]) {
        for (number, (index, parameter)) in key.iter().enumerate() {
            let Some(column) = table.columns.get(*index) else { continue };
            self.push(&format!("{}{ROW}.{} = ", if number == 0 { "" } else { " AND " }, quoted(&column.name)));
            self.bind_for(column, parameter);
        }
    }
}

/// Reads one row, with `co_same`: whether it holds what is expected. On PostgreSQL the row is locked.
#[must_use]
pub fn lock(table: &WritableTable, key: &[Assignment], expected: &[Assignment]) -> Statement {
    let mut statement = Statement::new(&format!("SELECT {}, (", select_list(table)));
    for (index, parameter) in expected {
        let Some(column) = table.columns.get(*index) else { continue };
        let name = format!("{ROW}.{}", quoted(&column.name));
        match table.table.dialect {
            Dialect::Sqlite => {
                statement.push(&format!("{name} IS "));
                statement.bind(parameter);
            }
            // The type json has no equality.
            Dialect::Postgres if column.kind == Kind::Json => {
                statement.push(&format!("CAST({name} AS jsonb) IS NOT DISTINCT FROM CAST("));
                statement.bind(parameter);
                statement.push(" AS jsonb)");
            }
            Dialect::Postgres => {
                statement.push(&format!("{name} IS NOT DISTINCT FROM "));
                statement.bind_for(column, parameter);
            }
        }
        statement.push(" AND ");
    }
    statement.push(&format!("1 = 1) AS co_same FROM {} AS {ROW} WHERE ", table.table.sql_name()));
    statement.condition(table, key);
    if table.table.dialect == Dialect::Postgres {
        statement.push(" FOR UPDATE");
    }
    statement
}

/// Inserts rows that all give a value to the same columns.
#[must_use]
pub fn insert(table: &WritableTable, rows: &[Vec<Assignment>]) -> Statement {
    let mut statement = Statement::new(&format!("INSERT INTO {} AS {ROW} ", table.table.sql_name()));
    let columns = |row: &Vec<Assignment>| -> Vec<String> {
        row.iter().filter_map(|(index, _)| Some(quoted(&table.columns.get(*index)?.name))).collect()
    };
    match rows.first() {
        Some(first) if !first.is_empty() => {
            statement.push(&format!("({}) VALUES ", columns(first).join(", ")));
            for (number, row) in rows.iter().enumerate() {
                statement.push(if number == 0 { "(" } else { ", (" });
                for (position, (index, parameter)) in row.iter().enumerate() {
                    let Some(column) = table.columns.get(*index) else { continue };
                    statement.push(if position == 0 { "" } else { ", " });
                    statement.bind_for(column, parameter);
                }
                statement.push(")");
            }
        }
        _ => statement.push("DEFAULT VALUES"),
    }
    statement.push(&format!(" RETURNING {}", select_list(table)));
    statement
}

/// Updates one row.
#[must_use]
pub fn update(table: &WritableTable, set: &[Assignment], key: &[Assignment]) -> Statement {
    let mut statement = Statement::new(&format!("UPDATE {} AS {ROW} SET ", table.table.sql_name()));
    for (number, (index, parameter)) in set.iter().enumerate() {
        let Some(column) = table.columns.get(*index) else { continue };
        statement.push(&format!("{}{} = ", if number == 0 { "" } else { ", " }, quoted(&column.name)));
        statement.bind_for(column, parameter);
    }
    statement.push(" WHERE ");
    statement.condition(table, key);
    statement.push(&format!(" RETURNING {}", select_list(table)));
    statement
}

/// Deletes one row.
#[must_use]
pub fn delete(table: &WritableTable, key: &[Assignment]) -> Statement {
    let mut statement = Statement::new(&format!("DELETE FROM {} AS {ROW} WHERE ", table.table.sql_name()));
    statement.condition(table, key);
    statement.push(&format!(" RETURNING {}", select_list(table)));
    statement
}
