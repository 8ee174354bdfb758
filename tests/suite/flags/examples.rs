//! Every JSON example of the reference is what it says it is.

use changeover::flags::{CohortConditions, Flag, Operator};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/reference/flags.md");

fn examples() -> Vec<Value> {
    let blocks = PAGE.split("```json\n").skip(1);
    let texts = blocks.map(|block| block.split("```").next().unwrap());
    texts.map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))).collect()
}

/// A flag around an example of a part of one.
fn around(part: Value) -> Value {
    let mut flag = json!({"key": "example", "type": "boolean", "variants": {"account": true, "classic": false},
                          "default_variant": "classic", "off_variant": "classic"});
    if part.get("serve").is_some() {
        flag["rules"] = json!([part]);
    } else if part.get("attribute").is_some() {
        flag["rules"] = json!([{"clauses": [part], "serve": {"variant": "account"}}]);
    } else {
        for (field, value) in part.as_object().unwrap() {
            flag[field] = value.clone();
        }
    }
    flag
}

#[test]
fn every_example_of_the_reference_is_valid() {
    let examples = examples();
    assert!(examples.len() >= 15, "{}", examples.len());
    for example in examples {
        if example.is_array() {
            CohortConditions::parse(&example.to_string()).unwrap_or_else(|error| panic!("{example}: {error}"));
            continue;
        }
        let json = if example.get("key").is_some() { example } else { around(example) };
        Flag::parse(&json.to_string()).unwrap_or_else(|error| panic!("{json}: {error}"));
    }
}

#[test]
fn every_operator_is_in_the_reference() {
    for operator in Operator::ALL {
        assert!(PAGE.contains(&format!("`{operator}`")), "{operator}");
    }
}
