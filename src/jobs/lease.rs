//! The leases that this server holds, and a loop that works while it holds one. A thread renews them, so that long work keeps its
//! lease; when the server dies nobody does, and within [`Leases::TTL`] another server takes over.

use std::error::Error;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use crate::database::DatabaseConnection;
use crate::store::leases::{self, Lease};
use crate::store::{Store, StoreError};

/// A lease between its claim and its release.
struct Kept {
    lease: Mutex<Lease>,
    /// Locked while it is being renewed, so that a renewal never follows the release.
    is_released: Mutex<bool>,
}

/// Claims, renews and gives back. Cheap to clone.
#[derive(Clone)]
pub struct Leases {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    holder: String,
    ttl: Duration,
    held: Mutex<Vec<Weak<Kept>>>,
    /// Dropped with the last clone, which ends the renewing thread.
    _alive: Sender<()>,
}

impl Leases {
    /// How long a dead server's work waits for another server.
    pub const TTL: Duration = Duration::from_secs(10);

    /// Starts the thread that renews. `holder` names this server in the table: for people, and unique so that it is nobody else.
    pub fn start(store: Store, ttl: Duration) -> Result<Self, std::io::Error> {
        let (alive, ended) = channel();
        let holder = holder().map_err(std::io::Error::other)?;
        let shared = Arc::new(Shared { store, holder, ttl, held: Mutex::default(), _alive: alive });
        let renewing = Arc::downgrade(&shared);
        std::thread::Builder::new().name(String::from("leases")).spawn(move || {
            while ended.recv_timeout(ttl / 4) == Err(RecvTimeoutError::Timeout) {
                let Some(shared) = renewing.upgrade() else { return };
                shared.renew_all();
            }
        })?;
        Ok(Self { shared })
    }

    /// This server's name in the tables.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.shared.holder
    }

    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.shared.ttl
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Claims the lease of that name; `None` while another has it.
    pub fn claim(&self, name: &str) -> Result<Option<Held>, StoreError> {
        let shared = &self.shared;
        let lease = shared.store.write(|conn| leases::claim(conn, name, &shared.holder, shared.ttl))?;
        Ok(lease.map(|lease| self.keep(lease)))
    }

    /// Renews a lease that was claimed in a transaction of the caller's, for as long as the result lives.
    #[must_use]
    pub fn keep(&self, lease: Lease) -> Held {
        let kept = Arc::new(Kept { lease: Mutex::new(lease), is_released: Mutex::new(false) });
        locked(&self.shared.held).push(Arc::downgrade(&kept));
        Held { kept, store: self.shared.store.clone() }
    }
}

impl Shared {
    fn renew_all(&self) {
        let held: Vec<_> = {
            let mut held = locked(&self.held);
            held.retain(|kept| kept.strong_count() > 0);
            held.iter().filter_map(Weak::upgrade).collect()
        };
        for kept in held {
            let is_released = locked(&kept.is_released);
            if *is_released {
                continue;
            }
            let lease = locked(&kept.lease).clone();
            match self.store.write(|conn: &mut DatabaseConnection| leases::renew(conn, &lease, self.ttl)) {
                Ok(Some(renewed)) => *locked(&kept.lease) = renewed,
                Ok(None) => {
                    tracing::warn!(name = lease.name, "another server has taken over what this one did");
                    locked(&kept.lease).until = Clock::now();
                }
                // It stays held until it runs out; the next turn tries again.
                Err(error) => tracing::warn!(name = lease.name, %error, "a lease could not be renewed"),
            }
        }
    }
}

/// A lease that this server holds, renewed until it is dropped, which gives it back.
pub struct Held {
    kept: Arc<Kept>,
    store: Store,
}

impl Held {
    /// False once the lease has run out, or another server has it. Ask before each step of work.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Clock::now() < locked(&self.kept.lease).until
    }

    /// The lease as it is now.
    #[must_use]
    pub fn lease(&self) -> Lease {
        locked(&self.kept.lease).clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *locked(&self.kept.is_released) = true;
        let lease = self.lease();
        if let Err(error) = self.store.write(|conn| leases::release(conn, &lease)) {
            tracing::debug!(name = lease.name, %error, "a lease could not be given back; it runs out");
        }
    }
}

/// What a turn of a loop's work may look at to know whether to go on.
pub struct Turn<'a> {
    held: &'a Held,
    stopping: &'a dyn Fn() -> bool,
}

impl Turn<'_> {
    /// False once the server stops or the lease is lost: return from the work then.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.held.is_held() && !(self.stopping)()
    }

    /// Greater than that of every server which did this work before.
    #[must_use]
    pub fn fencing(&self) -> i64 {
        self.held.lease().fencing
    }
}

/// Work that one of all servers does again and again. It stops when this is dropped.
pub struct LeasedLoop {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LeasedLoop {
    /// Starts a thread that runs `work`, `pause` apart, while this server has the lease `name`. An error is logged, once for each outage;
    /// the next turn tries again.
    pub fn start<E: Error>(
        leases: Leases,
        name: &'static str,
        pause: Duration,
        mut work: impl FnMut(&Turn<'_>) -> Result<(), E> + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let stopping = || stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected);
            let mut held: Option<Held> = None;
            let mut failing = false;
            loop {
                let outcome = turn(&leases, name, &mut held, &stopping, &mut work);
                failing = logged(name, outcome, failing);
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

fn turn<E: Error>(
    leases: &Leases,
    name: &str,
    held: &mut Option<Held>,
    stopping: &dyn Fn() -> bool,
    work: &mut impl FnMut(&Turn<'_>) -> Result<(), E>,
) -> Result<(), String> {
    if held.as_ref().is_some_and(|held| !held.is_held()) {
        *held = None;
    }
    if held.is_none() {
        *held = leases.claim(name).map_err(|error| error.to_string())?;
    }
    match held {
        Some(held) => work(&Turn { held, stopping }).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn logged(name: &str, outcome: Result<(), String>, was_failing: bool) -> bool {
    match outcome {
        Ok(()) => {
            if was_failing {
                tracing::info!(name, "background work goes on");
            }
            false
        }
        Err(error) => {
            if !was_failing {
                tracing::warn!(name, error, "background work failed; it is tried again");
            }
            true
        }
    }
}

impl Drop for LeasedLoop {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A name for a holder of leases: the host's name, the process's number and some randomness: two containers may share the first two.
pub fn holder() -> Result<String, getrandom::Error> {
    let mut random = [0u8; 4];
    getrandom::fill(&mut random)?;
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| String::from("server"));
    let host: String = host.chars().take(60).collect();
    Ok(format!("{host}/{}/{:08x}", std::process::id(), u32::from_ne_bytes(random)))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
