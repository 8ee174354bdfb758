//! `/api/v1/proposals`: writes that wait for a second person, and how every write of a flag becomes one.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::List;
use crate::database::DatabaseConnection;
use crate::flags::{Difference, Flag, FlagDraft, differences};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::Instant;
use crate::store::proposals::{self, Person, Proposal, ProposedWrite, Written};
use crate::store::protection::{self, Authority, Move};
use crate::store::tokens::Token;
use crate::store::{Origin, PageRequest, StoreError, flags};

/// A write that waits for a second person, or waited.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProposalAnswer {
    pub id: String,
    /// What it is about: `flag/new-player`, or `import`.
    pub subject: String,
    /// What stands in the audit log once it is done: `flag.replace`.
    pub kind: String,
    /// `pending`, `approved`, `rejected`, `withdrawn` or `expired`.
    #[schema(value_type = String)]
    pub state: &'static str,
    pub proposed_by: String,
    pub reason: String,
    /// Limits on how many subjects move in an hour are set aside on approval.
    #[serde(rename = "override")]
    pub overriding: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub decided_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_reason: Option<String>,
}

/// A proposal with what it would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProposalDetail {
    #[serde(flatten)]
    pub proposal: ProposalAnswer,
    pub writes: Vec<ProposedWriteAnswer>,
}

/// One flag of a proposal.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProposedWriteAnswer {
    pub flag: String,
    /// The version that it was made for; not there if the flag is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<i64>,
    /// The flag is at another version now: the proposal can't be approved any more.
    pub stale: bool,
    /// What differs from the flag as it is now.
    pub changes: Vec<Difference>,
    /// What may move, of this flag and of protected flags that depend on it.
    pub moves: Vec<Move>,
    /// What the flag becomes; not there if it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FlagDraft>)]
    pub becomes: Option<Flag>,
}

/// Which proposals.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProposalQuery {
    /// Only those that wait for a decision.
    #[serde(default)]
    pending: bool,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<ShortText>,
    /// At most this many; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Why it is decided so.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    #[serde(default)]
    #[schema(value_type = String)]
    reason: ShortText,
}

/// A page of proposals, the newest first.
#[utoipa::path(get, path = "/api/v1/proposals", tag = "proposals", params(ProposalQuery), responses((status = 200, body = List<ProposalAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    query: Query<ProposalQuery>,
) -> Result<Json<List<ProposalAnswer>>, Problem> {
    let page = state
        .blocking(move |state| {
            let after = query.after.as_ref().map(|after| after.as_str().to_owned());
            let request = PageRequest { after, limit: query.limit };
            Ok(state.store().read(|conn| proposals::list(conn, query.pending, &request))?)
        })
        .await?;
    Ok(Json(List::from(page)))
}

/// One proposal: what differs, and how many may move.
#[utoipa::path(get, path = "/api/v1/proposals/{id}", tag = "proposals", params(("id" = String, Path)),
    responses((status = 200, body = ProposalDetail), (status = 404, body = ProblemDocument)))]
pub async fn get(
    _: Caller<Viewer>,
    state: Data<AppState>,
    id: Path<ShortText>,
) -> Result<Json<ProposalDetail>, Problem> {
    Ok(Json(state.blocking(move |state| Ok(state.store().read(|conn| read(conn, id.as_str()))?)).await?))
}

/// Approves a proposal, which is then applied at the versions that it was made for. It takes another person than who made it.
#[utoipa::path(post, path = "/api/v1/proposals/{id}/approval", tag = "proposals", params(("id" = String, Path)), request_body = Decision,
    responses((status = 200, body = ProposalAnswer), (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn approve(
    caller: Caller<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
    decision: Json<Decision>,
) -> Result<Json<ProposalAnswer>, Problem> {
    let approve = move |state: &AppState| {
        let person = person(&caller);
        let approved =
            state.store().write(|conn| proposals::approve(conn, id.as_str(), person, decision.reason.as_str()))?;
        Ok(approved.0)
    };
    Ok(Json(state.writing(approve).await?.into()))
}

/// Rejects a proposal; who made it withdraws it by that.
#[utoipa::path(post, path = "/api/v1/proposals/{id}/rejection", tag = "proposals", params(("id" = String, Path)), request_body = Decision,
    responses((status = 200, body = ProposalAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn reject(
    caller: Caller<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
    decision: Json<Decision>,
) -> Result<Json<ProposalAnswer>, Problem> {
    let reject = move |state: &AppState| {
        let person = person(&caller);
        Ok(state.store().write(|conn| proposals::reject(conn, id.as_str(), person, decision.reason.as_str()))?)
    };
    Ok(Json(state.blocking(reject).await?.into()))
}

/// Runs a write of a flag; where it takes a second person, it waits as a proposal.
pub async fn write<T: Send + 'static>(
    state: &AppState,
    caller: Caller<Admin>,
    asked: (bool, ShortText),
    work: impl FnMut(&mut DatabaseConnection, Authority, Origin<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<Written<T>, Problem> {
    let (overriding, reason) = asked;
    write_by(state, caller.token().clone(), (overriding, reason.as_str().to_owned()), work).await
}

/// [`write`], by the bearer of a token.
pub async fn write_by<T: Send + 'static>(
    state: &AppState,
    token: Token,
    asked: (bool, String),
    work: impl FnMut(&mut DatabaseConnection, Authority, Origin<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<Written<T>, Problem> {
    state
        .writing(move |state| {
            let (overriding, reason) = asked;
            let authority = Authority { overriding, ..Authority::ALONE };
            let person = Person { name: &token.name, token: Some(&token) };
            Ok(proposals::write_or_propose(state.store(), person, (authority, reason.as_str()), work)?)
        })
        .await
}

/// The answer to a write: what it is if it was done, or 202 with where the proposal is.
pub fn answer<T>(written: Written<T>, done: impl FnOnce(T) -> HttpResponse) -> HttpResponse {
    match written {
        Written::Done(written) => done(written),
        Written::Proposed(proposal) => {
            let location = format!("/api/v1/proposals/{}", proposal.id);
            HttpResponse::Accepted().insert_header(("Location", location)).json(ProposalAnswer::from(*proposal))
        }
    }
}

/// Who calls, as a person who proposes or decides.
pub fn person(caller: &Caller<Admin>) -> Person<'_> {
    Person { name: caller.actor(), token: Some(caller.token()) }
}

/// A proposal with what it would do now.
pub fn read(conn: &mut DatabaseConnection, id: &str) -> Result<ProposalDetail, StoreError> {
    let proposal = proposals::get(conn, id)?;
    let writes = proposal.writes()?.into_iter().map(|write| read_write(conn, write)).collect::<Result<_, _>>()?;
    Ok(ProposalDetail { proposal: proposal.into(), writes })
}

fn read_write(conn: &mut DatabaseConnection, write: ProposedWrite) -> Result<ProposedWriteAnswer, StoreError> {
    let current = flags::find(conn, &write.key)?;
    let before = current.as_ref().and_then(|stored| serde_json::from_str::<Value>(&stored.data).ok());
    let after = write.flag.as_ref().and_then(|flag| serde_json::to_value(flag).ok());
    Ok(ProposedWriteAnswer {
        stale: current.map(|stored| stored.version) != write.base,
        changes: differences(before.as_ref(), after.as_ref()),
        moves: protection::moves(conn, &write.key, write.flag.as_ref())?,
        flag: write.key.to_string(),
        base: write.base,
        becomes: write.flag,
    })
}

impl From<Proposal> for ProposalAnswer {
    fn from(proposal: Proposal) -> Self {
        Self {
            state: proposal.state().as_str(),
            created_at: proposal.created_at(),
            expires_at: proposal.expires_at(),
            decided_at: proposal.decided_at(),
            id: proposal.id,
            subject: proposal.subject,
            kind: proposal.kind,
            proposed_by: proposal.actor,
            reason: proposal.reason,
            overriding: proposal.overriding,
            decided_by: proposal.decided_by,
            decided_reason: proposal.decided_reason,
        }
    }
}
