//! When a bulk answer may be left out. A tag that forgets the context gives one user another one's flags.

use serde_json::{Value, json};

use super::super::check::{Check, Finding, Unmet};
use super::super::client::{Reply, Session};
use super::{context, not_offered};

pub const CHECKS: &[Check] = &[
    Check::should("etag.offered", "a bulk answer has an ETag, a text in quotes", |session| {
        let reply = session.bulk(&context(&Value::Null))?;
        let tag = reply.header("etag").ok_or_else(|| reply.wrong("no ETag"))?;
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let is_quoted = opaque.len() > 2 && opaque.starts_with('"') && opaque.ends_with('"');
        if is_quoted { Ok(()) } else { Err(reply.wrong(format!("the ETag is not in quotes ({tag})"))) }
    }),
    Check::must("etag.not-modified", "If-None-Match with that tag is answered 304 without a body", |session| {
        let again = session.bulk_unless("", &tag(session)?, &context(&Value::Null))?;
        again.has_status(&[304])?;
        if again.body.is_empty() { Ok(()) } else { Err(again.wrong("a body")) }
    }),
    Check::should("etag.repeated", "304 names the ETag again", |session| {
        let tag = tag(session)?;
        let again = not_modified(session, &tag)?;
        if again.header("etag") == Some(&tag) { Ok(()) } else { Err(again.wrong("not the same ETag")) }
    }),
    Check::should("etag.list", "If-None-Match is a list of tags, compared weakly", |session| {
        let tag = tag(session)?;
        let opaque = tag.strip_prefix("W/").unwrap_or(&tag);
        let list = format!("\"conformance\", W/{opaque}");
        session.bulk_unless("", &list, &context(&Value::Null))?.has_status(&[304]).map(drop)
    }),
    Check::must("etag.other", "another tag is answered with all flags", |session| {
        tag(session)?;
        session.bulk_unless("", "\"conformance\"", &context(&Value::Null))?.has_status(&[200])?.items().map(drop)
    }),
    Check::must(
        "etag.attribute",
        "a tag is of the context too: the web provider sends the old one along after an attribute changed",
        |session| {
            let answer = session.bulk_unless("", &tag(session)?, &context(&json!({"plan": "pro"})))?;
            serves(answer.has_status(&[200])?, "conformance-by-text", "yes")
        },
    ),
    Check::must("etag.subject", "and of the targeting key", |session| {
        let answer = session.bulk_unless("", &tag(session)?, &json!({"targetingKey": "somebody-else"}))?;
        serves(answer.has_status(&[200])?, "conformance-by-key", "no")
    }),
    Check::may("etag.order", "and not of the order in which attributes are sent", |session| {
        let first = session.bulk(&json!({"targetingKey": "a", "plan": "pro", "seats": 5}))?;
        let tag = first.header("etag").ok_or_else(|| not_offered("bulk answers have no ETag"))?;
        let other = json!({"seats": 5, "plan": "pro", "targetingKey": "a"});
        session.bulk_unless("", tag, &other)?.has_status(&[304]).map(drop)
    }),
    Check::must(
        "etag.told",
        "flagConfigEtag decides before If-None-Match: what a server does not have yet is never answered 304",
        |session| told(session, "?flagConfigEtag=%22conformance-is-ahead%22"),
    ),
    Check::must("etag.told-time", "so does flagConfigLastModified", |session| {
        told(session, "?flagConfigLastModified=4102444800")
    }),
];

/// The tag of the usual context's answer.
fn tag(session: &Session) -> Result<String, Unmet> {
    let reply = session.bulk(&context(&Value::Null))?;
    reply.header("etag").map(str::to_owned).ok_or_else(|| not_offered("bulk answers have no ETag"))
}

fn not_modified(session: &Session, tag: &str) -> Result<Reply, Unmet> {
    let again = session.bulk_unless("", tag, &context(&Value::Null))?;
    if again.status == 304 { Ok(again) } else { Err(not_offered("it never answers 304")) }
}

/// Tells of a configuration that nobody has, as an event would.
fn told(session: &Session, query: &str) -> Finding {
    let reply = session.bulk(&context(&Value::Null))?;
    if reply.field("eventStreams").is_none() {
        return Err(not_offered("it offers no event streams, which alone make providers send this"));
    }
    let tag = reply.header("etag").ok_or_else(|| not_offered("bulk answers have no ETag"))?;
    let answer = session.bulk_unless(query, tag, &context(&Value::Null))?;
    if answer.status == 304 { Err(answer.wrong("304 from behind what was told")) } else { Ok(()) }
}

fn serves(reply: &Reply, key: &str, value: &str) -> Finding {
    let item = reply.items()?.iter().find(|item| item.get("key").and_then(Value::as_str) == Some(key));
    match item.and_then(|item| item.get("value")) {
        Some(found) if *found == json!(value) => Ok(()),
        _ => Err(reply.wrong(format!("{key} does not serve {value}"))),
    }
}
