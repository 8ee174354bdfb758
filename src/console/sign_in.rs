//! Signing in with a token, and out. Each sign-in makes a new session: what the browser held before is worth nothing afterwards.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::form::{FirstForm, Sent};
use super::page::{Frame, base, html_with, see_other};
use super::session::{SESSION, VISITOR, add, cookie, cookie_of, form_token, removal, signed};
use crate::http::AppState;
use crate::http::auth::{Viewer, refused, sentence};
use crate::http::problem::{Code, Problem};
use crate::store::sessions;
use crate::store::tokens::{Role, Token};

/// Where somebody wanted to go before being asked to sign in.
#[derive(Deserialize)]
pub struct Return {
    #[serde(default)]
    to: String,
}

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignInPage {
    frame: Frame,
    csrf: String,
    to: String,
    error: Option<String>,
}

/// The form.
pub async fn page(request: HttpRequest, back: Query<Return>) -> Result<HttpResponse, Problem> {
    match signed(&request).await {
        Ok(_) => Ok(see_other(&way_back(&request, &back.to))),
        Err(problem) if problem.code() == Code::Unauthenticated => answer(&request, &back.to, None, StatusCode::OK),
        Err(problem) => Err(problem),
    }
}

/// Signs in with a token of the role viewer or admin.
pub async fn start(request: HttpRequest, state: Data<AppState>, form: FirstForm) -> Result<HttpResponse, Problem> {
    let fields = form.0;
    let to = fields.raw("to").to_owned();
    let token = match accepted(&request, &state, fields.raw("token").trim()) {
        Ok(token) => token,
        Err(problem) if problem.code() == Code::RateLimited => return Err(problem),
        Err(problem) => {
            return answer(&request, &to, Some(problem.detail().to_owned()), StatusCode::UNPROCESSABLE_ENTITY);
        }
    };
    let before = cookie_of(&request, SESSION);
    let secret = state.writing(move |state| {
        let now = state.now();
        Ok(state.store().write(|connection| {
            if let Some(before) = &before {
                sessions::end(connection, before, &token)?;
            }
            sessions::start(connection, &token, now)
        })?)
    });
    let secret = secret.await?;
    let mut answer = see_other(&way_back(&request, &to));
    add(&mut answer, &cookie(&request, SESSION, secret))?;
    add(&mut answer, &removal(&request, VISITOR))?;
    Ok(answer)
}

/// Signs out: the session's secret is worth nothing from now on.
pub async fn end(request: HttpRequest, state: Data<AppState>, sent: Sent<Viewer>) -> Result<HttpResponse, Problem> {
    let signed = sent.member.signed;
    let ended = state.writing(move |state| {
        Ok(state.store().write(|connection| sessions::end(connection, &signed.secret, &signed.token))?)
    });
    ended.await?;
    let mut answer = see_other(&format!("{}/sign-in", base(&request)));
    add(&mut answer, &removal(&request, SESSION))?;
    Ok(answer)
}

fn accepted(request: &HttpRequest, state: &AppState, text: &str) -> Result<Token, Problem> {
    if text.is_empty() {
        return Err(Problem::new(Code::Unauthenticated, "Paste a token: it begins with co_."));
    }
    let keyring = state.memory().keyring();
    let token = keyring.check(text, state.now()).map_err(|refusal| refused(state, request, sentence(refusal)))?;
    if !token.role.covers(Role::Viewer) {
        let detail = format!(
            "This token has the role {}; the console needs viewer or admin. An admin makes one: changeover token create NAME --role viewer",
            token.role
        );
        return Err(Problem::new(Code::Forbidden, detail));
    }
    Ok(token.clone())
}

fn answer(request: &HttpRequest, to: &str, error: Option<String>, status: StatusCode) -> Result<HttpResponse, Problem> {
    let known = cookie_of(request, VISITOR);
    let visitor = known.clone().map_or_else(sessions::new_secret, Ok)?;
    let frame = Frame::bare(request, "Sign in");
    let page = SignInPage { frame, csrf: form_token(&visitor), to: to.to_owned(), error };
    let mut answer = html_with(&page, status)?;
    if known.is_none() {
        add(&mut answer, &cookie(request, VISITOR, visitor))?;
    }
    Ok(answer)
}

/// The address of the form, with where to go afterwards.
#[must_use]
pub fn address_with_return(request: &HttpRequest, back: Option<&str>) -> String {
    let form = format!("{}/sign-in", base(request));
    match back.filter(|back| is_page_of_ours(back) && *back != "/changes") {
        Some(back) => format!("{form}?to={}", back.replace('%', "%25").replace('&', "%26").replace('+', "%2B")),
        None => form,
    }
}

/// Where to go after signing in: a page of the console, whatever the form says.
fn way_back(request: &HttpRequest, to: &str) -> String {
    let to = if is_page_of_ours(to) { to } else { "/changes" };
    format!("{}{to}", base(request))
}

/// True for a path below the console, in letters that mean nothing else anywhere.
fn is_page_of_ours(to: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~?=&%+,:".contains(&byte);
    to.len() <= 500
        && to.starts_with('/')
        && !to.starts_with("/sign-")
        && !to.contains("//")
        && !to.contains("/.")
        && to.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::is_page_of_ours;

    #[test]
    fn only_pages_of_the_console_are_gone_back_to() {
        for ours in ["/changes", "/changes/a.b-c", "/changes/x/stage?to=live", "/flags/caf%C3%A9"] {
            assert!(is_page_of_ours(ours), "{ours}");
        }
        let elsewhere =
            ["", "changes", "//evil.example", "/\\evil.example", "https://evil.example", "/../docs", "/./x"];
        for other in
            elsewhere.into_iter().chain(["/a\r\nSet-Cookie: x=1", "/sign-out", "/a b", "@evil.example", "/<x>"])
        {
            assert!(!is_page_of_ours(other), "{other}");
        }
        assert!(!is_page_of_ours(&format!("/{}", "a".repeat(600))));
    }
}
