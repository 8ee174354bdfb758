//! Is the process alive, and is what it answers up to date?

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::AppState;
use crate::primitives::Instant;

/// Whether the server can answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready`, or `stale`: flags are evaluated from memory, the database has not been reached since `confirmed_at`.
    status: &'static str,
    /// The configuration's version that flags are evaluated on.
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    confirmed_at: Instant,
}

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "Alive", content_type = "text/plain")))]
pub async fn alive() -> &'static str {
    "alive\n"
}

/// Can it answer? A server that has a snapshot can, even while the database is away: then it says `stale`.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, body = Readiness)))]
pub async fn ready(state: Data<AppState>) -> HttpResponse {
    let freshness = state.memory().freshness(state.now());
    let status = if freshness.is_stale { "stale" } else { "ready" };
    let version = state.snapshot().version();
    HttpResponse::Ok().json(Readiness { status, version, confirmed_at: freshness.confirmed_at })
}
