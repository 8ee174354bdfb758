//! `/api/v1/tokens`

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::List;
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::{PageQuery, ReasonQuery, ShortText};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::Instant;
use crate::store::Origin;
use crate::store::tokens::{self, IssuedToken, Role, Token};

/// A token without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenAnswer {
    id: String,
    name: String,
    /// `evaluate`, `write`, `viewer` or `admin`.
    #[schema(value_type = String)]
    role: Role,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Instant>,
}

/// A token that has just been made.
#[derive(Debug, Serialize, ToSchema)]
pub struct IssuedTokenAnswer {
    /// The token's text. It is never shown again.
    secret: String,
    #[serde(flatten)]
    token: TokenAnswer,
}

/// A token that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Stands in the history and in the audit log as who did something.
    #[schema(value_type = String)]
    name: ShortText,
    /// `evaluate`, `write`, `viewer` or `admin`.
    #[schema(value_type = String)]
    role: Role,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
}

/// A page of tokens, the newest first.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(PageQuery), responses((status = 200, body = List<TokenAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    page: Query<PageQuery>,
) -> Result<Json<List<TokenAnswer>>, Problem> {
    let request = page.into_inner().request();
    let page = state.blocking(move |state| Ok(state.store().read(|conn| tokens::list(conn, &request))?)).await?;
    Ok(Json(List::from(page)))
}

/// Makes a token. Its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", params(ReasonQuery), request_body = NewToken,
    responses((status = 201, body = IssuedTokenAnswer), (status = 422, body = ProblemDocument)))]
pub async fn create(
    caller: Caller<Admin>,
    state: Data<AppState>,
    reason: Query<ReasonQuery>,
    new: Json<NewToken>,
) -> Result<HttpResponse, Problem> {
    let issued = state
        .writing(move |state| {
            let asked = (new.name.as_str(), new.role, new.expires_at);
            create_token(state, asked, Origin { actor: caller.actor(), reason: reason.as_str() })
        })
        .await?;
    let location = format!("/api/v1/tokens/{}", issued.token.id);
    let body = IssuedTokenAnswer::from(issued);
    Ok(HttpResponse::Created()
        .insert_header(("Location", location))
        .insert_header(("Cache-Control", "no-store"))
        .json(body))
}

/// Makes a token of this name and role that expires then, with its audit row.
pub fn create_token(
    state: &AppState,
    (name, role, expires_at): (&str, Role, Option<Instant>),
    origin: Origin<'_>,
) -> Result<IssuedToken, Problem> {
    if name.is_empty() {
        return Err(Problem::new(Code::InvalidValue, "`name` is empty: say who or what the token is for."));
    }
    if expires_at.is_some_and(|expires_at| expires_at <= state.now()) {
        return Err(Problem::new(Code::InvalidValue, "`expires_at` is in the past."));
    }
    Ok(state.store().write(|conn| tokens::create(conn, name, role, expires_at, origin))?)
}

/// One token.
#[utoipa::path(get, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 200, body = TokenAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(_: Caller<Viewer>, state: Data<AppState>, id: Path<ShortText>) -> Result<Json<TokenAnswer>, Problem> {
    let token = state.blocking(move |state| Ok(state.store().read(|conn| tokens::get(conn, id.as_str()))?)).await?;
    Ok(Json(token.into()))
}

/// Revokes a token, for good.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path), ReasonQuery),
    responses((status = 204), (status = 404, body = ProblemDocument)))]
pub async fn revoke(
    caller: Caller<Admin>,
    state: Data<AppState>,
    id: Path<ShortText>,
    reason: Query<ReasonQuery>,
) -> Result<HttpResponse, Problem> {
    state
        .writing(move |state| {
            let origin = Origin { actor: caller.actor(), reason: reason.as_str() };
            Ok(state.store().write(|conn| tokens::revoke(conn, id.as_str(), origin))?)
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<IssuedToken> for IssuedTokenAnswer {
    fn from(IssuedToken { token, text }: IssuedToken) -> Self {
        Self { secret: text, token: token.into() }
    }
}

impl From<Token> for TokenAnswer {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            role: token.role,
            created_at: token.created_at,
            created_by: token.created_by,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
        }
    }
}
