//! What a comparison would say before anything is installed: temporary tables stand in front of the targets and are filled instead.
//! The application's tables are only read, so nobody waits and nothing stays.

use super::compare::{CompareError, CompareRequest, CompareWatcher, Compared, compare};
use super::error::TranslationError;
use super::own::{are_tables_there, find_change};
use super::resolve::resolve;
use super::what_if_shadow::{refuse_hidden_reads, shadow};
use crate::change::{Allocation, ChangeFile, Direction};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::basis;
use crate::sql::expected::cannot_divide_sqlite;
use crate::sql::keys::{KeyRange, Keys};
use crate::sql::model::{BlockModel, ChangeModel, TableModel, trimmed};
use crate::sql::names::quoted;
use crate::sql::postgres;
use crate::sql::statements::{delete_unexpected, upsert_expected};

/// Refuses a row, as `changeover.refuse` does where something is installed.
const REFUSE: &str = "pg_temp.changeover_refuse";

/// Compares the old allocation with the one that the change file's blocks would make of today's rows.
///
/// Nothing stays behind, no row of the application is locked, and a role that may only read is enough; on PostgreSQL it also needs the
/// right to make temporary tables. A change that is installed already is compared as the file would make it.
///
/// # Errors
/// What [`compare`] refuses, an installed change that leaves closed periods alone (its tables say what is, so compare those), a query that
/// names a target by its schema or through a view, and a block that the database refuses to fill.
pub fn what_if(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    request: &CompareRequest<'_>,
    watcher: &mut dyn CompareWatcher,
) -> Result<Compared, CompareError> {
    match connection.dialect() {
        Dialect::Postgres => {
            refuse_without_temporary_tables(connection)?;
            connection.in_rolled_back_transaction(|connection| {
                connection.batch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
                look(connection, file, request, watcher)
            })
        }
        Dialect::Sqlite => {
            // The parents of a temporary table's foreign keys would have to be temporary as well.
            let checks = connection.get_row("SELECT foreign_keys AS checks FROM pragma_foreign_keys", &[])?;
            connection.batch("PRAGMA foreign_keys = OFF")?;
            let compared = connection.in_snapshot(|connection| look(connection, file, request, watcher));
            if checks.integer("checks")? != 0 {
                connection.batch("PRAGMA foreign_keys = ON")?;
            }
            compared
        }
    }
}

/// The newest periods that have charges, as the charges query prints them.
///
/// # Errors
/// The query fails.
pub fn newest_periods(
    connection: &mut DatabaseConnection,
    allocation: &Allocation,
    count: u32,
) -> Result<Vec<String>, DatabaseError> {
    let sql = format!(
        "SELECT DISTINCT CAST(c.period AS text) AS period FROM (\n{}\n) c WHERE c.period IS NOT NULL ORDER BY 1 DESC LIMIT {count}",
        trimmed(&allocation.charges.value)
    );
    connection.query(&sql, &[])?.iter().map(|row| row.text("period")).collect()
}

fn refuse_without_temporary_tables(connection: &mut DatabaseConnection) -> Result<(), CompareError> {
    let sql = "SELECT pg_is_in_recovery() AS standby, has_database_privilege(current_database(), 'TEMP') AS granted, \
               current_user::text AS role, current_database()::text AS database";
    let row = connection.get_row(sql, &[])?;
    if row.boolean("standby")? {
        return Err(unsupported(String::from(
            "what-if fills temporary tables, which a standby cannot have: name its primary, or a copy, in the URL",
        )));
    }
    if !row.boolean("granted")? {
        let (role, database) = (row.text("role")?, row.text("database")?);
        return Err(unsupported(format!(
            "what-if fills temporary tables, which `{role}` may not make: GRANT TEMPORARY ON DATABASE {database} TO {role}"
        )));
    }
    Ok(())
}

pub(super) fn unsupported(what: String) -> CompareError {
    CompareError::Translation(TranslationError::Unsupported(what))
}

fn look(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    request: &CompareRequest<'_>,
    watcher: &mut dyn CompareWatcher,
) -> Result<Compared, CompareError> {
    let is_installed = are_tables_there(connection)? && find_change(connection, &file.name)?.is_some();
    if is_installed && file.blocks.iter().any(|block| block.frozen.is_some()) {
        return Err(CompareError::Translation(TranslationError::AlreadyInstalled(file.name.clone())));
    }
    let mut model = resolve(connection, file)?;
    let mut targets: Vec<TableModel> = Vec::new();
    for block in model.blocks_of(Direction::Forward) {
        if !targets.contains(&block.target) {
            targets.push(block.target.clone());
        }
    }
    // From here on the bare name of a target means what stands in front of it.
    for block in &mut model.blocks {
        for table in [&mut block.target, &mut block.driving.table] {
            if targets.iter().any(|target| target.sql == table.sql) {
                table.sql = quoted(&table.name);
            }
        }
    }
    refuse_hidden_reads(connection, file, (&model, &targets))?;
    for target in &targets {
        shadow(connection, target)?;
    }
    fill(connection, &mut model)?;
    compare(connection, &CompareRequest { use_effective_view: false, ..request.clone() }, watcher)
}

/// Fills the temporary tables, a block after the other, as backfills fill the targets.
fn fill(connection: &mut DatabaseConnection, model: &mut ChangeModel) -> Result<(), CompareError> {
    let zone = match (model.dialect, &model.time_zone) {
        (Dialect::Postgres, Some(zone)) => Some(set_time_zone(connection, zone)?),
        _ => None,
    };
    if model.dialect == Dialect::Postgres {
        for statement in postgres::shared_objects().iter().filter(|text| text.contains("FUNCTION changeover.refuse(")) {
            connection.batch(&statement.replace("changeover.refuse(", &format!("{REFUSE}(")))?;
        }
    }
    for block in model.blocks.iter_mut().filter(|block| block.id.direction == Direction::Forward) {
        create_basis(connection, block)?;
        fill_block(connection, block)?;
    }
    if let Some(zone) = zone {
        set_time_zone(connection, &zone)?;
    }
    Ok(())
}

/// Makes the block's table of bases, empty: nothing is frozen yet, but reversals are divided over what they reverse.
fn create_basis(connection: &mut DatabaseConnection, block: &mut BlockModel) -> Result<(), CompareError> {
    let (dialect, query) = (connection.dialect(), block.query());
    let Some(basis) = &mut block.basis else { return Ok(()) };
    basis.is_there = true;
    let name = match dialect {
        Dialect::Postgres => quoted(&basis.name),
        Dialect::Sqlite => basis::table(dialect, basis),
    };
    Ok(connection.batch(&format!("CREATE TEMP TABLE {name} AS SELECT q.* FROM (\n{query}\n) q WHERE 1 = 0"))?)
}

/// A statement with what is ours in its temporary form.
fn temporary(block: &BlockModel, dialect: Dialect, statement: &str) -> String {
    let statement = statement.replace("changeover.refuse(", &format!("{REFUSE}("));
    match (dialect, &block.basis) {
        (Dialect::Postgres, Some(basis)) => {
            statement.replace(&basis::table(dialect, basis), &format!("pg_temp.{}", quoted(&basis.name)))
        }
        _ => statement,
    }
}

/// Sets it for the transaction, and returns what it was.
fn set_time_zone(connection: &mut DatabaseConnection, zone: &str) -> Result<String, CompareError> {
    let before = connection.get_row("SELECT current_setting('TimeZone') AS zone", &[])?.text("zone")?;
    connection.query("SELECT set_config('TimeZone', $1, true) AS zone", &[Value::from(zone)])?;
    Ok(before)
}

fn fill_block(connection: &mut DatabaseConnection, block: &BlockModel) -> Result<(), CompareError> {
    let dialect = connection.dialect();
    let everything = KeyRange::Between { after: None, until: None };
    let keys = Keys::Range(&everything);
    if dialect == Dialect::Sqlite
        && let Some(cannot) = cannot_divide_sqlite(block, keys)
        && connection.get_row(&format!("SELECT {cannot} AS cannot"), &[])?.integer("cannot")? != 0
    {
        return Err(unsupported(format!(
            "block {}: an amount cannot be divided exactly: `changeover change check` says which weights and amounts can",
            block.label()
        )));
    }
    let statements =
        delete_unexpected(block, dialect, keys).into_iter().chain([upsert_expected(block, dialect, keys, "1 = 1")]);
    for statement in statements {
        connection.batch(&temporary(block, dialect, &statement))?;
    }
    if dialect == Dialect::Postgres {
        // The planner believes that a table which was filled a moment ago is empty.
        connection.batch(&format!("ANALYZE {}", block.target.sql))?;
    }
    Ok(())
}
