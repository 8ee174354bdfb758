//! Who is signed in. A handler that needs a role has a [`Member`] of that role in its signature, so there is no page past the check.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse};

use super::page::base;
use crate::http::AppState;
use crate::http::auth::{Permission, within_limit};
use crate::http::problem::{Code, Problem};
use crate::store::tokens::{Role, Token};
use crate::store::{self, sessions};

/// Holds the secret of a session.
pub const SESSION: &str = "changeover_session";
/// Holds a random text for who is not signed in yet: the sign-in form's token hangs on it. It is never a session's secret.
pub const VISITOR: &str = "changeover_visitor";

/// A token whose bearer is signed in.
#[derive(Clone)]
pub struct Signed {
    pub token: Token,
    pub secret: String,
}

impl Signed {
    /// The name that stands in the history and in the audit log.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.token.name
    }

    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.token.role.covers(Role::Admin)
    }

    /// What every form of this session carries.
    #[must_use]
    pub fn csrf(&self) -> String {
        form_token(&self.secret)
    }
}

/// What a form carries to show that it was made for the holder of a cookie. It tells nothing of the cookie.
#[must_use]
pub fn form_token(secret: &str) -> String {
    store::sha256(&format!("changeover console form\n{secret}"))
}

/// Somebody signed in whose role covers `P`.
pub struct Member<P> {
    pub signed: Signed,
    permission: PhantomData<P>,
}

impl<P: Permission> Member<P> {
    /// Checks the role of who is signed in.
    pub fn check(signed: Signed) -> Result<Self, Problem> {
        if signed.token.role.covers(P::ROLE) {
            return Ok(Self { signed, permission: PhantomData });
        }
        let role = signed.token.role;
        let detail = format!("This needs a token with the role {}; you are signed in with {role}.", P::ROLE);
        Err(Problem::new(Code::Forbidden, detail))
    }
}

impl<P: Permission> FromRequest for Member<P> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Self::check(signed(&request).await?) })
    }
}

/// Who sends a request, by the cookie.
pub async fn signed(request: &HttpRequest) -> Result<Signed, Problem> {
    let state = request.app_data::<Data<AppState>>().ok_or_else(|| Problem::internal(&"there is no state"))?;
    let unknown = || Problem::new(Code::Unauthenticated, "Sign in first.");
    let secret = cookie_of(request, SESSION).ok_or_else(unknown)?;
    let asked = secret.clone();
    // A page that renews itself is nobody who uses the session.
    let is_used = !request.headers().contains_key("X-Changeover-Live");
    let session = state.blocking(move |state| {
        let now = state.now();
        let found = state.store().read(|connection| sessions::find(connection, &asked, now))?;
        if is_used
            && found.as_ref().is_some_and(|session| session.is_to_be_noted(now))
            && let Err(error) = state.store().write(|connection| sessions::note(connection, &asked, now))
        {
            tracing::warn!(%error, "it could not be noted that a session was seen");
        }
        Ok(found)
    });
    let session = session.await?.ok_or_else(unknown)?;
    let keyring = state.memory().keyring();
    let token = keyring.check_id(&session.token, state.now()).map_err(|_| unknown())?;
    within_limit(state, token)?;
    Ok(Signed { token: token.clone(), secret })
}

/// The text of one of our cookies, if it looks like one of ours.
#[must_use]
pub fn cookie_of(request: &HttpRequest, name: &str) -> Option<String> {
    let value = request.cookie(name)?.value().to_owned();
    (value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(value)
}

/// A cookie for the console only, kept from scripts and from other sites, and from plain HTTP where the console is behind TLS.
#[must_use]
pub fn cookie<'c>(request: &HttpRequest, name: &'static str, value: String) -> Cookie<'c> {
    Cookie::build(name, value)
        .path(base(request))
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(is_behind_tls(request))
        .finish()
}

/// Gives a browser a cookie.
pub fn add(answer: &mut HttpResponse, cookie: &Cookie<'_>) -> Result<(), Problem> {
    answer.add_cookie(cookie).map_err(|error| Problem::internal(&error))
}

/// A cookie that takes one of ours away.
#[must_use]
pub fn removal<'c>(request: &HttpRequest, name: &'static str) -> Cookie<'c> {
    let mut cookie = cookie(request, name, String::new());
    cookie.set_max_age(Duration::ZERO);
    cookie
}

/// True if browsers come by TLS: to us, to the proxy in front of us, or because `--public-url` says so.
#[must_use]
pub fn is_behind_tls(request: &HttpRequest) -> bool {
    let state = request.app_data::<Data<AppState>>();
    let public = state.and_then(|state| state.streams().settings.public_url.as_deref());
    public.is_some_and(|url| url.starts_with("https://"))
        || request.app_config().secure()
        || request.connection_info().scheme() == "https"
}
