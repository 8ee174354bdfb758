//! What a preview says is what happens.

use std::collections::BTreeMap;

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::flag;
use crate::api::{Api, Call};
use crate::support::{Random, each_database};

fn moves_of(preview: &Value) -> BTreeMap<(String, String), u64> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let moves = preview["moves"].as_array().unwrap().iter();
    moves.map(|one| ((text(&one["from"]), text(&one["to"])), one["subjects"].as_u64().unwrap())).collect()
}

fn counted(before: &[String], after: &[String]) -> BTreeMap<(String, String), u64> {
    let mut moves = BTreeMap::new();
    for (was, is) in before.iter().zip(after).filter(|(was, is)| was != is) {
        *moves.entry((was.clone(), is.clone())).or_default() += 1;
    }
    moves
}

#[test]
fn a_preview_counts_what_then_happens() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        let ids: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        api.admin("POST", "/api/v1/cohorts", r#"{"name":"some"}"#);
        let lines = ids[..100].join("\n");
        let token = Some(api.token(Role::Admin));
        let upload = Call {
            method: "PUT",
            path: "/api/v1/cohorts/some/ids",
            token,
            headers: &[("Content-Type", "text/plain")],
            body: lines.as_bytes(),
        };
        assert_eq!(api.send(&upload).status, 200);
        let mut random = Random::new(3);
        for _ in 0..6 {
            let percent = random.below(100_001);
            let percent = format!("{}.{:03}", percent / 1_000, percent % 1_000);
            let variant = ["new", "odd"][random.index(2)];
            let mut step = json!({ "rule": 0, "variant": variant, "percent": percent });
            let wish = json!({ "rollout": step, "subjects": ids });
            let reply = api.admin("POST", "/api/v1/flags/f/preview", &wish.to_string());
            let version = api.ok("GET", "/api/v1/flags/f", &Value::Null)["version"].clone();
            let before = api.variants("f", &ids);
            step.as_object_mut().unwrap().remove("rule");
            let made = api.admin("PUT", "/api/v1/flags/f/rollouts/0", &step.to_string());
            assert_eq!(made.status, reply.status, "{} {}", made.json(), reply.json());
            let after = api.variants("f", &ids);
            if reply.status == 200 {
                let preview = reply.json();
                assert_eq!(moves_of(&preview), counted(&before, &after));
                assert_eq!((&preview["subjects"], &preview["flag_version"]), (&json!(300), &version));
            }
        }
        let before = api.variants("f", &ids);
        let mut whole = flag("f");
        whole["rules"] = json!([{ "cohort": "some", "serve": { "variant": "odd" } }]);
        let preview = api.ok("POST", "/api/v1/flags/f/preview", &json!({ "flag": whole, "cohort": "some" }));
        assert_eq!(moves_of(&preview), counted(&before[..100], &vec![String::from("odd"); 100]));
        let killed = api.ok("POST", "/api/v1/flags/f/preview", &json!({ "enabled": false, "subjects": ids }));
        assert_eq!(moves_of(&killed), counted(&before, &vec![String::from("old"); 300]));
        assert_eq!(api.variants("f", &ids), before, "a preview writes nothing");
    });
}

#[test]
fn subjects_come_as_lines_of_ids_and_contexts() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        let mut whole = flag("f");
        whole["rules"] = json!([
            { "clauses": [{ "attribute": "plan", "operator": "equals", "value": "pro" }], "serve": { "variant": "new" } },
        ]);
        let lines = format!(
            "{}\n1\n\"two\"\n{{\"targetingKey\":\"three\",\"plan\":\"pro\"}}\n\n{{\"plan\":\"pro\"}}\nnonsense\n[1]\n",
            json!({ "flag": whole })
        );
        let send = |kind: &str, body: &str| {
            let headers = [("Content-Type", kind)];
            let token = Some(api.token(Role::Viewer));
            api.send(&Call {
                method: "POST",
                path: "/api/v1/flags/f/preview",
                token,
                headers: &headers,
                body: body.as_bytes(),
            })
        };
        let reply = send("application/x-ndjson", &lines);
        assert_eq!(reply.status, 200, "{}", reply.json());
        let preview = reply.json();
        assert_eq!((&preview["subjects"], &preview["moving"], &preview["rejected"]), (&json!(4), &json!(2), &json!(2)));
        assert_eq!(preview["moves"][0]["samples"], json!(["three", "(nobody)"]));
        assert_eq!(preview["rejections"][0]["line"], 7);
        for (kind, body, status) in [
            ("text/plain", "1\n", 415),
            ("application/x-ndjson", "1\n2\n", 400),
            ("application/json", "{\"enabled\":false}", 422),
            ("application/json", "{\"enabled\":false,\"groups\":true}", 422),
            ("application/json", "{\"enabled\":false,\"cohort\":\"none\"}", 404),
            ("application/json", "{\"subjects\":[1]}", 422),
            ("application/json", "{\"enabled\":false,\"version\":1,\"subjects\":[1]}", 422),
            ("application/json", "{\"version\":99,\"subjects\":[1]}", 404),
        ] {
            let reply = send(kind, body);
            assert_eq!(reply.status.as_u16(), status, "{kind} {body}: {}", reply.json());
        }
        let created = send("application/json", &json!({ "flag": flag("f"), "subjects": [1] }).to_string());
        assert_eq!(created.json()["moving"], 0);
    });
}

#[test]
fn a_flag_that_is_not_there_yet_can_be_previewed() {
    each_database(|database| {
        let api = Api::new(&database);
        let preview = api.ok("POST", "/api/v1/flags/g/preview", &json!({ "flag": flag("g"), "subjects": ["a", "b"] }));
        assert_eq!(preview["moves"][0]["from"], "(FLAG_NOT_FOUND)");
        assert_eq!((&preview["moves"][0]["to"], &preview["flag_version"]), (&json!("old"), &json!(0)));
    });
}
