//! The frame that every page stands in, and how a page becomes an answer.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::assets;
use super::session::Signed;
use crate::http::AppState;
use crate::http::problem::Problem;

/// What stands around every page.
pub struct Frame {
    /// Where the console is, as the browser sees it: `/console`, behind what a proxy has taken away.
    pub base: String,
    pub title: String,
    /// The part of the console that the page is in, by its first word below `/console`: `changes`, `reports`.
    pub section: String,
    /// Changes with what the assets say, so that browsers may keep them for good.
    pub assets_version: &'static str,
    pub member: Option<Who>,
    /// A sentence on what has just been done.
    pub note: Option<&'static str>,
}

/// Who is signed in, for the frame.
pub struct Who {
    pub name: String,
    pub role: &'static str,
    pub is_admin: bool,
    /// Goes back with every form.
    pub csrf: String,
}

impl Frame {
    #[must_use]
    pub fn new(request: &HttpRequest, title: impl Into<String>, signed: &Signed) -> Self {
        let who = Who {
            name: signed.token.name.clone(),
            role: signed.token.role.as_str(),
            is_admin: signed.is_admin(),
            csrf: signed.csrf(),
        };
        Self { member: Some(who), ..Self::bare(request, title) }
    }

    /// For pages that are shown to anybody.
    #[must_use]
    pub fn bare(request: &HttpRequest, title: impl Into<String>) -> Self {
        let (base, section) = (base(request), section(request.path()));
        Self { base, title: title.into(), section, assets_version: assets::version(), member: None, note: None }
    }

    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.member.as_ref().is_some_and(|who| who.is_admin)
    }

    #[must_use]
    pub fn csrf(&self) -> &str {
        self.member.as_ref().map_or("", |who| &who.csrf)
    }
}

/// A change's reports are found under `reports`, whichever way one came.
fn section(path: &str) -> String {
    let mut words = path.trim_start_matches("/console").split('/').skip(1);
    let (first, third) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    match (first, third) {
        ("changes", "reports" | "explanations") => String::from("reports"),
        ("new-flag" | "proposals", _) => String::from("flags"),
        ("all-gates" | "new-gate", _) => String::from("gates"),
        ("jobs", _) => String::from("changes"),
        (first, _) => first.to_owned(),
    }
}

/// Where the console is, as the browser sees it.
#[must_use]
pub fn base(request: &HttpRequest) -> String {
    let state = request.app_data::<Data<AppState>>();
    let prefix = state.and_then(|state| state.limits().forwarded_prefix(request)).unwrap_or_default();
    format!("{prefix}/console")
}

/// A page as an answer.
pub fn html(page: &impl Template) -> Result<HttpResponse, Problem> {
    html_with(page, StatusCode::OK)
}

/// A page as an answer with another status than 200: a form that was refused.
pub fn html_with(page: &impl Template, status: StatusCode) -> Result<HttpResponse, Problem> {
    let html = page.render().map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html))
}

/// Sends the browser on with GET. `address` is ours: it begins with [`base`].
#[must_use]
pub fn see_other(address: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, address)).finish()
}
