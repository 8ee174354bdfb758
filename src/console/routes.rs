//! Every path of the console.

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::answer::protect;
use super::page::{base, see_other};
use super::{assets, change, changes, pauses, sign_in, stages};
use crate::http::paths::path;
use crate::http::problem::{Code, Problem};

/// Registers the console on an app that has `web::Data<AppState>`.
#[rustfmt::skip]
pub fn configure(config: &mut ServiceConfig) {
    let console = web::scope("/console")
        .wrap(from_fn(protect))
        .service(path("").get(home).service())
        .service(path("/").get(home).service())
        .service(path("/assets/{file}").get(assets::get).service())
        .service(path("/sign-in").get(sign_in::page).post(sign_in::start).service())
        .service(path("/sign-out").post(sign_in::end).service())
        .service(path("/changes").get(changes::page).service())
        .service(path("/changes/{name}").get(change::page).service())
        .service(path("/changes/{name}/stage").get(stages::page).post(stages::change).service())
        .service(path("/changes/{name}/pause").get(pauses::pause_page).post(pauses::pause).service())
        .service(path("/changes/{name}/resume").get(pauses::resume_page).post(pauses::resume).service())
        .default_service(web::to(nothing_here));
    config.service(console);
}

async fn home(request: HttpRequest) -> HttpResponse {
    see_other(&format!("{}/changes", base(&request)))
}

async fn nothing_here() -> Result<HttpResponse, Problem> {
    Err(Problem::new(Code::NotFound, "The console has no page with this address."))
}
