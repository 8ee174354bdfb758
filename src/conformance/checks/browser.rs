//! What a browser asks before it lets a page of another origin read an answer.

use serde_json::json;

use super::super::check::{Check, Finding, Unmet};
use super::super::client::{Ask, BULK, Credentials, Reply, SUBJECT, Session, single};
use super::super::flag_set::MISSING;
use super::not_offered;

const ORIGIN: &str = "https://shop.example";

/// What the web provider sends beyond what a browser lets every page send.
const HEADERS: [&str; 4] = ["authorization", "x-api-key", "content-type", "if-none-match"];

pub const CHECKS: &[Check] = &[
    Check::should("cors.preflight", "a preflight is answered 2xx without a token and allows POST", |session| {
        for path in [BULK.to_owned(), single("conformance-boolean")] {
            let reply = preflight(session, &path)?;
            offered(session)?;
            reply.has_status(&[200, 204])?;
            let methods = reply.header("access-control-allow-methods").unwrap_or_default().to_ascii_uppercase();
            if !is_listed(&methods, "POST") {
                return Err(reply.wrong("POST is not allowed"));
            }
        }
        Ok(())
    }),
    Check::should("cors.headers", "it allows the headers that the web provider sends", |session| {
        offered(session)?;
        let reply = preflight(session, BULK)?;
        let allowed = reply.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
        match HEADERS.iter().find(|name| !is_listed(&allowed, name)) {
            None => Ok(()),
            Some(name) => Err(reply.wrong(format!("{name} is not allowed ({allowed})"))),
        }
    }),
    Check::should("cors.expose", "an answer exposes ETag: a page cannot send it back otherwise", |session| {
        let reply = offered(session)?;
        let exposed = reply.header("access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
        if is_listed(&exposed, "etag") { Ok(()) } else { Err(reply.wrong(format!("ETag is not exposed ({exposed})"))) }
    }),
    Check::should("cors.expose-pause", "and Retry-After", |session| {
        let reply = offered(session)?;
        let exposed = reply.header("access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
        let is_exposed = is_listed(&exposed, "retry-after");
        if is_exposed { Ok(()) } else { Err(reply.wrong(format!("Retry-After is not exposed ({exposed})"))) }
    }),
    Check::should("cors.errors", "errors may be read by the page too, or it sees a network failure", |session| {
        offered(session)?;
        readable(&post(session, &single(MISSING), Credentials::Own)?)?;
        match session.token() {
            Some(_) => readable(&post(session, BULK, Credentials::None)?),
            None => Ok(()),
        }
    }),
];

fn preflight(session: &Session, path: &str) -> Result<Reply, Unmet> {
    let asked = HEADERS.join(",");
    let headers = [
        ("origin", ORIGIN),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked.as_str()),
    ];
    session.send(&Ask { method: "OPTIONS", path, headers: &headers, credentials: Credentials::None, body: None })
}

fn post(session: &Session, path: &str, credentials: Credentials<'_>) -> Result<Reply, Unmet> {
    let body = json!({"context": {"targetingKey": SUBJECT}}).to_string();
    let headers = [("content-type", "application/json"), ("origin", ORIGIN)];
    session.send(&Ask { method: "POST", path, headers: &headers, credentials, body: Some(&body) })
}

/// A bulk answer that a page may read; servers need not have any.
fn offered(session: &Session) -> Result<Reply, Unmet> {
    let reply = post(session, BULK, Credentials::Own)?;
    if readable(&reply).is_ok() {
        Ok(reply)
    } else {
        Err(not_offered("pages of other origins may not read its answers"))
    }
}

fn readable(reply: &Reply) -> Finding {
    match reply.header("access-control-allow-origin") {
        Some("*" | ORIGIN) => Ok(()),
        _ => Err(reply.wrong("no Access-Control-Allow-Origin")),
    }
}

/// `*` stands for every name but Authorization.
fn is_listed(list: &str, name: &str) -> bool {
    list.split(',').map(str::trim).any(|listed| listed == name || (listed == "*" && name != "authorization"))
}
