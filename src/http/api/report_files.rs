//! `/api/v1/changes/{name}/reports/{id}/csv/{file}`, and the whole set as one archive.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::reports::find;
use crate::http::auth::{Caller, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::report::{
    self, CsvFilesError, CsvManifest, CsvTable, ExceptionPages, Listed, MANIFEST, Report, Stored, write_table,
};
use crate::store::StoreError;

/// One file of a report's CSV set, or its `manifest.json`; `docs/reference/report.md` lists them.
#[utoipa::path(get, path = "/api/v1/changes/{name}/reports/{id}/csv/{file}", tag = "reports",
    params(("name" = String, Path), ("id" = String, Path), ("file" = String, Path)),
    responses((status = 200, content_type = "text/csv", body = String), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    path: Path<(ChangeName, ShortText, ShortText)>,
) -> Result<HttpResponse, Problem> {
    let (name, id, file) = path.into_inner();
    let (content_type, bytes) = state.blocking(move |state| csv_file(state, &name, id.as_str(), file.as_str())).await?;
    Ok(HttpResponse::Ok().content_type(content_type).body(bytes))
}

/// One file of a report's CSV set, or its manifest, with its content type.
pub fn csv_file(state: &AppState, name: &ChangeName, id: &str, file: &str) -> Result<(&'static str, Vec<u8>), Problem> {
    let report = find(state, name, id)?;
    with_exceptions(state, &report, |exceptions| one_file(&report, exceptions, file))
}

fn one_file(
    report: &Report,
    exceptions: &mut dyn ExceptionPages,
    file: &str,
) -> Result<(&'static str, Vec<u8>), Problem> {
    let failed = |error| Problem::internal(&CsvFilesError::Csv(error));
    let mut bytes = Vec::new();
    if let Some(table) = CsvTable::of_file_name(file) {
        write_table(table, &report.data, exceptions, &mut bytes).map_err(failed)?;
        return Ok(("text/csv; charset=utf-8", bytes));
    }
    if file != MANIFEST {
        return Err(StoreError::NotFound { what: "CSV file", name: file.to_owned() }.into());
    }
    let mut entries = Vec::new();
    for table in CsvTable::ALL {
        entries.push(write_table(table, &report.data, exceptions, &mut std::io::sink()).map_err(failed)?);
    }
    let manifest = CsvManifest::new(report, entries).text().map_err(failed)?;
    Ok(("application/json", manifest.into_bytes()))
}

/// The whole set.
pub async fn archive(state: &Data<AppState>, name: ChangeName, id: String) -> Result<HttpResponse, Problem> {
    let bytes = state
        .blocking(move |state| {
            let report = find(state, &name, &id)?;
            with_exceptions(state, &report, |exceptions| {
                report::csv_archive(&report, exceptions).map_err(|error| Problem::internal(&error))
            })
        })
        .await?;
    let disposition = ("Content-Disposition", "attachment; filename=\"report-csv.zip\"");
    Ok(HttpResponse::Ok().content_type("application/zip").insert_header(disposition).body(bytes))
}

fn with_exceptions<T>(
    state: &AppState,
    report: &Report,
    run: impl FnOnce(&mut dyn ExceptionPages) -> Result<T, Problem>,
) -> Result<T, Problem> {
    match report::has_all_exceptions(report) {
        Some(id) => run(&mut Stored { store: state.store(), id }),
        None => run(&mut Listed(&report.data)),
    }
}
