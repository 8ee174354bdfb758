//! Leases: which server does a piece of background work. One statement claims a lease, so two servers never both get it.
//!
//! **Clocks.** A lease ends by the database's clock, which all servers share, so the servers' own clocks may differ as they like. A
//! holder does not read that clock: it counts from the moment *before* it asked, by its own steady clock, and so believes it has less
//! time than the database gives it. What neither covers is a process that stands still between looking at the lease and acting on it;
//! therefore each new holder gets a greater `fencing` number, and whoever stores the holder's results refuses an older number.

use std::time::{Duration, Instant as Clock};

use super::StoreError;
use crate::database::{DatabaseConnection, Dialect, Value};

/// A lease that has been claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub holder: String,
    /// Greater than that of every holder before.
    pub fencing: i64,
    /// Until when the holder may act, by its own steady clock.
    pub until: Clock,
}

/// How long the holder believes in it: a little less, because SQLite's clock has no more than milliseconds.
fn believed(ttl: Duration) -> Duration {
    ttl.saturating_sub(Duration::from_millis(2))
}

/// Claims the lease for `ttl`. `None` while somebody has it, even if that is the same holder: two pieces of work of one server
/// exclude each other too.
pub fn claim(
    connection: &mut DatabaseConnection,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Option<Lease>, StoreError> {
    let asked = Clock::now();
    let now = clock(connection.dialect());
    let sql = format!(
        "INSERT INTO svc_changeover_leases AS l (name, holder, fencing, claimed_at, expires_at) VALUES ($1, $2, 1, {now}, {now} + $3)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fencing = l.fencing + 1, claimed_at = {now},
           expires_at = {now} + $3
         WHERE l.expires_at <= {now} RETURNING fencing"
    );
    let found = connection.find_row(&sql, &[Value::from(name), Value::from(holder), Value::from(micros(ttl))])?;
    let Some(row) = found else { return Ok(None) };
    let fencing = row.integer("fencing")?;
    Ok(Some(Lease { name: name.to_owned(), holder: holder.to_owned(), fencing, until: asked + believed(ttl) }))
}

/// Holds the lease for another `ttl` from now. `None` if somebody else has had it since. A lease that ran out while nobody wanted it
/// is still its holder's.
pub fn renew(connection: &mut DatabaseConnection, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
    let asked = Clock::now();
    let now = clock(connection.dialect());
    let sql = format!(
        "UPDATE svc_changeover_leases SET expires_at = {now} + $1 WHERE name = $2 AND holder = $3 AND fencing = $4"
    );
    let values = [
        Value::from(micros(ttl)),
        Value::from(lease.name.as_str()),
        Value::from(lease.holder.as_str()),
        Value::from(lease.fencing),
    ];
    let is_ours = connection.execute(&sql, &values)? == 1;
    Ok(is_ours.then(|| Lease { until: asked + believed(ttl), ..lease.clone() }))
}

/// Gives the lease back, so that another may claim it at once. Nothing happens if it is somebody else's by now.
pub fn release(connection: &mut DatabaseConnection, lease: &Lease) -> Result<(), StoreError> {
    let sql = "UPDATE svc_changeover_leases SET expires_at = 0 WHERE name = $1 AND holder = $2 AND fencing = $3";
    let values = [Value::from(lease.name.as_str()), Value::from(lease.holder.as_str()), Value::from(lease.fencing)];
    connection.execute(sql, &values)?;
    Ok(())
}

/// Microseconds since 1970 by the database's clock, also within a long transaction. SQLite's is that of the one machine which has the
/// file open.
pub(super) fn clock(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
        Dialect::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS integer)",
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}
