//! A reader of JSON Schema for the keywords that ours uses. It refuses a keyword that it does not know, so a schema cannot say anything that
//! is not checked. A whole implementation would have been thirty crates more for one test.

use regex::Regex;
use serde_json::{Map, Value};

/// Keywords that say nothing about a document, or nothing that has to be checked here.
const SILENT: [&str; 6] = ["$schema", "$id", "$defs", "title", "description", "format"];

/// What in a document is not as the schema says, each with its place.
pub fn faults(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(&Checker { root: schema }, schema, document, "", &mut found);
    found
}

struct Checker<'a> {
    root: &'a Value,
}

fn check(checker: &Checker<'_>, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let rules = schema.as_object().unwrap_or_else(|| panic!("a schema is an object: {schema}"));
    let fits = |schema: &Value| {
        let mut faults = Vec::new();
        check(checker, schema, value, place, &mut faults);
        faults.is_empty()
    };
    for (keyword, rule) in rules {
        let is_right = match keyword.as_str() {
            "$ref" => {
                let name = rule.as_str().and_then(|text| text.strip_prefix("#/$defs/")).unwrap();
                check(checker, &checker.root["$defs"][name], value, place, found);
                true
            }
            "type" => types(rule).iter().any(|kind| has_type(value, kind)),
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "pattern" => value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()) || value.is_u64(),
            "maximum" => value.as_u64().is_none_or(|number| number <= rule.as_u64().unwrap()),
            "anyOf" => rule.as_array().unwrap().iter().any(fits),
            "oneOf" => rule.as_array().unwrap().iter().filter(|schema| fits(schema)).count() == 1,
            "required" => {
                let has =
                    |name: &Value| value.as_object().is_none_or(|object| object.contains_key(name.as_str().unwrap()));
                rule.as_array().unwrap().iter().all(has)
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(checker, rule, item, &format!("{place}/{number}"), found);
                }
                true
            }
            "properties" | "additionalProperties" => true,
            other if SILENT.contains(&other) => true,
            other => panic!("the schema says `{other}`, which is not checked"),
        };
        if !is_right {
            found.push(format!("{place}: {value} is not as `{keyword}` says: {rule}"));
        }
    }
    if let Some(object) = value.as_object() {
        check_members(checker, rules, object, place, found);
    }
}

fn check_members(
    checker: &Checker<'_>,
    rules: &Map<String, Value>,
    object: &Map<String, Value>,
    place: &str,
    found: &mut Vec<String>,
) {
    for (name, member) in object {
        let place = format!("{place}/{name}");
        match rules.get("properties").and_then(|properties| properties.get(name)) {
            Some(schema) => check(checker, schema, member, &place, found),
            None => match rules.get("additionalProperties") {
                Some(Value::Bool(false)) => found.push(format!("{place}: nobody knows it")),
                Some(schema) if schema.is_object() => check(checker, schema, member, &place, found),
                _ => {}
            },
        }
    }
}

fn types(rule: &Value) -> Vec<String> {
    let list = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
    list.iter().map(|kind| kind.as_str().unwrap().to_owned()).collect()
}

fn has_type(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("no such type: {other}"),
    }
}

#[test]
fn what_is_not_as_a_schema_says_is_found() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false, "$defs": { "n": { "type": "integer", "minimum": 0 } },
        "properties": { "a": { "$ref": "#/$defs/n" }, "b": { "type": "array", "items": { "pattern": "^x", "type": ["string", "null"] } } },
    });
    let count = |document: Value| faults(&schema, &document).len();
    assert_eq!(count(serde_json::json!({ "a": 1, "b": ["xy", null] })), 0);
    for wrong in [
        r#"{}"#,
        r#"[]"#,
        r#"{"a":-1}"#,
        r#"{"a":"1"}"#,
        r#"{"a":1,"c":2}"#,
        r#"{"a":1,"b":["y"]}"#,
        r#"{"a":1,"b":[2]}"#,
    ] {
        assert_eq!(count(serde_json::from_str(wrong).unwrap()), 1, "{wrong}");
    }
}
