//! One object for one server: flags, migrators, routing, writes and gates.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, Weak};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::calls::Calls;
use crate::context::Context;
use crate::details::{Details, FlagValue, Plain};
use crate::events::{Events, Listener};
use crate::flags::Flags;
use crate::http::{Tls, Transport};
use crate::lru::Lru;
use crate::observations::{Observations, Stats};
use crate::routing::Routing;
use crate::stage::Stage;
use crate::sync::{read, write};
use crate::url::ConfigError;
use crate::workers::Workers;

const ASYNC_THREADS_MAX: usize = 16;

/// Any number of threads may use one, and clones are the same client. It is made without waiting for the server; the last clone that is
/// dropped, or [`close`](Client::close), ends it.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

pub(crate) struct Inner {
    transport: Arc<Transport>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) flags: Arc<Flags>,
    pub(crate) observations: Arc<Observations>,
    pub(crate) async_workers: Workers,
    pub(crate) random: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// The last known stages by flag and context.
    pub(crate) stages: RwLock<Lru<String, Stage>>,
    pub(crate) contexts_max: usize,
    /// How many threads read the other side.
    pub(crate) side_threads: AtomicUsize,
    pub(crate) routing: Routing,
    listeners: Arc<Listeners>,
    events: Option<Arc<Events>>,
    is_closed: AtomicBool,
}

/// How a client is made. What is not said is as [`Client::from_env`] has it.
#[must_use]
pub struct Builder {
    url: Option<String>,
    token: Option<String>,
    timeout: Duration,
    state_path: Option<PathBuf>,
    has_events: bool,
    max_age: Duration,
    contexts_max: usize,
    observations_max: usize,
    side_max_age: Duration,
    tls: Option<Tls>,
    pub(crate) sleep: Arc<dyn Fn(Duration) + Send + Sync>,
    pub(crate) random: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Builder {
    /// Where the server is: `http://127.0.0.1:8080`. By default what `CHANGEOVER_URL` says.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// By default what `CHANGEOVER_TOKEN` says. It is sent to `url` and nowhere else: redirects are not followed.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// For a whole request: connecting, sending and the last byte of the answer. 2 s by default; five times that for many lines.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The file where the last known answers are kept: a start without the server serves them.
    pub fn state_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_path = Some(path.into());
        self
    }

    /// Whether to listen for changes; on by default.
    pub fn events(mut self, has_events: bool) -> Self {
        self.has_events = has_events;
        self
    }

    /// How old a kept answer may be. 60 s by default; 10 s at most while no stream of changes is open.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// How many contexts' answers are kept; the least recently used goes first. 1000 by default.
    pub fn contexts_max(mut self, contexts_max: usize) -> Self {
        self.contexts_max = contexts_max;
        self
    }

    /// How many observations may wait; further ones are dropped and counted. 10,000 by default.
    pub fn observations_max(mut self, observations_max: usize) -> Self {
        self.observations_max = observations_max;
        self
    }

    /// How old a kept side may be. 10 s by default.
    pub fn side_max_age(mut self, side_max_age: Duration) -> Self {
        self.side_max_age = side_max_age;
        self
    }

    /// What TLS is to be like. By default the certificates that the system trusts, or those of `SSL_CERT_FILE`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// The client. It has not asked the server anything yet.
    pub fn build(self) -> Result<Client, ConfigError> {
        let environment = |name: &str| std::env::var(name).unwrap_or_default();
        let url = self.url.unwrap_or_else(|| environment("CHANGEOVER_URL"));
        let token = self.token.unwrap_or_else(|| environment("CHANGEOVER_TOKEN"));
        let transport = Arc::new(Transport::new(&url, &token, self.timeout, self.tls)?);
        let calls = || Calls::new(Arc::clone(&transport), Arc::clone(&self.sleep));
        let flags = Flags::new(Arc::clone(&transport), self.max_age, self.contexts_max, self.state_path);
        let listeners = Arc::new(Listeners { flags: Arc::clone(&flags), all: RwLock::default() });
        let listener: Arc<dyn Listener> = Arc::<Listeners>::clone(&listeners);
        let events = self.has_events.then(|| Events::new(Arc::clone(&transport), listener));
        if let Some(events) = &events {
            // Weak, for the events' listener holds the flags.
            let events = Arc::downgrade(events);
            flags.on_answer(move || {
                if let Some(events) = events.upgrade() {
                    events.start();
                }
            });
        }
        Ok(Client(Arc::new(Inner {
            calls: Arc::new(calls()),
            observations: Observations::new(calls(), self.observations_max),
            async_workers: Workers::new("changeover-async", ASYNC_THREADS_MAX),
            random: self.random,
            stages: RwLock::new(Lru::new()),
            contexts_max: self.contexts_max.max(1),
            side_threads: AtomicUsize::new(0),
            routing: Routing::new(self.side_max_age),
            transport,
            flags,
            listeners,
            events,
            is_closed: AtomicBool::new(false),
        })))
    }
}

impl Client {
    /// A client for a server and a token, with the usual settings.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Result<Self, ConfigError> {
        Self::builder().url(url).token(token).build()
    }

    /// A client for the server that `CHANGEOVER_URL` and `CHANGEOVER_TOKEN` name.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().build()
    }

    /// A client with settings of its own.
    pub fn builder() -> Builder {
        Builder {
            url: None,
            token: None,
            timeout: Duration::from_secs(2),
            state_path: None,
            has_events: true,
            max_age: Duration::from_secs(60),
            contexts_max: 1000,
            observations_max: 10_000,
            side_max_age: Duration::from_secs(10),
            tls: None,
            sleep: Arc::new(std::thread::sleep),
            random: Arc::new(crate::random::random),
        }
    }

    /// Sends the observations that wait (for at most the timeout), writes the last known answers, and ends what runs in the background.
    /// What is kept goes on being served.
    pub fn close(&self) {
        self.0.close();
    }

    // ── flags ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A boolean flag's value; the default, whatever goes wrong.
    pub fn boolean(&self, key: &str, default: bool, context: impl Into<Context>) -> bool {
        self.value(key, default, &context.into())
    }

    /// A text flag's value; the default, whatever goes wrong.
    pub fn string(&self, key: &str, default: impl Into<String>, context: impl Into<Context>) -> String {
        self.value(key, default.into(), &context.into())
    }

    /// A number flag's value, if it has no fraction; the default, whatever goes wrong.
    pub fn integer(&self, key: &str, default: i64, context: impl Into<Context>) -> i64 {
        self.value(key, default, &context.into())
    }

    /// A number flag's value; the default, whatever goes wrong.
    pub fn float(&self, key: &str, default: f64, context: impl Into<Context>) -> f64 {
        self.value(key, default, &context.into())
    }

    /// An object flag's value; the default, whatever goes wrong.
    pub fn object(&self, key: &str, default: Map<String, Value>, context: impl Into<Context>) -> Map<String, Value> {
        self.value(key, default, &context.into())
    }

    fn value<T: FlagValue>(&self, key: &str, default: T, context: &Context) -> T {
        let Plain(value) = self.0.flags.evaluate(key, default, context);
        value
    }

    /// A value and how it came about. Its type is the default's: `bool`, `String`, `i64`, `f64` or a `serde_json::Map`.
    pub fn details<T: FlagValue>(&self, key: &str, default: T, context: impl Into<Context>) -> Details<T> {
        self.0.flags.evaluate(key, default, &context.into())
    }

    /// The same, but the server is asked now, for this flag alone, and nothing is kept.
    pub fn details_now<T: FlagValue>(&self, key: &str, default: T, context: impl Into<Context>) -> Details<T> {
        self.0.flags.evaluate_now(key, default, &context.into())
    }

    /// Calls a function, on a thread of the client's, whenever the server tells of a change. A client that it owned would never end.
    pub fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        write(&self.0.listeners.all).push(Arc::new(listener));
    }

    // ── observations ───────────────────────────────────────────────────────────────────────────────────────────────

    /// What became of the observations.
    pub fn stats(&self) -> Stats {
        self.0.observations.stats()
    }

    /// Sends the observations that wait, now; false if some are left after the time.
    pub fn flush(&self, time: Duration) -> bool {
        self.0.observations.flush(time)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// For work on a thread of the client's, which must not be what keeps the client alive.
    pub(crate) fn weak(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("url", &self.0.transport.url()).finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(events) = &self.events {
            events.close();
        }
        self.observations.close(self.transport.timeout);
        self.flags.close();
        self.async_workers.close();
        self.transport.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

type ChangeListener = Arc<dyn Fn() + Send + Sync>;

/// The flags hear of a change first, then the application.
struct Listeners {
    flags: Arc<Flags>,
    all: RwLock<Vec<ChangeListener>>,
}

impl Listener for Listeners {
    fn told(&self, etag: Option<String>) {
        self.flags.told(etag);
        let all = read(&self.all).clone();
        for listener in all {
            // Its panic has been told by its hook, and must not end the stream.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| listener()));
        }
    }

    fn connected(&self, is_connected: bool) {
        self.flags.connected(is_connected);
    }
}

// What is behind its locks is whole after each line, so a panic of somebody's function leaves nothing half done.
impl std::panic::UnwindSafe for Client {}
impl std::panic::RefUnwindSafe for Client {}
