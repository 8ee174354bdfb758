//! Who calls, and what they may do. A handler that needs a role has a [`Caller`] of that role in its signature, so there is no
//! way to its data past the check.

use std::future::{Ready, ready};
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};

use super::problem::{Code, Problem};
use super::state::AppState;
use crate::store::tokens::{Refusal, Role, Token};

/// A role as a type.
pub trait Permission: 'static {
    const ROLE: Role;
}

/// May evaluate flags.
pub struct Evaluate;
/// May read everything.
pub struct Viewer;
/// May write rows of the application.
pub struct Write;
/// May do everything.
pub struct Admin;

impl Permission for Evaluate {
    const ROLE: Role = Role::Evaluate;
}
impl Permission for Viewer {
    const ROLE: Role = Role::Viewer;
}
impl Permission for Write {
    const ROLE: Role = Role::Write;
}
impl Permission for Admin {
    const ROLE: Role = Role::Admin;
}

/// The bearer of a token whose role covers `P`.
pub struct Caller<P> {
    token: Token,
    permission: PhantomData<P>,
}

impl<P> Caller<P> {
    /// The token's id: a name may be given to several.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.token.id
    }

    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The name that stands in the history and in the audit log.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.token.name
    }
}

impl<P: Permission> FromRequest for Caller<P> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate(request).and_then(|token| {
            if token.role.covers(P::ROLE) {
                Ok(Self { token, permission: PhantomData })
            } else {
                let detail = format!("This needs a token with the role {}; yours has {}.", P::ROLE, token.role);
                Err(Problem::new(Code::Forbidden, detail))
            }
        }))
    }
}

/// The token in `Authorization: Bearer …` or `X-API-Key: …`, unless it, or whoever sends a wrong one, asks too often.
pub fn authenticate(request: &HttpRequest) -> Result<Token, Problem> {
    checked(request, Token::clone)
}

/// [`authenticate`], for who needs less of the token than all of it.
pub fn checked<T>(request: &HttpRequest, take: impl FnOnce(&Token) -> T) -> Result<T, Problem> {
    let state = request.app_data::<web::Data<AppState>>().ok_or_else(|| Problem::internal(&"there is no state"))?;
    let Some(text) = token_text(request) else {
        return Err(refused(state, request, "Send `Authorization: Bearer TOKEN` or `X-API-Key: TOKEN`."));
    };
    let keyring = state.memory().keyring();
    let token = keyring.check(text, state.now()).map_err(|refusal| refused(state, request, sentence(refusal)))?;
    within_limit(state, token)?;
    Ok(take(token))
}

/// Counts a request of a token, and refuses one too many.
pub fn within_limit(state: &AppState, token: &Token) -> Result<(), Problem> {
    state.limits().take(&token.id).map_err(|wait| {
        Problem::rate_limited(wait, format!("The token `{}` asks more often than it may: slow down.", token.name))
    })
}

/// 401, or 429 for an address that has had too many of them.
pub fn refused(state: &AppState, request: &HttpRequest, detail: &str) -> Problem {
    match state.limits().take_failure(request) {
        Ok(()) => Problem::new(Code::Unauthenticated, detail),
        Err(wait) => Problem::rate_limited(wait, format!("{detail} And that too often: slow down.")),
    }
}

/// Why a token is not accepted, for who sent it.
#[must_use]
pub fn sentence(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown => "The token is not one of ours.",
        Refusal::Expired => "The token has expired: ask an admin for another.",
        Refusal::Revoked => "The token has been revoked: ask an admin for another.",
    }
}

pub fn token_text(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers();
    if let Some(authorization) = headers.get(AUTHORIZATION) {
        let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    headers.get("X-API-Key")?.to_str().ok().map(str::trim)
}
