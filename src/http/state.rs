//! What every handler shares.

use std::sync::Arc;

use actix_web::web;
use arc_swap::ArcSwap;

use super::edge_desk::EdgeDesk;
use super::events::{StreamSettings, Streams};
use super::limits::Limits;
use super::metrics::Metrics;
use super::ofrep::Prepared;
use super::problem::{Code, Problem};
use super::writing::{KEEP_DEFAULT, Writing};
use crate::database::Database;
use crate::flags::Snapshot;
use crate::primitives::Instant;
use crate::routing::{Overview, Router};
use crate::store::{Memory, Store};
use crate::translation::RestorePoints;

/// The service's memory and databases. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    memory: Arc<Memory>,
    app: Database,
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    writing: Arc<Writing>,
    limits: Arc<Limits>,
    prepared: Arc<ArcSwap<Prepared>>,
    streams: Arc<Streams>,
    settings: Arc<Vec<Setting>>,
    overview: Arc<ArcSwap<Overview>>,
    edge: Arc<EdgeDesk>,
    restore: Option<Arc<RestorePoints>>,
}

/// A setting that this server was started with. What is secret in it is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `--bind`
    pub name: String,
    /// `CHANGEOVER_BIND`
    pub variable: String,
    pub value: String,
    /// `default`, `environment` or `command line`.
    pub source: &'static str,
    pub help: String,
}

impl AppState {
    /// `app` is the application's database.
    #[must_use]
    pub fn new(memory: Arc<Memory>, app: Database, metrics: Metrics) -> Self {
        let router = Arc::new(Router::new(app.clone()));
        let (writing, limits) = (Arc::new(Writing::new(KEEP_DEFAULT)), Arc::default());
        let prepared = Arc::new(ArcSwap::from_pointee(Prepared::new(memory.snapshot())));
        let streams = Arc::new(Streams::new(StreamSettings::default()));
        let (settings, overview, edge) = Default::default();
        let metrics = Arc::new(metrics);
        let restore = None;
        Self { memory, app, router, metrics, writing, limits, prepared, streams, settings, overview, edge, restore }
    }

    /// Answers 429 to who asks too often.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits: Arc::new(limits), ..self }
    }

    /// Keeps the answers to writes with an Idempotency-Key for so long.
    #[must_use]
    pub fn keeping_answers(self, keep: std::time::Duration) -> Self {
        Self { writing: Arc::new(Writing::new(keep)), ..self }
    }

    /// Answers reverse proxies so.
    #[must_use]
    pub fn at_the_edge(self, edge: EdgeDesk) -> Self {
        Self { edge: Arc::new(edge), ..self }
    }

    /// Offers and keeps event streams so.
    #[must_use]
    pub fn streaming(self, settings: StreamSettings) -> Self {
        Self { streams: Arc::new(Streams::new(settings)), ..self }
    }

    /// Shows of the changes what a job reads of them every few seconds.
    #[must_use]
    pub fn watching(self, overview: Arc<ArcSwap<Overview>>) -> Self {
        Self { overview, ..self }
    }

    /// The changes as they were read last; empty if nobody reads.
    #[must_use]
    pub fn overview(&self) -> Arc<Overview> {
        self.overview.load_full()
    }

    /// Tells what the server was started with.
    #[must_use]
    pub fn telling(self, settings: Vec<Setting>) -> Self {
        Self { settings: Arc::new(settings), ..self }
    }

    /// Makes restore points of the application's database before stages are moved.
    #[must_use]
    pub fn restoring(self, restore: Option<RestorePoints>) -> Self {
        Self { restore: restore.map(Arc::new), ..self }
    }

    /// How restore points are made, if they are.
    #[must_use]
    pub fn restore_points(&self) -> Option<&RestorePoints> {
        self.restore.as_deref()
    }

    /// What the server was started with; nothing if nobody said.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        self.memory.store()
    }

    /// What flags are evaluated on.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.memory.snapshot()
    }

    /// The application's database.
    #[must_use]
    pub fn app(&self) -> &Database {
        &self.app
    }

    /// Answers on which side a user is.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is kept between writes over HTTP.
    #[must_use]
    pub fn writing_kept(&self) -> &Arc<Writing> {
        &self.writing
    }

    /// What flags are evaluated on, with what answers have in common.
    #[must_use]
    pub fn prepared(&self) -> Arc<Prepared> {
        let (snapshot, known) = (self.memory.snapshot(), self.prepared.load_full());
        if Arc::ptr_eq(known.snapshot(), &snapshot) {
            return known;
        }
        let prepared = Arc::new(Prepared::new(snapshot));
        self.prepared.store(Arc::clone(&prepared));
        prepared
    }

    /// The open event streams.
    #[must_use]
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// What reverse proxies are answered from.
    #[must_use]
    pub fn edge(&self) -> &Arc<EdgeDesk> {
        &self.edge
    }

    /// How often a client may ask.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    #[must_use]
    pub fn now(&self) -> Instant {
        jiff::Timestamp::now().into()
    }

    /// Runs what waits for a database on a thread that may wait.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let state = self.clone();
        web::block(move || work(&state)).await?
    }

    /// [`AppState::blocking`] for what writes to the store: when it returns, this server has seen the write. While the
    /// database is known to be away it does not even try, so that nobody waits for it.
    pub async fn writing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if self.memory.is_away() {
            let detail = "Nothing was written: the database cannot be reached. Flags are still evaluated, from memory. Try again.";
            return Err(Problem::new(Code::DatabaseUnavailable, detail));
        }
        self.blocking(move |state| {
            let outcome = work(state)?;
            if let Err(error) = state.memory.refresh() {
                tracing::warn!(%error, "written, but memory is not up to date yet");
            }
            Ok(outcome)
        })
        .await
    }
}
