//! Every check there is, in the order in which they run.

mod access;
mod browser;
mod bulk;
mod caching;
mod errors;
mod form;
mod notice;
mod targeting;
mod values;

use serde_json::{Value, json};

use super::check::{Check, Finding, Unmet};
use super::client::{SUBJECT, Session};

/// All checks.
#[must_use]
pub fn all() -> Vec<Check> {
    [
        values::CHECKS,
        form::CHECKS,
        targeting::CHECKS,
        errors::CHECKS,
        bulk::CHECKS,
        caching::CHECKS,
        access::CHECKS,
        browser::CHECKS,
        notice::CHECKS,
        access::LIMITS,
    ]
    .concat()
}

/// A context of the usual subject with more attributes.
fn context(more: &Value) -> Value {
    let mut context = json!({ "targetingKey": SUBJECT });
    if let (Some(context), Some(more)) = (context.as_object_mut(), more.as_object()) {
        context.extend(more.clone());
    }
    context
}

/// One flag answers 200 with a value.
fn serves(session: &Session, key: &str, context: &Value, value: &Value) -> Finding {
    let reply = session.evaluate(key, context)?;
    reply.has_status(&[200])?;
    match reply.field("value") {
        Some(found) if is_same(found, value) => Ok(()),
        Some(_) => Err(reply.wrong(format!("another value than {value}"))),
        None => Err(reply.wrong(format!("no value, where {value} was served"))),
    }
}

/// Equal as JSON, whichever way a number is written.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        // A float of 64 bits cannot hold every integer: its own digits are compared.
        (Value::Number(left), Value::Number(right)) if right.is_i64() && left.is_f64() => {
            left.as_f64().is_some_and(|left| format!("{left:.0}") == right.to_string() && left.fract() == 0.0)
        }
        (Value::Number(left), Value::Number(right)) if left.is_i64() && right.is_i64() => left == right,
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let has = |(name, value): (&String, &Value)| right.get(name).is_some_and(|other| is_same(value, other));
            left.len() == right.len() && left.iter().all(has)
        }
        _ => left == right,
    }
}

/// Whether metadata holds nothing but texts, numbers and booleans.
fn is_flat(metadata: &Value) -> bool {
    let is_scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    metadata.as_object().is_some_and(|metadata| metadata.values().all(is_scalar))
}

fn not_offered(why: &str) -> Unmet {
    Unmet::NotOffered(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_check_has_an_id_and_a_rule_of_its_own() {
        let ids: BTreeSet<&str> = all().iter().map(|check| check.id).collect();
        let rules: BTreeSet<&str> = all().iter().map(|check| check.rule).collect();
        assert_eq!((ids.len(), rules.len()), (all().len(), all().len()));
        assert!(all().iter().all(|check| check.id.contains('.') && !check.rule.ends_with('.')));
    }

    #[test]
    fn numbers_are_the_same_however_written() {
        assert!(is_same(&json!({"a": [10, 0.5]}), &json!({"a": [10.0, 0.5]})));
        assert!(
            is_same(&json!(10.0), &json!(10)) && is_same(&json!(0.0), &json!(0)) && !is_same(&json!(10.2), &json!(10))
        );
        let large = json!(9_007_199_254_740_993_i64);
        assert!(
            !is_same(&large, &json!(9_007_199_254_740_992_i64)) && !is_same(&json!(9_007_199_254_740_993.0), &large)
        );
        assert!(
            !is_same(&json!(1), &json!(true)) && !is_same(&json!("1"), &json!(1)) && !is_same(&json!({}), &json!([]))
        );
    }
}
