//! All flags at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::check::{Check, Finding, Unmet};
use super::super::client::{BULK, SUBJECT, Session};
use super::super::flag_set;
use super::{context, is_flat, is_same};

pub const CHECKS: &[Check] = &[
    Check::must(
        "bulk.form",
        "bulk evaluation answers 200 and JSON: `flags`, an array of successes and errors with keys",
        |session| {
            let reply = session.bulk(&context(&Value::Null))?;
            if !reply.is_json() {
                return Err(reply.wrong("another content type"));
            }
            for item in reply.items()? {
                let has = |name: &str| item.get(name).is_some_and(Value::is_string);
                if !has("key") || !(has("reason") || has("errorCode")) {
                    return Err(reply.wrong(format!("an item that is neither a success nor an error: {item}")));
                }
            }
            Ok(())
        },
    ),
    Check::must("bulk.complete", "every flag is among them", |session| {
        let reply = session.bulk(&context(&Value::Null))?;
        let found: Vec<&str> = reply.items()?.iter().filter_map(|item| item.get("key")?.as_str()).collect();
        match flag_set::keys().into_iter().find(|key| !found.contains(key)) {
            None => Ok(()),
            Some(key) => Err(reply.wrong(format!("{key} is missing"))),
        }
    }),
    Check::must("bulk.no-null", "no `value` among them is null", |session| {
        let reply = session.bulk(&context(&Value::Null))?;
        match reply.items()?.iter().find(|item| item.get("value") == Some(&Value::Null)) {
            None => Ok(()),
            Some(item) => Err(reply.wrong(format!("null as value: {item}"))),
        }
    }),
    Check::must("bulk.equals-single", "each flag is answered as if it had been asked for alone", |session| {
        equals_single(session, &Value::Null)?;
        equals_single(session, &json!({"plan": "pro", "seats": 5, "trial": true, "account": {"plan": "pro"}}))
    }),
    Check::must("bulk.metadata", "`metadata` of the whole holds texts, numbers and booleans only", |session| {
        let reply = session.bulk(&context(&Value::Null))?;
        match reply.field("metadata") {
            None => Err(Unmet::NotOffered("the answer has no metadata".to_owned())),
            Some(metadata) if is_flat(metadata) => Ok(()),
            Some(_) => Err(reply.wrong("metadata of another form")),
        }
    }),
    Check::should("bulk.no-context", "bulk evaluation without a context answers the flags that need none", |session| {
        session.post(BULK, &json!({}))?.has_status(&[200]).map(drop)
    }),
    Check::may("bulk.slash", "a slash at the end of the path is forgiven", |session| {
        let reply = session.post(&format!("{BULK}/"), &json!({"context": {"targetingKey": SUBJECT}}))?;
        reply.has_status(&[200])?.items().map(drop)
    }),
];

fn equals_single(session: &Session, more: &Value) -> Finding {
    let reply = session.bulk(&context(more))?;
    let items = reply.items()?.iter().filter_map(|item| Some((item.get("key")?.as_str()?, item)));
    let items: BTreeMap<&str, &Value> = items.collect();
    for key in flag_set::keys() {
        let single = session.evaluate(key, &context(more))?;
        let Some(item) = items.get(key) else { continue };
        for field in ["value", "reason", "variant", "errorCode"] {
            let is_equal = match (item.get(field), single.field(field)) {
                (Some(item), Some(single)) => is_same(item, single),
                (item, single) => item == single,
            };
            if !is_equal {
                return Err(single.wrong(format!("another `{field}` than in the bulk answer ({item})")));
            }
        }
    }
    Ok(())
}
