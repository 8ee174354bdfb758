//! `/console/settings`: what this server was started with and what it runs on, to be read.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::page::{Frame, html};
use super::session::Member;
use super::words::{When, when};
use crate::http::auth::Viewer;
use crate::http::problem::Problem;
use crate::http::{AppState, Setting};
use crate::primitives::Dialect;

#[derive(Template)]
#[template(path = "console/settings.html")]
struct SettingsPage<'a> {
    frame: Frame,
    version: &'static str,
    store: &'static str,
    app: &'static str,
    configuration: i64,
    confirmed: When,
    is_stale: bool,
    settings: &'a [Setting],
}

/// The page.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let now = state.now();
    let freshness = state.memory().freshness(now);
    html(&SettingsPage {
        frame: Frame::new(&request, "Settings", &member.signed),
        version: env!("CARGO_PKG_VERSION"),
        store: name(state.store().database().url().dialect()),
        app: name(state.app().url().dialect()),
        configuration: state.snapshot().version(),
        confirmed: when(freshness.confirmed_at, now),
        is_stale: freshness.is_stale,
        settings: state.settings(),
    })
}

fn name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "PostgreSQL",
        Dialect::Sqlite => "SQLite",
    }
}
