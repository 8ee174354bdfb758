//! The form of a success: the fields, the content type, and how numbers are written.

use serde_json::Value;

use super::super::check::{Check, Finding, Unmet};
use super::super::client::{Reply, Session};
use super::is_flat;

/// What providers turn into a reason of their own; others make some of them fail.
const REASONS: [&str; 9] =
    ["STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "CACHED", "DISABLED", "UNKNOWN", "STALE", "ERROR"];

pub const CHECKS: &[Check] = &[
    Check::must("form.content-type", "answers are application/json: providers parse nothing else", |session| {
        each(session, |reply| if reply.is_json() { None } else { Some("another content type") })
    }),
    Check::must("form.key", "an answer names the flag's `key`", |session| {
        for (key, reply) in session.singles() {
            let reply = reply.as_ref().map_err(Unmet::clone)?;
            if reply.status == 200 && reply.text("key") != Some(*key) {
                return Err(reply.wrong("not the key that was asked for"));
            }
        }
        Ok(())
    }),
    Check::must("form.reason", "a success has a `reason`", |session| {
        each(session, |reply| reply.text("reason").is_none().then_some("no reason"))
    }),
    Check::should(
        "form.reason-known",
        "the reason is one that OpenFeature names: providers refuse others",
        |session| {
            each(session, |reply| {
                let reason = reply.text("reason")?;
                (!REASONS.contains(&reason)).then_some("a reason that OpenFeature does not know")
            })
        },
    ),
    Check::should("form.variant", "a success names its `variant`: the Python provider fails without", |session| {
        each(session, |reply| {
            let is_named = reply.text("variant").is_some() || reply.field("value").is_none();
            (!is_named).then_some("no variant")
        })
    }),
    Check::must("form.no-null", "`value` is never null: every provider takes it for another type", |session| {
        each(session, |reply| (reply.field("value") == Some(&Value::Null)).then_some("null as value"))
    }),
    Check::must("form.metadata", "flag `metadata` holds texts, numbers and booleans only", |session| {
        each(session, |reply| {
            let metadata = reply.field("metadata")?;
            (!is_flat(metadata)).then_some("metadata of another form")
        })
    }),
    Check::should(
        "form.integer",
        "an integer is written without a fraction: `10`, since typed providers refuse `10.0`",
        |session| number(session, "conformance-integer", |number| number.is_i64(), "an integer with a fraction"),
    ),
    Check::should(
        "form.float",
        "a float is written with a fraction: `10.0`, since typed providers refuse `10`",
        |session| number(session, "conformance-float-whole", |number| number.is_f64(), "a float without a fraction"),
    ),
    Check::should("form.repeatable", "the same question has the same answer, byte for byte", |session| {
        for (key, first) in session.singles() {
            let first = first.as_ref().map_err(Unmet::clone)?;
            let again = session.evaluate(key, &super::context(&Value::Null))?;
            if first.status == 200 && again.body != first.body {
                return Err(again.wrong(format!("something else than before ({})", first.body)));
            }
        }
        Ok(())
    }),
];

/// Looks at the answer to each flag; says what is wrong with it, if anything.
fn each(session: &Session, wrong: fn(&Reply) -> Option<&'static str>) -> Finding {
    for (_, reply) in session.singles() {
        let reply = reply.as_ref().map_err(Unmet::clone)?;
        if let (200, Some(what)) = (reply.status, wrong(reply)) {
            return Err(reply.wrong(what));
        }
    }
    Ok(())
}

fn number(session: &Session, key: &str, is_right: fn(&serde_json::Number) -> bool, wrong: &str) -> Finding {
    let reply = session.evaluate(key, &super::context(&Value::Null))?;
    match reply.field("value") {
        Some(Value::Number(number)) if is_right(number) => Ok(()),
        Some(Value::Number(_)) => Err(reply.wrong(wrong)),
        _ => Err(Unmet::NotOffered(format!("{key} serves no number"))),
    }
}
