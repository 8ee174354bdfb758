//! `/api/v1/changes/{name}/writes`: rows of the application, written through us and translated like any other write.

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use actix_web::web::{Data, Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use crate::http::auth::{Caller, Write};
use crate::http::problem::{Code, Problem, ProblemDocument, shortened};
use crate::http::state::AppState;
use crate::primitives::ChangeName;
use crate::translation::own::get_change;
use crate::translation::writes::{IdempotencyKey, Outcome, Refusal, Request, WriteError, describe, idempotency, write};

/// The largest body of a write, in bytes.
pub const WRITE_BYTES_MAX: usize = 2 << 20;

const KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Inserts, updates, upserts and deletes rows of the change's tables, all of them or none.
///
/// The answer has the caller's rows as they were stored and the rows of the other model that translation wrote. docs/writes.md describes
/// operations, types and errors; `GET` on the same path describes the tables.
#[utoipa::path(post, path = "/api/v1/changes/{name}/writes", tag = "writes",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 visible ASCII characters. The same key and body give the stored answer (`Idempotency-Replayed: true`).")),
    request_body(content = Object, content_type = "application/json", example = json!({ "operations": [
        { "insert": "users", "row": { "name": "Ada", "company": "Ada Ltd" } },
        { "insert": "videos", "rows": [{ "user_id": { "operation": 0, "row": 0, "column": "id" }, "title": "First" }] },
        { "update": "videos", "where": { "id": 7 }, "set": { "title": "Seventh" }, "if": { "title": "7th" } },
        { "delete": "videos", "where": { "id": 8 } } ], "dry_run": false })),
    responses((status = 200, body = Object, description = "Written; with `dry_run` what would have been", example = json!({
            "change": "billing-allocation", "stage": "dualwrite", "dry_run": false,
            "operations": [{ "action": "insert", "table": "videos", "side": "old", "inserted": 1,
                "rows": [{ "id": 9, "user_id": 1, "title": "First" }] }],
            "translated": [{ "block": "f3", "table": "video_accounts", "side": "new",
                "keys": [{ "key": "9", "rows": [{ "video_id": 9, "account_id": 1 }], "gone": [] }] }] })),
        (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument, description = "No such change, or no such row"),
        (status = 409, body = ProblemDocument, description = "A constraint, the stage, or a key in flight"),
        (status = 412, body = ProblemDocument, description = "A row is not what `if` says"),
        (status = 413, body = ProblemDocument), (status = 422, body = ProblemDocument, description = "What does not fit, place by place"),
        (status = 503, body = ProblemDocument, description = "The rows were busy for too long; see Retry-After")))]
pub async fn run(
    caller: Caller<Write>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    require_json(&request)?;
    let key = idempotency_key(&request)?;
    let body = read_body(&request, payload).await?;
    let change = name.clone();
    let outcome = state
        .blocking(move |state| {
            let given = key.as_deref().map(|text| IdempotencyKey {
                caller: caller.token_id(),
                text,
                keep: state.writing_kept().keep,
            });
            run_blocking(state, &name, &body, given.as_ref())
        })
        .await;
    match outcome {
        Ok(outcome) => Ok(answered(outcome)),
        Err(problem) => {
            tracing::debug!(%change, %problem, "a write was refused");
            Err(problem)
        }
    }
}

/// The tables that may be written now, their keys, and each row as a JSON Schema.
#[utoipa::path(get, path = "/api/v1/changes/{name}/writes", tag = "writes", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument)))]
pub async fn schema(_: Caller<Write>, state: Data<AppState>, name: Path<ChangeName>) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let stage = get_change(&mut connection, &name)?.stage;
            let model = state.writing_kept().model(&mut connection, &name)?;
            Ok(Json(describe(&model, stage)))
        })
        .await
}

fn run_blocking(
    state: &AppState,
    name: &ChangeName,
    body: &str,
    key: Option<&IdempotencyKey<'_>>,
) -> Result<Outcome, Problem> {
    // Held until the write has ended; the mark is a text that no other caller's key can be.
    let mark = key.map(|key| json!([name, key.caller, key.text]).to_string());
    let held = match (mark, key) {
        (Some(mark), Some(key)) => {
            Some(state.writing_kept().start(mark).ok_or_else(|| Problem::from(idempotency::in_flight(key.text)))?)
        }
        _ => None,
    };
    let mut connection = state.app().connection()?;
    let model = state.writing_kept().model(&mut connection, name)?;
    let outcome = Request::parse(body, &model)
        .and_then(|request| Ok((request.dry_run, write(&mut connection, &model, &request, key, state.now())?)));
    drop(held);
    let word = match &outcome {
        Ok((true, _)) => "dry_run",
        Ok((false, outcome)) if outcome.replayed => "replayed",
        Ok(_) => "written",
        Err(WriteError::Refused { refusal: Refusal::Translation | Refusal::Untranslated, .. }) => "untranslated",
        Err(WriteError::Refused { .. } | WriteError::Json(_)) => "refused",
        Err(WriteError::Busy { .. }) => "busy",
        Err(WriteError::Translation(_) | WriteError::Database(_)) => "failed",
    };
    let retries = outcome.as_ref().map_or(0, |(_, outcome)| outcome.attempts.saturating_sub(1));
    state.metrics().wrote(name.as_str(), word, retries);
    Ok(outcome?.1)
}

fn answered(outcome: Outcome) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if outcome.replayed {
        response.insert_header((REPLAYED, "true"));
    }
    response.content_type("application/json").body(outcome.answer)
}

fn require_json(request: &HttpRequest) -> Result<(), Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, "Send JSON, with `Content-Type: application/json`."))
}

/// The key, with or without the quotes of a structured header.
fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(KEY);
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if values.next().is_some() || !IdempotencyKey::is_valid(text) {
        let detail =
            format!("`Idempotency-Key: {}` is not one key of 1 to 255 visible ASCII characters.", shortened(text));
        return Err(Problem::new(Code::InvalidHeader, detail));
    }
    Ok(Some(text.to_owned()))
}

async fn read_body(request: &HttpRequest, payload: Payload) -> Result<String, Problem> {
    let too_large = || Problem::new(Code::TooLarge, format!("The body of a write may have {WRITE_BYTES_MAX} bytes."));
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| usize::try_from(bytes).map_or(true, |bytes| bytes > WRITE_BYTES_MAX)) {
        return Err(too_large());
    }
    let bytes = payload.to_bytes_limited(WRITE_BYTES_MAX).await.map_err(|_| too_large())?;
    let bytes =
        bytes.map_err(|error| Problem::new(Code::InvalidRequest, format!("The body cannot be read: {error}.")))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Problem::new(Code::InvalidJson, "The body is not UTF-8."))
}
