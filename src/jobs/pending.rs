//! Retries pending keys: every second it looks whether some are due, and refreshes them. By lease, so that one server does it.

use std::time::Duration;

use super::lease::{LeasedLoop, Leases, Turn};
use crate::database::{Database, DatabaseConnection};
use crate::translation::own::list_changes;
use crate::translation::pause::open_gap;
use crate::translation::{Due, InstalledChange, TranslationError, is_any_due, resolve, retry_pending};

const PAUSE: Duration = Duration::from_secs(1);

/// The running job; it stops when this is dropped.
pub struct PendingWorker {
    _thread: LeasedLoop,
}

impl PendingWorker {
    /// Starts the thread on the application's database.
    pub fn start(leases: Leases, app: Database) -> std::io::Result<Self> {
        let thread = LeasedLoop::start(leases, "pending", PAUSE, move |turn| run(&app, turn))?;
        Ok(Self { _thread: thread })
    }
}

fn run(app: &Database, turn: &Turn<'_>) -> Result<(), TranslationError> {
    let mut connection = app.connection()?;
    for change in due(&mut connection)? {
        if !turn.goes_on() {
            return Ok(());
        }
        retry(&mut connection, &change)?;
    }
    Ok(())
}

/// The changes that have a key whose pause is over. A paused change's keys wait for the resume.
fn due(connection: &mut DatabaseConnection) -> Result<Vec<InstalledChange>, TranslationError> {
    let mut due = Vec::new();
    for change in list_changes(connection)? {
        if is_any_due(connection, &change.name)? && open_gap(connection, &change.name)?.is_none() {
            due.push(change);
        }
    }
    Ok(due)
}

fn retry(connection: &mut DatabaseConnection, change: &InstalledChange) -> Result<(), TranslationError> {
    let model = resolve(connection, &change.file)?;
    let retried = retry_pending(connection, &model, Due::Now)?;
    if retried.healed > 0 || retried.failed > 0 {
        tracing::info!(
            change = %change.name, healed = retried.healed, failed = retried.failed, pending = retried.pending,
            "pending keys were tried"
        );
    }
    Ok(())
}
