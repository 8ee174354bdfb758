//! `/api/v1/changes`: installing and uninstalling a change.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::changes::{ChangeAnswer, record};
use crate::change::{ChangeFile, Mistake};
use crate::http::auth::{Admin, Caller};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::translation::own::get_change;
use crate::translation::{Deed, check, install, remove, resolve, update};

/// A change file to be installed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewChange {
    /// The change file's text (TOML).
    file: String,
}

/// How a change is uninstalled.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UninstallQuery {
    /// Remove the record of who was billed by which model, too.
    #[serde(default)]
    discard_assignments: bool,
}

/// Installs a change at stage `off`. A file with mistakes is refused, with all of them.
#[utoipa::path(post, path = "/api/v1/changes", tag = "changes", request_body = NewChange,
    responses((status = 201, body = ChangeAnswer), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn create(
    caller: Caller<Admin>,
    state: Data<AppState>,
    body: Json<NewChange>,
) -> Result<HttpResponse, Problem> {
    let change = state
        .blocking(move |state| {
            let file = ChangeFile::parse(&body.file).map_err(|mistakes| refused(&mistakes))?;
            let mut connection = state.app().connection()?;
            let checked =
                check(&mut connection, state.app().url(), &file).map_err(|error| Problem::internal(&error))?;
            if !checked.is_clean() {
                return Err(refused(&checked.mistakes));
            }
            let model = resolve(&mut connection, &file)?;
            let deed = Deed { actor: caller.actor(), at: state.now(), reason: "" };
            let change = install(&mut connection, &model, &file, deed)?;
            record(state, caller.actor(), "change.install", &change.name, "", &json!({ "title": change.title }))?;
            Ok(change)
        })
        .await?;
    let location = format!("/api/v1/changes/{}", change.name);
    Ok(HttpResponse::Created().insert_header(("Location", location)).json(ChangeAnswer::from(change)))
}

/// Puts a corrected change file in the place of the installed one of the same name. The stage stays; blocks that changed are compared as
/// a whole by the server.
#[utoipa::path(put, path = "/api/v1/changes/{name}", tag = "changes", params(("name" = String, Path)), request_body = NewChange,
    responses((status = 200, body = ChangeAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn replace(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    body: Json<NewChange>,
) -> Result<Json<ChangeAnswer>, Problem> {
    state
        .blocking(move |state| {
            let file = ChangeFile::parse(&body.file).map_err(|mistakes| refused(&mistakes))?;
            if file.name != *name {
                let detail = format!("The file is of `{}`, the path names `{name}`.", file.name);
                return Err(Problem::new(Code::InvalidChangeFile, detail));
            }
            let mut connection = state.app().connection()?;
            get_change(&mut connection, &name)?;
            let checked =
                check(&mut connection, state.app().url(), &file).map_err(|error| Problem::internal(&error))?;
            if !checked.is_clean() {
                return Err(refused(&checked.mistakes));
            }
            let model = resolve(&mut connection, &file)?;
            let deed = Deed { actor: caller.actor(), at: state.now(), reason: "" };
            let change = update(&mut connection, &model, &file, deed)?;
            record(state, caller.actor(), "change.update", &name, "", &json!({ "title": change.title }))?;
            Ok(Json(ChangeAnswer::from(change)))
        })
        .await
}

fn refused(mistakes: &[Mistake]) -> Problem {
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Problem::new(Code::InvalidChangeFile, told.join("\n"))
}

/// Uninstalls a change that is at stage `off` or `complete`. The rows of the new model stay: they are the application's.
#[utoipa::path(delete, path = "/api/v1/changes/{name}", tag = "changes", params(("name" = String, Path), UninstallQuery),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn delete(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    query: Query<UninstallQuery>,
) -> Result<HttpResponse, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = get_change(&mut connection, &name)?;
            remove(&mut connection, &change, query.discard_assignments)?;
            record(state, caller.actor(), "change.uninstall", &name, "", &json!({}))
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
