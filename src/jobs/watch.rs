//! Reads what metrics and pages show of the installed changes, every few seconds, on a thread of its own. Every server reads for
//! itself: it is cheap, and a server that has lost the database must not show another one's numbers. While the database is away the
//! last reading stays, with its time.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use arc_swap::ArcSwap;

use crate::database::{Database, DatabaseConnection};
use crate::primitives::ChangeName;
use crate::report::{self, RunError};
use crate::routing::{ChangeSides, Overview, ReportFindings, count_sides};
use crate::store::{PageRequest, Store, reports, worker_gates};
use crate::translation::health;

/// A reading is this old at most, as long as reading is quick.
const PAUSE: Duration = Duration::from_secs(5);

/// Counting a million sides reads a million rows: less often.
const SIDES_PAUSE: Duration = Duration::from_secs(60);

/// Reading takes at most this part of the time.
const SHARE: u32 = 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The running job; it stops when this is dropped.
pub struct Watcher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts the thread. The first reading begins at once.
    pub fn start(store: Store, app: Database, overview: Arc<ArcSwap<Overview>>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name(String::from("watch")).spawn(move || {
            let mut watch = Watch { store, app, overview, count_sides_at: Clock::now(), is_away: false };
            let mut took = watch.read();
            while stopped.recv_timeout(PAUSE.max(took * SHARE)) == Err(RecvTimeoutError::Timeout) {
                took = watch.read();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Watch {
    store: Store,
    app: Database,
    overview: Arc<ArcSwap<Overview>>,
    count_sides_at: Clock,
    is_away: bool,
}

impl Watch {
    /// Logs when reading begins to fail and when it works again, not each time in between. Returns how long it took.
    fn read(&mut self) -> Duration {
        let began = Clock::now();
        match self.try_read() {
            Ok(()) if self.is_away => {
                self.is_away = false;
                tracing::info!("the state of the changes can be read again");
            }
            Ok(()) => {}
            Err(error) if !self.is_away => {
                self.is_away = true;
                tracing::warn!(%error, "the state of the changes cannot be read; metrics show it as it was");
            }
            Err(_) => {}
        }
        began.elapsed()
    }

    fn try_read(&mut self) -> Result<(), Failure> {
        let before = self.overview.load_full();
        let mut connection = self.app.connection()?;
        let health = health(&mut connection, &before.health)?;
        let names: Vec<ChangeName> = health.changes.iter().map(|change| change.change.clone()).collect();
        let sides = if self.count_sides_at <= Clock::now() {
            self.count_sides(&mut connection, &names)?
        } else {
            before.sides.clone()
        };
        drop(connection);
        let reports = self.newest_reports(&names, &before.reports)?;
        let worker_gates = Some(self.store.read(worker_gates::count)?);
        self.overview.store(Arc::new(Overview { health, sides, reports, worker_gates }));
        Ok(())
    }

    fn count_sides(
        &mut self,
        connection: &mut DatabaseConnection,
        names: &[ChangeName],
    ) -> Result<Vec<ChangeSides>, Failure> {
        let began = Clock::now();
        let mut sides = Vec::new();
        for name in names {
            sides.push(ChangeSides { change: name.clone(), periods: count_sides(connection, name)? });
        }
        self.count_sides_at = Clock::now() + SIDES_PAUSE.max(began.elapsed() * SHARE);
        Ok(sides)
    }

    /// The newest report of each change. One that is known already is not read again: reports are long.
    fn newest_reports(&self, names: &[ChangeName], before: &[ReportFindings]) -> Result<Vec<ReportFindings>, Failure> {
        let newest = PageRequest { after: None, limit: Some(1) };
        let mut found = Vec::new();
        for name in names {
            let page = self.store.read(|connection| reports::list(connection, name, &newest))?;
            let Some(listed) = page.items.first() else { continue };
            let known = before.iter().find(|findings| findings.report == listed.id);
            match known {
                Some(findings) => found.push(findings.clone()),
                None => match report::find(&self.store, &listed.id) {
                    Ok(report) => found.extend(report.map(|report| findings(name, &report))),
                    // One that was altered, or has another format, says nothing; the other numbers are read all the same.
                    Err(RunError::Report(error)) => {
                        tracing::debug!(%error, report = listed.id, "a report cannot be read")
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Ok(found)
    }
}

fn findings(change: &ChangeName, report: &report::Report) -> ReportFindings {
    let wrong = crate::allocation::ChargeClass::ALL.into_iter().filter(|class| class.is_wrong());
    ReportFindings {
        change: change.clone(),
        report: report.id.clone().unwrap_or_default(),
        as_of: report.data.subject.as_of,
        exceptions: wrong.map(|class| (class, report.data.count_of(class))).collect(),
        unexplained: report.data.unexplained_total,
    }
}
