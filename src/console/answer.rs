//! What every answer of the console has in common: headers that keep other sites and injected text out, errors as pages, and the way to
//! the sign-in for who is not signed in.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;

use super::page::{Frame, base, see_other};
use super::session::{SESSION, cookie_of, signed};
use super::sign_in::address_with_return;
use crate::http::problem::{Code, Problem};

/// Styles, script and pictures from here, forms to here, frames nowhere; nothing inline.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// `same-origin`, not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

#[derive(Template)]
#[template(path = "console/error.html")]
struct ErrorPage {
    frame: Frame,
    title: &'static str,
    detail: String,
    status: u16,
}

/// Comes from another site: the browser keeps a strict cookie back, so the page asks for itself once more, now as its own.
#[derive(Template)]
#[template(path = "console/again.html")]
struct AgainPage {
    frame: Frame,
    address: String,
}

/// Wraps every path of the console.
pub async fn protect(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let answer = next.call(request).await?.map_into_boxed_body();
    let mut answer = match answer.response().error().and_then(|error| error.as_error::<Problem>()) {
        Some(problem) => {
            let shown = shown(answer.request(), problem).await;
            answer.into_response(shown)
        }
        None => answer,
    };
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        // A report's own page brings a policy of its own.
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(answer)
}

/// A problem as a person sees it.
async fn shown(request: &HttpRequest, problem: &Problem) -> HttpResponse {
    if problem.code() == Code::Unauthenticated {
        return to_sign_in(request);
    }
    let status = problem.status_code();
    let page = ErrorPage {
        frame: frame_of(request, problem).await,
        title: problem.code().title(),
        detail: problem.detail().to_owned(),
        status: status.as_u16(),
    };
    let mut answer = rendered(&page, status);
    if let Some(seconds) = problem.retry_after() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// With the way to everything else, for who is signed in. Who asks too often, or while the database is away, is not looked up.
async fn frame_of(request: &HttpRequest, problem: &Problem) -> Frame {
    let title = problem.code().title();
    if matches!(problem.code(), Code::RateLimited | Code::DatabaseUnavailable) {
        return Frame::bare(request, title);
    }
    match signed(request).await {
        Ok(signed) => Frame::new(request, title, &signed),
        Err(_) => Frame::bare(request, title),
    }
}

fn to_sign_in(request: &HttpRequest) -> HttpResponse {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let came_from_elsewhere = request.headers().get("Sec-Fetch-Site").is_some_and(|site| site == "cross-site");
    if is_read && came_from_elsewhere && cookie_of(request, SESSION).is_none() {
        let frame = Frame::bare(request, "One moment");
        let address = format!("{}{}", base(request), below_console(request));
        return rendered(&AgainPage { frame, address }, StatusCode::OK);
    }
    let back = if is_read { Some(below_console(request)) } else { None };
    see_other(&address_with_return(request, back.as_deref()))
}

/// The request's path and query below `/console`.
fn below_console(request: &HttpRequest) -> String {
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    path.strip_prefix("/console").unwrap_or_default().to_owned()
}

/// A page that is not the answer of a handler.
fn rendered(page: &impl Template, status: StatusCode) -> HttpResponse {
    match page.render() {
        Ok(html) => HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html),
        Err(error) => Problem::internal(&error).error_response(),
    }
}
