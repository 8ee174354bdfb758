//! What a write of one flag must not do to others: see `flags::check_write`. Only flags that have prerequisites, or are named
//! as one, are read.

use diesel::prelude::*;

use super::StoreError;
use super::flags::{StoredFlag, find};
use super::schema::flags;
use crate::database::DatabaseConnection;
use crate::flags::{Flag, check_write, flag_that_needs};
use crate::primitives::FlagKey;

/// Checks a write before it is made. Throwing or releasing the kill switch is never refused: it must work on a flag that was
/// stored before a rule was made, too.
pub(super) fn check(
    connection: &mut DatabaseConnection,
    key: &FlagKey,
    before: Option<&Flag>,
    after: Option<&Flag>,
) -> Result<(), StoreError> {
    let Some(after) = after else {
        let others = with_prerequisites(connection)?;
        return match flag_that_needs(key, &others) {
            Some(asker) => Err(StoreError::FlagInUse { name: key.to_string(), flag: asker.to_string() }),
            None => Ok(()),
        };
    };
    if before.is_some_and(|before| before.clone().with_enabled(after.is_enabled()) == *after) {
        return Ok(());
    }
    let mut others = with_prerequisites(connection)?;
    for prerequisite in after.prerequisites() {
        if others.iter().all(|other| *other.key() != prerequisite.flag)
            && let Some(found) = find(connection, &prerequisite.flag)?
            && let Ok(found) = found.parse()
        {
            others.push(found);
        }
    }
    Ok(check_write(after, &others)?)
}

/// Every flag that can be read and has prerequisites, and perhaps some that only speak of them.
fn with_prerequisites(connection: &mut DatabaseConnection) -> Result<Vec<Flag>, StoreError> {
    let rows: Vec<StoredFlag> = flags::table
        .filter(flags::data.like("%\"prerequisites\":[{%"))
        .order(flags::key.asc())
        .select(StoredFlag::as_select())
        .load(connection)?;
    Ok(rows.iter().filter_map(|row| row.parse().ok()).collect())
}
