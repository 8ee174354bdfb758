//! Unleash's exports.

use changeover::flags::import::{Imported, NoteKind, unleash};
use serde_json::{Value, json};

use super::{NOW, ask, assert_left_out, notes, snapshot};

/// A feature that is on, with these strategies, as Unleash's clients fetch it.
fn feature(name: &str, strategies: Value) -> Value {
    json!({"name": name, "enabled": true, "strategies": strategies})
}

fn import(features: Value) -> Imported {
    let segments = json!([
        {"id": 1, "name": "nordic", "constraints": [{"contextName": "country", "operator": "IN", "values": ["NO", "SE"]}]},
        {"id": 2, "name": "Old Clients", "constraints": [{"contextName": "version", "operator": "SEMVER_LT", "value": "2.0.0"}]},
        {"id": 3, "name": "unknown"},
    ]);
    unleash::import(&json!({"version": 2, "features": features, "segments": segments}), None).unwrap()
}

fn constrained(constraint: Value) -> Imported {
    import(json!([feature("f", json!([{"name": "default", "constraints": [constraint]}]))]))
}

#[test]
fn an_export_is_read_for_one_environment() {
    let document = json!({
        "features": [{"name": "checkout", "description": "the new one", "type": "release", "project": "default"}, {"name": "gone", "archived": true},
                     {"name": "child"}, {"name": "orphan"}, {"name": "calm"}],
        "featureStrategies": [
            {"featureName": "checkout", "name": "userWithId", "parameters": {"userIds": "ada, grace ,"}, "constraints": [], "sortOrder": 1},
            {"featureName": "checkout", "name": "default", "disabled": true, "parameters": {}, "constraints": []},
            {"featureName": "child", "name": "default", "parameters": {}},
            {"featureName": "orphan", "name": "default", "parameters": {}},
            {"featureName": "calm", "name": "default", "parameters": {}},
        ],
        "featureEnvironments": [
            {"featureName": "checkout", "environment": "production", "enabled": true, "variants": []},
            {"featureName": "checkout", "environment": "development", "enabled": false, "variants": []},
            {"featureName": "child", "environment": "production", "enabled": true},
            {"featureName": "orphan", "environment": "production", "enabled": true},
            {"featureName": "calm", "environment": "production", "enabled": true},
        ],
        "dependencies": [
            {"feature": "child", "dependencies": [{"feature": "checkout", "enabled": true}]},
            {"feature": "calm", "dependencies": [{"feature": "checkout", "enabled": false}]},
            {"feature": "orphan", "dependencies": [{"feature": "gone too"}]},
        ],
        "tagTypes": [], "segments": [], "contextFields": [],
    });
    assert!(unleash::import(&document, None).unwrap_err().why.contains("`development`, `production`"));
    assert!(unleash::import(&document, Some("staging")).is_err());
    let imported = unleash::import(&document, Some("production")).unwrap();
    assert_left_out(&imported, &[("orphan", "does not have it")]);
    assert_eq!(notes(&imported, NoteKind::Dropped).len(), 1, "what is archived is not imported");
    let snapshot = snapshot(&imported);
    for (flag, user, expected) in [
        ("checkout", "ada", "on"),
        ("checkout", "grace", "on"),
        ("checkout", "eve", "off"),
        ("child", "ada", "on"),
        ("child", "eve", "off"),
        ("calm", "ada", "off"),
        ("calm", "eve", "on"),
    ] {
        assert_eq!(ask(&snapshot, flag, &json!({"targetingKey": user}), NOW), expected, "{flag} for {user}");
    }
    let development = unleash::import(&document, Some("development")).unwrap();
    assert!(!development.flags.iter().find(|flag| flag.key == "checkout").unwrap().enabled);
}

#[test]
fn every_operator_answers_as_there() {
    let cases = [
        (
            json!({"contextName": "country", "operator": "IN", "values": ["NO", "SE"]}),
            json!({"country": "SE"}),
            json!({"country": "DK"}),
            false,
        ),
        (
            json!({"contextName": "country", "operator": "NOT_IN", "values": ["NO"]}),
            json!({"country": "SE"}),
            json!({"country": "NO"}),
            true,
        ),
        (
            json!({"contextName": "userId", "operator": "IN", "values": ["7", "ada"]}),
            json!({"targetingKey": "7"}),
            json!({"targetingKey": "8"}),
            false,
        ),
        (
            json!({"contextName": "email", "operator": "STR_ENDS_WITH", "values": [".org", ".com"]}),
            json!({"email": "a@b.com"}),
            json!({"email": "a@B.COM"}),
            false,
        ),
        (
            json!({"contextName": "email", "operator": "STR_ENDS_WITH", "values": [".org"], "caseInsensitive": true}),
            json!({"email": "A@B.ORG"}),
            json!({"email": "a"}),
            false,
        ),
        (
            json!({"contextName": "email", "operator": "STR_STARTS_WITH", "values": ["ada"]}),
            json!({"email": "ada@b"}),
            json!({"email": "xada"}),
            false,
        ),
        (
            json!({"contextName": "email", "operator": "STR_CONTAINS", "values": ["@b"], "inverted": true}),
            json!({"email": "a@c"}),
            json!({"email": "a@b"}),
            true,
        ),
        (
            json!({"contextName": "age", "operator": "NUM_EQ", "value": "18"}),
            json!({"age": 18}),
            json!({"age": 19}),
            false,
        ),
        (
            json!({"contextName": "age", "operator": "NUM_GT", "value": "18.5"}),
            json!({"age": 19}),
            json!({"age": 18.5}),
            false,
        ),
        (
            json!({"contextName": "age", "operator": "NUM_GTE", "value": "18"}),
            json!({"age": 18}),
            json!({"age": 17}),
            false,
        ),
        (
            json!({"contextName": "age", "operator": "NUM_LT", "value": "18", "inverted": true}),
            json!({"age": 18}),
            json!({"age": 17}),
            true,
        ),
        (
            json!({"contextName": "age", "operator": "NUM_LTE", "value": "18"}),
            json!({"age": 18}),
            json!({"age": 19}),
            false,
        ),
        (
            json!({"contextName": "born", "operator": "DATE_AFTER", "value": "2000-01-01T00:00:00Z"}),
            json!({"born": "2001-01-01T00:00:00Z"}),
            json!({"born": "1999-01-01T00:00:00Z"}),
            false,
        ),
        (
            json!({"contextName": "born", "operator": "DATE_BEFORE", "value": "2000-01-01T00:00:00.000Z"}),
            json!({"born": "1999-01-01T00:00:00Z"}),
            json!({"born": "2001-01-01T00:00:00Z"}),
            false,
        ),
        (
            json!({"contextName": "version", "operator": "SEMVER_EQ", "value": "1.2.3"}),
            json!({"version": "1.2.3"}),
            json!({"version": "1.2.4"}),
            false,
        ),
        (
            json!({"contextName": "version", "operator": "SEMVER_GT", "value": "1.2.3"}),
            json!({"version": "1.2.4"}),
            json!({"version": "1.2.3-beta"}),
            false,
        ),
        (
            json!({"contextName": "version", "operator": "SEMVER_LT", "value": "1.2.3"}),
            json!({"version": "1.2.3-beta"}),
            json!({"version": "1.2.3"}),
            false,
        ),
    ];
    for (constraint, yes, no, missing) in cases {
        let imported = constrained(constraint.clone());
        assert_left_out(&imported, &[]);
        let snapshot = snapshot(&imported);
        assert_eq!(ask(&snapshot, "f", &yes, NOW), "on", "{constraint} for {yes}");
        assert_eq!(ask(&snapshot, "f", &no, NOW), "off", "{constraint} for {no}");
        let of_user = constraint["contextName"] == "userId";
        let expected = if of_user {
            "!TARGETING_KEY_MISSING"
        } else if missing {
            "on"
        } else {
            "off"
        };
        assert_eq!(ask(&snapshot, "f", &json!({}), NOW), expected, "{constraint} for nothing");
    }
    for (inverted, operator, before, after) in [
        (false, "DATE_AFTER", "off", "on"),
        (false, "DATE_BEFORE", "on", "off"),
        (true, "DATE_AFTER", "on", "off"),
        (true, "DATE_BEFORE", "off", "on"),
    ] {
        let constraint = json!({"contextName": "currentTime", "operator": operator, "value": "2026-12-01T00:00:00Z", "inverted": inverted});
        let imported = constrained(constraint.clone());
        assert_left_out(&imported, &[]);
        let snapshot = snapshot(&imported);
        assert_eq!(ask(&snapshot, "f", &json!({}), "2026-11-30T00:00:00Z"), before, "{constraint}");
        assert_eq!(ask(&snapshot, "f", &json!({}), "2026-12-02T00:00:00Z"), after, "{constraint}");
    }
    for constraint in [
        json!({"contextName": "a", "operator": "IN", "values": []}),
        json!({"contextName": "a", "operator": "NOT_IN", "values": []}),
    ] {
        let expected = if constraint["operator"] == "IN" { "off" } else { "on" };
        assert_eq!(ask(&snapshot(&constrained(constraint)), "f", &json!({"a": "x"}), NOW), expected);
    }
}

#[test]
fn strategies_are_alternatives() {
    let ids = json!({"name": "userWithId", "parameters": {"userIds": "ada"}});
    let share = |percent: &str, constraints: Value| json!({"name": "flexibleRollout", "parameters": {"rollout": percent, "stickiness": "default", "groupId": "g"}, "constraints": constraints});
    let pro = |operator: &str| json!([{"contextName": "plan", "operator": operator, "values": ["pro"]}]);
    let imported = import(json!([
        feature("both", json!([share("0", json!([])), ids])),
        feature("none", json!([])),
        feature("apart", json!([share("100", pro("IN")), share("25", pro("NOT_IN"))])),
        feature("nested", json!([share("25", json!([])), share("40", json!([]))])),
        feature("twice", json!([share("25", pro("IN")), share("40", json!([]))])),
        feature("random", json!([{"name": "gradualRolloutRandom", "parameters": {"percentage": "10"}}])),
        feature("host", json!([{"name": "applicationHostname", "parameters": {"hostNames": "a"}}])),
        feature("own", json!([{"name": "somethingElse", "parameters": {}}])),
        feature("paused", json!([{"name": "default", "disabled": true}])),
        feature(
            "address",
            json!([{"name": "remoteAddress", "parameters": {"IPs": "10.0.0.1, 192.168.0.0/16, 2001:db8::1"}}])
        ),
        feature(
            "session",
            json!([{"name": "gradualRolloutSessionId", "parameters": {"percentage": "100", "groupId": "g"}}])
        ),
    ]));
    assert_left_out(
        &imported,
        &[
            ("twice", "several strategies"),
            ("random", "decides anew"),
            ("host", "which host"),
            ("own", "not one of Unleash's own"),
            ("paused", "disabled"),
        ],
    );
    let snapshot = snapshot(&imported);
    let count = |flag: &str, plan: &str| {
        (0..10_000)
            .filter(|id| ask(&snapshot, flag, &json!({"targetingKey": id.to_string(), "plan": plan}), NOW) == "on")
            .count()
    };
    assert_eq!((ask(&snapshot, "both", &json!({"targetingKey": "ada"}), NOW), count("both", "x")), ("on".into(), 0));
    assert_eq!(count("none", "x"), 10_000);
    assert_eq!(count("apart", "pro"), 10_000);
    assert!(count("apart", "free").abs_diff(2_500) < 250);
    assert!(count("nested", "free").abs_diff(4_000) < 250, "the larger share holds the smaller one");
    for (address, expected) in
        [("10.0.0.1", "on"), ("10.0.0.2", "off"), ("192.168.7.7", "on"), ("2001:db8::1", "on"), ("x", "off")]
    {
        assert_eq!(ask(&snapshot, "address", &json!({"remoteAddress": address}), NOW), expected, "{address}");
    }
    assert_eq!(ask(&snapshot, "session", &json!({"sessionId": "s"}), NOW), "on");
    assert_eq!(ask(&snapshot, "session", &json!({}), NOW), "off");
}

#[test]
fn segments_are_cohorts_by_conditions() {
    let with = |segments: Value| json!([{"name": "default", "segments": segments}]);
    let imported = import(json!([
        feature("one", with(json!([1]))),
        feature("two", with(json!([1, 2]))),
        feature("lost", with(json!([9]))),
        feature("bare", with(json!([3])))
    ]));
    assert_left_out(&imported, &[("lost", "does not have it"), ("bare", "its constraints")]);
    let names: Vec<&str> = imported.cohorts.iter().map(|cohort| cohort.name.as_str()).collect();
    assert_eq!(names, ["nordic"]);
    let snapshot = snapshot(&imported);
    for (flag, country, version, expected) in [
        ("one", "NO", "3.0.0", "on"),
        ("one", "DK", "1.0.0", "off"),
        ("two", "NO", "3.0.0", "off"),
        ("two", "NO", "1.0.0", "on"),
        ("two", "DK", "1.0.0", "off"),
    ] {
        let context = json!({"targetingKey": "7", "country": country, "version": version});
        assert_eq!(ask(&snapshot, flag, &context, NOW), expected, "{flag} {context}");
    }
}

#[test]
fn variants_become_the_answer() {
    let variant = |name: &str, weight: u32, kind: &str, value: &str| json!({"name": name, "weight": weight, "stickiness": "default", "payload": {"type": kind, "value": value}});
    let with = |strategies: Value, variants: Value| {
        let mut feature = feature("f", strategies);
        feature["variants"] = variants;
        import(json!([feature]))
    };
    let everybody = json!([{"name": "default"}]);
    let half =
        json!([{"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "default", "groupId": "g"}}]);
    let mut named = variant("red", 500, "string", "r");
    named["overrides"] = json!([{"contextName": "userId", "values": ["ada"]}]);
    let both = json!([named, variant("blue", 500, "string", "b")]);
    let imported = with(everybody.clone(), both.clone());
    assert_left_out(&imported, &[]);
    let asked = snapshot(&imported);
    assert_eq!(ask(&asked, "f", &json!({"targetingKey": "ada"}), NOW), "red");
    let count = |asked: &changeover::flags::Snapshot, variant: &str| {
        (0..10_000).filter(|id| ask(asked, "f", &json!({"targetingKey": id.to_string()}), NOW) == variant).count()
    };
    assert!(count(&asked, "blue").abs_diff(5_000) < 250);
    assert_left_out(&with(half.clone(), both), &[("f", "by name within a share")]);
    let plain = json!([variant("red", 250, "number", "1"), variant("blue", 750, "number", "2")]);
    let imported = with(half, plain);
    assert_eq!(imported.flags[0].kind.as_str(), "integer");
    let asked = snapshot(&imported);
    assert!(
        count(&asked, "red").abs_diff(1_250) < 250
            && count(&asked, "blue").abs_diff(3_750) < 250
            && count(&asked, "disabled").abs_diff(5_000) < 250
    );
    let objects = with(everybody.clone(), json!([variant("a", 1000, "json", "{\"x\": 1}")]));
    assert_eq!(
        (objects.flags[0].kind.as_str(), ask(&snapshot(&objects), "f", &json!({}), NOW)),
        ("object", "a".to_owned())
    );
    let mut random = variant("red", 500, "string", "r");
    random["stickiness"] = "random".into();
    assert_left_out(
        &with(everybody.clone(), json!([random, variant("b", 500, "string", "b")])),
        &[("f", "decides anew")],
    );
    assert_left_out(
        &with(everybody, json!([variant("disabled", 1000, "string", "x")])),
        &[("f", "a feature that is off")],
    );
    let own = json!([{"name": "default", "variants": [variant("mine", 1000, "string", "m")], "constraints": [{"contextName": "plan", "operator": "IN", "values": ["pro"]}]}]);
    let imported = with(own, json!([]));
    assert_left_out(&imported, &[]);
    assert_eq!(ask(&snapshot(&imported), "f", &json!({"plan": "pro"}), NOW), "mine");
    assert_eq!(ask(&snapshot(&imported), "f", &json!({"plan": "x"}), NOW), "disabled");
}
