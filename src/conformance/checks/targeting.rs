//! Rules over the context, their reasons, and rollouts.

use serde_json::{Value, json};

use super::super::check::{Check, Finding};
use super::super::client::Session;
use super::{context, serves};

pub const CHECKS: &[Check] = &[
    Check::must("targeting.key", "a rule over the targeting key matches it, and nobody else", |session| {
        serves(session, "conformance-by-key", &context(&Value::Null), &json!("yes"))?;
        serves(session, "conformance-by-key", &json!({"targetingKey": "somebody-else"}), &json!("no"))
    }),
    Check::must("targeting.text", "a rule over a text matches it, and no other", |session| {
        matches(session, "conformance-by-text", &json!({"plan": "pro"}), &json!({"plan": "free"}))
    }),
    Check::should("targeting.number", "a rule over a number matches it, and no other", |session| {
        matches(session, "conformance-by-number", &json!({"seats": 5}), &json!({"seats": 6}))
    }),
    Check::should("targeting.boolean", "a rule over a boolean matches it, and not its opposite", |session| {
        matches(session, "conformance-by-boolean", &json!({"trial": true}), &json!({"trial": false}))
    }),
    Check::should("targeting.nested", "a rule reaches an attribute inside an object", |session| {
        let account = |plan: &str| json!({"account": {"plan": plan}});
        matches(session, "conformance-by-nested", &account("pro"), &account("free"))
    }),
    Check::must("targeting.list", "a rule over several values matches each of them", |session| {
        matches(session, "conformance-by-list", &json!({"plan": "pro"}), &json!({"plan": "free"}))?;
        matches(session, "conformance-by-list", &json!({"plan": "team"}), &json!({"plan": "tea"}))
    }),
    Check::must("targeting.order", "of two rules that match, the first one serves", |session| {
        let ask = |more: &Value, value: &str| serves(session, "conformance-by-order", &context(more), &json!(value));
        ask(&json!({"plan": "pro", "seats": 5}), "first")?;
        ask(&json!({"plan": "free", "seats": 5}), "second")
    }),
    Check::must("targeting.all", "a rule with two conditions needs both", |session| {
        let both = json!({"plan": "pro", "seats": 5});
        matches(session, "conformance-by-all", &both, &json!({"plan": "pro", "seats": 4}))?;
        matches(session, "conformance-by-all", &both, &json!({"plan": "free", "seats": 5}))
    }),
    Check::must("targeting.missing", "without the attribute a rule does not match, and that is no error", |session| {
        for key in ["text", "number", "boolean", "nested", "list", "order", "all"] {
            serves(session, &format!("conformance-by-{key}"), &context(&Value::Null), &json!("no"))?;
        }
        Ok(())
    }),
    Check::must("targeting.odd", "an attribute of another type does not match, and that is no error", |session| {
        for odd in [json!(null), json!(7), json!(true), json!([]), json!({"pro": "pro"}), json!(["x", {"y": []}])] {
            serves(session, "conformance-by-text", &context(&json!({"plan": odd})), &json!("no"))?;
        }
        Ok(())
    }),
    Check::should("targeting.reason", "the reason of a rule that matches is TARGETING_MATCH", |session| {
        reason(session, "conformance-by-text", &json!({"plan": "pro"}), &["TARGETING_MATCH"])
    }),
    Check::should("targeting.reason-default", "the reason is DEFAULT where no rule matches", |session| {
        reason(session, "conformance-by-text", &json!({"plan": "free"}), &["DEFAULT"])
    }),
    Check::should("targeting.reason-static", "the reason of a flag without rules is STATIC", |session| {
        reason(session, "conformance-boolean", &json!({}), &["STATIC"])
    }),
    Check::must("zero.rule-boolean", "a rule can serve false", |session| zero(session, "boolean", &json!(false))),
    Check::must("zero.rule-string", "a rule can serve the empty text", |session| zero(session, "string", &json!(""))),
    Check::must("zero.rule-integer", "a rule can serve 0", |session| zero(session, "integer", &json!(0))),
    Check::must("zero.rule-float", "a rule can serve 0.0", |session| zero(session, "float", &json!(0.0))),
    Check::must("zero.rule-object", "a rule can serve the empty object", |session| zero(session, "object", &json!({}))),
    Check::must("split.both", "a rollout over halves serves both of them to many subjects", |session| {
        let mut on = 0;
        for subject in 0..SUBJECTS {
            let reply =
                session.evaluate("conformance-split", &json!({"targetingKey": format!("subject-{subject}")}))?;
            reply.has_status(&[200])?;
            on += usize::from(reply.field("value") == Some(&json!(true)));
        }
        let reply = session.evaluate("conformance-split", &context(&Value::Null))?;
        let is_divided = (SUBJECTS / 5..=SUBJECTS - SUBJECTS / 5).contains(&on);
        if is_divided { Ok(()) } else { Err(reply.wrong(format!("{on} of {SUBJECTS} subjects in the first half"))) }
    }),
    Check::should("split.reason", "the reason of a rollout is SPLIT", |session| {
        reason(session, "conformance-split", &json!({}), &["SPLIT"])
    }),
    Check::should(
        "split.attributes",
        "a rollout by the targeting key does not depend on other attributes",
        |session| {
            let first = session.evaluate("conformance-split", &context(&Value::Null))?;
            let other = session.evaluate("conformance-split", &context(&json!({"plan": "pro", "seats": 9})))?;
            let is_same = first.field("value") == other.field("value");
            if is_same { Ok(()) } else { Err(other.wrong("another value than without them")) }
        },
    ),
];

const SUBJECTS: usize = 40;

/// One context is served `yes`, by a rule, and another `no`.
fn matches(session: &Session, key: &str, yes: &Value, no: &Value) -> Finding {
    serves(session, key, &context(yes), &json!("yes"))?;
    serves(session, key, &context(no), &json!("no"))
}

fn zero(session: &Session, kind: &str, value: &Value) -> Finding {
    serves(session, &format!("conformance-rule-zero-{kind}"), &context(&json!({"plan": "pro"})), value)
}

fn reason(session: &Session, key: &str, more: &Value, reasons: &[&str]) -> Finding {
    let reply = session.evaluate(key, &context(more))?;
    reply.has_status(&[200])?;
    if reply.text("reason").is_some_and(|reason| reasons.contains(&reason)) {
        Ok(())
    } else {
        Err(reply.wrong(format!("another reason than {}", reasons.join(" or "))))
    }
}
