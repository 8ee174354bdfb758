//! `/api/v1/changes/{name}/charges/{id}/explain`: one charge, its class and why.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::Serialize;

use crate::http::auth::{Caller, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::report::{ChargeStory, explain_charge};
use crate::routing::{RoutedCharge, side_of_charge};

#[derive(Serialize)]
struct ChargeAnswer {
    #[serde(flatten)]
    story: ChargeStory,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<RoutedCharge>,
}

/// Explains one charge: its rows of each query of `[allocation]`, its class and why it is in it, the recorded side of its group, what its
/// closed period recorded, what the last report said of it, and the explanations that are about it. Reads this charge only.
#[utoipa::path(get, path = "/api/v1/changes/{name}/charges/{id}/explain", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn explain(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id) = path.into_inner();
    let answer = state
        .blocking(move |state| {
            let (mut connection, now) = (state.app().connection()?, state.now());
            let story = explain_charge(&mut connection, state.store(), (&name, id.as_str()), now)?;
            let routing = match (story.group(), story.period()) {
                (Some(group), Some(period)) => side_of_charge(&mut connection, &name, (group, period), now)?,
                _ => None,
            };
            Ok(ChargeAnswer { story, routing })
        })
        .await?;
    Ok(HttpResponse::Ok().json(answer))
}
