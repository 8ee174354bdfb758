//! Forms that were sent. What a handler gets has come from a page of ours, for the session that sends it: another site can neither make
//! such a form nor send it.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::ORIGIN;
use actix_web::web::{Data, Form};
use actix_web::{FromRequest, HttpRequest};
use subtle::ConstantTimeEq;

use super::session::{Member, Signed, VISITOR, cookie_of, form_token, is_behind_tls, signed};
use crate::http::AppState;
use crate::http::auth::Permission;
use crate::http::problem::{Code, Problem};
use crate::store::Origin;

/// The longest text that a form takes, in characters.
const TEXT_MAX: usize = 500;

/// The most that a form may have, in bytes as they are sent: some ten thousand ids that are typed or pasted.
pub const FORM_BYTES_MAX: usize = 1 << 20;

/// The fields of a form, in their order.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    #[must_use]
    pub fn new(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    /// What stands in a field; nothing if it is not there.
    #[must_use]
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// A text that a person wrote, in one line; the same limits as over HTTP.
    pub fn text(&self, name: &str) -> Result<String, Problem> {
        let text = self.raw(name).split_whitespace().collect::<Vec<_>>().join(" ");
        let is_fine = text.chars().count() <= TEXT_MAX && !text.chars().any(char::is_control);
        let detail = || format!("The {name} is longer than {TEXT_MAX} characters, or has a control character in it.");
        if is_fine { Ok(text) } else { Err(Problem::new(Code::InvalidValue, detail())) }
    }

    /// Why it is done. Where a page asks for it, it must be said.
    pub fn reason(&self) -> Result<String, Problem> {
        let reason = self.text("reason")?;
        if reason.is_empty() {
            return Err(Problem::new(Code::InvalidValue, "Say why: the reason stands in the audit log."));
        }
        Ok(reason)
    }

    /// True if a box is ticked.
    #[must_use]
    pub fn is_ticked(&self, name: &str) -> bool {
        !self.raw(name).is_empty()
    }
}

/// A form of somebody whose role covers `P`.
pub struct Sent<P> {
    pub member: Member<P>,
    pub fields: Fields,
}

impl<P> Sent<P> {
    #[must_use]
    pub fn signed(&self) -> &Signed {
        &self.member.signed
    }

    /// Writes what the form asks for, by whoever sent it and with the reason that stands in it.
    pub async fn write<T: Send + 'static>(
        &self,
        state: &AppState,
        work: impl FnOnce(&AppState, Origin<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (actor, reason) = (self.signed().actor().to_owned(), self.fields.reason()?);
        state.writing(move |state| work(state, Origin { actor: &actor, reason: &reason })).await
    }
}

impl<P: Permission> FromRequest for Sent<P> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, form) = (request.clone(), read(request, payload));
        Box::pin(async move {
            check_origin(&request)?;
            let signed = signed(&request).await?;
            let fields = form.await?;
            check_token(&fields, &signed.secret)?;
            Ok(Self { member: Member::check(signed)?, fields })
        })
    }
}

/// The sign-in form, of somebody who is not signed in.
pub struct FirstForm(pub Fields);

impl FromRequest for FirstForm {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, form) = (request.clone(), read(request, payload));
        Box::pin(async move {
            check_origin(&request)?;
            let fields = form.await?;
            let visitor = cookie_of(&request, VISITOR).ok_or_else(not_ours)?;
            check_token(&fields, &visitor)?;
            Ok(Self(fields))
        })
    }
}

fn read(request: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<Fields, Problem>> + 'static {
    let form = Form::<Vec<(String, String)>>::from_request(request, payload);
    async move {
        match form.await {
            Ok(form) => Ok(Fields(form.into_inner())),
            Err(error) if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = "The form holds too much, so nothing was done. Many ids are uploaded as a file.";
                Err(Problem::new(Code::TooLarge, detail))
            }
            Err(error) => Err(Problem::new(Code::InvalidRequest, format!("The form cannot be read: {error}."))),
        }
    }
}

/// Whether a form carries the token of who sends it.
pub fn check_token(fields: &Fields, secret: &str) -> Result<(), Problem> {
    let is_ours = bool::from(fields.raw("csrf").as_bytes().ct_eq(form_token(secret).as_bytes()));
    if is_ours { Ok(()) } else { Err(not_ours()) }
}

fn not_ours() -> Problem {
    let detail = "The form was not made for this session, so nothing was done. Open its page again, and send it from there; cookies must be allowed.";
    Problem::new(Code::Forbidden, detail)
}

/// A browser says from where a form was sent, and no page can make it say otherwise.
pub fn check_origin(request: &HttpRequest) -> Result<(), Problem> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(ORIGIN.as_str()).unwrap_or_default();
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let state = request.app_data::<Data<AppState>>();
    let public = state.and_then(|state| state.streams().settings.public_url.as_deref());
    let public = public.and_then(|url| url.split_once("://")?.1.split('/').next());
    let ours = [text("Host"), text("X-Forwarded-Host"), public];
    let is_ours = !authority.is_empty() && ours.into_iter().flatten().any(|host| host.eq_ignore_ascii_case(authority));
    let is_as_safe = scheme == "https" || !is_behind_tls(request);
    let is_same_site = text("Sec-Fetch-Site").is_none_or(|site| site == "same-origin");
    if is_ours && is_as_safe && is_same_site {
        return Ok(());
    }
    let detail = "The form was not sent from a page of this console, so nothing was done. Behind a proxy, set --public-url to where browsers find it.";
    Err(Problem::new(Code::Forbidden, detail))
}
