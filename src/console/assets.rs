//! The stylesheet, the script and the icon: in the binary, served by ourselves.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;

use crate::http::problem::{Code, Problem};
use crate::store::sha256;

const FILES: [(&str, &str, &str); 4] = [
    ("console.css", "text/css; charset=utf-8", include_str!("../../templates/console/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_str!("../../templates/console/console.js")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("../../templates/console/live.js")),
    ("icon.svg", "image/svg+xml", include_str!("../../templates/console/icon.svg")),
];

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String = FILES.iter().map(|(_, _, text)| *text).collect();
    sha256(&all).chars().take(12).collect()
});

/// Stands in the assets' addresses: another one when any of them changes.
pub fn version() -> &'static str {
    &VERSION
}

/// One of them. They are the same for everybody, so nobody needs to be signed in.
pub async fn get(file: Path<String>) -> Result<HttpResponse, Problem> {
    let found = FILES.iter().find(|(name, _, _)| *name == file.as_str());
    let (_, kind, text) = found.ok_or_else(|| Problem::new(Code::NotFound, "The console has no such file."))?;
    Ok(HttpResponse::Ok()
        .content_type(*kind)
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(*text))
}
