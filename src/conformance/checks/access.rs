//! Who may ask, and how often.

use serde_json::json;

use super::super::check::{Check, Unmet};
use super::super::client::{Ask, BULK, Credentials, Reply, SUBJECT, Session, single};
use super::not_offered;

/// No server knows it.
const WRONG: &str = "conformance-wrong-token";

pub const CHECKS: &[Check] = &[
    Check::should("auth.bearer", "a token is taken as Authorization: Bearer", |session| {
        let token = token(session)?;
        ask(session, Credentials::Bearer(token))?.has_status(&[200]).map(drop)
    }),
    Check::should("auth.api-key", "and as X-API-Key", |session| {
        let token = token(session)?;
        ask(session, Credentials::ApiKey(token))?.has_status(&[200]).map(drop)
    }),
    Check::must("auth.none", "who shows no token is answered 401", |session| {
        token(session)?;
        ask(session, Credentials::None)?.has_status(&[401]).map(drop)
    }),
    Check::must("auth.wrong", "who shows a wrong token is answered 401 or 403", |session| {
        token(session)?;
        ask(session, Credentials::Bearer(WRONG))?.has_status(&[401, 403])?;
        ask(session, Credentials::ApiKey(WRONG))?.has_status(&[401, 403]).map(drop)
    }),
    Check::must("auth.bulk", "the same is asked of bulk evaluation", |session| {
        token(session)?;
        let body = json!({"context": {"targetingKey": SUBJECT}}).to_string();
        for (credentials, statuses) in [(Credentials::None, [401, 401]), (Credentials::Bearer(WRONG), [401, 403])] {
            send(session, BULK, credentials, &body)?.has_status(&statuses)?;
        }
        Ok(())
    }),
    Check::must("auth.no-values", "a refusal says nothing of any flag", |session| {
        token(session)?;
        let reply = ask(session, Credentials::None)?;
        let is_silent = reply.field("value").is_none() && reply.field("variant").is_none();
        if is_silent { Ok(()) } else { Err(reply.wrong("a refusal with a value")) }
    }),
    Check::may("auth.challenge", "401 names the scheme in WWW-Authenticate", |session| {
        token(session)?;
        let reply = ask(session, Credentials::None)?;
        if reply.header("www-authenticate").is_some() { Ok(()) } else { Err(reply.wrong("no WWW-Authenticate")) }
    }),
];

/// Run last: whoever is limited answers nothing else for a while.
pub const LIMITS: &[Check] = &[
    Check::should("limit.retry-after", "429 and 503 say in Retry-After how long to wait", |session| {
        for (asked, pause) in limited(session)? {
            if pause.is_none() {
                return Err(Unmet::Wrong { asked, came: "no Retry-After".to_owned() });
            }
        }
        Ok(())
    }),
    Check::should(
        "limit.seconds",
        "Retry-After is a whole number of seconds, at least 1: every other form is misread by some provider",
        |session| {
            for (asked, pause) in limited(session)? {
                let Some(pause) = pause else { continue };
                if pause.parse::<u64>().map_or(true, |seconds| seconds == 0) {
                    return Err(Unmet::Wrong { asked, came: format!("Retry-After: {pause}") });
                }
            }
            Ok(())
        },
    ),
];

fn token(session: &Session) -> Result<&str, Unmet> {
    session.token().ok_or_else(|| not_offered("the run has no token"))
}

fn ask(session: &Session, credentials: Credentials<'_>) -> Result<Reply, Unmet> {
    let body = json!({"context": {"targetingKey": SUBJECT}}).to_string();
    send(session, &single("conformance-boolean"), credentials, &body)
}

fn send(session: &Session, path: &str, credentials: Credentials<'_>, body: &str) -> Result<Reply, Unmet> {
    let headers = [("content-type", "application/json")];
    session.send(&Ask { method: "POST", path, headers: &headers, credentials, body: Some(body) })
}

/// Every pause that the server has demanded; it is driven to it if the run may.
fn limited(session: &Session) -> Result<Vec<(String, Option<String>)>, Unmet> {
    let path = single("conformance-boolean");
    let headers = [("content-type", "application/json")];
    let ask = Ask { method: "POST", path: &path, headers: &headers, credentials: Credentials::Own, body: Some("{}") };
    let mut left = session.burst();
    while left > 0 && !session.pauses().iter().any(|(asked, _)| *asked == ask.to_string()) {
        session.send_once(&ask)?;
        left -= 1;
    }
    let pauses = session.pauses();
    if pauses.is_empty() {
        Err(not_offered("no answer was 429 or 503 (--burst N drives it to a limit)"))
    } else {
        Ok(pauses)
    }
}
