//! Every type, with ordinary and with zero values; disabled flags.

use serde_json::json;

use super::super::check::{Check, Finding};
use super::super::client::Session;
use super::super::flag_set;
use super::{context, serves};

pub const CHECKS: &[Check] = &[
    Check::must("value.boolean", "a boolean flag answers 200 with `value` true or false", |session| {
        plain(session, "conformance-boolean", &json!(true))
    }),
    Check::must("value.string", "a string flag answers its text, each character of it", |session| {
        plain(session, "conformance-string", &json!(flag_set::TEXT))
    }),
    Check::must(
        "value.string-digits",
        "a text that looks like a number stays a text: OFREP names no type",
        |session| plain(session, "conformance-string-digits", &json!("10")),
    ),
    Check::must("value.integer", "an integer flag answers a number", |session| {
        plain(session, "conformance-integer", &json!(10))
    }),
    Check::should("value.integer-large", "an integer beyond 2^53 keeps its last digit", |session| {
        plain(session, "conformance-integer-large", &json!(flag_set::LARGE))
    }),
    Check::must("value.float", "a float flag answers a number", |session| {
        plain(session, "conformance-float", &json!(0.5))
    }),
    Check::must("value.object", "an object flag answers a JSON object, with all that is in it", |session| {
        plain(session, "conformance-object", &flag_set::object())
    }),
    Check::must("zero.boolean", "false is a value: it is sent, and not taken for nothing", |session| {
        plain(session, "conformance-zero-boolean", &json!(false))
    }),
    Check::must("zero.string", "the empty text is a value", |session| {
        plain(session, "conformance-zero-string", &json!(""))
    }),
    Check::must("zero.integer", "0 is a value", |session| plain(session, "conformance-zero-integer", &json!(0))),
    Check::must("zero.float", "0.0 is a value", |session| plain(session, "conformance-zero-float", &json!(0.0))),
    Check::must("zero.object", "the empty object is a value", |session| {
        plain(session, "conformance-zero-object", &json!({}))
    }),
    Check::must(
        "disabled.answer",
        "a disabled flag does not answer with the value it would have if it were on",
        disabled,
    ),
    Check::should("disabled.reason", "a disabled flag answers 200 with reason DISABLED", |session| {
        let reply = session.evaluate("conformance-disabled", &context(&json!({})))?;
        reply.has_status(&[200])?;
        if reply.text("reason") == Some("DISABLED") { Ok(()) } else { Err(reply.wrong("another reason than DISABLED")) }
    }),
    Check::should(
        "disabled.value",
        "a disabled flag has a value to serve: without one, some providers report an error instead of the default",
        |session| {
            let reply = session.evaluate("conformance-disabled", &context(&json!({})))?;
            if reply.field("value").is_some_and(|value| value.is_boolean()) {
                Ok(())
            } else {
                Err(reply.wrong("no value"))
            }
        },
    ),
];

fn plain(session: &Session, key: &str, value: &serde_json::Value) -> Finding {
    serves(session, key, &context(&json!({})), value)
}

fn disabled(session: &Session) -> Finding {
    let reply = session.evaluate("conformance-disabled", &context(&json!({})))?;
    reply.has_status(&[200, 404])?;
    if reply.field("value") == Some(&json!(true)) {
        Err(reply.wrong("the value of its default variant"))
    } else {
        Ok(())
    }
}
