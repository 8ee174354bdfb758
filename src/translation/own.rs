//! Changeover's own tables in the application's database: which changes are installed and how far they are.

use crate::change::{ChangeFile, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::closed;
use crate::sql::names::{literal, own};
use crate::sql::{old_path, pending};

use super::basis::record_frozen;
use super::closing;
use super::error::TranslationError;
use super::file_history::without_file;
use super::laws::create_laws_table;
use super::pause::get_running;
use super::ranges;
use super::resolve::resolve;
use super::writes::idempotency;
use super::{audit, objects};

/// A change as the application's database knows it.
#[derive(Debug, Clone)]
pub struct InstalledChange {
    pub name: ChangeName,
    pub title: String,
    pub file: ChangeFile,
    pub stage: Stage,
    /// The first period that is not closed; empty while none has been closed.
    pub open_period: String,
    pub installed_at: Instant,
    pub stage_at: Instant,
}

/// One row of a change's history.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HistoryEntry {
    pub at: Instant,
    pub actor: String,
    pub action: String,
    pub detail: String,
}

/// Who does something, when, and why.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    pub actor: &'a str,
    pub at: Instant,
    pub reason: &'a str,
}

/// Tables whose rows a change takes with it, each with a column `change`.
pub(super) const BY_CHANGE: [&str; 15] = [
    "closed_allocation",
    "closed_period",
    "coverage",
    "object",
    "laws",
    "old_path",
    "idempotency",
    "range",
    "drift",
    "sentinel",
    "gap",
    "pending",
    "verification",
    "backfill_range",
    "backfill",
];

/// Those of them whose rows are of one block, with a column `block`.
pub(super) const BY_BLOCK: [&str; 6] = ["range", "drift", "sentinel", "pending", "verification", "backfill"];

/// Statements that create the tables that all changes share; each may be run again, and creates what an earlier version lacks.
#[must_use]
pub fn create_tables(dialect: Dialect) -> Vec<String> {
    let table = |name: &str, columns: &str| format!("CREATE TABLE IF NOT EXISTS {} ({columns})", own(dialect, name));
    let mut statements = first_tables(dialect, &table);
    statements.extend(pending::create(dialect));
    statements.extend(ranges::tables(dialect).iter().map(|(name, columns)| table(name, columns)));
    statements.extend(idempotency::create(dialect));
    statements.push(create_laws_table(dialect));
    statements.push(old_path::table(dialect));
    statements.push(objects::create_table(dialect));
    statements.push(audit::create_table(dialect));
    statements.push(table("closed_allocation", closed::allocation_columns(dialect)));
    statements.push(closed::index(dialect));
    statements.push(table("closed_period", closed::PERIOD_COLUMNS));
    statements
}

fn first_tables(dialect: Dialect, table: &dyn Fn(&str, &str) -> String) -> Vec<String> {
    vec![
        table(
            "change",
            "name TEXT PRIMARY KEY, title TEXT NOT NULL, file TEXT NOT NULL, stage TEXT NOT NULL, \
             open_period TEXT NOT NULL DEFAULT '', installed_at BIGINT NOT NULL, stage_at BIGINT NOT NULL",
        ),
        table(
            "change_history",
            &format!(
                "id {}, change TEXT NOT NULL, at BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL",
                match dialect {
                    Dialect::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                    Dialect::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
                }
            ),
        ),
        table(
            "backfill",
            "change TEXT NOT NULL, block TEXT NOT NULL, last_key TEXT, keys_done BIGINT NOT NULL, finished BIGINT NOT NULL, \
             started_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (change, block)",
        ),
        table("backfill_range", BACKFILL_RANGE),
        table(
            "verification",
            "change TEXT NOT NULL, block TEXT NOT NULL, started_at BIGINT NOT NULL, finished_at BIGINT NOT NULL, keys BIGINT NOT NULL, \
             missing BIGINT NOT NULL, extra BIGINT NOT NULL, differing BIGINT NOT NULL, PRIMARY KEY (change, block)",
        ),
    ]
}

/// Creates those of Changeover's tables that an installation made by an earlier version lacks.
pub fn create_missing_tables(connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
    create_tables(connection.dialect()).iter().try_for_each(|statement| connection.batch(statement))
}

/// A part of a block's keys in a backfill: those after `after_key` (NULL: from the first) up to `until_key` (NULL: to the last), filled up to
/// `last_key` (NULL: nothing yet). Its row's lock is the claim of the worker that fills it.
pub(super) const BACKFILL_RANGE: &str = "change TEXT NOT NULL, block TEXT NOT NULL, number BIGINT NOT NULL, after_key TEXT, until_key TEXT, \
     last_key TEXT, keys_done BIGINT NOT NULL, finished BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (change, block, number)";

/// Statements that remove what [`create_tables`] made, once no change is left.
#[must_use]
pub fn drop_tables(dialect: Dialect) -> Vec<String> {
    let tables = BY_CHANGE.iter().chain(&["gap_mark", "change_history", "change"]);
    tables.map(|table| format!("DROP TABLE IF EXISTS {}", own(dialect, table))).collect()
}

/// A scalar subquery for `:open_period`.
#[must_use]
pub fn open_period_sql(dialect: Dialect, change: &ChangeName) -> String {
    format!("(SELECT open_period FROM {} WHERE name = {})", own(dialect, "change"), literal(change.as_str()))
}

/// True if Changeover's tables are there.
pub fn are_tables_there(connection: &mut DatabaseConnection) -> Result<bool, DatabaseError> {
    is_table_there(connection, "change")
}

/// True if one of Changeover's tables is there: an installation made by an earlier version may lack it.
pub fn is_table_there(connection: &mut DatabaseConnection, table: &str) -> Result<bool, DatabaseError> {
    let (sql, name) = match connection.dialect() {
        Dialect::Postgres => ("SELECT to_regclass($1) IS NOT NULL AS there", own(Dialect::Postgres, table)),
        Dialect::Sqlite => (
            "SELECT count(*) AS there FROM sqlite_master WHERE type = 'table' AND name = $1",
            format!("changeover_{table}"),
        ),
    };
    connection.get_row(sql, &[Value::from(name)])?.boolean("there")
}

/// All installed changes, by name.
pub fn list_changes(connection: &mut DatabaseConnection) -> Result<Vec<InstalledChange>, TranslationError> {
    if !are_tables_there(connection)? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT * FROM {} ORDER BY name", own(connection.dialect(), "change"));
    connection.query(&sql, &[])?.iter().map(installed_change).collect()
}

/// An installed change, if there is one of that name.
pub fn find_change(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
) -> Result<Option<InstalledChange>, TranslationError> {
    if !are_tables_there(connection)? {
        return Ok(None);
    }
    let sql = format!("SELECT * FROM {} WHERE name = $1", own(connection.dialect(), "change"));
    connection.find_row(&sql, &[Value::from(name.as_str())])?.as_ref().map(installed_change).transpose()
}

/// An installed change; an error that says what is installed if there is none of that name.
pub fn get_change(connection: &mut DatabaseConnection, name: &ChangeName) -> Result<InstalledChange, TranslationError> {
    if let Some(found) = find_change(connection, name)? {
        return Ok(found);
    }
    let installed = list_changes(connection)?.iter().map(|change| change.name.to_string()).collect();
    Err(TranslationError::NotInstalled { name: name.clone(), installed })
}

/// [`get_change`], holding the change's row until the transaction ends: stage moves, uninstalls and closings of one change wait for one another.
pub fn lock_change(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
) -> Result<InstalledChange, TranslationError> {
    if connection.dialect() == Dialect::Postgres && are_tables_there(connection)? {
        connection
            .query("SELECT name FROM changeover.change WHERE name = $1 FOR UPDATE", &[Value::from(name.as_str())])?;
    }
    get_change(connection, name)
}

/// Closes every period before `open_period`. Periods never open again. Run it in a transaction, or use [`closing::close`].
pub fn close_before(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
    open_period: &str,
    deed: Deed<'_>,
) -> Result<InstalledChange, TranslationError> {
    let change = lock_change(connection, name)?;
    if change.open_period.as_str() > open_period {
        return Err(TranslationError::PeriodsStayClosed { open: change.open_period, asked: open_period.to_owned() });
    }
    if change.stage.translates_forward() {
        // What closes is recorded as it stands: it must be all there.
        get_running(connection, name)?;
        let count = super::pending::count(connection, name)?;
        if count > 0 {
            return Err(TranslationError::KeysPending { name: change.name, count });
        }
    }
    let sql = format!("UPDATE {} SET open_period = $1 WHERE name = $2", own(connection.dialect(), "change"));
    connection.execute(&sql, &[Value::from(open_period), Value::from(name.as_str())])?;
    // Once a change is complete its old tables may be gone, and nothing is divided any more.
    if change.stage != Stage::Complete {
        let model = resolve(connection, &change.file)?;
        record_frozen(connection, &model)?;
        closing::record(connection, &change, open_period, deed)?;
    }
    record(
        connection,
        name,
        deed,
        "close",
        &serde_json::json!({ "open_period": open_period, "before": change.open_period }),
    )?;
    get_change(connection, name)
}

/// Appends to a change's history. The deed's reason goes into the detail.
pub fn record(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
    deed: Deed<'_>,
    action: &str,
    detail: &serde_json::Value,
) -> Result<(), DatabaseError> {
    let mut detail = detail.clone();
    if let (Some(object), false) = (detail.as_object_mut(), deed.reason.is_empty()) {
        object.insert(String::from("reason"), deed.reason.into());
    }
    let sql = format!(
        "INSERT INTO {} (change, at, actor, action, detail) VALUES ($1, $2, $3, $4, $5)",
        own(connection.dialect(), "change_history")
    );
    connection.execute(
        &sql,
        &[
            Value::from(name.as_str()),
            Value::from(deed.at.as_micros()),
            Value::from(deed.actor),
            Value::from(action),
            Value::from(detail.to_string()),
        ],
    )?;
    Ok(())
}

/// A change's history, oldest first.
pub fn history(connection: &mut DatabaseConnection, name: &ChangeName) -> Result<Vec<HistoryEntry>, DatabaseError> {
    let sql = format!(
        "SELECT at, actor, action, detail FROM {} WHERE change = $1 ORDER BY id",
        own(connection.dialect(), "change_history")
    );
    let rows = connection.query(&sql, &[Value::from(name.as_str())])?;
    rows.iter()
        .map(|row| {
            Ok(HistoryEntry {
                at: Instant::from_micros(row.integer("at")?),
                actor: row.text("actor")?,
                action: row.text("action")?,
                detail: without_file(row.text("detail")?),
            })
        })
        .collect()
}

fn installed_change(row: &Row) -> Result<InstalledChange, TranslationError> {
    let name = row.text("name")?;
    let file = ChangeFile::parse(&row.text("file")?)
        .map_err(|mistakes| TranslationError::StoredFile { name: name.clone(), mistakes })?;
    let stage = row.text("stage")?;
    Ok(InstalledChange {
        name: file.name.clone(),
        title: row.text("title")?,
        stage: stage.parse().map_err(|source| TranslationError::StoredStage { name, source })?,
        file,
        open_period: row.text("open_period")?,
        installed_at: Instant::from_micros(row.integer("installed_at")?),
        stage_at: Instant::from_micros(row.integer("stage_at")?),
    })
}
