//! `/console/cohorts/{name}/upload`: ids from a file or pasted, kept aside to be looked at. A file is read while it comes in.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;

use super::cohort_facts::{Asks, asks};
use super::form::Fields;
use super::page::{Frame, base, html_with, see_other};
use super::parts::{Part, Parts};
use super::session::{Member, Signed};
use super::words::counted;
use crate::http::AppState;
use crate::http::api::cohort_uploads::receive;
use crate::http::auth::Admin;
use crate::http::input::UPLOAD_BYTES_MAX;
use crate::http::problem::{Code, Problem};
use crate::primitives::CohortName;
use crate::store::cohort_merge::Action;
use crate::store::cohort_staging::{self, Staged};
use crate::store::upload::{Upload, UploadFormat};
use crate::store::{Origin, StoreError, cohorts};

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[derive(Template)]
#[template(path = "console/cohort_upload.html")]
struct UploadPage {
    frame: Frame,
    name: String,
    ids_total: String,
    asks: Asks,
    bytes_max: usize,
    megabytes: usize,
    mode: String,
    format: String,
    reason: String,
    error: Option<String>,
}

/// The form.
pub async fn page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, name.into_inner(), (&Fields::default(), None)).await
}

/// Takes the upload and keeps it aside.
pub async fn take(
    request: HttpRequest,
    mut parts: Parts<Admin>,
    state: Data<AppState>,
    name: Path<CohortName>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let mut typed = Vec::new();
    let outcome = match received(&state, &name, &mut parts, &mut typed).await {
        Ok(upload) => keep(&state, &name, upload, (&Fields::new(typed.clone()), parts.member.signed.actor())).await,
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(staged) => Ok(see_other(&format!("{}/cohorts/{name}/staged/{}", base(&request), staged.id))),
        Err(problem) => {
            let signed = parts.member.signed.clone();
            parts.forget_rest().await;
            answer(&request, &signed, &state, name, (&Fields::new(typed), Some(problem))).await
        }
    }
}

/// Reads the form. What is small stands before the ids, so a mistake there is told before a large file has been read.
async fn received(
    state: &Data<AppState>,
    name: &CohortName,
    parts: &mut Parts<Admin>,
    typed: &mut Vec<(String, String)>,
) -> Result<Upload, Problem> {
    let asked = name.clone();
    state.blocking(move |state| Ok(state.store().read(|conn| cohorts::get(conn, &asked)).map(drop)?)).await?;
    let mut found = None;
    while let Some(part) = parts.next().await? {
        match part.name.as_str() {
            "text" | "file" => {
                let Some(upload) = read(state, part, typed).await? else { continue };
                if found.replace(upload).is_some() {
                    return Err(invalid("Nothing was kept: paste ids or choose a file, not both."));
                }
            }
            _ => typed.push((part.name.clone(), part.text().await?)),
        }
    }
    found.ok_or_else(|| invalid("Nothing was kept: choose a file, or paste ids."))
}

/// The ids of a part; nothing if nothing was pasted or chosen.
async fn read(state: &Data<AppState>, mut part: Part, typed: &[(String, String)]) -> Result<Option<Upload>, Problem> {
    let begins = part.beginning().await?;
    let (is_empty, is_gzip) = (begins.is_empty(), begins == GZIP || begins.starts_with(&GZIP));
    if is_empty && part.file_name.is_empty() {
        return Ok(None);
    }
    let fields = Fields::new(typed.to_vec());
    action_of(&fields)?;
    fields.reason()?;
    let is_file = part.name == "file";
    let format = format_of(fields.raw("format"), if is_file { &part.file_name } else { "" })?;
    receive(state, (format, is_file && is_gzip), part).await.map(Some)
}

fn action_of(fields: &Fields) -> Result<Action, Problem> {
    Action::parse(fields.raw("mode")).ok_or_else(|| invalid("Say what the ids are for: replace, add or remove."))
}

/// As it was chosen, or by the file's name, with or without `.gz`.
fn format_of(chosen: &str, file_name: &str) -> Result<UploadFormat, Problem> {
    match chosen {
        "" => Ok(UploadFormat::of_file(file_name.strip_suffix(".gz").unwrap_or(file_name))),
        "lines" => Ok(UploadFormat::Lines),
        "csv" => Ok(UploadFormat::Csv),
        "ndjson" => Ok(UploadFormat::Ndjson),
        _ => Err(invalid("Say how the ids are written: text, CSV or NDJSON.")),
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Code::InvalidValue, detail)
}

async fn keep(
    state: &Data<AppState>,
    name: &CohortName,
    upload: Upload,
    (fields, actor): (&Fields, &str),
) -> Result<Staged, Problem> {
    let (action, reason) = (action_of(fields)?, fields.reason()?);
    let (name, actor) = (name.clone(), actor.to_owned());
    let work = move |state: &AppState| {
        let origin = Origin { actor: &actor, reason: &reason };
        Ok(state.store().write(|conn| cohort_staging::stage(conn, &name, action, &upload, origin))?)
    };
    state.writing(work).await
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    name: CohortName,
    (fields, refused): (&Fields, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(request, format!("Upload: {name}"), signed);
    let read = state.blocking(move |state| {
        Ok(state.store().read(|conn| Ok::<_, StoreError>((cohorts::get(conn, &name)?, asks(conn, &name)?)))?)
    });
    let (cohort, asks) = read.await?;
    let status = refused.as_ref().map_or(StatusCode::OK, Problem::status_code);
    let mode = match fields.raw("mode") {
        "" => "replace",
        mode => mode,
    };
    let page = UploadPage {
        frame,
        name: cohort.name,
        ids_total: counted(cohort.id_count, "id", "ids"),
        asks,
        bytes_max: UPLOAD_BYTES_MAX,
        megabytes: UPLOAD_BYTES_MAX >> 20,
        mode: mode.to_owned(),
        format: fields.raw("format").to_owned(),
        reason: fields.raw("reason").to_owned(),
        error: refused.map(|problem| problem.detail().to_owned()),
    };
    html_with(&page, status)
}
