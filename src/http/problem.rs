//! Errors as RFC 9457 problems. One table says which code has which status and title; `docs/reference/problems.md` is made from
//! it. A client reads a sentence; the log has the chain.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::retry_after_seconds;
use crate::database::DatabaseError;
use crate::flags::{FlagMistake, InvalidFlag, ShareError};
use crate::store::StoreError;
use crate::translation::writes::Fault;

macro_rules! codes {
    ($($code:ident = $wire:literal, $status:ident, $title:literal;)+) => {
        /// What went wrong, as a program reads it. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($code,)+ }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$code,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $wire,)+ }
            }

            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)+ }
            }

            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)+ }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid_request", BAD_REQUEST, "The request cannot be understood";
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not the JSON that is expected";
    InvalidPath = "invalid_path", BAD_REQUEST, "A part of the path is not a valid name";
    InvalidQuery = "invalid_query", BAD_REQUEST, "A query parameter is unknown or not valid";
    InvalidHeader = "invalid_header", BAD_REQUEST, "A header is not valid";
    InvalidUpload = "invalid_upload", BAD_REQUEST, "The uploaded ids cannot be read";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid token is needed";
    Forbidden = "forbidden", FORBIDDEN, "The token's role does not allow this";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    NotFound = "not_found", NOT_FOUND, "There is nothing at this path";
    FlagNotFound = "flag_not_found", NOT_FOUND, "There is no such flag";
    CohortNotFound = "cohort_not_found", NOT_FOUND, "There is no such cohort";
    TokenNotFound = "token_not_found", NOT_FOUND, "There is no such token";
    ChangeNotFound = "change_not_found", NOT_FOUND, "There is no such change";
    ReportNotFound = "report_not_found", NOT_FOUND, "There is no such report";
    ChargeNotFound = "charge_not_found", NOT_FOUND, "There is no such charge";
    ProposalNotFound = "proposal_not_found", NOT_FOUND, "There is no such proposal";
    JobNotFound = "job_not_found", NOT_FOUND, "There is no such job";
    EdgeNotFound = "edge_not_found", NOT_FOUND, "Nothing is set for the edge of that change";
    GateNotFound = "gate_not_found", NOT_FOUND, "There is no gate of that worker";
    VersionNotFound = "version_not_found", NOT_FOUND, "There is no such version";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    Exists = "exists", CONFLICT, "It exists already";
    InUse = "in_use", CONFLICT, "It is used elsewhere";
    NotKept = "not_kept", GONE, "Its content is no longer kept";
    Refused = "refused", CONFLICT, "The state of things does not allow this now";
    GatePaused = "gate_paused", CONFLICT, "The worker is paused";
    LeaseHeld = "lease_held", CONFLICT, "Another instance of the worker has the lease";
    LeaseLost = "lease_lost", CONFLICT, "The lease is not held any more";
    SecondPersonNeeded = "second_person_needed", CONFLICT, "It takes a second person";
    OwnProposal = "own_proposal", FORBIDDEN, "It takes another person than the one who proposed it";
    ProposalClosed = "proposal_closed", CONFLICT, "The proposal cannot be decided any more";
    ExposureLimit = "exposure_limit", CONFLICT, "More subjects could change variant than the flag allows in an hour";
    OverrideNeeded = "override_needed", CONFLICT, "Weakening a protection needs an override";
    ImportConflict = "import_conflict", CONFLICT, "The import would overwrite what is there";
    Stale = "stale", PRECONDITION_FAILED, "It has changed since you saw it";
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body's type is not one that is read here";
    InvalidFlag = "invalid_flag", UNPROCESSABLE_ENTITY, "The flag is not valid";
    ReasonRequired = "reason_required", UNPROCESSABLE_ENTITY, "The flag asks for a reason";
    InvalidImport = "invalid_import", UNPROCESSABLE_ENTITY, "The document cannot be imported";
    InvalidChangeFile = "invalid_change_file", UNPROCESSABLE_ENTITY, "The change file has mistakes";
    InvalidValue = "invalid_value", UNPROCESSABLE_ENTITY, "A value is not valid";
    InvalidWrite = "invalid_write", UNPROCESSABLE_ENTITY, "The write does not fit the tables";
    RowNotFound = "row_not_found", NOT_FOUND, "There is no such row";
    RowDiffers = "row_differs", PRECONDITION_FAILED, "The row is not what `if` says";
    UniqueViolation = "unique_violation", CONFLICT, "A row with this key exists already";
    ForeignKeyViolation = "foreign_key_violation", CONFLICT, "A row that is referred to is missing, or the row is still referred to";
    ConstraintViolation = "constraint_violation", UNPROCESSABLE_ENTITY, "A constraint of the table refuses the row";
    RefusedByDatabase = "refused_by_database", UNPROCESSABLE_ENTITY, "The database refuses the write";
    TranslationFailed = "translation_failed", UNPROCESSABLE_ENTITY, "The row is fine, but it cannot be translated";
    Untranslated = "untranslated", CONFLICT, "Nothing translates the write to the other model";
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for another body";
    IdempotencyKeyInFlight = "idempotency_key_in_flight", CONFLICT, "The write with this Idempotency-Key has not ended yet";
    Busy = "busy", SERVICE_UNAVAILABLE, "Others hold the rows: try again";
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server failed";
    VersionNotReached = "version_not_reached", SERVICE_UNAVAILABLE, "This server has not got that version of the configuration yet";
    DatabaseUnavailable = "database_unavailable", SERVICE_UNAVAILABLE, "The database cannot be reached";
}

/// An error on its way to the client.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    mistakes: Vec<FlagMistake>,
    current_version: Option<i64>,
    faults: Vec<Fault>,
    // Boxed, as `retry_after_s` is short: every handler's error carries them.
    allow: Option<Box<str>>,
    retry_after_s: Option<u32>,
}

/// What the client gets: `application/problem+json`, RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `urn:changeover:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    /// Which of the stable codes this is: see docs/reference/problems.md.
    code: &'static str,
    /// What is wrong here, and what to do about it.
    detail: String,
    /// With `invalid_flag`: everything that is wrong, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    mistakes: Vec<FlagMistake>,
    /// With `stale`: the version that it is at now.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<i64>,
    /// Of a write: what is wrong, each with its operation, row, JSON pointer, table, column and constraint where they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    faults: Vec<Fault>,
}

impl Problem {
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            mistakes: Vec::new(),
            current_version: None,
            faults: Vec::new(),
            allow: None,
            retry_after_s: None,
        }
    }

    /// A failure that is ours: the client reads that it happened, the log says what it was.
    #[must_use]
    pub fn internal(error: &dyn fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(Code::Internal, "The server's log says more.")
    }

    #[must_use]
    pub fn method_not_allowed(method: &str, allow: String) -> Self {
        let detail = format!("`{}` is not one of {allow}.", shortened(method));
        Self { allow: Some(allow.into()), ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// One request too many; the next may come after `wait`.
    #[must_use]
    pub fn rate_limited(wait: Duration, detail: impl Into<String>) -> Self {
        Self::new(Code::RateLimited, detail).with_retry_after(Some(retry_after_seconds(wait)))
    }

    /// In how many seconds the client may try again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let is_over_soon = matches!(
            self.code,
            Code::DatabaseUnavailable | Code::VersionNotReached | Code::Busy | Code::IdempotencyKeyInFlight
        );
        self.retry_after_s.map(u64::from).or(is_over_soon.then_some(1))
    }

    /// The problem with everything that is wrong with a write.
    #[must_use]
    pub fn with_faults(self, faults: Vec<Fault>) -> Self {
        Self { faults, ..self }
    }

    /// The problem with when to try again, in whole seconds.
    #[must_use]
    pub fn with_retry_after(self, seconds: Option<u64>) -> Self {
        let retry_after_s = seconds.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        Self { retry_after_s, ..self }
    }

    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong here, and what to do about it.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What a client gets.
    #[must_use]
    pub fn document(&self) -> ProblemDocument {
        ProblemDocument {
            kind: format!("urn:changeover:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            code: self.code.as_str(),
            detail: self.detail.clone(),
            mistakes: self.mistakes.clone(),
            current_version: self.current_version,
            faults: self.faults.clone(),
        }
    }
}

/// The beginning of a text that a client sent, for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.title(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        if self.code == Code::Unauthenticated {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(seconds) = self.retry_after() {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            response.insert_header((ALLOW, allow));
        }
        response.body(serde_json::to_string(&self.document()).unwrap_or_default())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = format!("{}.", capitalised(&error.to_string()));
        match error {
            StoreError::Database(error) => error.into(),
            StoreError::NotFound { what, .. } => Self::new(
                match what {
                    "flag" => Code::FlagNotFound,
                    "cohort" => Code::CohortNotFound,
                    "token" => Code::TokenNotFound,
                    "change" => Code::ChangeNotFound,
                    "report" => Code::ReportNotFound,
                    "job" => Code::JobNotFound,
                    "gate" => Code::GateNotFound,
                    "edge" => Code::EdgeNotFound,
                    "proposal" => Code::ProposalNotFound,
                    _ => Code::NotFound,
                },
                detail,
            ),
            StoreError::WouldReplace(_) => Self::new(Code::ImportConflict, detail),
            StoreError::TooMany { .. } | StoreError::OtherReport { .. } => Self::new(Code::Refused, detail),
            StoreError::Protected(protected) => protected.into(),
            StoreError::NoReason(_)
            | StoreError::InvalidGate(_)
            | StoreError::InvalidEdge(_)
            | StoreError::InvalidMaintenance(_) => Self::new(Code::InvalidValue, detail),
            StoreError::NoSuchVersion { .. } => Self::new(Code::VersionNotFound, detail),
            StoreError::InvalidFlag(error) => error.into(),
            StoreError::Share(ShareError::NoSuchRule { .. } | ShareError::NoSuchVariant { .. })
            | StoreError::Share(ShareError::Percent(_)) => Self::new(Code::InvalidValue, detail),
            StoreError::Share(_) | StoreError::RemovedThen { .. } => Self::new(Code::Refused, detail),
            StoreError::Exists { .. } => Self::new(Code::Exists, detail),
            StoreError::InUse { .. } | StoreError::FlagInUse { .. } => Self::new(Code::InUse, detail),
            StoreError::Stale { current, .. } => {
                Self { current_version: Some(current), ..Self::new(Code::Stale, detail) }
            }
            StoreError::NotKept { .. } => Self::new(Code::NotKept, detail),
            error @ (StoreError::Corrupt { .. }
            | StoreError::Spool(_)
            | StoreError::Migration { .. }
            | StoreError::NewerSchema(_)
            | StoreError::NoRandomness) => Self::internal(&error),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        if error.is_disconnected() || error.is_retryable() {
            tracing::warn!(%error, "the database cannot be used");
            return Self::new(Code::DatabaseUnavailable, "Flags are still evaluated, from memory. Try again.");
        }
        Self::internal(&error)
    }
}

impl From<InvalidFlag> for Problem {
    fn from(error: InvalidFlag) -> Self {
        let detail = format!("{}.", capitalised(&error.to_string()));
        Self { mistakes: error.mistakes, ..Self::new(Code::InvalidFlag, detail) }
    }
}

impl From<actix_web::error::BlockingError> for Problem {
    fn from(error: actix_web::error::BlockingError) -> Self {
        Self::internal(&error)
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The reference page of all problems.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Problems\n\n\
         Every error of the API is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem: `application/problem+json` with\n\
         `type`, `title`, `status`, `detail` and a stable `code`. (OFREP's errors have OFREP's shape.) This page is generated from\n\
         `src/http/problem.rs`.\n\n\
         | code | status | title |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        page.push_str(&format!("| `{}` | {} | {} |\n", code.as_str(), code.status().as_u16(), code.title()));
    }
    page
}
