//! Installing and uninstalling a change: a plan of statements as data, and the one runner that executes it.

use std::time::Duration;

use serde::Serialize;

use crate::change::{ChangeFile, Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::model::ChangeModel;
use crate::sql::names::own;
use crate::sql::pending::Work;
use crate::sql::{assignment, effective, postgres, sqlite};

use super::basis;
use super::error::TranslationError;
use super::file_history::FILE;
use super::objects;
use super::overlap::refuse_overlaps;
use super::own::{
    BY_CHANGE, Deed, InstalledChange, are_tables_there, create_missing_tables, create_tables, drop_tables, get_change,
    list_changes, lock_change, record,
};
use super::resolve::resolve;

/// One statement and what it is for.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub what: String,
    pub sql: String,
}

/// Attempts to get the locks of the source tables, half a second each.
const LOCK_ATTEMPTS: u32 = 20;

/// Everything that `install` will run, in order.
pub fn plan(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
) -> Result<Vec<Step>, TranslationError> {
    let dialect = connection.dialect();
    refuse_second(connection, model, file)?;
    let mut steps = Vec::new();
    let mut add = |what: &str, statements: Vec<String>| {
        steps.extend(statements.into_iter().map(|sql| Step { what: what.to_owned(), sql }));
    };
    if dialect == Dialect::Postgres {
        add("schema of Changeover's own objects", postgres::shared_objects());
    }
    if !are_tables_there(connection)? {
        add("Changeover's own tables", create_tables(dialect));
        add("tables of assignments", assignment::create(dialect));
    }
    add("what divisions of frozen keys are based on", basis::create(model));
    if let Some(allocation) = &file.allocation {
        add("view of the effective allocation", effective::create(dialect, &model.name, allocation));
    }
    match dialect {
        Dialect::Postgres => {
            add("functions that refresh the rows of a block", postgres::block_functions(model));
            for direction in [Direction::Forward, Direction::Backward] {
                add(
                    "trigger functions, doing nothing yet",
                    postgres::trigger_functions(model, direction, Work::Nothing),
                );
            }
            for direction in [Direction::Forward, Direction::Backward] {
                let triggers = postgres::triggers(model, direction);
                add("triggers", triggers.into_iter().map(|trigger| trigger.create).collect());
            }
        }
        Dialect::Sqlite => add("views that refresh the rows of a block", sqlite::block_objects(model)),
    }
    Ok(steps)
}

fn refuse_second(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
) -> Result<(), TranslationError> {
    if list_changes(connection)?.iter().any(|other| other.name == model.name) {
        return Err(TranslationError::AlreadyInstalled(model.name.clone()));
    }
    refuse_second_allocation(connection, model, file)?;
    refuse_overlaps(connection, model)
}

/// One application database has one effective allocation.
pub(super) fn refuse_second_allocation(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
) -> Result<(), TranslationError> {
    for other in list_changes(connection)? {
        if other.name != model.name && other.file.allocation.is_some() && file.allocation.is_some() {
            return Err(TranslationError::SecondAllocation { other: other.name });
        }
    }
    Ok(())
}

/// Installs a change at stage `off`, all or nothing. On PostgreSQL the triggers wait at most half a second for each table's lock;
/// then everything is rolled back, so that the application's writers pass, and tried again.
pub fn install(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
    deed: Deed<'_>,
) -> Result<InstalledChange, TranslationError> {
    with_lock_timeout(connection, |connection| {
        serialize_installs(connection)?;
        let statements: Vec<String> = plan(connection, model, file)?.into_iter().map(|step| step.sql).collect();
        objects::make(connection, &model.name, &statements)?;
        objects::note_tables(connection, model)?;
        let sql = format!(
            "INSERT INTO {} (name, title, file, stage, open_period, installed_at, stage_at) VALUES ($1, $2, $3, $4, '', $5, $6)",
            own(connection.dialect(), "change")
        );
        let at = Value::from(deed.at.as_micros());
        let stage = Stage::Off.as_str();
        let values = [
            model.name.as_str().into(),
            file.title.as_str().into(),
            file.text.as_str().into(),
            stage.into(),
            at.clone(),
            at,
        ];
        connection.execute(&sql, &values)?;
        let detail = serde_json::json!({ "title": file.title, FILE: file.text });
        record(connection, &model.name, deed, "install", &detail)?;
        get_change(connection, &model.name)
    })
}

/// Everything that `uninstall` will run, in order. The last change takes Changeover's own tables with it.
pub fn uninstall_plan(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
) -> Result<Vec<Step>, TranslationError> {
    let mut steps: Vec<Step> = Vec::new();
    let (what, statements) = match model.dialect {
        Dialect::Postgres => ("triggers and functions", postgres::drop_all(model)),
        Dialect::Sqlite => ("triggers and views", sqlite::drop_all(model)),
    };
    steps.extend(statements.into_iter().map(|sql| Step { what: what.to_owned(), sql }));
    steps.extend(rest_plan(connection, file)?);
    Ok(steps)
}

/// Everything that the removal of an installed change will run: of one that is complete, which has no triggers any more, and whose old
/// tables may be gone, what is left.
pub fn removal_plan(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
) -> Result<Vec<Step>, TranslationError> {
    if change.stage == Stage::Complete {
        return rest_plan(connection, &change.file);
    }
    let model = resolve(connection, &change.file)?;
    uninstall_plan(connection, &model, &change.file)
}

/// What a change has in the application's database beside triggers and functions.
fn rest_plan(connection: &mut DatabaseConnection, file: &ChangeFile) -> Result<Vec<Step>, TranslationError> {
    let dialect = connection.dialect();
    let is_last = list_changes(connection)?.len() <= 1;
    let mut steps = Vec::new();
    let mut add = |what: &str, statements: Vec<String>| {
        steps.extend(statements.into_iter().map(|sql| Step { what: what.to_owned(), sql }));
    };
    if file.allocation.is_some() {
        add("view of the effective allocation", effective::drop(dialect));
    }
    add("what divisions of frozen keys are based on", basis::drop_tables(connection, &file.name)?);
    if is_last {
        add("tables of assignments", assignment::drop(dialect));
        add("Changeover's own tables", drop_tables(dialect));
        if dialect == Dialect::Postgres {
            add(
                "schema of Changeover's own objects",
                vec![
                    String::from("DROP FUNCTION IF EXISTS changeover.refuse(text)"),
                    String::from("DROP SCHEMA IF EXISTS changeover"),
                ],
            );
        }
    } else {
        let name = crate::sql::names::literal(file.name.as_str());
        let tables = BY_CHANGE.iter().map(|table| (*table, "change")).chain([("change", "name")]);
        add(
            "the change's rows in Changeover's own tables",
            tables
                .map(|(table, column)| format!("DELETE FROM {} WHERE {column} = {name}", own(dialect, table)))
                .collect(),
        );
    }
    Ok(steps)
}

/// Removes a change that is at stage `off` or `complete`, all or nothing. The targets' rows stay: they are the application's.
///
/// Recorded assignments say who was billed how; they go with the last change only if `discard_assignments` says so.
pub fn uninstall(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    discard_assignments: bool,
) -> Result<Vec<Step>, TranslationError> {
    let change = get_change(connection, &model.name)?;
    remove(connection, &change, discard_assignments)
}

/// [`uninstall`] of a change whose old tables may be gone.
pub fn remove(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    discard_assignments: bool,
) -> Result<Vec<Step>, TranslationError> {
    with_lock_timeout(connection, |connection| {
        let installed = lock_change(connection, &change.name)?;
        if !matches!(installed.stage, Stage::Off | Stage::Complete) {
            return Err(TranslationError::WrongStage {
                name: installed.name,
                stage: installed.stage,
                what: "uninstalling",
                remedy: "move it back to `off` first, a step at a time",
            });
        }
        let sql = format!("SELECT count(*) AS n FROM {} WHERE change = $1", own(connection.dialect(), "assignment"));
        let assignments = connection.get_row(&sql, &[installed.name.as_str().into()])?.integer("n")?;
        if assignments > 0 && !discard_assignments {
            return Err(TranslationError::AssignmentsRecorded { name: installed.name, count: assignments });
        }
        create_missing_tables(connection)?;
        let steps = removal_plan(connection, &installed)?;
        for step in &steps {
            connection.batch(&step.sql)?;
        }
        Ok(steps)
    })
}

/// Two first installs at once would both find no tables; the second waits here until the first has committed.
fn serialize_installs(connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
    match connection.dialect() {
        Dialect::Postgres => connection.batch("SELECT pg_advisory_xact_lock(hashtext('changeover install'))"),
        Dialect::Sqlite => Ok(()),
    }
}

/// Runs `work` in a transaction that waits at most half a second for a lock, and again after a pause while it cannot have one.
pub(super) fn with_lock_timeout<T>(
    connection: &mut DatabaseConnection,
    mut work: impl FnMut(&mut DatabaseConnection) -> Result<T, TranslationError>,
) -> Result<T, TranslationError> {
    let mut attempt = 1;
    loop {
        let outcome = connection.in_transaction(|connection| {
            if connection.dialect() == Dialect::Postgres {
                connection.batch("SET LOCAL lock_timeout = '500ms'")?;
            }
            work(connection)
        });
        match outcome {
            Err(TranslationError::Database(error)) if error.is_retryable() => {
                if attempt == LOCK_ATTEMPTS {
                    let blockers = blockers(connection).unwrap_or_else(|_| String::from("unknown"));
                    return Err(TranslationError::Locked { reason: error.to_string(), attempts: attempt, blockers });
                }
                // Jitter, so that two installs or an install and a regular job do not meet again and again.
                let pause_ms = 100 + u64::from(attempt) * 37 % 400 + u64::from(std::process::id() % 97);
                tracing::info!(attempt, %error, "waiting for a lock on the application's tables");
                std::thread::sleep(Duration::from_millis(pause_ms));
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Transactions that have been open for more than half a second: whoever holds the lock is among them.
fn blockers(connection: &mut DatabaseConnection) -> Result<String, DatabaseError> {
    if connection.dialect() == Dialect::Sqlite {
        return Ok(String::from("another writer of the file"));
    }
    let rows = connection.query(
        "SELECT pid, coalesce(usename, '') AS user_name, coalesce(application_name, '') AS application,
                extract(epoch FROM now() - xact_start)::bigint AS seconds, left(coalesce(query, ''), 60) AS query
         FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - interval '500 milliseconds'
         ORDER BY xact_start LIMIT 5",
        &[],
    )?;
    let mut texts = Vec::new();
    for row in &rows {
        texts.push(format!(
            "process {} of {} ({}), in a transaction for {} s, last: {}",
            row.integer("pid")?,
            row.text("user_name")?,
            row.text("application")?,
            row.integer("seconds")?,
            row.text("query")?,
        ));
    }
    Ok(if texts.is_empty() { String::from("nobody any more") } else { texts.join("; ") })
}
