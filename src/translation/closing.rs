//! Closing periods: what their charges are allocated to is kept, so that whatever moves afterwards is found.

use serde::Serialize;
use utoipa::ToSchema;

use super::error::TranslationError;
use super::own::{Deed, InstalledChange, are_tables_there, close_before, create_missing_tables, lock_change};
use crate::change::Stage;
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::ChangeName;
use crate::sql::closed::{Closed, Closing};
use crate::sql::names::own;

/// What closes of one period in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClosingTotal {
    pub period: String,
    pub currency: String,
    pub charges: i64,
    /// As the charges query has it.
    pub amount: String,
}

/// What was closed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClosingReceipt {
    #[schema(value_type = String)]
    pub change: ChangeName,
    /// The first period that stays open.
    pub open_period: String,
    /// The one that was so before; empty: nothing was closed yet.
    pub open_before: String,
    pub closes: Vec<ClosingTotal>,
    /// True: these are the numbers of a preview, and nothing was closed.
    pub preview: bool,
}

/// Closes every period before `open_period`, or with `preview` only says what that would close. All of it happens or nothing does.
///
/// # Errors
/// The change is paused or has keys that wait, or later periods are closed already.
pub fn close(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
    open_period: &str,
    (preview, deed): (bool, Deed<'_>),
) -> Result<ClosingReceipt, TranslationError> {
    let work = |connection: &mut DatabaseConnection| {
        let change = lock_change(connection, name)?;
        let closes = totals(connection, &change, open_period)?;
        close_before(connection, name, open_period, deed)?;
        Ok(ClosingReceipt {
            change: change.name,
            open_period: open_period.to_owned(),
            open_before: change.open_period,
            closes,
            preview,
        })
    };
    // A preview goes the whole way, so that it refuses what the closing would refuse.
    if preview { connection.in_rolled_back_transaction(work) } else { connection.in_transaction(work) }
}

/// What closing every period before `open_period` closes.
fn totals(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    open_period: &str,
) -> Result<Vec<ClosingTotal>, TranslationError> {
    let Some(closing) = closing(connection, change, open_period) else { return Ok(Vec::new()) };
    let rows = connection.query(&closing.preview(), &[])?;
    rows.iter()
        .map(|row| {
            Ok(ClosingTotal {
                period: row.text("period")?,
                currency: row.find_text("currency")?.unwrap_or_default(),
                charges: row.integer("charges")?,
                amount: row.find_text("amount")?.unwrap_or_default(),
            })
        })
        .collect()
}

/// Records what the charges of the closing periods are allocated to. Run it in the transaction that
/// sets the open period, after it is set; `change` is the change as it was before.
pub(super) fn record(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    open_period: &str,
    deed: Deed<'_>,
) -> Result<(), TranslationError> {
    create_missing_tables(connection)?;
    if let Some(closing) = closing(connection, change, open_period) {
        for statement in closing.record(deed.at.as_micros(), deed.actor) {
            connection.batch(&statement)?;
        }
    }
    Ok(())
}

fn closing<'a>(
    connection: &DatabaseConnection,
    change: &'a InstalledChange,
    open_period: &'a str,
) -> Option<Closing<'a>> {
    Some(Closing {
        dialect: connection.dialect(),
        change: &change.name,
        allocation: change.file.allocation.as_ref()?,
        from: &change.open_period,
        to: open_period,
        has_new: !matches!(change.stage, Stage::Off | Stage::DualWrite),
    })
}

/// The closed periods of a change of which something was recorded; `None`: nothing was.
pub(super) fn find_closed(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Option<Closed>, DatabaseError> {
    let dialect = connection.dialect();
    if !are_tables_there(connection)? || !has_table(connection)? {
        return Ok(None);
    }
    let sql =
        format!("SELECT period, has_new FROM {} WHERE change = $1 ORDER BY period", own(dialect, "closed_period"));
    let rows = connection.query(&sql, &[Value::from(change.as_str())])?;
    let periods: Result<Vec<(String, bool)>, DatabaseError> =
        rows.iter().map(|row| Ok((row.text("period")?, row.integer("has_new")? == 1))).collect();
    let periods = periods?;
    Ok((!periods.is_empty()).then(|| Closed::new(dialect, change, periods)))
}

/// An installation made by an earlier version has no such table, and a replica cannot be given one.
fn has_table(connection: &mut DatabaseConnection) -> Result<bool, DatabaseError> {
    let sql = match connection.dialect() {
        crate::primitives::Dialect::Postgres => "SELECT to_regclass('changeover.closed_period') IS NOT NULL AS found",
        crate::primitives::Dialect::Sqlite => {
            "SELECT count(*) AS found FROM sqlite_master WHERE type = 'table' AND name = 'changeover_closed_period'"
        }
    };
    connection.get_row(sql, &[])?.boolean("found")
}
