//! flagd's flag definitions.

use changeover::flags::import::{NoteKind, flagd};
use serde_json::{Value, json};

use super::{NOW, ask, assert_left_out, notes, snapshot};

fn colours(targeting: Value) -> Value {
    json!({"state": "ENABLED", "variants": {"red": "r", "blue": "b", "green": "g"}, "defaultVariant": "red", "targeting": targeting})
}

fn one(targeting: Value) -> changeover::flags::import::Imported {
    flagd::import(&json!({"flags": {"f": colours(targeting)}, "$evaluators": {"is_staff": {"ends_with": [{"var": "email"}, "@example.com"]}}})).unwrap()
}

#[test]
fn types_states_and_descriptions_are_kept() {
    let document = json!({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": {
        "yes": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off", "metadata": {"description": "a try", "owner": "me"}},
        "count": {"state": "ENABLED", "variants": {"few": 1, "many": 10}, "defaultVariant": "few"},
        "ratio": {"state": "ENABLED", "variants": {"half": 0.5, "all": 1}, "defaultVariant": "all", "targeting": {}},
        "style": {"state": "DISABLED", "variants": {"dark": {"background": "black"}}, "defaultVariant": "dark"},
        "mixed": {"state": "ENABLED", "variants": {"a": 1, "b": "x"}, "defaultVariant": "a"},
        "empty": {"state": "ENABLED", "variants": {}, "defaultVariant": "a"},
        "open": {"state": "ENABLED", "variants": {"a": "x"}, "defaultVariant": null},
        "missing": {"state": "ENABLED", "variants": {"a": "x"}, "defaultVariant": "b"},
        "not a key": {"state": "ENABLED", "variants": {"a": "x"}, "defaultVariant": "a"},
    }});
    let imported = flagd::import(&document).unwrap();
    let kinds: Vec<String> =
        imported.flags.iter().map(|flag| format!("{} {} {}", flag.key, flag.kind, flag.enabled)).collect();
    assert_eq!(kinds, ["yes boolean true", "count integer true", "ratio float true", "style object false"]);
    assert_eq!(imported.flags[0].description, "a try");
    assert_left_out(
        &imported,
        &[
            ("mixed", "several types"),
            ("empty", "no variants"),
            ("open", "no default variant"),
            ("missing", "no variant"),
            ("not a key", "not a valid flag key"),
        ],
    );
    let differs = notes(&imported, NoteKind::Differs);
    assert!(differs.iter().any(|(flag, note)| flag == "style" && note.contains("off variant")), "{differs:?}");
    assert!(!imported.is_complete());
    for bad in [json!({}), json!([]), json!({"flags": 1}), json!({"flags": {}, "$evaluators": 1})] {
        assert!(flagd::import(&bad).is_err(), "{bad}");
    }
}

#[test]
fn targeting_answers_as_there() {
    let email = |end: &str| json!({"ends_with": [{"var": "email"}, end]});
    let plan = |operator: &str, value: Value| json!({operator: [{"var": "plan"}, value]});
    // Targeting; contexts with the variant that flagd serves.
    let cases = [
        (
            json!({"if": [plan("==", "pro".into()), "blue", null]}),
            vec![(json!({"plan": "pro"}), "blue"), (json!({"plan": "x"}), "red"), (json!({}), "red")],
        ),
        (
            json!({"if": [plan("!=", "pro".into()), "blue", "green"]}),
            vec![(json!({"plan": "pro"}), "green"), (json!({"plan": "x"}), "blue"), (json!({}), "blue")],
        ),
        (
            json!({"if": [{"!": [plan("===", "pro".into())]}, "blue", "green"]}),
            vec![(json!({"plan": "pro"}), "green"), (json!({}), "blue")],
        ),
        (
            json!({"if": [{"$ref": "is_staff"}, "blue", {"if": [email(".org"), "green", "red"]}]}),
            vec![
                (json!({"email": "a@example.com"}), "blue"),
                (json!({"email": "a@b.org"}), "green"),
                (json!({"email": "a"}), "red"),
                (json!({}), "red"),
            ],
        ),
        (
            json!({"if": [{"and": [email(".com"), {"or": [plan("==", "pro".into()), plan("==", "team".into())]}]}, "blue", "green"]}),
            vec![
                (json!({"email": "a.com", "plan": "team"}), "blue"),
                (json!({"email": "a.com"}), "green"),
                (json!({"plan": "pro"}), "green"),
            ],
        ),
        (
            json!({"if": [{"in": [{"var": "country"}, ["NO", "SE"]]}, "blue", null]}),
            vec![(json!({"country": "SE"}), "blue"), (json!({"country": "DK"}), "red")],
        ),
        (
            json!({"if": [{"!": {"in": [{"var": "country"}, ["NO", "SE"]]}}, "blue"]}),
            vec![(json!({"country": "SE"}), "red"), (json!({}), "blue")],
        ),
        (
            json!({"if": [{"in": ["@example.", {"var": "email"}]}, "blue"]}),
            vec![(json!({"email": "a@example.org"}), "blue"), (json!({"email": "b"}), "red")],
        ),
        (
            json!({"if": [{"<": [18, {"var": "age"}, 65]}, "blue", "green"]}),
            vec![(json!({"age": 30}), "blue"), (json!({"age": 18}), "green"), (json!({"age": 70}), "green")],
        ),
        (
            json!({"if": [{">=": [{"var": "age"}, 18]}, "blue"]}),
            vec![(json!({"age": 18}), "blue"), (json!({"age": 17.5}), "red")],
        ),
        (
            json!({"if": [{"var": "beta"}, "blue"]}),
            vec![
                (json!({"beta": true}), "blue"),
                (json!({"beta": 1}), "blue"),
                (json!({"beta": "x"}), "blue"),
                (json!({"beta": false}), "red"),
                (json!({"beta": 0}), "red"),
                (json!({"beta": ""}), "red"),
                (json!({}), "red"),
            ],
        ),
        (
            json!({"if": [{"!": {"var": ["beta", null]}}, "blue"]}),
            vec![(json!({"beta": true}), "red"), (json!({"beta": 0}), "blue"), (json!({}), "blue")],
        ),
        (
            json!({"if": [{"==": [{"var": "plan"}, null]}, "blue"]}),
            vec![(json!({}), "blue"), (json!({"plan": "x"}), "red")],
        ),
        (
            json!({"if": [{"sem_ver": [{"var": "v"}, "^", "1.2.0"]}, "blue", {"if": [{"sem_ver": [{"var": "v"}, "~", "2.3.0"]}, "green", "red"]}]}),
            vec![
                (json!({"v": "1.0.0"}), "blue"),
                (json!({"v": "1.9.9"}), "blue"),
                (json!({"v": "2.0.0"}), "red"),
                (json!({"v": "2.3.7"}), "green"),
                (json!({"v": "2.4.0"}), "red"),
            ],
        ),
        (
            json!({"if": [{"sem_ver": [{"var": "v"}, "!=", "1.2.0"]}, "blue"]}),
            vec![(json!({"v": "1.2.0"}), "red"), (json!({"v": "1.2.1"}), "blue"), (json!({}), "red")],
        ),
        (json!({"if": [{"==": [{"var": "$flagd.flagKey"}, "f"]}, "blue"]}), vec![(json!({}), "blue")]),
        (
            json!({"if": [{"starts_with": [{"var": "targetingKey"}, "user-"]}, "green", null]}),
            vec![(json!({"targetingKey": "user-1"}), "green"), (json!({"targetingKey": "x"}), "red")],
        ),
        (json!({"if": [false, "blue", "green"]}), vec![(json!({}), "green")]),
        (
            json!({"if": [plan("==", "a".into()), "blue", plan("==", "b".into()), "green", "red"]}),
            vec![(json!({"plan": "b"}), "green"), (json!({"plan": "c"}), "red")],
        ),
    ];
    for (targeting, expected) in cases {
        let imported = one(targeting.clone());
        assert_left_out(&imported, &[]);
        let snapshot = snapshot(&imported);
        for (context, variant) in expected {
            assert_eq!(
                ask(&snapshot, "f", &context, NOW),
                variant,
                "{targeting} for {context}\n{:#?}",
                imported.flags[0].rules
            );
        }
    }
}

#[test]
fn what_begins_at_an_instant_is_a_schedule() {
    let seconds = changeover::primitives::Instant::parse("2026-12-01T00:00:00Z").unwrap().as_micros() / 1_000_000;
    let timestamp = json!({"var": "$flagd.timestamp"});
    for (targeting, before, after) in [
        (json!({"if": [{">=": [timestamp, seconds]}, "blue", "green"]}), "green", "blue"),
        (json!({"if": [{"<": [timestamp, seconds]}, "blue", "green"]}), "blue", "green"),
        (
            json!({"if": [{"and": [{">=": [timestamp, seconds]}, {"==": [{"var": "plan"}, "pro"]}]}, "blue", null]}),
            "red",
            "blue",
        ),
    ] {
        let imported = one(targeting.clone());
        assert_left_out(&imported, &[]);
        let snapshot = snapshot(&imported);
        let context = json!({"plan": "pro"});
        assert_eq!(ask(&snapshot, "f", &context, "2026-11-30T23:59:59Z"), before, "{targeting}");
        assert_eq!(ask(&snapshot, "f", &context, "2026-12-01T00:00:00Z"), after, "{targeting}");
    }
    let share = json!({"fractional": [["blue", 50], ["red", 50]]});
    let imported = one(json!({"if": [{">=": [timestamp, seconds]}, share, "green"]}));
    assert_left_out(&imported, &[("f", "a schedule serves one variant")]);
}

#[test]
fn shares_keep_their_size_and_say_that_the_hash_differs() {
    let of = |targeting: Value| {
        let imported = one(targeting);
        assert_left_out(&imported, &[]);
        assert!(
            notes(&imported, NoteKind::Differs).iter().any(|(_, note)| note.contains("hashes otherwise")),
            "{:?}",
            imported.notes
        );
        let snapshot = snapshot(&imported);
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        for id in 0..10_000 {
            let context = json!({"targetingKey": format!("u{id}"), "email": format!("{id}@example.org")});
            *counts.entry(ask(&snapshot, "f", &context, NOW)).or_default() += 1;
        }
        (counts, ask(&snapshot, "f", &json!({"targetingKey": "u"}), NOW))
    };
    let near = |found: Option<&u32>, percent: u32| found.is_some_and(|found| found.abs_diff(percent * 100) < 250);
    for bucketed in
        [None, Some(json!({"var": "email"})), Some(json!({"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}))]
    {
        let mut parts: Vec<Value> = bucketed.clone().into_iter().collect();
        parts.extend([json!(["blue", 20]), json!(["green", 30]), json!(["red", 50])]);
        let (counts, without_email) = of(json!({"fractional": parts}));
        assert!(
            near(counts.get("blue"), 20) && near(counts.get("green"), 30) && near(counts.get("red"), 50),
            "{counts:?}"
        );
        if bucketed.is_some() {
            assert_eq!(without_email, "red", "who cannot be sorted gets the default variant, as there");
        }
    }
    let (counts, _) = of(json!({"fractional": [["blue"], ["green"], ["red"]]}));
    assert!(near(counts.get("blue"), 33), "{counts:?}");
}

#[test]
fn what_cannot_be_said_is_listed() {
    for (targeting, text) in [
        (json!({"if": [{"some": [{"var": "roles"}, {"==": [{"var": ""}, "admin"]}]}, "blue"]}), "`{\"some\""),
        (json!({"if": [{"==": [{"var": "a"}, {"var": "b"}]}, "blue"]}), "compared with a text"),
        (json!({"if": [{"in": [{"var": "a"}, "a text"]}, "blue"]}), "its parts are not"),
        (json!({"if": [{"$ref": "unknown"}, "blue"]}), "`$evaluators` has no expression"),
        (json!({"if": [{"<": [{"var": "a"}, "text"]}, "blue"]}), "with a number only"),
        (json!({"if": [{"==": [{"var": ["a", 1]}, 1]}, "blue"]}), "without a default"),
        (json!({"var": "colour"}), "does not say which variant"),
        (json!({"fractional": [["blue", {"var": "weight"}], ["red", 1]]}), "whole weights"),
        (json!({"fractional": [["blue", 0], ["red", 0]]}), "add up to nothing"),
        (json!("purple"), "no variant `purple`"),
    ] {
        assert_left_out(&one(targeting), &[("f", text)]);
    }
    let circle = json!({"flags": {"f": colours(json!({"if": [{"$ref": "a"}, "blue"]}))}, "$evaluators": {"a": {"$ref": "b"}, "b": {"$ref": "a"}}});
    assert_left_out(&flagd::import(&circle).unwrap(), &[("f", "back to themselves")]);
}
