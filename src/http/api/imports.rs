//! `/api/v1/export` and `/api/v1/imports`: flags and cohorts as one document, of ours or of another system.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Json, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::proposals::{self, ProposalAnswer};
use crate::database::DatabaseConnection;
use crate::flags::import::{Checked, Document, Imported, Note, flagd, unleash};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::FlagKey;
use crate::store::Origin;
use crate::store::imports::{self, Incoming, Plan, PlanItem};
use crate::store::protection::Authority;

/// The largest document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// Where a document comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ImportSource {
    /// An export of Changeover
    #[default]
    Changeover,
    /// flagd's flag definitions, as JSON
    Flagd,
    /// Unleash's export, or the list that its clients fetch
    Unleash,
}

/// An import that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportWish {
    #[serde(default)]
    pub from: ImportSource,
    /// What an export gave, or the other system's document.
    #[schema(value_type = Object)]
    pub document: Value,
    /// Which of Unleash's environments, if the document has several.
    #[serde(default)]
    pub environment: Option<String>,
    /// Flags and cohorts that are there and differ are overwritten; without it the import is refused then.
    #[serde(default)]
    pub replace: bool,
    /// Only tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Refuse a document of which a flag cannot be expressed.
    #[serde(default)]
    pub strict: bool,
    /// Sets aside how many subjects may move in an hour, and the ban on weakening a protection; it takes a reason.
    #[serde(default, rename = "override")]
    pub overriding: bool,
    /// Why, for the history and the audit log.
    #[serde(default)]
    #[schema(value_type = String)]
    pub reason: ShortText,
}

/// What an import did, or would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportAnswer {
    /// False: it was a dry run.
    pub written: bool,
    /// Cohorts before flags, each in the order in which it is written.
    pub plan: Vec<PlanItem>,
    /// What could not be kept as it was in the other system.
    pub notes: Vec<Note>,
}

/// Which flags.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// Keys of flags, with commas between them; all flags and cohorts if not said.
    #[param(value_type = Option<String>)]
    flags: Option<ShortText>,
}

/// All flags and cohorts, or some flags with the cohorts that they name, as one document. It holds no versions and no times, and no ids of
/// cohorts: the same configuration is always the same document.
#[utoipa::path(get, path = "/api/v1/export", tag = "imports", params(ExportQuery),
    responses((status = 200, body = Document), (status = 404, body = ProblemDocument)))]
pub async fn export(
    _: Caller<Viewer>,
    state: Data<AppState>,
    query: Query<ExportQuery>,
) -> Result<Json<Document>, Problem> {
    let keys = query.flags.as_ref().map_or("", ShortText::as_str).split(',').map(str::trim);
    let keys = keys.filter(|key| !key.is_empty()).map(FlagKey::new).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| Problem::new(Code::InvalidQuery, format!("{error}.")))?;
    Ok(Json(state.blocking(move |state| Ok(state.store().read(|conn| imports::export(conn, &keys))?)).await?))
}

/// Writes a document's flags and cohorts: all of them or none. What is the same as before is not written: importing an export changes
/// nothing. If one of its flags takes two persons, the whole import waits: 202, a proposal.
#[utoipa::path(post, path = "/api/v1/imports", tag = "imports", request_body = ImportWish,
    responses((status = 200, body = ImportAnswer), (status = 202, body = ProposalAnswer), (status = 409, body = ProblemDocument),
        (status = 413, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn create(caller: Caller<Admin>, state: Data<AppState>, body: Bytes) -> Result<HttpResponse, Problem> {
    if body.len() > DOCUMENT_BYTES_MAX {
        let detail = format!("A document may have {DOCUMENT_BYTES_MAX} bytes.");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    let wish: ImportWish =
        serde_json::from_slice(&body).map_err(|error| Problem::new(Code::InvalidJson, format!("{error}.")))?;
    let ImportWish { from, document, environment, replace, dry_run, strict, overriding, reason } = wish;
    let read = read(from, document, environment.as_deref()).map_err(|error| match error {
        Unreadable::Flags(invalid) => invalid.into(),
        Unreadable::Document(why) => Problem::new(Code::InvalidImport, why),
    })?;
    let (document, notes) = read;
    let left_out = notes.iter().filter(|note| note.is_left_out()).count();
    if strict && left_out > 0 {
        let list: Vec<String> = notes.iter().filter(|note| note.is_left_out()).map(ToString::to_string).collect();
        return Err(Problem::new(
            Code::InvalidImport,
            format!("{left_out} could not be expressed: {}.", list.join("; ")),
        ));
    }
    if dry_run {
        let plan = state.blocking(move |state| Ok(state.store().read(|conn| imports::plan(conn, &document))?)).await?;
        return Ok(HttpResponse::Ok().json(ImportAnswer::new(plan, notes, false)));
    }
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        imports::import(conn, Incoming { document: &document, ids: &[], replace }, authority, origin)
    };
    let written = proposals::write(&state, caller, (overriding, reason), work).await?;
    Ok(proposals::answer(written, |plan| HttpResponse::Ok().json(ImportAnswer::new(plan, notes, true))))
}

impl ImportAnswer {
    #[must_use]
    pub fn new(plan: Plan, notes: Vec<Note>, written: bool) -> Self {
        Self { written, plan: plan.items().cloned().collect(), notes }
    }
}

/// Why a document is not imported.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the document is not valid: {0}")]
    Flags(#[from] crate::flags::InvalidFlag),
    #[error("{0}")]
    Document(String),
}

/// A document of any source, checked, with what is to be told about it.
pub fn read(
    from: ImportSource,
    document: Value,
    environment: Option<&str>,
) -> Result<(Checked, Vec<Note>), Unreadable> {
    let refused = |error: &dyn std::fmt::Display| Unreadable::Document(format!("{error}."));
    let Imported { flags, cohorts, notes } = match from {
        ImportSource::Changeover => {
            let document: Document = serde_json::from_value(document)
                .map_err(|error| refused(&format!("this is not an export of Changeover: {error}")))?;
            return Ok((document.check()?, Vec::new()));
        }
        ImportSource::Flagd => flagd::import(&document).map_err(|error| refused(&error))?,
        ImportSource::Unleash => unleash::import(&document, environment).map_err(|error| refused(&error))?,
    };
    Ok((Document::of(flags, cohorts).check()?, notes))
}
