//! `/api/v1/audit`

use actix_web::web::{Data, Json, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::List;
use crate::http::auth::{Caller, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::primitives::Instant;
use crate::store::PageRequest;
use crate::store::audit::{self, AuditRow, Filter, Verdict};

/// Who did what to what, when and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditAnswer {
    id: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    actor: String,
    /// Such as `flag.replace`.
    action: String,
    /// Such as `flag/new-player`.
    subject: String,
    reason: String,
    detail: Value,
    /// sha-256 over this row and the hash of the row before it.
    hash: String,
}

/// Whether the log is whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditVerdict {
    whole: bool,
    /// The number of rows, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<i64>,
    /// The first row that is missing or altered, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only rows about this, such as `flag/new-player`; `flag/` stands for all flags.
    #[param(value_type = Option<String>)]
    subject: Option<ShortText>,
    /// Only what this token's name or person did.
    #[param(value_type = Option<String>)]
    actor: Option<ShortText>,
    /// Only this action, such as `flag.rollout`; `flag.` stands for all actions on flags.
    #[param(value_type = Option<String>)]
    action: Option<ShortText>,
    /// Only what was done at or after this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Only what was done before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
    /// Only rows that have this somewhere in who, what, to what, why or the detail, in large or small letters.
    #[param(value_type = Option<String>)]
    text: Option<ShortText>,
    /// The `next` of the page before.
    after: Option<i64>,
    /// At most this many rows; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// A page of the audit log, the newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery), responses((status = 200, body = List<AuditAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    query: Query<AuditQuery>,
) -> Result<Json<List<AuditAnswer>>, Problem> {
    let page = state
        .blocking(move |state| {
            let request = PageRequest { after: query.after.map(|after| after.to_string()), limit: query.limit };
            let text = |text: &Option<ShortText>| text.as_ref().map(|text| text.as_str().to_owned());
            let filter = Filter {
                subject: text(&query.subject),
                actor: text(&query.actor),
                action: text(&query.action),
                since: query.since,
                until: query.until,
                text: text(&query.text),
            };
            Ok(state.store().read(|conn| audit::list(conn, &filter, &request))?)
        })
        .await?;
    Ok(Json(List::from(page)))
}

/// Recomputes every hash of the log.
#[utoipa::path(get, path = "/api/v1/audit/verification", tag = "audit", responses((status = 200, body = AuditVerdict)))]
pub async fn verification(_: Caller<Viewer>, state: Data<AppState>) -> Result<Json<AuditVerdict>, Problem> {
    let verdict = state.blocking(|state| Ok(state.store().read(audit::verify)?)).await?;
    Ok(Json(verdict.into()))
}

impl From<AuditRow> for AuditAnswer {
    fn from(row: AuditRow) -> Self {
        Self {
            at: row.at(),
            id: row.id,
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            reason: row.reason,
            detail: serde_json::from_str(&row.detail).unwrap_or(Value::Null),
            hash: row.hash,
        }
    }
}

impl From<Verdict> for AuditVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Whole { rows } => Self { whole: true, rows: Some(rows), broken_at: None },
            Verdict::Broken { id } => Self { whole: false, rows: None, broken_at: Some(id) },
        }
    }
}
