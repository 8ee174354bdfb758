//! `/api/v1/changes/{name}/close`: periods whose bills are out.

use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::changes::record;
use crate::http::auth::{Admin, Caller};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, Period};
use crate::translation::Deed;
use crate::translation::closing::{ClosingReceipt, close};
use crate::translation::own::get_change;

/// What is to be closed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClosingWish {
    /// The first period that stays open, such as `2026-12`, as the change counts its periods.
    #[schema(value_type = String)]
    before: Period,
    #[serde(default)]
    #[schema(value_type = String)]
    reason: ShortText,
    /// Only say what would be closed.
    #[serde(default)]
    preview: bool,
}

/// Closes every billing period before the given one, for good: nobody is moved in them, who joins later does not pay for them, and what they
/// were billed is recorded. Refused while translation is paused or keys wait for theirs.
#[utoipa::path(post, path = "/api/v1/changes/{name}/close", tag = "changes", params(("name" = String, Path)), request_body = ClosingWish,
    responses((status = 200, body = ClosingReceipt), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub async fn close_periods(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<ClosingWish>,
) -> Result<Json<ClosingReceipt>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = get_change(&mut connection, &name)?;
            if change.file.is_routed() {
                let refused = |error| Problem::new(Code::InvalidValue, format!("`before`: {error}."));
                change.file.routing.period.check(wish.before).map_err(refused)?;
            }
            let reason = wish.reason.as_str();
            let deed = Deed { actor: caller.actor(), at: state.now(), reason };
            let receipt = close(&mut connection, &name, &wish.before.to_string(), (wish.preview, deed))?;
            if !wish.preview {
                record(state, caller.actor(), "change.close", &name, reason, &json!(receipt))?;
            }
            Ok(Json(receipt))
        })
        .await
}
