//! SQLite's word on a query: prepared on a connection that only reads, with the authorizer noting what it touches.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use super::CheckError;
use super::inspect::{Described, Reads, Refusal};
use crate::sql::catalogue::{Column, KeyKind, Table};
use crate::sql::effective::subquery;
use crate::sql::names::quoted;

/// Table and column of each read.
type Touched = Arc<Mutex<Vec<(String, String)>>>;

/// A connection of its own to the application's file; it never writes.
pub struct SqliteInspector {
    connection: Connection,
    touched: Touched,
}

impl SqliteInspector {
    pub fn open(path: &Path) -> Result<Self, CheckError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        // Otherwise a mistyped "column" is quietly a string.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        let touched = Touched::default();
        let noted = Arc::clone(&touched);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if let AuthAction::Read { table_name, column_name } = context.action
                // A table of which no column is read comes as it was written, mostly without its database.
                && (context.database_name == Some("main") || column_name.is_empty())
            {
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.push((table_name.to_owned(), column_name.to_owned()));
            }
            Authorization::Allow
        }))?;
        Ok(Self { connection, touched })
    }

    pub fn describe(&mut self, sql: &str, changed: Option<&Table>) -> Result<Result<Described, Refusal>, CheckError> {
        if let Some(table) = changed {
            // The temporary database is the connection's own, so this writes nothing to the file.
            let create = format!("CREATE TEMP TABLE changed AS SELECT * FROM main.{} WHERE 0", table.sql_name());
            self.connection.execute_batch(&create)?;
        }
        let described = self.described(sql);
        if changed.is_some() {
            self.connection.execute_batch("DROP TABLE temp.changed")?;
        }
        described
    }

    fn described(&self, sql: &str) -> Result<Result<Described, Refusal>, CheckError> {
        self.forget();
        let names: Vec<String> = match self.connection.prepare(sql) {
            Err(error) => return refusal(error).map(Err),
            Ok(statement) if !statement.readonly() => return Ok(Err(Refusal::new("the query writes"))),
            Ok(statement) if statement.column_count() == 0 || statement.is_explain() != 0 => {
                return Ok(Err(Refusal::new("the query is not a SELECT")));
            }
            Ok(statement) if statement.parameter_count() > 0 => {
                let name = statement.parameter_name(1).unwrap_or("?").to_owned();
                return Ok(Err(Refusal::new(&format!("there is no parameter {name}"))));
            }
            Ok(statement) => statement.column_names().into_iter().map(str::to_owned).collect(),
        };
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|other| other.eq_ignore_ascii_case(name)) {
                return Ok(Err(Refusal::new(&format!("column \"{name}\" is returned twice"))));
            }
        }
        let touched = self.forget();
        // Generated SQL uses the query as a subquery; PRAGMA and the like cannot be one.
        if let Err(error) = self.connection.prepare(&format!("SELECT * FROM {} q", subquery(sql))) {
            return refusal(error).map(Err);
        }
        let columns = names.into_iter().map(|name| Column {
            name,
            data_type: String::new(),
            base_type: String::new(),
            not_null: false,
            has_default: false,
            generated: false,
            is_minted: false,
            is_exact: true,
            collation: None,
            is_ordered: true,
            kind: KeyKind::Other,
        });
        let columns = columns.collect();
        Ok(Ok(Described { columns, reads: self.tables_among(touched)? }))
    }

    /// What has been noted since the last call.
    fn forget(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves views out: the tables below them are noted too.
    fn tables_among(&self, touched: Vec<(String, String)>) -> Result<Reads, CheckError> {
        let mut statement =
            self.connection.prepare("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type <> 'view'")?;
        let tables: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        self.forget();
        let mut reads = Reads::new();
        for (table, column) in touched {
            let real = tables.iter().find(|real| real.eq_ignore_ascii_case(&table));
            if let Some(real) = real.filter(|real| !real.starts_with("sqlite_")) {
                let columns = reads.entry(quoted(real)).or_default();
                columns.extend((!column.is_empty()).then_some(column));
            }
        }
        Ok(reads)
    }

    /// Prepares a statement that writes, which checks its names and ON CONFLICT.
    pub fn try_write(&mut self, sql: &str) -> Result<(), Refusal> {
        let prepared = self.connection.prepare(sql).map(drop);
        self.forget();
        prepared.map_err(|error| Refusal::new(&message_of(&error)))
    }
}

/// The error as a refusal of the query, unless it is about the file.
fn refusal(error: rusqlite::Error) -> Result<Refusal, CheckError> {
    use rusqlite::ffi::ErrorCode;
    let is_of_the_file = !matches!(
        error.sqlite_error_code(),
        None | Some(ErrorCode::Unknown | ErrorCode::AuthorizationForStatementDenied | ErrorCode::TooBig)
    );
    if is_of_the_file {
        return Err(CheckError::Sqlite(error));
    }
    Ok(Refusal::new(&message_of(&error)))
}

fn message_of(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::MultipleStatement => String::from("there is more than one statement"),
        other => other.to_string(),
    }
}
