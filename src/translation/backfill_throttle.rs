//! What holds a backfill back: replicas that fall behind, WAL that a replication slot keeps, and backends that are busy. Asked of the
//! database a few times a second, by whichever worker's turn it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Clock};

use crate::database::{DatabaseConnection, DatabaseError, Dialect};

/// How often the database is asked.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// When a backfill waits. Without a number it does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// A standby has not replayed what was written that long ago.
    pub lag_seconds_max: Option<u64>,
    /// A replication slot keeps that much more WAL than when the backfill began.
    pub slot_megabytes_max: Option<u64>,
    /// That many backends of others run a statement.
    pub active_backends_max: Option<u64>,
}

/// Shared by the workers of a backfill.
#[derive(Debug)]
pub struct Throttle {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked_at: Option<Clock>,
    reason: Option<String>,
    /// What each slot kept at the beginning, in bytes.
    slots: HashMap<String, i64>,
}

impl Throttle {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Why a backfill is to wait now, if it is. The answer may be some hundred milliseconds old.
    pub fn reason(&self, connection: &mut DatabaseConnection) -> Result<Option<String>, DatabaseError> {
        if connection.dialect() == Dialect::Sqlite || self.limits == Limits::default() {
            return Ok(None);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            state.reason = self.ask(connection, &mut state.slots)?;
            state.asked_at = Some(Clock::now());
        }
        Ok(state.reason.clone())
    }

    fn ask(
        &self,
        connection: &mut DatabaseConnection,
        slots: &mut HashMap<String, i64>,
    ) -> Result<Option<String>, DatabaseError> {
        if let Some(max) = self.limits.active_backends_max {
            let active = active_backends(connection)?;
            if active > max {
                return Ok(Some(format!("{active} backends are active, {max} at most (--max-active-backends)")));
            }
        }
        if let Some(max) = self.limits.lag_seconds_max
            && let Some((standby, seconds)) = lag(connection)?
            && seconds > max
        {
            return Ok(Some(format!("standby {standby} is {seconds} s behind, {max} s at most (--max-lag)")));
        }
        match self.limits.slot_megabytes_max {
            Some(max) => slot_growth(connection, slots, max),
            None => Ok(None),
        }
    }
}

/// Others' backends that run a statement now: ours do as well, but are not what has to be spared.
fn active_backends(connection: &mut DatabaseConnection) -> Result<u64, DatabaseError> {
    let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND backend_type = 'client backend'
               AND application_name <> 'changeover' AND pid <> pg_backend_pid()";
    Ok(u64::try_from(connection.get_row(sql, &[])?.integer("n")?).unwrap_or(0))
}

/// The standby that is furthest behind, and by how many seconds. A standby that has replayed everything is not behind, however long
/// ago that was; what a role without `pg_monitor` may not see is NULL and counts as no lag.
fn lag(connection: &mut DatabaseConnection) -> Result<Option<(String, u64)>, DatabaseError> {
    let sql = "SELECT coalesce(nullif(application_name, ''), client_addr::text, pid::text) AS standby,
                 floor(extract(epoch FROM replay_lag))::bigint AS seconds
               FROM pg_stat_replication WHERE replay_lag IS NOT NULL AND replay_lsn < pg_current_wal_lsn()
               ORDER BY replay_lag DESC LIMIT 1";
    let Some(row) = connection.find_row(sql, &[])? else { return Ok(None) };
    Ok(Some((row.text("standby")?, u64::try_from(row.integer("seconds")?).unwrap_or(0))))
}

/// A slot that nobody reads keeps every segment from there on, until the disk is full. What it kept before is not the backfill's doing.
fn slot_growth(
    connection: &mut DatabaseConnection,
    slots: &mut HashMap<String, i64>,
    megabytes_max: u64,
) -> Result<Option<String>, DatabaseError> {
    let sql = "SELECT slot_name::text AS slot, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS bytes
               FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY slot_name";
    let mut reason = None;
    for row in connection.query(sql, &[])? {
        let (slot, bytes) = (row.text("slot")?, row.integer("bytes")?);
        let first = *slots.entry(slot.clone()).or_insert(bytes);
        let megabytes = u64::try_from(bytes.saturating_sub(first)).unwrap_or(0) >> 20;
        if megabytes > megabytes_max {
            reason = Some(format!(
                "replication slot {slot} keeps {megabytes} MB of WAL more than when the backfill began, {megabytes_max} MB at most (--max-slot-mb)"
            ));
        }
    }
    Ok(reason)
}
