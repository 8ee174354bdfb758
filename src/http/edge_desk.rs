//! What reverse proxies are answered from besides memory: the sides that visitors were last known to be on, and who may ask. Nothing here
//! waits for a database that is away.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use moka::sync::Cache;

use super::state::AppState;
use crate::edge::Keys;
use crate::primitives::{ChangeName, Instant};
use crate::routing::Side;

/// How long a visitor waits for a database; after that the last known side is the answer, and for a moment the database is not asked.
const WAIT_MAX: Duration = Duration::from_secs(1);
const PAUSE_MICROS: i64 = 1_000_000;
/// Visitors whose last known side is kept.
const VISITORS_MAX: u64 = 500_000;
const CHANGES_MAX: u64 = 500;

/// One for a server.
pub struct EdgeDesk {
    keys: Keys,
    /// Those who may ask without a token.
    allowed: Vec<IpNet>,
    last_known: Cache<(ChangeName, Box<str>), Side>,
    /// Of a change that has everybody on one side: which.
    everybody: Cache<ChangeName, Side>,
    asks_again_at: AtomicI64,
}

impl Default for EdgeDesk {
    fn default() -> Self {
        Self::new(Keys::default(), Vec::new())
    }
}

impl EdgeDesk {
    /// `keys` verify visitors' tokens; callers at the addresses `allowed` need no token of ours.
    #[must_use]
    pub fn new(keys: Keys, allowed: Vec<IpNet>) -> Self {
        Self {
            keys,
            allowed,
            last_known: Cache::new(VISITORS_MAX),
            everybody: Cache::new(CHANGES_MAX),
            asks_again_at: AtomicI64::new(0),
        }
    }

    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    #[must_use]
    pub fn is_allowed(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address))
    }

    /// Runs what asks a database, for no longer than a visitor waits. `None`: there is no answer now.
    pub async fn within_patience<T: Send + 'static>(
        &self,
        state: &AppState,
        work: impl FnOnce(&AppState) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        if !self.may_ask(state.now()) {
            return None;
        }
        match tokio::time::timeout(WAIT_MAX, state.blocking(move |state| Ok(work(state)))).await {
            Ok(outcome) => outcome.ok().flatten(),
            Err(_) => {
                tracing::warn!("a visitor's side could not be told in time: the last known one is");
                self.pause(state.now());
                None
            }
        }
    }

    fn may_ask(&self, now: Instant) -> bool {
        now.as_micros() >= self.asks_again_at.load(Ordering::Relaxed)
    }

    /// Asks no database for a moment.
    pub fn pause(&self, now: Instant) {
        self.asks_again_at.store(now.as_micros().saturating_add(PAUSE_MICROS), Ordering::Relaxed);
    }

    /// Keeps where a visitor is.
    pub fn remember(&self, change: &ChangeName, visitor: &str, side: Side) {
        self.everybody.invalidate(change);
        self.last_known.insert((change.clone(), Box::from(visitor)), side);
    }

    /// Keeps where everybody is.
    pub fn remember_everybody(&self, change: &ChangeName, side: Side) {
        self.everybody.insert(change.clone(), side);
    }

    /// Where a visitor was last known to be.
    #[must_use]
    pub fn last_known(&self, change: &ChangeName, visitor: Option<&str>) -> Option<Side> {
        let everybody = self.everybody.get(change);
        everybody.or_else(|| self.last_known.get(&(change.clone(), Box::from(visitor?))))
    }
}
