//! Flags that depend on one another: what a write of one must not do to another.

use changeover::primitives::FlagKey;
use changeover::store::{StoreError, flags};
use serde_json::{Value, json};

use super::{ORIGIN, open};
use crate::support::each_database;

fn key(text: &str) -> FlagKey {
    FlagKey::new(text).unwrap()
}

fn flag(name: &str, needs: &[&str]) -> Value {
    let prerequisites: Vec<Value> = needs.iter().map(|other| json!({"flag": other, "variants": ["on"]})).collect();
    json!({"key": name, "type": "boolean", "variants": {"on": true, "off": false}, "default_variant": "on",
           "off_variant": "off", "prerequisites": prerequisites})
}

#[test]
fn a_write_leaves_no_prerequisite_that_cannot_be_told() {
    each_database(|database| {
        let store = open(&database);
        let create = |json: Value| {
            let data = serde_json::to_string(&changeover::flags::Flag::parse(&json.to_string()).unwrap()).unwrap();
            store.write(|conn| flags::create(conn, &key(json["key"].as_str().unwrap()), &data, ORIGIN))
        };
        let replace = |json: Value| {
            let data = serde_json::to_string(&changeover::flags::Flag::parse(&json.to_string()).unwrap()).unwrap();
            store.write(|conn| flags::replace(conn, &key(json["key"].as_str().unwrap()), &data, None, ORIGIN))
        };
        let mistakes = |error: StoreError| match error {
            StoreError::InvalidFlag(invalid) => invalid.mistakes.iter().map(|one| one.at.clone()).collect::<Vec<_>>(),
            other => panic!("{other}"),
        };

        assert_eq!(mistakes(create(flag("b", &["a"])).unwrap_err()), ["prerequisites[0].flag"], "there is no `a`");
        create(flag("a", &[])).unwrap();
        create(flag("b", &["a"])).unwrap();
        create(flag("c", &["a", "b"])).unwrap();
        assert_eq!(mistakes(replace(flag("a", &["c"])).unwrap_err()), ["prerequisites[0].flag"], "a circle");
        assert_eq!(mistakes(replace(flag("b", &["b"])).unwrap_err()), ["prerequisites[0].flag"], "of one");

        let mut wrong = flag("d", &["a"]);
        wrong["prerequisites"][0]["variants"] = json!(["on", "maybe"]);
        assert_eq!(mistakes(create(wrong).unwrap_err()), ["prerequisites[0].variants[1]"]);
        let mut renamed = flag("a", &[]);
        renamed["variants"] = json!({"yes": true, "off": false});
        renamed["default_variant"] = json!("yes");
        assert_eq!(mistakes(replace(renamed).unwrap_err()), ["variants", "variants"], "`b` and `c` need it");

        let refused = store.write(|conn| flags::remove(conn, &key("b"), None, ORIGIN)).unwrap_err();
        assert_eq!(refused.to_string(), "the flag `b` is a prerequisite of the flag `c`: change that flag first");
        store.write(|conn| flags::set_enabled(conn, &key("b"), false, ORIGIN)).unwrap();
        store.write(|conn| flags::remove(conn, &key("c"), None, ORIGIN)).unwrap();
        store.write(|conn| flags::remove(conn, &key("b"), None, ORIGIN)).unwrap();
        replace(flag("a", &[])).unwrap();
    });
}

#[test]
fn a_changes_flag_is_not_asked_what_a_group_does_not_have() {
    each_database(|database| {
        let store = open(&database);
        let mut json = flag("billing", &["a"]);
        json["change"] = json!("billing");
        json["variants"] = json!({"old": false, "new": true});
        json["default_variant"] = json!("old");
        json["off_variant"] = json!("old");
        let rollout = json!({"attribute": "country", "ranges": [{"variant": "new", "from": 0, "to": 100_000}]});
        json["rules"] = json!([
            {"clauses": [{"attribute": "plan", "operator": "exists"}], "serve": {"variant": "new"}},
            {"clauses": [{"attribute": "targetingKey", "operator": "equals", "value": "7"}], "serve": {"variant": "new"}},
            {"serve": {"rollout": rollout}}
        ]);
        let data = json.to_string();
        let refused = store.write(|conn| flags::create(conn, &key("billing"), &data, ORIGIN)).unwrap_err();
        let StoreError::InvalidFlag(invalid) = refused else { panic!("{refused}") };
        let places: Vec<&str> = invalid.mistakes.iter().map(|one| one.at.as_str()).collect();
        let expected = [
            "prerequisites",
            "rules[0].clauses[0].attribute",
            "rules[2].serve.rollout.attribute",
            "prerequisites[0].flag",
        ];
        assert_eq!(places, expected);
    });
}
