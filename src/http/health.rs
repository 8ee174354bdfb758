//! Is the process alive, and is what it answers up to date?

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::AppState;
use crate::primitives::Instant;
use crate::store::{Behind, Freshness, UnreadableFlag};

/// Whether the server can answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready`, or `stale`: flags are evaluated from memory, and for some seconds the database has not confirmed that it is the
    /// newest state.
    status: &'static str,
    /// The configuration's version that flags are evaluated on.
    version: i64,
    /// When the database last confirmed it.
    #[schema(value_type = String, format = DateTime)]
    confirmed_at: Instant,
    /// With `stale`: for how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_seconds: Option<u64>,
    /// There while the database is in an earlier state than memory: it is not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_behind: Option<DatabaseBehind>,
    /// Stored flags that cannot be read. Not there if all can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable_flags: Vec<Unreadable>,
}

/// A database in an earlier state than was served from it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseBehind {
    /// The database's version.
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    since: Instant,
    reason: &'static str,
}

/// A stored flag that cannot be read.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unreadable {
    key: String,
    /// The version that cannot be read.
    version: i64,
    /// The version that is served in its place; not there if there is none, so that the flag is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    served_version: Option<i64>,
}

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "Alive", content_type = "text/plain")))]
pub async fn alive() -> &'static str {
    "alive\n"
}

/// Can it answer? A server that has a snapshot can, even while the database is away: then it says `stale`.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, body = Readiness)))]
pub async fn ready(state: Data<AppState>) -> HttpResponse {
    let memory = state.memory();
    let Freshness { confirmed_at, is_stale, age } = memory.freshness(state.now());
    HttpResponse::Ok().json(Readiness {
        status: if is_stale { "stale" } else { "ready" },
        version: state.snapshot().version(),
        confirmed_at,
        stale_seconds: is_stale.then_some(age.as_secs()),
        database_behind: memory.behind().map(|behind| DatabaseBehind::from(&*behind)),
        unreadable_flags: memory.unreadable().iter().map(Unreadable::from).collect(),
    })
}

impl From<&Behind> for DatabaseBehind {
    fn from(behind: &Behind) -> Self {
        Self { version: behind.version, since: behind.since, reason: behind.reason }
    }
}

impl From<&UnreadableFlag> for Unreadable {
    fn from(flag: &UnreadableFlag) -> Self {
        Self { key: flag.key.clone(), version: flag.version, served_version: flag.served }
    }
}
