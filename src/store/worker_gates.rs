//! Gates of background workers. Times are the database's: a gate that comes back later does so when that clock says so, whichever server
//! is asked and whichever has died. Not the gates of a change's stages.

use serde_json::json;

use super::audit::{self, AuditEntry};
use super::worker_leases::{LEASE_COLUMNS, lease_of};
use super::{Origin, StoreError, leases, state};
use crate::database::{DatabaseConnection, Dialect, Row, Value};
use crate::primitives::{Instant, WorkerName};
use crate::worker_gates::{Gate, Lease, Returning, Settings, State, Switch, schedule};

/// Gates that there may be.
pub const GATES_MAX: usize = 500;

/// A gate as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGate {
    pub worker: WorkerName,
    pub version: i64,
    pub gate: Gate,
    /// When it was last paused or resumed, by whom and why.
    pub switched_at: Instant,
    pub switched_by: String,
    pub switch_reason: String,
    pub created_at: Instant,
    pub updated_at: Instant,
    pub updated_by: String,
    /// The latest lease, held or not.
    pub lease: Option<Lease>,
}

/// What was found, and the database's time when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    pub now: Instant,
    pub found: T,
}

/// How many gates are in each state, and how many leases are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct GateCounts {
    pub running: i64,
    pub waiting: i64,
    pub paused: i64,
    pub leases_held: i64,
}

/// All gates, in the order in which their workers come back.
pub fn list(connection: &mut DatabaseConnection) -> Result<Found<Vec<StoredGate>>, StoreError> {
    let rows = connection.query(&format!("{} ORDER BY g.resume_order, g.worker", select()), &[])?;
    let found = rows.iter().map(stored).collect::<Result<_, _>>()?;
    Ok(Found { now: now(connection)?, found })
}

/// The gate of a worker.
pub fn get(connection: &mut DatabaseConnection, worker: &WorkerName) -> Result<Found<StoredGate>, StoreError> {
    let found = find(connection, worker)?.ok_or_else(|| StoreError::not_found("gate", worker.as_str()))?;
    Ok(Found { now: now(connection)?, found })
}

/// How many gates say what.
pub fn count(connection: &mut DatabaseConnection) -> Result<GateCounts, StoreError> {
    let all = list(connection)?;
    let mut counts = GateCounts::default();
    for one in &all.found {
        match one.gate.state_at(all.now) {
            State::Running => counts.running += 1,
            State::Waiting { .. } => counts.waiting += 1,
            State::Paused => counts.paused += 1,
        }
        counts.leases_held += i64::from(one.lease.as_ref().is_some_and(|lease| lease.is_held_at(all.now)));
    }
    Ok(counts)
}

/// The gate of a worker as it stays until the transaction ends.
pub(super) fn get_locked(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
) -> Result<Found<StoredGate>, StoreError> {
    lock_rows(connection, Some(worker))?;
    // Only now: the time at which a lock was asked for may be long gone.
    get(connection, worker)
}

/// Makes a gate, which runs, or sets one anew, which stays as it is switched. `seen` is the version that the caller saw. True if it is new.
pub fn set(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    settings: Settings,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(Found<StoredGate>, bool), StoreError> {
    let settings = settings.checked()?;
    state::lock(connection)?;
    lock_rows(connection, Some(worker))?;
    let now = now(connection)?;
    let before = find(connection, worker)?;
    check_seen(worker, before.as_ref(), seen)?;
    let is_new = before.is_none();
    match &before {
        Some(_) => update(connection, worker, &settings, (now, origin))?,
        None => insert(connection, worker, &settings, (now, origin))?,
    }
    let action = if is_new { "gate.create" } else { "gate.replace" };
    record(connection, worker, action, json!({ "settings": settings }), origin)?;
    Ok((get(connection, worker)?, is_new))
}

/// Removes a gate. Its lease, if it is held, is never prolonged again; its fencing tokens are not forgotten.
pub fn remove(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    state::lock(connection)?;
    let before = get_locked(connection, worker)?.found;
    check_seen(worker, Some(&before), seen)?;
    let sql = "DELETE FROM svc_changeover_worker_gates WHERE worker = $1";
    connection.execute(sql, &[Value::from(worker.as_str())])?;
    record(connection, worker, "gate.remove", json!({ "settings": before.gate.settings }), origin)
}

/// Pauses a worker: it is told so when it asks next, its lease is not prolonged.
pub fn pause(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    origin: Origin<'_>,
) -> Result<Found<StoredGate>, StoreError> {
    check_reason("a pause", origin)?;
    state::lock(connection)?;
    let before = get_locked(connection, worker)?;
    switch(connection, &before, before.found.gate.paused(false), ("gate.pause", origin))?;
    get(connection, worker)
}

/// Lets a worker run again after so many seconds. One that runs goes on; one that waits has its turn then.
pub fn resume(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    after_s: i64,
    origin: Origin<'_>,
) -> Result<Found<StoredGate>, StoreError> {
    check_reason("a resume", origin)?;
    state::lock(connection)?;
    let before = get_locked(connection, worker)?;
    if before.found.gate.state_at(before.now) != State::Running {
        let at = Instant::from_micros(before.now.as_micros().saturating_add(after_s.saturating_mul(1_000_000)));
        switch(connection, &before, before.found.gate.resumed(at), ("gate.resume", origin))?;
    }
    get(connection, worker)
}

/// Pauses every worker that is not paused already. Returns those.
pub fn pause_all(connection: &mut DatabaseConnection, origin: Origin<'_>) -> Result<Vec<WorkerName>, StoreError> {
    check_reason("a pause", origin)?;
    let all = all_locked(connection)?;
    let mut paused = Vec::new();
    for one in all.found.into_iter().filter(|one| one.gate.switch == Switch::Run) {
        let after = one.gate.paused(true);
        let before = Found { now: all.now, found: one };
        switch(connection, &before, after, ("gate.pause_all", origin))?;
        paused.push(before.found.worker);
    }
    Ok(paused)
}

/// Brings back, in order, the workers that were paused with all others, and with `own` those that were paused for themselves too. Returns
/// when each runs. Those that wait for their turn already keep it.
pub fn resume_all(
    connection: &mut DatabaseConnection,
    own: bool,
    origin: Origin<'_>,
) -> Result<Vec<(WorkerName, Instant)>, StoreError> {
    check_reason("a resume", origin)?;
    let all = all_locked(connection)?;
    let is_meant = |one: &StoredGate| match one.gate.switch {
        Switch::PauseAll => true,
        Switch::Pause => own,
        Switch::Run => false,
    };
    let meant: Vec<StoredGate> = all.found.into_iter().filter(is_meant).collect();
    let returning = meant.iter().map(|one| {
        let settings = &one.gate.settings;
        Returning { worker: one.worker.clone(), order: settings.order, delay_s: settings.delay_s }
    });
    let times = schedule(returning.collect(), all.now);
    for (worker, at) in &times {
        let Some(one) = meant.iter().find(|one| one.worker == *worker) else { continue };
        let before = Found { now: all.now, found: one.clone() };
        switch(connection, &before, one.gate.resumed(*at), ("gate.resume_all", origin))?;
    }
    Ok(times)
}

fn all_locked(connection: &mut DatabaseConnection) -> Result<Found<Vec<StoredGate>>, StoreError> {
    state::lock(connection)?;
    lock_rows(connection, None)?;
    list(connection)
}

/// Holds gates until the transaction ends. On SQLite it holds all there is.
fn lock_rows(connection: &mut DatabaseConnection, worker: Option<&WorkerName>) -> Result<(), StoreError> {
    if connection.dialect() == Dialect::Postgres {
        let sql = "SELECT worker FROM svc_changeover_worker_gates";
        match worker {
            Some(worker) => {
                connection.query(&format!("{sql} WHERE worker = $1 FOR UPDATE"), &[Value::from(worker.as_str())])?
            }
            None => connection.query(&format!("{sql} ORDER BY worker FOR UPDATE"), &[])?,
        };
    }
    Ok(())
}

fn find(connection: &mut DatabaseConnection, worker: &WorkerName) -> Result<Option<StoredGate>, StoreError> {
    let sql = format!("{} WHERE g.worker = $1", select());
    connection.find_row(&sql, &[Value::from(worker.as_str())])?.as_ref().map(stored).transpose()
}

fn select() -> String {
    format!(
        "SELECT g.*, {LEASE_COLUMNS} FROM svc_changeover_worker_gates g LEFT JOIN svc_changeover_worker_leases l ON l.worker = g.worker"
    )
}

/// The database's time.
pub(super) fn now(connection: &mut DatabaseConnection) -> Result<Instant, StoreError> {
    let row = connection.get_row(&format!("SELECT {} AS now", leases::clock(connection.dialect())), &[])?;
    Ok(Instant::from_micros(row.integer("now")?))
}

fn insert(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    settings: &Settings,
    (now, origin): (Instant, Origin<'_>),
) -> Result<(), StoreError> {
    let count =
        connection.get_row("SELECT count(*) AS gates FROM svc_changeover_worker_gates", &[])?.integer("gates")?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= GATES_MAX {
        return Err(StoreError::TooMany {
            what: "gates",
            max: GATES_MAX,
            remedy: "remove those of workers that are gone",
        });
    }
    let sql = "INSERT INTO svc_changeover_worker_gates (worker, version, description, resume_order, delay_s, single_instance, lease_s,
                 switch, resume_at, switched_at, switched_by, switch_reason, created_at, updated_at, updated_by)
               VALUES ($1, 1, $2, $3, $4, $5, $6, 'run', NULL, $7, $8, $9, $7, $7, $8)";
    let values = [
        Value::from(worker.as_str()),
        Value::from(settings.description.as_str()),
        Value::from(settings.order),
        Value::from(settings.delay_s),
        Value::Boolean(settings.single_instance),
        Value::from(settings.lease_s),
        Value::from(now.as_micros()),
        Value::from(origin.actor),
        Value::from(origin.reason),
    ];
    connection.execute(sql, &values)?;
    Ok(())
}

fn update(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    settings: &Settings,
    (now, origin): (Instant, Origin<'_>),
) -> Result<(), StoreError> {
    let sql = "UPDATE svc_changeover_worker_gates SET version = version + 1, description = $1, resume_order = $2, delay_s = $3,
                 single_instance = $4, lease_s = $5, updated_at = $6, updated_by = $7 WHERE worker = $8";
    let values = [
        Value::from(settings.description.as_str()),
        Value::from(settings.order),
        Value::from(settings.delay_s),
        Value::Boolean(settings.single_instance),
        Value::from(settings.lease_s),
        Value::from(now.as_micros()),
        Value::from(origin.actor),
        Value::from(worker.as_str()),
    ];
    connection.execute(sql, &values)?;
    Ok(())
}

/// Stores how a gate is switched, with its audit row.
fn switch(
    connection: &mut DatabaseConnection,
    before: &Found<StoredGate>,
    after: Gate,
    (action, origin): (&str, Origin<'_>),
) -> Result<(), StoreError> {
    let worker = &before.found.worker;
    let sql =
        "UPDATE svc_changeover_worker_gates SET version = version + 1, switch = $1, resume_at = $2, switched_at = $3,
                 switched_by = $4, switch_reason = $5 WHERE worker = $6";
    let values = [
        Value::from(after.switch.as_str()),
        Value::from(after.resume_at.map(Instant::as_micros)),
        Value::from(before.now.as_micros()),
        Value::from(origin.actor),
        Value::from(origin.reason),
        Value::from(worker.as_str()),
    ];
    connection.execute(sql, &values)?;
    let detail = json!({
        "before": before.found.gate.state_at(before.now).as_str(), "after": after.switch, "resumes_at": after.resume_at,
    });
    record(connection, worker, action, detail, origin)
}

fn record(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    action: &str,
    detail: serde_json::Value,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let subject = format!("gate/{worker}");
    let entry = AuditEntry { actor: origin.actor, action, subject: &subject, reason: origin.reason, detail };
    audit::append(connection, &entry)
}

fn check_reason(what: &'static str, origin: Origin<'_>) -> Result<(), StoreError> {
    if origin.reason.trim().is_empty() { Err(StoreError::NoReason(what)) } else { Ok(()) }
}

fn check_seen(worker: &WorkerName, before: Option<&StoredGate>, seen: Option<i64>) -> Result<(), StoreError> {
    match (before, seen) {
        (None, Some(_)) => Err(StoreError::not_found("gate", worker.as_str())),
        (Some(found), Some(seen)) if found.version != seen => {
            Err(StoreError::Stale { what: "gate", name: worker.to_string(), seen, current: found.version })
        }
        (Some(_) | None, _) => Ok(()),
    }
}

fn stored(row: &Row) -> Result<StoredGate, StoreError> {
    let name = row.text("worker")?;
    let corrupt = |reason: String| StoreError::Corrupt { what: "gate", name: name.clone(), reason };
    let at = |column: &str| Ok::<_, StoreError>(Instant::from_micros(row.integer(column)?));
    Ok(StoredGate {
        worker: name.parse().map_err(|error: crate::primitives::InvalidName| corrupt(error.to_string()))?,
        version: row.integer("version")?,
        gate: Gate {
            settings: Settings {
                description: row.text("description")?,
                order: row.integer("resume_order")?,
                delay_s: row.integer("delay_s")?,
                single_instance: row.boolean("single_instance")?,
                lease_s: row.integer("lease_s")?,
            },
            switch: row
                .text("switch")?
                .parse()
                .map_err(|error: crate::worker_gates::UnknownSwitch| corrupt(error.to_string()))?,
            resume_at: row.find_integer("resume_at")?.map(Instant::from_micros),
        },
        switched_at: at("switched_at")?,
        switched_by: row.text("switched_by")?,
        switch_reason: row.text("switch_reason")?,
        created_at: at("created_at")?,
        updated_at: at("updated_at")?,
        updated_by: row.text("updated_by")?,
        lease: lease_of(row)?,
    })
}
