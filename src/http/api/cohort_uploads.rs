//! Uploads of a cohort's ids: read while they come in, in bounded memory, and then served at once, kept aside, or only looked at.

use std::io::Write;
use std::time::Duration;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Path, Payload, Query};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::cohort_staged::StagedAnswer;
use super::versioned;
use crate::http::auth::{Admin, Caller};
use crate::http::etag::IfMatch;
use crate::http::input::{ShortText, UPLOAD_BYTES_MAX};
use crate::http::problem::{Code, Problem, ProblemDocument, shortened};
use crate::http::state::AppState;
use crate::primitives::CohortName;
use crate::store::cohort_merge::{Action, Comparison};
use crate::store::cohorts::{self, Edit};
use crate::store::upload::{Receipt, UnusableUpload, Upload, UploadFormat, UploadReader};
use crate::store::{Origin, StoreError, cohort_staging};

/// How long a client may be silent in the middle of an upload.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pieces of an upload that wait to be read: some hundred kilobytes.
const PIECES_MAX: usize = 8;

/// What became of an upload.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptAnswer {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub receipt: Receipt,
}

/// What an upload would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewAnswer {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    receipt: Receipt,
    comparison: Comparison,
}

/// What is to be done with an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Why, for the history and the audit log.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    reason: ShortText,
    /// Keep it aside, to be looked at and activated or dropped.
    #[serde(default)]
    stage: bool,
    /// Only say who would come and who would go.
    #[serde(default)]
    dry_run: bool,
    /// Refuse it all if more lines than this are not ids.
    max_rejected: Option<u64>,
}

/// Replaces all ids of a cohort, atomically. Body: one id a line (`text/plain`), CSV (first column) or NDJSON, also with
/// `Content-Encoding: gzip`. With `stage=true` it is kept aside (201), with `dry_run=true` only looked at.
#[utoipa::path(put, path = "/api/v1/cohorts/{name}/ids", tag = "cohorts", params(("name" = String, Path), UploadQuery, ("If-Match" = Option<String>, Header)),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = ReceiptAnswer), (status = 201, body = StagedAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument), (status = 413, body = ProblemDocument)))]
pub async fn replace(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    take(caller, state, sent, body, Action::Replace).await
}

/// Adds ids to a cohort. Body and query as for replacing.
#[utoipa::path(post, path = "/api/v1/cohorts/{name}/ids", tag = "cohorts", params(("name" = String, Path), UploadQuery, ("If-Match" = Option<String>, Header)),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = ReceiptAnswer), (status = 201, body = StagedAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument), (status = 413, body = ProblemDocument)))]
pub async fn add(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    take(caller, state, sent, body, Action::Add).await
}

/// Removes ids from a cohort. Body and query as for replacing.
#[utoipa::path(post, path = "/api/v1/cohorts/{name}/removals", tag = "cohorts", params(("name" = String, Path), UploadQuery, ("If-Match" = Option<String>, Header)),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = ReceiptAnswer), (status = 201, body = StagedAnswer), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument), (status = 413, body = ProblemDocument)))]
pub async fn remove(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    take(caller, state, sent, body, Action::Remove).await
}

/// Everything about an upload but its body.
pub struct Sent {
    name: CohortName,
    seen: IfMatch,
    query: UploadQuery,
    format: UploadFormat,
    is_gzip: bool,
}

impl FromRequest for Sent {
    type Error = actix_web::Error;
    type Future = std::future::Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut actix_web::dev::Payload) -> Self::Future {
        let read = |payload: &mut actix_web::dev::Payload| {
            check_length(request)?;
            Ok(Self {
                name: Path::<CohortName>::from_request(request, payload).into_inner()?.into_inner(),
                seen: IfMatch::from_request(request, payload).into_inner()?,
                query: Query::<UploadQuery>::from_request(request, payload).into_inner()?.into_inner(),
                format: format_of(request)?,
                is_gzip: is_gzip(request)?,
            })
        };
        std::future::ready(read(payload))
    }
}

/// A body that says how long it is is refused before any of it has been read.
fn check_length(request: &HttpRequest) -> Result<(), Problem> {
    let told = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match told {
        Some(bytes) if bytes > UPLOAD_BYTES_MAX => {
            Err(unusable(UnusableUpload::TooLarge { max: u64::try_from(UPLOAD_BYTES_MAX).unwrap_or(u64::MAX) }))
        }
        _ => Ok(()),
    }
}

fn format_of(request: &HttpRequest) -> Result<UploadFormat, Problem> {
    let Some(value) = request.headers().get(CONTENT_TYPE) else { return Ok(UploadFormat::Lines) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/plain" => Ok(UploadFormat::Lines),
        "text/csv" => Ok(UploadFormat::Csv),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(UploadFormat::Ndjson),
        other => {
            let detail = format!(
                "Send ids as text/plain (one a line), text/csv or application/x-ndjson, not as `{}`.",
                shortened(other)
            );
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

fn is_gzip(request: &HttpRequest) -> Result<bool, Problem> {
    let Some(value) = request.headers().get(CONTENT_ENCODING) else { return Ok(false) };
    match value.to_str().unwrap_or("?").trim() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        other => {
            let detail = format!("Send ids as they are or with `Content-Encoding: gzip`, not `{}`.", shortened(other));
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

async fn take(
    caller: Caller<Admin>,
    state: Data<AppState>,
    sent: Sent,
    body: Payload,
    action: Action,
) -> Result<HttpResponse, Problem> {
    let name = sent.name.clone();
    state.blocking(move |state| Ok(state.store().read(|conn| cohorts::get(conn, &name)).map(drop)?)).await?;
    let received = receive(&state, (sent.format, sent.is_gzip), body).await?;
    let upload = received.with_at_most_rejected(sent.query.max_rejected).map_err(unusable)?;
    let Sent { name, seen, query, .. } = sent;
    if query.dry_run {
        let look = move |state: &AppState| {
            Ok(state.store().read(|conn| cohort_staging::preview_upload(conn, &name, action, &upload))?)
        };
        let (receipt, comparison) = state.blocking(look).await?;
        return Ok(HttpResponse::Ok().json(PreviewAnswer { receipt, comparison }));
    }
    let reason = query.reason;
    if query.stage {
        let keep = move |state: &AppState| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| {
                must_be_at(cohorts::get(conn, &name)?.generation, &name, seen)?;
                cohort_staging::stage(conn, &name, action, &upload, origin)
            })?)
        };
        let staged = state.writing(keep).await?;
        let location = format!("/api/v1/cohorts/{}/staged/{}", staged.cohort, staged.id);
        return Ok(HttpResponse::Created().insert_header(("Location", location)).json(StagedAnswer::from(staged)));
    }
    let serve = move |state: &AppState| {
        let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
        let edit = match action {
            Action::Replace => Edit::Replace(&upload.ids),
            Action::Add => Edit::Add(&upload.ids),
            Action::Remove => Edit::Remove(&upload.ids),
        };
        let edited = state.store().write(|conn| cohorts::edit(conn, &name, edit, seen.0, origin))?;
        Ok(edited.receipt(&upload))
    };
    let receipt = state.writing(serve).await?;
    Ok(versioned(receipt.generation, &ReceiptAnswer { receipt }))
}

fn must_be_at(current: i64, name: &CohortName, seen: IfMatch) -> Result<(), StoreError> {
    match seen.0 {
        Some(seen) if seen != current => {
            Err(StoreError::Stale { what: "cohort", name: name.to_string(), seen, current })
        }
        _ => Ok(()),
    }
}

/// A piece of an upload, or its end. An upload without it was broken off.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Reads a body, or a part of one, on a thread that may wait, while it comes in. If it breaks off, nothing of it is used.
pub async fn receive<E: std::fmt::Display>(
    state: &AppState,
    (format, is_gzip): (UploadFormat, bool),
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<Upload, Problem> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let reading = state.blocking(move |_| read_all(receiver, format, is_gzip));
    let pumping = async move {
        loop {
            let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_next(context));
            let piece = match tokio::time::timeout(SILENCE_MAX, next).await {
                Ok(Some(Ok(bytes))) => Piece::Bytes(bytes),
                Ok(None) => Piece::End,
                Ok(Some(Err(error))) => return Some(broken(&error.to_string())),
                Err(_) => return Some(broken("the client was silent for too long")),
            };
            let is_end = matches!(piece, Piece::End);
            // Nobody reads any more: the reader says why.
            if sender.send(piece).await.is_err() || is_end {
                return None;
            }
        }
    };
    let (broken, read) = tokio::join!(pumping, reading);
    broken.map_or(read, Err)
}

fn broken(why: &str) -> Problem {
    Problem::new(Code::InvalidRequest, format!("Nothing was changed: the body could not be read to its end: {why}."))
}

fn read_all(mut pieces: mpsc::Receiver<Piece>, format: UploadFormat, is_gzip: bool) -> Result<Upload, Problem> {
    let sink = Sink { reader: UploadReader::new(format), bytes: 0, error: None };
    let mut decoder = flate2::write::MultiGzDecoder::new(sink);
    loop {
        let written = match pieces.blocking_recv() {
            None => return Err(broken("it was broken off")),
            Some(Piece::End) => break,
            Some(Piece::Bytes(bytes)) if is_gzip => decoder.write_all(&bytes),
            Some(Piece::Bytes(bytes)) => decoder.get_mut().write_all(&bytes),
        };
        if written.is_err() {
            return Err(unusable(decoder.get_mut().error.take().unwrap_or(UnusableUpload::Gzip)));
        }
    }
    if is_gzip && decoder.try_finish().is_err() {
        return Err(unusable(decoder.get_mut().error.take().unwrap_or(UnusableUpload::Gzip)));
    }
    let sink = std::mem::replace(decoder.get_mut(), Sink { reader: UploadReader::new(format), bytes: 0, error: None });
    sink.reader.finish().map_err(unusable)
}

/// Where the bytes of an upload go, unpacked.
struct Sink {
    reader: UploadReader,
    bytes: usize,
    error: Option<UnusableUpload>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        let outcome = if self.bytes > UPLOAD_BYTES_MAX {
            Err(UnusableUpload::TooLarge { max: u64::try_from(UPLOAD_BYTES_MAX).unwrap_or(u64::MAX) })
        } else {
            self.reader.feed(bytes)
        };
        outcome.map(|()| bytes.len()).map_err(|error| {
            self.error = Some(error);
            std::io::Error::other("the upload cannot be used")
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn unusable(error: UnusableUpload) -> Problem {
    let code = match &error {
        UnusableUpload::TooLarge { .. } => Code::TooLarge,
        UnusableUpload::Spool(error) => return Problem::internal(error),
        _ => Code::InvalidUpload,
    };
    Problem::new(code, format!("Nothing was changed: {error}."))
}
