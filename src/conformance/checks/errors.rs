//! Errors, and what is none: requests that real clients send although the specification asks for more.

use serde_json::{Value, json};

use super::super::check::{Check, Finding, Unmet};
use super::super::client::{Ask, BULK, Credentials, Reply, Session, single};
use super::super::flag_set::MISSING;
use super::{context, not_offered};

pub const CHECKS: &[Check] = &[
    Check::must("error.missing-flag", "a flag that does not exist is 404 with errorCode FLAG_NOT_FOUND", |session| {
        has_code(&missing(session)?, 404, &["FLAG_NOT_FOUND"])
    }),
    Check::must("error.key", "an error of one flag names its `key`: the JavaScript provider needs it", |session| {
        let reply = missing(session)?;
        if reply.text("key") == Some(MISSING) { Ok(()) } else { Err(reply.wrong("not the key that was asked for")) }
    }),
    Check::should(
        "error.details",
        "an error says more in `errorDetails`: the Python provider fails without",
        |session| {
            for reply in [missing(session)?, malformed(session, &single("conformance-boolean"))?] {
                if reply.text("errorDetails").is_none_or(str::is_empty) {
                    return Err(reply.wrong("no errorDetails"));
                }
            }
            Ok(())
        },
    ),
    Check::should("error.content-type", "errors are application/json too", |session| {
        for reply in [missing(session)?, malformed(session, &single("conformance-boolean"))?, malformed(session, BULK)?]
        {
            if !reply.is_json() {
                return Err(reply.wrong("another content type"));
            }
        }
        Ok(())
    }),
    Check::must("error.malformed", "a body that is no JSON is 400 with errorCode PARSE_ERROR", |session| {
        has_code(&malformed(session, &single("conformance-boolean"))?, 400, &["PARSE_ERROR"])
    }),
    Check::must("error.malformed-bulk", "so it is for all flags at once", |session| {
        has_code(&malformed(session, BULK)?, 400, &["PARSE_ERROR"])
    }),
    Check::should("error.context", "a context that is no object is 400 with errorCode INVALID_CONTEXT", |session| {
        let reply = session.post(&single("conformance-boolean"), &json!({"context": ["x"]}))?;
        has_code(&reply, 400, &["INVALID_CONTEXT", "PARSE_ERROR"])
    }),
    Check::should(
        "error.no-key",
        "a rollout without a targeting key is 400 with errorCode TARGETING_KEY_MISSING, never a guess",
        |session| has_code(&session.evaluate("conformance-split", &json!({}))?, 400, &["TARGETING_KEY_MISSING"]),
    ),
    Check::should(
        "error.no-key-bulk",
        "in a bulk answer such a flag is an error of its own, and the others are there",
        |session| {
            let reply = session.bulk(&json!({}))?;
            let items = reply.items()?;
            let named = |key| items.iter().find(|item| item.get("key").and_then(Value::as_str) == Some(key));
            let (split, other) = (named("conformance-split"), named("conformance-boolean"));
            match (split.and_then(|item| item.get("errorCode")), other.and_then(|item| item.get("value"))) {
                (Some(code), Some(_)) if *code == json!("TARGETING_KEY_MISSING") => Ok(()),
                (_, None) => Err(reply.wrong("the flags that need no key are missing")),
                _ => Err(reply.wrong("no error TARGETING_KEY_MISSING for conformance-split")),
            }
        },
    ),
    Check::should("error.case", "keys are case-sensitive", |session| {
        session.evaluate("Conformance-Boolean", &context(&Value::Null))?.has_status(&[404]).map(drop)
    }),
    Check::should(
        "lenient.encoded-key",
        "a key is percent-decoded, once: newer JavaScript providers encode it",
        |session| {
            let encoded = session.evaluate("conformance%2Dboolean", &context(&Value::Null))?;
            encoded.has_status(&[200])?;
            session.evaluate("conformance%252Dboolean", &context(&Value::Null))?.has_status(&[404]).map(drop)
        },
    ),
    Check::should("lenient.no-body", "a flag that needs no context is served without a body", |session| {
        session.post_text(&single("conformance-boolean"), "")?.has_status(&[200]).map(drop)
    }),
    Check::should("lenient.no-context", "and without a context", |session| lenient(session, &json!({}))),
    Check::should("lenient.null-context", "and with null for a context", |session| {
        lenient(session, &json!({"context": null}))
    }),
    Check::should("lenient.empty-context", "and with an empty context: the Python provider sends it", |session| {
        lenient(session, &json!({"context": {}}))
    }),
    Check::should("lenient.unknown", "members of the body that are unknown are ignored", |session| {
        lenient(session, &json!({"context": {}, "conformance": [1]}))
    }),
    Check::should(
        "lenient.charset",
        "application/json; charset=utf-8 is JSON: the JavaScript provider sends it",
        |session| {
            let path = single("conformance-boolean");
            let headers = [("content-type", "application/json; charset=utf-8")];
            let body = json!({"context": context(&json!({"city": "Åbo"}))}).to_string();
            let ask = Ask {
                method: "POST",
                path: &path,
                headers: &headers,
                credentials: Credentials::Own,
                body: Some(&body),
            };
            session.send(&ask)?.has_status(&[200]).map(drop)
        },
    ),
    Check::should("error.method", "GET is refused with 404 or 405, not answered", |session| {
        let path = single("conformance-boolean");
        let ask = Ask { method: "GET", path: &path, headers: &[], credentials: Credentials::Own, body: None };
        session.send(&ask)?.has_status(&[404, 405]).map(drop)
    }),
];

fn missing(session: &Session) -> Result<Reply, Unmet> {
    session.evaluate(MISSING, &context(&Value::Null))
}

fn malformed(session: &Session, path: &str) -> Result<Reply, Unmet> {
    session.post_text(path, "{\"context\": {\"targetingKey\":")
}

fn lenient(session: &Session, body: &Value) -> Finding {
    session.post(&single("conformance-boolean"), body)?.has_status(&[200]).map(drop)
}

fn has_code(reply: &Reply, status: u16, codes: &[&str]) -> Finding {
    if reply.status == 200 && reply.field("value").is_none() {
        return Err(not_offered("it answers 200 without a value"));
    }
    reply.has_status(&[status])?;
    match reply.text("errorCode") {
        Some(code) if codes.contains(&code) => Ok(()),
        Some(_) => Err(reply.wrong(format!("another errorCode than {}", codes.join(" or ")))),
        None => Err(reply.wrong("no errorCode")),
    }
}
