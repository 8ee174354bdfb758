//! The coverage audit: what silences the triggers of an installed change, or breaks them. It holds what is there against what was noted
//! when it was made ([`super::objects`]) and never changes anything.
//!
//! What it cannot see: a session that has silenced triggers for itself (`session_replication_role` on PostgreSQL, a connection of
//! SQLite without `recursive_triggers`). Verify and the sentinel find what such a session has left behind.

mod found;
mod postgres;
mod roles;
mod sqlite;
mod tables;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::database::{DatabaseConnection, Dialect, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::model::ChangeModel;
use crate::sql::names::own;

use super::error::TranslationError;
use super::own::{InstalledChange, is_table_there};
use super::resolve::resolve;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The change file's names or queries mean nothing in this database any more.
    Unresolvable,
    TriggerMissing,
    TriggerDisabled,
    TriggerChanged,
    /// A write to the table fails, because a trigger does.
    TriggerBroken,
    FunctionMissing,
    FunctionChanged,
    FunctionOwner,
    FunctionSettings,
    ViewMissing,
    ViewChanged,
    /// SQLite: the control row says that something is being translated although nothing is.
    ControlStuck,
    /// A partition, or a table that inherits, without the triggers.
    PartitionUncovered,
    TableMissing,
    TableUnlogged,
    ColumnMissing,
    ColumnRetyped,
    /// A target's column that is NOT NULL without a default, which no block fills.
    ColumnUnfilled,
    KeyChanged,
    IndexMissing,
    IndexInvalid,
    /// The functions' owner lacks a right.
    RightMissing,
    /// Row security hides rows from the functions' owner.
    RowSecurity,
    /// `session_replication_role = replica` is set for a role, a database, a function, or the server.
    ReplicationRole,
    /// A subscription's apply worker writes a source table, and fires no statement trigger.
    Subscription,
}

impl Code {
    /// True if writes pass untranslated, or fail; the rest of the codes is slow, or will be wrong one day.
    #[must_use]
    pub fn is_silent(self) -> bool {
        matches!(
            self,
            Self::Unresolvable
                | Self::TriggerMissing
                | Self::TriggerDisabled
                | Self::TriggerChanged
                | Self::TriggerBroken
                | Self::FunctionMissing
                | Self::FunctionChanged
                | Self::ControlStuck
                | Self::PartitionUncovered
                | Self::ReplicationRole
        )
    }

    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unresolvable => "unresolvable",
            Self::TriggerMissing => "trigger_missing",
            Self::TriggerDisabled => "trigger_disabled",
            Self::TriggerChanged => "trigger_changed",
            Self::TriggerBroken => "trigger_broken",
            Self::FunctionMissing => "function_missing",
            Self::FunctionChanged => "function_changed",
            Self::FunctionOwner => "function_owner",
            Self::FunctionSettings => "function_settings",
            Self::ViewMissing => "view_missing",
            Self::ViewChanged => "view_changed",
            Self::ControlStuck => "control_stuck",
            Self::PartitionUncovered => "partition_uncovered",
            Self::TableMissing => "table_missing",
            Self::TableUnlogged => "table_unlogged",
            Self::ColumnMissing => "column_missing",
            Self::ColumnRetyped => "column_retyped",
            Self::ColumnUnfilled => "column_unfilled",
            Self::KeyChanged => "key_changed",
            Self::IndexMissing => "index_missing",
            Self::IndexInvalid => "index_invalid",
            Self::RightMissing => "right_missing",
            Self::RowSecurity => "row_security",
            Self::ReplicationRole => "replication_role",
            Self::Subscription => "subscription",
        }
    }
}

/// Something that silences triggers or breaks them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    pub code: Code,
    /// The trigger, function, table or role.
    pub object: String,
    /// One clause without a full stop.
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.object, self.what, self.remedy)
    }
}

/// What is wrong with an installed change, whose names can be resolved.
pub fn audit(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<Vec<Finding>, TranslationError> {
    let mut found = found::Found::default();
    match model.dialect {
        Dialect::Postgres => {
            postgres::audit(connection, &model.name, Some(model), &mut found)?;
            roles::audit(connection, model, &mut found)?;
        }
        Dialect::Sqlite => sqlite::audit(connection, &model.name, Some(model), &mut found)?,
    }
    tables::audit(connection, &model.name, Some(model), &mut found)?;
    Ok(found.in_order())
}

/// [`audit`], also of a change whose names cannot be resolved any more.
pub fn audit_change(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
) -> Result<Vec<Finding>, TranslationError> {
    let refusal = match resolve(connection, &change.file) {
        Ok(model) => return audit(connection, &model),
        Err(TranslationError::Database(error)) if error.is_disconnected() || error.is_retryable() => {
            return Err(error.into());
        }
        Err(error) => error,
    };
    let mut found = found::Found::default();
    found.add(
        Code::Unresolvable,
        change.name.as_str(),
        &format!("the change file does not fit the database any more: {refusal}"),
        "put back what was renamed or dropped, or uninstall the change and install a file that fits",
    );
    match connection.dialect() {
        Dialect::Postgres => postgres::audit(connection, &change.name, None, &mut found)?,
        Dialect::Sqlite => sqlite::audit(connection, &change.name, None, &mut found)?,
    }
    tables::audit(connection, &change.name, None, &mut found)?;
    Ok(found.in_order())
}

/// The table of the last audits; may be run again.
#[must_use]
pub fn create_table(dialect: Dialect) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (change TEXT PRIMARY KEY, at BIGINT NOT NULL, findings TEXT NOT NULL)",
        own(dialect, "coverage")
    )
}

/// The last audit of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    pub at: Instant,
    pub findings: Vec<Finding>,
}

/// Keeps an audit's outcome, for status and metrics.
pub fn keep(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    coverage: &Coverage,
) -> Result<(), TranslationError> {
    if !is_table_there(connection, "coverage")? {
        connection.batch(&create_table(connection.dialect()))?;
    }
    let sql = format!(
        "INSERT INTO {} (change, at, findings) VALUES ($1, $2, $3)
         ON CONFLICT (change) DO UPDATE SET at = excluded.at, findings = excluded.findings",
        own(connection.dialect(), "coverage")
    );
    let findings = serde_json::json!(coverage.findings).to_string();
    connection.execute(&sql, &[change.as_str().into(), coverage.at.as_micros().into(), findings.into()])?;
    Ok(())
}

/// The last audit that was kept.
pub fn last(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Option<Coverage>, TranslationError> {
    if !is_table_there(connection, "coverage")? {
        return Ok(None);
    }
    let sql = format!("SELECT at, findings FROM {} WHERE change = $1", own(connection.dialect(), "coverage"));
    let Some(row) = connection.find_row(&sql, &[Value::from(change.as_str())])? else { return Ok(None) };
    // What a later version has written may not be readable; the next audit writes it anew.
    let Ok(findings) = serde_json::from_str(&row.text("findings")?) else { return Ok(None) };
    Ok(Some(Coverage { at: Instant::from_micros(row.integer("at")?), findings }))
}
