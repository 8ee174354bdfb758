//! `/api/v1/changes/{name}/history`: every file that a change has had.

use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use utoipa::ToSchema;

use super::List;
use crate::http::auth::{Caller, Viewer};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::translation::own::get_change;
use crate::translation::{FileVersion, list_files};

/// One file of a change: `number`, `at`, `actor`, `action`, `reason`, `title`, `changed_blocks` and the `file` itself. To go back to it, put
/// it in the place of the installed one.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileAnswer {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    file: FileVersion,
}

/// Every file that a change has had, the newest first, with who put it there, when and why.
#[utoipa::path(get, path = "/api/v1/changes/{name}/history", tag = "changes", params(("name" = String, Path)),
    responses((status = 200, body = List<FileAnswer>), (status = 404, body = ProblemDocument)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<Json<List<FileAnswer>>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = get_change(&mut connection, &name)?;
            let files = list_files(&mut connection, &change.name)?;
            Ok(Json(List { items: files.into_iter().map(|file| FileAnswer { file }).collect(), next: None }))
        })
        .await
}
