//! Is the process alive, and is what it answers up to date?

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::AppState;
use crate::primitives::Instant;

/// After this long without word from the database the snapshot is called stale. It is asked four times a second.
const STALE_AFTER_MICROS: i64 = 5_000_000;

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
    let confirmed_at = state.memory().confirmed_at();
    let age_micros = state.now().as_micros().saturating_sub(confirmed_at.as_micros());
    let status = if age_micros > STALE_AFTER_MICROS { "stale" } else { "ready" };
    HttpResponse::Ok().json(Readiness { status, version: state.snapshot().version(), confirmed_at })
}
