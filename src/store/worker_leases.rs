//! Leases of workers of which one instance runs. Each question is one transaction that holds the worker's gate and then reads the
//! database's clock, so that all of them stand in one row, whichever server they come from: two holders never overlap. The rows stay for
//! ever, because the fencing tokens must never repeat.

use super::StoreError;
use super::worker_gates::{Found, get_locked};
use crate::database::{DatabaseConnection, Row, Value};
use crate::primitives::{Instant, WorkerName};
use crate::worker_gates::{self, Claim, Lease, Refusal, Renewal};

/// The columns of a lease `l` beside those of its gate.
pub(super) const LEASE_COLUMNS: &str =
    "l.holder AS lease_holder, l.fencing AS lease_fencing, l.acquired_at AS lease_acquired_at,
     l.expires_at AS lease_expires_at, l.stopped_at AS lease_stopped_at";

/// What became of asking for a lease.
pub type Asked = Found<Result<Lease, Refusal>>;

/// Gives the lease to `holder` if the worker runs and nobody has it. Its length is the gate's.
pub fn acquire(connection: &mut DatabaseConnection, worker: &WorkerName, holder: &str) -> Result<Asked, StoreError> {
    let gate = get_locked(connection, worker)?;
    let found = worker_gates::acquire(&gate.found.gate, gate.found.lease.as_ref(), holder, gate.now);
    if let Ok(lease) = &found {
        put(connection, worker, lease)?;
    }
    Ok(Found { now: gate.now, found })
}

/// Prolongs a lease; tells its holder if the worker is paused or the lease is another's.
pub fn renew(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    claim: &Claim<'_>,
) -> Result<Found<Renewal>, StoreError> {
    let gate = get_locked(connection, worker)?;
    let found = worker_gates::renew(&gate.found.gate, gate.found.lease.as_ref(), claim, gate.now);
    match &found {
        Renewal::Renewed(lease) | Renewal::Stop(lease, _) => put(connection, worker, lease)?,
        Renewal::Lost => {}
    }
    Ok(Found { now: gate.now, found })
}

/// Gives a lease back, so that another instance may have it at once. False if it was not this holder's any more.
pub fn release(
    connection: &mut DatabaseConnection,
    worker: &WorkerName,
    claim: &Claim<'_>,
) -> Result<bool, StoreError> {
    let gate = get_locked(connection, worker)?;
    let released = worker_gates::release(gate.found.lease.as_ref(), claim, gate.now);
    if let Some(lease) = &released {
        put(connection, worker, lease)?;
    }
    Ok(released.is_some())
}

fn put(connection: &mut DatabaseConnection, worker: &WorkerName, lease: &Lease) -> Result<(), StoreError> {
    let sql = "INSERT INTO svc_changeover_worker_leases (worker, holder, fencing, acquired_at, expires_at, stopped_at)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (worker) DO UPDATE SET holder = excluded.holder, fencing = excluded.fencing,
                 acquired_at = excluded.acquired_at, expires_at = excluded.expires_at, stopped_at = excluded.stopped_at";
    let values = [
        Value::from(worker.as_str()),
        Value::from(lease.holder.as_str()),
        Value::from(lease.fencing),
        Value::from(lease.acquired_at.as_micros()),
        Value::from(lease.expires_at.as_micros()),
        Value::from(lease.stopped_at.map(Instant::as_micros)),
    ];
    connection.execute(sql, &values)?;
    Ok(())
}

/// The lease in a row with [`LEASE_COLUMNS`].
pub(super) fn lease_of(row: &Row) -> Result<Option<Lease>, StoreError> {
    let Some(holder) = row.find_text("lease_holder")? else { return Ok(None) };
    Ok(Some(Lease {
        holder,
        fencing: row.integer("lease_fencing")?,
        acquired_at: Instant::from_micros(row.integer("lease_acquired_at")?),
        expires_at: Instant::from_micros(row.integer("lease_expires_at")?),
        stopped_at: row.find_integer("lease_stopped_at")?.map(Instant::from_micros),
    }))
}
