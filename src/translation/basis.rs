//! The stored basis of a division: what a frozen key's amount is divided over, whoever has joined or left since. Here its tables are made,
//! brought to another shape and filled; how rows are divided by them stands in `sql::basis`.

use std::time::Duration;

use crate::change::{ChangeFile, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::primitives::ChangeName;
use crate::sql::basis::{self, BasisModel, kept};
use crate::sql::basis_legacy::{fill_new_columns, record_from_target};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::names::{own, quoted};

use super::own::{are_tables_there, find_change};

/// Attempts to have a block's lock, so many times for 400 ms: less than it takes PostgreSQL to look for a deadlock, so that it is never the
/// application's writer who has to give way.
const LOCK_ATTEMPTS: u32 = 50;

/// Records the basis of every frozen key that has none, and returns how many rows that were. Set-based, and may be run again: a basis that
/// is there stays as it is. Run it in the transaction that closes a period, after the open period is set.
///
/// On PostgreSQL it first waits for the transactions that are translating rows of the block, and keeps new ones waiting until its own has
/// ended: a charge that is written at that moment is frozen with its basis, or is not frozen.
pub fn record_frozen(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<u64, DatabaseError> {
    let mut rows: u64 = 0;
    for block in &model.blocks {
        let Some(sql) = basis::record_all(block, model.dialect) else { continue };
        if let (Dialect::Postgres, Some(lock)) = (model.dialect, basis::lock_postgres(model, block)) {
            wait_for_writers(connection, &lock)?;
        }
        rows = rows.saturating_add(u64::try_from(connection.execute(&sql, &[])?).unwrap_or(0));
    }
    Ok(rows)
}

fn wait_for_writers(connection: &mut DatabaseConnection, lock: &str) -> Result<(), DatabaseError> {
    let before = connection.get_row("SELECT current_setting('lock_timeout') AS value", &[])?.text("value")?;
    let mut attempt = 1;
    loop {
        connection.batch("SAVEPOINT changeover_basis; SET LOCAL lock_timeout = '400ms'")?;
        match connection.batch(lock) {
            Ok(()) => break,
            Err(error) if error.is_retryable() && attempt < LOCK_ATTEMPTS => {
                connection.batch("ROLLBACK TO SAVEPOINT changeover_basis")?;
                std::thread::sleep(Duration::from_millis(20));
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
    connection.query("SELECT set_config('lock_timeout', $1, true)", &[Value::from(before)])?;
    connection.batch("RELEASE SAVEPOINT changeover_basis")
}

/// The tables of bases that a change has, by name without prefix or schema.
pub(super) fn tables(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Vec<String>, DatabaseError> {
    let dialect = connection.dialect();
    let sql = match dialect {
        Dialect::Postgres => {
            "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'changeover' AND tablename ~ $1 ORDER BY 1"
        }
        Dialect::Sqlite => {
            "SELECT substr(name, 12) AS name FROM sqlite_master WHERE type = 'table' AND name GLOB $1 ORDER BY 1"
        }
    };
    connection
        .query(sql, &[Value::from(basis::name_pattern(dialect, change))])?
        .iter()
        .map(|row: &Row| row.text("name"))
        .collect()
}

/// The tables of bases that a change has or, before it is installed, will have.
pub(super) fn is_kept(connection: &mut DatabaseConnection, file: &ChangeFile) -> Result<KeptTables, DatabaseError> {
    let is_installed = are_tables_there(connection)? && {
        let sql = format!("SELECT count(*) AS n FROM {} WHERE name = $1", own(connection.dialect(), "change"));
        connection.get_row(&sql, &[Value::from(file.name.as_str())])?.integer("n")? > 0
    };
    Ok(if is_installed { KeptTables::These(tables(connection, &file.name)?) } else { KeptTables::All })
}

/// Which tables of bases are there.
pub(super) enum KeptTables {
    /// The change is not installed: all that it asks for will be.
    All,
    These(Vec<String>),
}

impl KeptTables {
    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|there| there == name),
        }
    }
}

/// The model as it will be once [`prepare`] has run.
#[must_use]
pub(super) fn prepared(model: &ChangeModel) -> ChangeModel {
    let mut model = model.clone();
    for basis in model.blocks.iter_mut().filter_map(|block| block.basis.as_mut()) {
        basis.is_there = true;
    }
    model
}

/// Statements that make the tables of a change that is not installed yet.
#[must_use]
pub(super) fn create(model: &ChangeModel) -> Vec<String> {
    model.blocks.iter().flat_map(|block| basis::create(model.dialect, block)).collect()
}

/// Makes the tables that an installed change lacks, and gives those that it has the columns of the new file's queries. What is stored stays.
///
/// A table that is made now is filled for the periods that are closed already: from the allocation as it stands, which is what was billed.
pub(super) fn prepare(
    connection: &mut DatabaseConnection,
    (old, new): (Option<&ChangeModel>, &ChangeModel),
) -> Result<(), super::error::TranslationError> {
    let there = tables(connection, &new.name)?;
    let stage = find_change(connection, &new.name)?.map_or(Stage::Off, |change| change.stage);
    for block in &new.blocks {
        let Some(basis) = kept(block) else { continue };
        if there.contains(&basis.name) {
            let before = old.and_then(|old| {
                old.blocks.iter().find(|known| known.basis.as_ref().is_some_and(|known| known.name == basis.name))
            });
            reshape(connection, (before, block), basis)?;
            continue;
        }
        for statement in basis::create(new.dialect, block) {
            connection.batch(&statement)?;
        }
        if let (true, Some(record)) = (stage.translates_forward(), record_from_target(block, new.dialect)) {
            connection.execute(&record, &[])?;
        }
    }
    Ok(())
}

/// Gives a table the columns that the query yields now.
fn reshape(
    connection: &mut DatabaseConnection,
    (old, new): (Option<&BlockModel>, &BlockModel),
    basis: &BasisModel,
) -> Result<(), DatabaseError> {
    let dialect = connection.dialect();
    let table = basis::table(dialect, basis);
    let mut there = columns_of(connection, &format!("SELECT * FROM {table}"))?;
    for (before, now) in old.iter().flat_map(|old| old.key.iter().zip(&new.key)) {
        if before != now && !there.iter().any(|(name, _)| name == now) {
            connection.batch(&format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", quoted(before), quoted(now)))?;
        }
    }
    there = columns_of(connection, &format!("SELECT * FROM {table}"))?;
    let mut added: Vec<String> = Vec::new();
    for (name, data_type) in columns_of(connection, &new.query())? {
        match there.iter().find(|(known, _)| *known == name) {
            None => {
                connection.batch(&format!("ALTER TABLE {table} ADD COLUMN {} {data_type}", quoted(&name)))?;
                added.push(name);
            }
            Some((_, known)) if dialect == Dialect::Postgres && *known != data_type => {
                let column = quoted(&name);
                connection.batch(&format!(
                    "ALTER TABLE {table} ALTER COLUMN {column} TYPE {data_type} USING {column}::{data_type}"
                ))?;
            }
            Some(_) => {}
        }
    }
    if !added.is_empty() {
        connection.execute(&fill_new_columns(new, basis, dialect, &added), &[])?;
    }
    for suffix in ["key", "row"] {
        let index = match dialect {
            Dialect::Postgres => own(dialect, &format!("{}_{suffix}", basis.name)),
            Dialect::Sqlite => quoted(&format!("changeover_{}_{suffix}", basis.name)),
        };
        connection.batch(&format!("DROP INDEX IF EXISTS {index}"))?;
    }
    basis::create(dialect, new).iter().skip(1).try_for_each(|statement| connection.batch(statement))
}

/// A query's result columns with their types.
fn columns_of(connection: &mut DatabaseConnection, query: &str) -> Result<Vec<(String, String)>, DatabaseError> {
    let list = match connection.dialect() {
        Dialect::Postgres => {
            "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute \
             WHERE attrelid = 'pg_temp.changeover_shape'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        }
        Dialect::Sqlite => "SELECT name, type FROM pragma_table_info('changeover_shape') ORDER BY cid",
    };
    connection.batch(&format!("CREATE TEMP VIEW changeover_shape AS\n{query}"))?;
    let columns = connection.query(list, &[])?.iter().map(|row| Ok((row.text("name")?, row.text("type")?))).collect();
    let dropped = match connection.dialect() {
        Dialect::Postgres => connection.batch("DROP VIEW pg_temp.changeover_shape"),
        Dialect::Sqlite => connection.batch("DROP VIEW temp.changeover_shape"),
    };
    dropped.and(columns)
}

/// Statements that remove a change's tables.
pub(super) fn drop_tables(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Vec<String>, DatabaseError> {
    let dialect = connection.dialect();
    Ok(tables(connection, change)?.iter().map(|name| format!("DROP TABLE IF EXISTS {}", own(dialect, name))).collect())
}
