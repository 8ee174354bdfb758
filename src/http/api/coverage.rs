//! `/api/v1/changes/{name}/coverage`: what silences or breaks the triggers of a change.

use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::http::auth::{Caller, Viewer};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, Instant};
use crate::translation::audit::audit_change;
use crate::translation::own::get_change;

/// What an audit found, now.
#[derive(Debug, Serialize, ToSchema)]
pub struct CoverageAnswer {
    #[schema(value_type = String)]
    change: ChangeName,
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    /// Each with `code`, `object`, `what` and `remedy`; empty: nothing silences or breaks a trigger, as far as can be seen.
    #[schema(value_type = Vec<Object>)]
    findings: Value,
}

/// What silences or breaks the triggers of a change: looked for now, nothing is changed.
#[utoipa::path(get, path = "/api/v1/changes/{name}/coverage", tag = "changes", params(("name" = String, Path)),
    responses((status = 200, body = CoverageAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<Json<CoverageAnswer>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = get_change(&mut connection, &name)?;
            let findings = json!(audit_change(&mut connection, &change)?);
            Ok(Json(CoverageAnswer { change: change.name, at: state.now(), findings }))
        })
        .await
}
