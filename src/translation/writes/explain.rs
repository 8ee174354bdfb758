//! Whose error it is that the database reported: the caller's own row, or its translation; and which constraint, table and row.

use super::execute::{Execution, Stop};
use super::fault::{Fault, Refusal, WriteError};
use super::request::Request;
use super::run::settle;
use super::tables::WriteModel;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Violation};
use crate::sql::{postgres, sqlite};

/// What the write does alone, row by row, while translation is quiet and everything is rolled back.
enum Alone {
    Passes,
    /// The same operation fails by itself: this is the row's own error.
    Fails {
        operation: Option<usize>,
        row: Option<usize>,
        error: DatabaseError,
    },
    /// Something else happened, so nothing more is known.
    Unclear,
}

/// The error as a refusal of the request.
pub(super) fn explain(
    connection: &mut DatabaseConnection,
    model: &WriteModel,
    request: &Request,
    place: (Option<usize>, Option<usize>),
    error: DatabaseError,
) -> WriteError {
    if error.is_disconnected() || !matches!(error, DatabaseError::Query(_)) {
        return WriteError::Database(error);
    }
    match alone(connection, model, request) {
        Alone::Fails { operation, row, error } => refused(model, request, (operation, row), &error),
        Alone::Passes => translation(model, request, place, &error),
        Alone::Unclear => refused(model, request, place, &error),
    }
}

fn alone(connection: &mut DatabaseConnection, model: &WriteModel, request: &Request) -> Alone {
    let outcome: Result<(), Stop> = connection.in_rolled_back_transaction(|connection| {
        settle(connection)?;
        quieten(connection, model)?;
        Execution::diagnosis(model, request).run(connection)?;
        if connection.dialect() == Dialect::Postgres {
            connection.batch("SET CONSTRAINTS ALL IMMEDIATE")?;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => Alone::Passes,
        Err(Stop::Failed { operation, row, error }) if !error.is_retryable() && !error.is_disconnected() => {
            Alone::Fails { operation, row, error }
        }
        Err(_) => Alone::Unclear,
    }
}

/// No trigger of ours does anything for the rest of the transaction.
fn quieten(connection: &mut DatabaseConnection, model: &WriteModel) -> Result<(), DatabaseError> {
    match connection.dialect() {
        Dialect::Postgres => connection
            .batch(&format!("SELECT set_config('{}', 'backfill', true)", postgres::direction_setting(&model.model))),
        Dialect::Sqlite => {
            connection.batch(&format!("UPDATE {} SET mode = {}", sqlite::control_table(&model.model), sqlite::BACKFILL))
        }
    }
}

fn refused(
    model: &WriteModel,
    request: &Request,
    place: (Option<usize>, Option<usize>),
    error: &DatabaseError,
) -> WriteError {
    let refusal = match error.violation() {
        Some(Violation::Unique) => Refusal::Unique,
        Some(Violation::ForeignKey) => Refusal::ForeignKey,
        Some(Violation::NotNull | Violation::Check | Violation::Exclusion) => Refusal::Constraint,
        None => Refusal::Database,
    };
    WriteError::refused(refusal, fault(model, request, place, error))
}

fn translation(
    model: &WriteModel,
    request: &Request,
    place: (Option<usize>, Option<usize>),
    error: &DatabaseError,
) -> WriteError {
    let mut fault = fault(model, request, place, error);
    let target = error.table_name();
    let block = model.model.blocks.iter().find(|block| Some(&block.target.name) == target.as_ref());
    fault.block = block.map(|block| block.id.to_string());
    fault.detail = format!(
        "the row is fine, but it cannot be translated{}: {}",
        block.map(|block| format!(" by block {}", block.label())).unwrap_or_default(),
        error
    );
    WriteError::refused(Refusal::Translation, fault)
}

fn fault(
    model: &WriteModel,
    request: &Request,
    (operation, row): (Option<usize>, Option<usize>),
    error: &DatabaseError,
) -> Fault {
    let found = operation.and_then(|number| request.operations.get(number));
    let table = found.and_then(|operation| model.tables.get(operation.table)).map(|table| table.table.shown());
    let pointer = match (operation, row.and_then(|row| found?.rows.get(row))) {
        (_, Some(row)) => row.pointer.clone(),
        (Some(number), None) => format!("/operations/{number}"),
        (None, None) => String::new(),
    };
    Fault {
        operation,
        row,
        pointer,
        table: error.table_name().or(table),
        column: error.column_name(),
        constraint: error.constraint_name(),
        block: None,
        detail: error.to_string(),
    }
}
