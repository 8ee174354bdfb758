//! `/console/changes/{name}/reports/{id}/…`: a report's own page, and its forms as files.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY};
use actix_web::web::{Data, Path};

use super::session::Member;
use crate::http::AppState;
use crate::http::api::report_files::{archive, csv_file};
use crate::http::api::reports::find;
use crate::http::auth::Viewer;
use crate::http::input::ShortText;
use crate::http::problem::Problem;
use crate::primitives::ChangeName;
use crate::report;

/// The report's own page: it brings its style with it, and says itself, by checksums, which script and style count. What frames it and
/// what it may load is still ours to say.
const POLICY: &str = "frame-ancestors 'none'; img-src 'none'; connect-src 'none'; form-action 'none'; base-uri 'none'";

/// The self-contained page, to be read in the browser.
pub async fn read(
    _: Member<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let page = rendered(&state, path.into_inner()).await?;
    let answer = HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(page);
    Ok(answer)
}

/// One form of it, to be kept: `report.html`, `report.json`, `report-csv.zip`, or a file of the CSV set.
pub async fn download(
    _: Member<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id, file) = path.into_inner();
    match file.as_str() {
        "report-csv.zip" => archive(&state, name, id.as_str().to_owned()).await,
        "report.html" => {
            let page = rendered(&state, (name, id)).await?;
            Ok(as_file("report.html", "text/html; charset=utf-8", page.into_bytes()))
        }
        "report.json" => {
            let report = state.blocking(move |state| find(state, &name, id.as_str())).await?;
            let text = report.to_json().map_err(|error| Problem::internal(&error))?;
            Ok(as_file("report.json", "application/json", text.into_bytes()))
        }
        _ => {
            let known = file.clone();
            let found = state.blocking(move |state| csv_file(state, &name, id.as_str(), file.as_str())).await;
            let (kind, bytes) = found?;
            Ok(as_file(known.as_str(), kind, bytes))
        }
    }
}

async fn rendered(state: &Data<AppState>, (name, id): (ChangeName, ShortText)) -> Result<String, Problem> {
    state
        .blocking(move |state| {
            let report = find(state, &name, id.as_str())?;
            report::to_html(&report).map_err(|error| Problem::internal(&error))
        })
        .await
}

/// `name` is one of ours: it has been found.
fn as_file(name: &str, kind: &'static str, bytes: Vec<u8>) -> HttpResponse {
    let disposition = format!("attachment; filename=\"{name}\"");
    HttpResponse::Ok().content_type(kind).insert_header((CONTENT_DISPOSITION, disposition)).body(bytes)
}
