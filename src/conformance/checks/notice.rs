//! Event streams: how a server says that there is something new to ask for.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::check::{Check, Unmet};
use super::super::client::{Reply, Session};
use super::super::stream::{Heard, listen};
use super::{context, not_offered};

/// How long a first event is waited for; servers send a comment or an event at once, or at least now and then.
const PATIENCE: Duration = Duration::from_secs(5);

pub const CHECKS: &[Check] = &[
    Check::must(
        "stream.form",
        "`eventStreams` is a list of {type, and url or endpoint.requestUri, not both}",
        |session| {
            let (reply, streams) = offered(session)?;
            for stream in &streams {
                let has_url = stream.get("url").is_some_and(Value::is_string);
                let has_endpoint = stream.pointer("/endpoint/requestUri").and_then(Value::as_str);
                let is_typed = stream.get("type").is_some_and(Value::is_string);
                let delay = stream.get("inactivityDelaySec");
                let is_delay = delay.is_none_or(|delay| delay.as_u64().is_some_and(|seconds| seconds >= 1));
                let is_absolute = has_endpoint.is_none_or(|uri| uri.starts_with('/'));
                if !is_typed || has_url == has_endpoint.is_some() || !is_delay || !is_absolute {
                    return Err(reply.wrong("an event stream of another form"));
                }
            }
            Ok(())
        },
    ),
    Check::must(
        "stream.opens",
        "the stream opens as text/event-stream without a header of ours: a browser's EventSource can send none",
        |session| open(session).map(drop),
    ),
    Check::should("stream.secret", "the stream's URL does not hold the token itself: URLs end up in logs", |session| {
        let (reply, _) = offered(session)?;
        let token = session.token().ok_or_else(|| not_offered("the run has no token"))?;
        let is_named = url(session, &reply)?.contains(token);
        if is_named {
            Err(Unmet::Wrong { asked: reply.asked, came: "the token, in the URL".to_owned() })
        } else {
            Ok(())
        }
    }),
    Check::must("stream.refused", "without its secret the stream does not open", |session| {
        let (reply, _) = offered(session)?;
        session.token().ok_or_else(|| not_offered("the run has no token"))?;
        let url = url(session, &reply)?;
        let bare = url.split('?').next().unwrap_or_default();
        if bare == url {
            return Err(not_offered("the stream's URL has no query to leave out"));
        }
        let heard = listen_to(bare)?;
        let is_refused = (400..500).contains(&heard.status);
        if is_refused { Ok(()) } else { Err(came(bare, &format!("{} {}", heard.status, heard.content_type))) }
    }),
    Check::should("stream.uncached", "the stream may not be cached or transformed on its way", |session| {
        let (url, heard) = heard(session)?;
        let is_uncached = ["no-store", "no-cache"].iter().any(|word| heard.cache_control.contains(word));
        if is_uncached { Ok(()) } else { Err(came(&url, &format!("Cache-Control: {}", heard.cache_control))) }
    }),
    Check::should(
        "stream.greets",
        "a client that connects is told at once to ask again: the web provider misses what happened before otherwise",
        |session| {
            let (url, heard) = heard(session)?;
            if heard.events.is_empty() { Err(came(&url, "no event")) } else { Ok(()) }
        },
    ),
    Check::must(
        "stream.event",
        "an event is a `message` whose data is JSON with `type` refetchEvaluation",
        |session| {
            let (url, heard) = heard(session)?;
            let event = heard.events.first().ok_or_else(|| not_offered("no event came"))?;
            let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
            let is_right = event.name == "message" && data.get("type") == Some(&json!("refetchEvaluation"));
            if is_right { Ok(()) } else { Err(came(&url, &format!("event: {} data: {}", event.name, event.data))) }
        },
    ),
    Check::must(
        "stream.no-values",
        "an event carries no value and no key of any flag: everybody hears it",
        |session| {
            let (url, heard) = heard(session)?;
            let event = heard.events.first().ok_or_else(|| not_offered("no event came"))?;
            let is_silent = !event.data.contains("conformance-") && !event.data.contains("\"value\"");
            if is_silent { Ok(()) } else { Err(came(&url, &event.data)) }
        },
    ),
    Check::should("stream.id", "an event has an id, which a client that reconnects names", |session| {
        let (url, heard) = heard(session)?;
        let event = heard.events.first().ok_or_else(|| not_offered("no event came"))?;
        if event.id.is_some() { Ok(()) } else { Err(came(&url, "an event without an id")) }
    }),
    Check::should("stream.etag", "the event names the configuration, and asking for it is answered 200", |session| {
        let (url, heard) = heard(session)?;
        let event = heard.events.first().ok_or_else(|| not_offered("no event came"))?;
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let etag = data.get("etag").and_then(Value::as_str).ok_or_else(|| came(&url, "an event without `etag`"))?;
        let query = format!("?flagConfigEtag={}", encoded(etag));
        session.bulk_unless(&query, "\"conformance\"", &context(&Value::Null))?.has_status(&[200]).map(drop)
    }),
];

/// A bulk answer and the streams it offers.
fn offered(session: &Session) -> Result<(Reply, Vec<Value>), Unmet> {
    let reply = session.bulk(&context(&Value::Null))?;
    let streams = match reply.field("eventStreams") {
        None => return Err(not_offered("bulk answers have no eventStreams")),
        Some(streams) => streams.as_array().cloned().ok_or_else(|| reply.wrong("eventStreams is no list"))?,
    };
    let is_empty = streams.is_empty();
    if is_empty { Err(not_offered("eventStreams is empty")) } else { Ok((reply, streams)) }
}

/// The address of the first stream of type `sse`, as a provider makes it up: the base URL's path is no part of it.
fn url(session: &Session, reply: &Reply) -> Result<String, Unmet> {
    let streams = reply.field("eventStreams").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_sse = |stream: &&Value| stream.get("type") == Some(&json!("sse"));
    let stream = streams.iter().find(is_sse).ok_or_else(|| not_offered("no stream is of type sse"))?;
    if let Some(url) = stream.get("url").and_then(Value::as_str) {
        return Ok(url.to_owned());
    }
    let base = session.url();
    let host_at = base.find("://").map_or(0, |at| at + 3);
    let end = base.get(host_at..).and_then(|rest| rest.find('/')).map_or(base.len(), |at| at + host_at);
    let own = base.get(..end).unwrap_or(base);
    let origin = stream.pointer("/endpoint/origin").and_then(Value::as_str).unwrap_or(own);
    let path = stream.pointer("/endpoint/requestUri").and_then(Value::as_str).unwrap_or_default();
    Ok(format!("{}{path}", origin.trim_end_matches('/')))
}

/// What came over the run's stream, if it opened.
fn heard(session: &Session) -> Result<(String, Heard), Unmet> {
    open(session).map_err(|_| not_offered("no stream opens"))
}

/// The run's stream: it is opened once.
fn open(session: &Session) -> Result<(String, Heard), Unmet> {
    session.stream(|| open_anew(session))
}

fn open_anew(session: &Session) -> Result<(String, Heard), Unmet> {
    let (reply, _) = offered(session)?;
    let url = url(session, &reply)?;
    let heard = listen_to(&url)?;
    if heard.status == 200 && heard.content_type.starts_with("text/event-stream") {
        Ok((url, heard))
    } else {
        Err(came(&url, &format!("{} {}", heard.status, heard.content_type)))
    }
}

fn listen_to(url: &str) -> Result<Heard, Unmet> {
    listen(url, PATIENCE).map_err(|error| came(url, &format!("no answer: {error}")))
}

/// The query is a secret.
fn came(url: &str, what: &str) -> Unmet {
    let path = url.split('?').next().unwrap_or_default();
    Unmet::Wrong { asked: format!("GET {path}?… as an event stream"), came: what.to_owned() }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
