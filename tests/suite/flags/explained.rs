//! An explanation as somebody reads it who has to account for an invoice.

use changeover::flags::{Asked, Context, Flag};
use changeover::primitives::Instant;
use serde_json::{Value, json};

use super::arbitrary::snapshot;

fn explained(flags: &[Value], conditions: &Value, context: Value, key: &str) -> Value {
    let flags = flags.iter().map(|json| Flag::parse(&json.to_string()).unwrap()).collect();
    let snapshot = snapshot(flags, conditions);
    let context = Context::from_json(context).unwrap();
    let asked = Asked { context: &context, now: Instant::parse("2026-12-02T00:00:00Z").unwrap() };
    serde_json::to_value(snapshot.explain_in(snapshot.find_flag(key).unwrap(), asked, &snapshot)).unwrap()
}

#[test]
fn an_explanation_names_what_was_compared() {
    let accounts = json!({"key": "accounts", "type": "boolean", "variants": {"on": true, "off": false}, "default_variant": "on",
                          "off_variant": "off"});
    let schedule = json!([{"from": "2026-12-01T00:00:00Z", "variant": "account"}]);
    let ranges =
        json!([{"variant": "account", "from": 0, "to": 10_000}, {"variant": "classic", "from": 10_000, "to": 100_000}]);
    let invoices = json!({
        "key": "invoices", "type": "string", "variants": {"classic": "v1", "account": "v2"}, "default_variant": "classic",
        "off_variant": "classic", "prerequisites": [{"flag": "accounts", "variants": ["on"]}],
        "rules": [
            {"description": "testers", "cohort": "ids", "serve": {"schedule": schedule}},
            {"clauses": [{"attribute": "plan", "operator": "in", "values": ["pro", "team"]},
                         {"attribute": "seats", "operator": "at_least", "value": 10}], "serve": {"variant": "account"}},
            {"except_cohort": "both", "serve": {"rollout": {"ranges": ranges}}}
        ]
    });
    let conditions = json!([[{"attribute": "plan", "operator": "equals", "value": "enterprise"}]]);
    let context = json!({"targetingKey": "user-17", "plan": "pro", "seats": "a dozen"});
    insta::assert_json_snapshot!(explained(&[accounts, invoices], &conditions, context, "invoices"));
}

#[test]
fn long_values_are_cut() {
    let values: Vec<String> = (0..1_000).map(|number| format!("{number:0>200}")).collect();
    let flag = json!({"key": "a", "type": "boolean", "variants": {"on": true}, "default_variant": "on", "off_variant": "on",
                      "rules": [{"clauses": [{"attribute": "x", "operator": "in", "values": values}], "serve": {"variant": "on"}}]});
    let told = explained(&[flag], &json!([]), json!({"x": "ü".repeat(100_000)}), "a");
    let clause = &told["rules"][0]["clauses"][0];
    assert_eq!(clause["comparands_total"], json!(1_000));
    assert_eq!(clause["comparands"].as_array().unwrap().len(), 10);
    assert!(told.to_string().len() < 4_000, "{told}");
}
