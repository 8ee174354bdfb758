//! How many subjects of a protected flag the writes of the last hour may have moved: one row for each write that moves any.

use std::time::Duration;

use diesel::prelude::*;

use super::protection::Protected;
use super::schema::flag_exposures;
use super::{StoreError, now};
use crate::database::DatabaseConnection;
use crate::primitives::{FlagKey, Instant};

/// The span over which moves add up.
pub const SPAN: Duration = Duration::from_secs(60 * 60);
/// How long a row is kept after that, for whoever asks what happened.
const KEPT_MICROS: i64 = 7 * 24 * 60 * 60 * 1_000_000;
const MICROS: i64 = 1_000_000;
const SPAN_MICROS: i64 = 60 * 60 * MICROS;

/// What one write may have moved.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = flag_exposures)]
pub struct Exposure {
    pub flag: String,
    pub version: i64,
    /// Microseconds since 1970.
    pub at: i64,
    pub millionths: i64,
    pub actor: String,
}

/// What the last hour has moved, the oldest first.
pub fn of_last_hour(connection: &mut DatabaseConnection, flag: &FlagKey) -> Result<Vec<Exposure>, StoreError> {
    Ok(flag_exposures::table
        .filter(flag_exposures::flag.eq(flag.as_str()))
        .filter(flag_exposures::at.gt(hour_ago().as_micros()))
        .order((flag_exposures::at.asc(), flag_exposures::version.asc()))
        .select(Exposure::as_select())
        .load(connection)?)
}

/// An hour before now.
pub(super) fn hour_ago() -> Instant {
    Instant::from_micros(now().as_micros().saturating_sub(SPAN_MICROS))
}

/// Adds what a write moves; nothing is written for one that moves nobody.
pub(super) fn add(
    connection: &mut DatabaseConnection,
    flag: &FlagKey,
    moved: (i64, u32),
    actor: &str,
) -> Result<(), StoreError> {
    let (version, millionths) = moved;
    if millionths == 0 {
        return Ok(());
    }
    let at = now().as_micros();
    let row =
        Exposure { flag: flag.to_string(), version, at, millionths: i64::from(millionths), actor: actor.to_owned() };
    diesel::delete(flag_exposures::table.filter(flag_exposures::at.lt(at.saturating_sub(KEPT_MICROS))))
        .execute(connection)?;
    diesel::insert_into(flag_exposures::table).values(&row).execute(connection)?;
    Ok(())
}

/// How many millionths may still move within this hour.
pub fn left(rows: &[Exposure], limit: u32) -> u32 {
    let used: i64 = rows.iter().map(|row| row.millionths).sum();
    u32::try_from(i64::from(limit).saturating_sub(used)).unwrap_or(0)
}

/// Refuses a write that moves more than what is left of the hour.
pub(super) fn check(
    connection: &mut DatabaseConnection,
    flag: &FlagKey,
    limit: u32,
    asked: u32,
) -> Result<(), StoreError> {
    let rows = of_last_hour(connection, flag)?;
    let left = left(&rows, limit);
    if asked <= left {
        return Ok(());
    }
    let retry_after_s = wait(&rows, limit, asked);
    Err(Protected::Exposure { flag: flag.clone(), asked, left, limit, retry_after_s }.into())
}

/// How many seconds until so many rows have left the hour that `asked` fits; never, if it is more than the limit itself.
fn wait(rows: &[Exposure], limit: u32, asked: u32) -> Option<u64> {
    let room = i64::from(limit.checked_sub(asked)?);
    let mut used: i64 = rows.iter().map(|row| row.millionths).sum();
    let mut free_at = now().as_micros();
    for row in rows {
        if used <= room {
            break;
        }
        used -= row.millionths;
        free_at = row.at.saturating_add(SPAN_MICROS);
    }
    let micros = free_at.saturating_sub(now().as_micros()).max(0);
    u64::try_from(micros / MICROS + 1).ok()
}
