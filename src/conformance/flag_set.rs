//! The flags that the checks ask for: in our form, which `--setup` creates, and in flagd's. A server of another kind is given
//! flags of the same keys, variants and rules.

use serde_json::{Map, Value, json};

/// A text whose bytes are easily lost on the way.
pub const TEXT: &str = "Kia ora, 世界! \"<&>\" \\ \u{1f39e}";

/// The first whole number that a 64-bit float cannot hold.
pub const LARGE: i64 = 9_007_199_254_740_993;

/// The flag that no server has.
pub const MISSING: &str = "conformance-missing";

/// The object that the flag of that type serves.
#[must_use]
pub fn object() -> Value {
    json!({"videos": 3, "hours": 1.5, "tags": ["a", "b"], "nested": {"on": true}})
}

/// All flags, in the form that Changeover's API takes.
#[must_use]
pub fn flags() -> Vec<Value> {
    let mut flags = constant();
    flags.extend(zero());
    flags.extend(targeted());
    flags.extend(zero_by_rule());
    flags.push(flag("conformance-split", "boolean", json!({"on": true, "off": false}), &split()));
    let mut disabled = flag("conformance-disabled", "boolean", json!({"on": true, "off": false}), &json!([]));
    if let Some(flag) = disabled.as_object_mut() {
        flag.insert("enabled".to_owned(), json!(false));
        flag.insert("off_variant".to_owned(), json!("off"));
    }
    flags.push(disabled);
    flags
}

/// The keys of all flags.
#[must_use]
pub fn keys() -> Vec<&'static str> {
    KEYS.to_vec()
}

const KEYS: [&str; 28] = [
    "conformance-boolean",
    "conformance-string",
    "conformance-string-digits",
    "conformance-integer",
    "conformance-integer-large",
    "conformance-float",
    "conformance-float-whole",
    "conformance-object",
    "conformance-zero-boolean",
    "conformance-zero-string",
    "conformance-zero-integer",
    "conformance-zero-float",
    "conformance-zero-object",
    "conformance-by-key",
    "conformance-by-text",
    "conformance-by-number",
    "conformance-by-boolean",
    "conformance-by-nested",
    "conformance-by-list",
    "conformance-by-order",
    "conformance-by-all",
    "conformance-rule-zero-boolean",
    "conformance-rule-zero-string",
    "conformance-rule-zero-integer",
    "conformance-rule-zero-float",
    "conformance-rule-zero-object",
    "conformance-split",
    "conformance-disabled",
];

/// A flag whose default variant is the first one.
fn flag(key: &str, kind: &str, variants: Value, rules: &Value) -> Value {
    let first = variants.as_object().and_then(|variants| variants.keys().next().cloned()).unwrap_or_default();
    json!({"key": key, "type": kind, "description": "for `changeover conformance`", "variants": variants,
           "default_variant": first, "off_variant": first, "rules": rules})
}

fn constant() -> Vec<Value> {
    let none = json!([]);
    vec![
        flag("conformance-boolean", "boolean", json!({"on": true, "off": false}), &none),
        flag("conformance-string", "string", json!({"one": TEXT, "two": "two"}), &none),
        flag("conformance-string-digits", "string", json!({"ten": "10", "eleven": "11"}), &none),
        flag("conformance-integer", "integer", json!({"ten": 10, "minus": -10}), &none),
        flag("conformance-integer-large", "integer", json!({"large": LARGE, "small": 1}), &none),
        flag("conformance-float", "float", json!({"half": 0.5, "two": 2.0}), &none),
        flag("conformance-float-whole", "float", json!({"ten": 10.0, "half": 0.5}), &none),
        flag("conformance-object", "object", json!({"full": object(), "other": {"videos": 1}}), &none),
    ]
}

fn zero() -> Vec<Value> {
    let none = json!([]);
    vec![
        flag("conformance-zero-boolean", "boolean", json!({"zero": false, "other": true}), &none),
        flag("conformance-zero-string", "string", json!({"zero": "", "other": "text"}), &none),
        flag("conformance-zero-integer", "integer", json!({"zero": 0, "other": 1}), &none),
        flag("conformance-zero-float", "float", json!({"zero": 0.0, "other": 0.5}), &none),
        flag("conformance-zero-object", "object", json!({"zero": {}, "other": {"videos": 1}}), &none),
    ]
}

fn zero_by_rule() -> Vec<Value> {
    let rule = json!([{"clauses": [equals("plan", &json!("pro"))], "serve": {"variant": "zero"}}]);
    vec![
        flag("conformance-rule-zero-boolean", "boolean", json!({"other": true, "zero": false}), &rule),
        flag("conformance-rule-zero-string", "string", json!({"other": "text", "zero": ""}), &rule),
        flag("conformance-rule-zero-integer", "integer", json!({"other": 1, "zero": 0}), &rule),
        flag("conformance-rule-zero-float", "float", json!({"other": 0.5, "zero": 0.0}), &rule),
        flag("conformance-rule-zero-object", "object", json!({"other": {"videos": 1}, "zero": {}}), &rule),
    ]
}

fn targeted() -> Vec<Value> {
    let by = |name: &str, clauses: Value| {
        let rules = json!([{"clauses": clauses, "serve": {"variant": "yes"}}]);
        flag(&format!("conformance-by-{name}"), "string", json!({"no": "no", "yes": "yes"}), &rules)
    };
    let plan = equals("plan", &json!("pro"));
    let order = json!([{"clauses": [plan], "serve": {"variant": "first"}},
                       {"clauses": [equals("seats", &json!(5))], "serve": {"variant": "second"}}]);
    vec![
        by("key", json!([equals("targetingKey", &json!("conformance-user"))])),
        by("text", json!([plan])),
        by("number", json!([equals("seats", &json!(5))])),
        by("boolean", json!([equals("trial", &json!(true))])),
        by("nested", json!([equals("account.plan", &json!("pro"))])),
        by("list", json!([{"attribute": "plan", "operator": "in", "values": ["pro", "team"]}])),
        flag("conformance-by-order", "string", json!({"no": "no", "first": "first", "second": "second"}), &order),
        by("all", json!([plan, equals("seats", &json!(5))])),
    ]
}

fn equals(attribute: &str, value: &Value) -> Value {
    json!({"attribute": attribute, "operator": "equals", "value": value})
}

fn split() -> Value {
    json!([{"serve": {"rollout": {"ranges": [{"variant": "on", "from": 0, "to": 50_000},
                                             {"variant": "off", "from": 50_000, "to": 100_000}]}}}])
}

/// All flags as one file for flagd, with rules in its JsonLogic.
#[must_use]
pub fn flagd() -> Value {
    let mut converted = Map::new();
    for flag in flags() {
        let field = |name: &str| flag.get(name).cloned().unwrap_or(Value::Null);
        let is_enabled = field("enabled") != json!(false);
        let mut entry = json!({"state": if is_enabled { "ENABLED" } else { "DISABLED" }, "variants": field("variants"),
                               "defaultVariant": field("default_variant")});
        if let (Some(targeting), Some(entry)) = (targeting(&field("rules")), entry.as_object_mut()) {
            entry.insert("targeting".to_owned(), targeting);
        }
        converted.insert(field("key").as_str().unwrap_or_default().to_owned(), entry);
    }
    json!({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": converted})
}

/// A flag's rules as one JsonLogic expression: a variant's name, or null for the default variant.
fn targeting(rules: &Value) -> Option<Value> {
    let rules = rules.as_array().filter(|rules| !rules.is_empty())?;
    let mut branches = Vec::new();
    for rule in rules {
        match rule.pointer("/serve/variant") {
            Some(variant) => branches.extend([condition(rule.get("clauses")), variant.clone()]),
            None => return Some(json!({"fractional": [["on", 50], ["off", 50]]})),
        }
    }
    branches.push(Value::Null);
    Some(json!({ "if": branches }))
}

fn condition(clauses: Option<&Value>) -> Value {
    let clauses = clauses.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let asked = clauses.iter().map(|clause| {
        let variable = json!({"var": clause.get("attribute")});
        match clause.get("values") {
            Some(values) => json!({"in": [variable, values]}),
            None => json!({"===": [variable, clause.get("value")]}),
        }
    });
    json!({ "and": asked.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_the_flags() {
        let keys: Vec<String> = flags().iter().map(|flag| flag["key"].as_str().unwrap().to_owned()).collect();
        assert_eq!(keys, KEYS);
        let flagd: Vec<String> = flagd()["flags"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(flagd, KEYS);
    }

    #[test]
    fn rules_become_json_logic() {
        let flagd = flagd();
        assert_eq!(
            flagd["flags"]["conformance-by-order"]["targeting"],
            json!({"if": [{"and": [{"===": [{"var": "plan"}, "pro"]}]}, "first",
                          {"and": [{"===": [{"var": "seats"}, 5]}]}, "second", null]})
        );
        assert_eq!(flagd["flags"]["conformance-disabled"]["state"], json!("DISABLED"));
        assert!(flagd["flags"]["conformance-boolean"].get("targeting").is_none());
    }
}
