//! What a server keeps in memory of the store: the snapshot that flags are evaluated on, the tokens that requests are checked against,
//! and what proxies are answered from. While the database is away both stay as they were last seen; when it has been set back, it is moved forward, so that
//! versions only ever grow here.

mod reading;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use self::reading::Configuration;
use super::edge_memory::Edges;
use super::state::{self, Versions};
use super::tokens::{self, IssuedToken, Keyring};
use super::{Store, StoreError, now};
use crate::database::DatabaseConnection;
use crate::flags::Snapshot;
use crate::primitives::Instant;

pub use reading::UnreadableFlag;

/// After this long without word from the database memory is called stale. It is asked five times a second.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// How long a database must be found set back before it is followed: a connection may have gone astray for a moment.
const SETTLE: Duration = Duration::from_secs(2);

/// The store's contents in memory. [`Memory::refresh`] brings them up to date; everything else only reads memory.
pub struct Memory {
    store: Store,
    snapshot: ArcSwap<Snapshot>,
    keyring: ArcSwap<Keyring>,
    edges: ArcSwap<Edges>,
    unreadable: ArcSwap<Vec<UnreadableFlag>>,
    behind: ArcSwapOption<Behind>,
    /// Its lock lets one refresh run at a time, so that no older snapshot follows a newer one.
    held: Mutex<Held>,
    /// The configuration's version, for those who wait for one.
    newest: watch::Sender<i64>,
    confirmed_at: AtomicI64,
    is_away: AtomicBool,
    /// False while the database's tables may not be up to date: it has not been reached since the server started.
    is_prepared: AtomicBool,
    /// False until there has been a connection to the database.
    is_reached: AtomicBool,
    /// False until anybody can have been answered from memory.
    is_served: AtomicBool,
    notifications: AtomicU64,
    refresh_failures: AtomicU64,
    first_token: Mutex<Option<IssuedToken>>,
}

/// What memory holds, as far as the next refresh must know it.
struct Held {
    versions: Versions,
    /// True if all is to be read again whatever the versions say.
    is_doubted: bool,
    behind_since: Option<Clock>,
}

/// How far memory can be trusted to be what the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// When the database last said that this is its state.
    pub confirmed_at: Instant,
    /// True if that is too long ago.
    pub is_stale: bool,
    /// How long ago that is.
    pub age: Duration,
}

/// A database in an earlier state than memory, that is not followed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The database's version.
    pub version: i64,
    pub since: Instant,
    pub reason: &'static str,
}

/// What has happened since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub notifications: u64,
    pub refresh_failures: u64,
}

/// What a server had in memory, read back from its snapshot file.
pub struct Saved {
    pub versions: Versions,
    pub confirmed_at: Instant,
    pub snapshot: Snapshot,
    pub keyring: Keyring,
    pub edges: Edges,
    /// Flags in it that this program cannot read.
    pub unreadable: Vec<UnreadableFlag>,
}

/// What a server has in memory.
pub struct Contents {
    pub versions: Versions,
    pub confirmed_at: Instant,
    pub snapshot: Arc<Snapshot>,
    pub keyring: Arc<Keyring>,
    pub edges: Arc<Edges>,
}

/// What one look at the database found.
enum Found {
    Newer { versions: Versions, configuration: Option<Box<Configuration>>, keyring: Option<Keyring> },
    Behind { versions: Versions, reason: Option<&'static str> },
}

impl Memory {
    /// Reads everything.
    pub fn load(store: Store) -> Result<Self, StoreError> {
        let memory = Self::empty(store, true);
        memory.refresh()?;
        memory.serve();
        Ok(memory)
    }

    /// For a server: memory of `saved`, what its snapshot file holds, or of nothing. A refresh reads what is newer from the database,
    /// whose tables it brings up to date first.
    #[must_use]
    pub fn starting(store: Store, saved: Option<Saved>) -> Self {
        let memory = Self::empty(store, false);
        if let Some(saved) = saved {
            memory.adopt(saved);
        }
        memory
    }

    /// From here on, answers are given from memory: nothing in it may go back any more.
    pub fn serve(&self) {
        self.is_served.store(true, Ordering::Release);
    }

    /// True once there has been a connection to the database.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Acquire)
    }

    /// True once the database has been reached and its tables are up to date.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.is_prepared.load(Ordering::Acquire)
    }

    fn adopt(&self, Saved { versions, confirmed_at, snapshot, keyring, edges, unreadable }: Saved) {
        self.edges.store(Arc::new(edges));
        self.unreadable.store(Arc::new(unreadable));
        self.newest.send_replace(snapshot.version());
        self.snapshot.store(Arc::new(snapshot));
        self.keyring.store(Arc::new(keyring));
        self.confirmed_at.store(confirmed_at.as_micros(), Ordering::Relaxed);
        let mut held = self.held();
        held.versions = versions;
        held.is_doubted = true;
    }

    /// What memory holds, to be saved. Everything in it was committed.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let held = self.held();
        let (versions, confirmed_at) = (held.versions.clone(), self.confirmed_at());
        Contents { versions, confirmed_at, snapshot: self.snapshot(), keyring: self.keyring(), edges: self.edges() }
    }

    /// The first admin token, if a refresh has made it; once.
    pub fn take_first_token(&self) -> Option<IssuedToken> {
        self.first_token.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Memory of nothing, older than any other.
    fn empty(store: Store, is_prepared: bool) -> Self {
        let versions =
            Versions { epoch: String::new(), config: -1, config_changed_at: Instant::from_micros(0), tokens: -1 };
        Self {
            store,
            snapshot: ArcSwap::from_pointee(Snapshot::empty()),
            keyring: ArcSwap::from_pointee(Keyring::default()),
            edges: ArcSwap::default(),
            unreadable: ArcSwap::default(),
            behind: ArcSwapOption::empty(),
            held: Mutex::new(Held { versions, is_doubted: false, behind_since: None }),
            newest: watch::Sender::new(-1),
            confirmed_at: AtomicI64::new(0),
            is_away: AtomicBool::new(false),
            is_prepared: AtomicBool::new(is_prepared),
            is_reached: AtomicBool::new(is_prepared),
            is_served: AtomicBool::new(false),
            notifications: AtomicU64::new(0),
            refresh_failures: AtomicU64::new(0),
            first_token: Mutex::default(),
        }
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// What is set for the edges, as of the snapshot's version.
    #[must_use]
    pub fn edges(&self) -> Arc<Edges> {
        self.edges.load_full()
    }

    /// The configuration's version, now and whenever it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }

    /// When the database last said that this is its state.
    #[must_use]
    pub fn confirmed_at(&self) -> Instant {
        Instant::from_micros(self.confirmed_at.load(Ordering::Relaxed))
    }

    /// How far memory can be trusted at `now`.
    #[must_use]
    pub fn freshness(&self, now: Instant) -> Freshness {
        let confirmed_at = self.confirmed_at();
        let age_micros = now.as_micros().saturating_sub(confirmed_at.as_micros());
        let age = Duration::from_micros(u64::try_from(age_micros).unwrap_or(0));
        Freshness { confirmed_at, is_stale: age > STALE_AFTER, age }
    }

    /// True if the newest attempt to reach the database failed.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// The stored flags that cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> Arc<Vec<UnreadableFlag>> {
        self.unreadable.load_full()
    }

    /// Set while the database is in an earlier state than memory.
    #[must_use]
    pub fn behind(&self) -> Option<Arc<Behind>> {
        self.behind.load_full()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            notifications: self.notifications.load(Ordering::Relaxed),
            refresh_failures: self.refresh_failures.load(Ordering::Relaxed),
        }
    }

    /// The database has told of a new version.
    pub fn count_notification(&self) {
        self.notifications.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the database for its versions and reads what is newer than memory. True if something was.
    pub fn refresh(&self) -> Result<bool, StoreError> {
        let mut held = self.held();
        let outcome = self.look(&mut held);
        self.is_away.store(outcome.is_err(), Ordering::Relaxed);
        if outcome.is_err() {
            self.refresh_failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, held: &mut Held) -> Result<bool, StoreError> {
        if !self.is_prepared() {
            self.prepare()?;
            self.is_prepared.store(true, Ordering::Release);
        }
        let asked_at = now();
        match self.store.read(|connection| self.find(connection, held))? {
            Found::Newer { versions, configuration, keyring } => {
                let is_new = configuration.is_some() || keyring.is_some();
                if let Some(keyring) = keyring {
                    self.keyring.store(Arc::new(keyring));
                }
                if let Some(configuration) = configuration {
                    self.take(*configuration);
                }
                *held = Held { versions, is_doubted: false, behind_since: None };
                self.behind.store(None);
                self.confirmed_at.store(asked_at.as_micros(), Ordering::Relaxed);
                Ok(is_new)
            }
            Found::Behind { versions, reason } => self.face(held, &versions, reason),
        }
    }

    /// What a start does to the database, as soon as it can be reached.
    fn prepare(&self) -> Result<(), StoreError> {
        drop(self.store.database().connection()?);
        self.is_reached.store(true, Ordering::Release);
        self.store.prepare()?;
        if let Some(first) = self.store.write(tokens::create_first)? {
            *self.first_token.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        }
        Ok(())
    }

    /// Reads what is newer than memory, on one consistent view of the database.
    fn find(&self, connection: &mut DatabaseConnection, held: &Held) -> Result<Found, StoreError> {
        let versions = state::versions(connection)?;
        let seen = &held.versions;
        let is_other = versions.epoch != seen.epoch;
        let is_free = is_other && !self.is_served.load(Ordering::Acquire);
        if !is_free && !versions.may_follow(seen) {
            return Ok(Found::Behind { reason: state::reason_to_wait(connection)?, versions });
        }
        let is_doubted = held.is_doubted || is_other;
        let configuration = if is_doubted || versions.config != seen.config {
            let previous = self.snapshot();
            let previous = (!is_other).then_some(&*previous);
            Some(Box::new(reading::configuration(connection, &versions, previous, &self.edges())?))
        } else {
            None
        };
        let keyring =
            if is_doubted || versions.tokens != seen.tokens { Some(Keyring::load(connection)?) } else { None };
        Ok(Found::Newer { versions, configuration, keyring })
    }

    fn take(&self, Configuration { snapshot, edges, unreadable }: Configuration) {
        let known = self.unreadable();
        for flag in unreadable.iter().filter(|flag| !known.contains(flag)) {
            let UnreadableFlag { key, version, served, reason } = flag;
            match served {
                Some(served) => {
                    tracing::error!(
                        flag = key,
                        version,
                        served,
                        reason,
                        "a stored flag cannot be read: its last good version is served"
                    );
                }
                None => tracing::error!(flag = key, version, reason, "a stored flag cannot be read: it is not there"),
            }
        }
        let version = snapshot.version();
        self.unreadable.store(Arc::new(unreadable));
        self.edges.store(Arc::new(edges));
        self.snapshot.store(Arc::new(snapshot));
        self.newest.send_replace(version);
    }

    /// Memory is ahead of the database. It stays as it is until it is sure that the database was set back for good; then the database
    /// is moved forward, and the next refresh follows it.
    fn face(&self, held: &mut Held, found: &Versions, reason: Option<&'static str>) -> Result<bool, StoreError> {
        let since = *held.behind_since.get_or_insert_with(Clock::now);
        if self.behind().is_none() {
            tracing::error!(
                memory = held.versions.config,
                database = found.config,
                reason,
                "the database is in an earlier state than was served from it; memory stays as it is"
            );
        }
        let at = self.behind().map_or_else(now, |behind| behind.since);
        let behind = Behind { version: found.config, since: at, reason: reason.unwrap_or("it has been set back") };
        self.behind.store(Some(Arc::new(behind)));
        if reason.is_some() || since.elapsed() < SETTLE {
            return Ok(false);
        }
        self.store.write(|connection| state::overtake(connection, &held.versions))?;
        tracing::error!(
            "the database has been set back: its earlier state is served from now on, under a newer version"
        );
        Ok(false)
    }
}
