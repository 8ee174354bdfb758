//! What a comparison would say before anything is installed: the new model is filled in a transaction that is always rolled back.

use super::backfill_batch::fill_in_transaction;
use super::basis;
use super::compare::{CompareError, CompareRequest, CompareWatcher, Compared, compare};
use super::error::TranslationError;
use super::own::{are_tables_there, create_tables, find_change};
use super::resolve::resolve;
use crate::change::ChangeFile;
use crate::database::{DatabaseConnection, Dialect};
use crate::sql::model::ChangeModel;
use crate::sql::{postgres, sqlite};

/// Compares the old allocation with the one that the change file's blocks would make of today's rows.
///
/// Nothing stays behind. While it runs, other writers of an SQLite file wait, and on PostgreSQL writers wait that change or delete
/// rows which a block is computed from: on a busy database run it on a copy.
///
/// # Errors
/// What [`compare`] refuses, a change that is installed already (its tables say what is, so compare those), and a block that the
/// database refuses to fill.
pub fn what_if(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    request: &CompareRequest<'_>,
    watcher: &mut dyn CompareWatcher,
) -> Result<Compared, CompareError> {
    if find_change(connection, &file.name)?.is_some() {
        return Err(CompareError::Translation(TranslationError::AlreadyInstalled(file.name.clone())));
    }
    let model = resolve(connection, file)?;
    connection.in_rolled_back_transaction(|connection| {
        fill(connection, &model)?;
        compare(connection, &CompareRequest { use_effective_view: false, ..request.clone() }, watcher)
    })
}

/// Creates what refreshes need, but no trigger, and fills every target.
fn fill(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<(), CompareError> {
    let mut statements = Vec::new();
    if model.dialect == Dialect::Postgres {
        statements.extend(postgres::shared_objects());
    }
    if !are_tables_there(connection)? {
        statements.extend(create_tables(model.dialect));
    }
    statements.extend(basis::create(model));
    statements.extend(match model.dialect {
        Dialect::Postgres => postgres::block_functions(model),
        Dialect::Sqlite => sqlite::block_objects(model),
    });
    for statement in &statements {
        connection.batch(statement)?;
    }
    fill_in_transaction(connection, model)?;
    if model.dialect == Dialect::Postgres {
        // The planner believes that tables which were filled a moment ago are empty.
        for block in &model.blocks {
            connection.batch(&format!("ANALYZE {}", block.target.sql))?;
        }
    }
    Ok(())
}
