//! An explanation answers what the evaluation answered, now and then.

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::flag;
use crate::api::{Api, Call};
use crate::support::{Random, each_database};

/// A flag with a cohort, an exception, a clause, a prerequisite and a rollout.
fn busy() -> Value {
    let mut busy = flag("f");
    busy["prerequisites"] = json!([{ "flag": "gate", "variants": ["new"] }]);
    busy["rules"] = json!([
        { "cohort": "beta", "except_cohort": "staff", "serve": { "variant": "odd" } },
        { "description": "paying", "clauses": [{ "attribute": "plan", "operator": "in", "values": ["pro", "team"] }], "serve": { "variant": "new" } },
        { "serve": { "rollout": { "ranges": [{ "variant": "new", "from": 0, "to": 30_000 }, { "variant": "old", "from": 30_000, "to": 100_000 }] } } },
    ]);
    busy
}

fn upload(api: &Api, method: &str, path: &str, ids: &[String]) {
    let (token, body) = (Some(api.token(Role::Admin)), ids.join("\n"));
    let reply =
        api.send(&Call { method, path, token, headers: &[("Content-Type", "text/plain")], body: body.as_bytes() });
    assert!(reply.status.is_success(), "{method} {path}: {}", reply.json());
}

fn world(api: &Api) -> Vec<String> {
    let ids: Vec<String> = (0..12).map(|number| format!("u{number}")).collect();
    for name in ["beta", "staff"] {
        api.admin("POST", "/api/v1/cohorts", &json!({ "name": name }).to_string());
    }
    upload(api, "PUT", "/api/v1/cohorts/beta/ids", &ids[..6]);
    upload(api, "PUT", "/api/v1/cohorts/staff/ids", &ids[4..8]);
    let mut gate = flag("gate");
    gate["default_variant"] = json!("new");
    api.create_flag(&gate);
    api.create_flag(&busy());
    ids
}

/// What an explanation answers: the variant, or the code of what went wrong.
fn explained(api: &Api, wish: &Value) -> String {
    let reply = api.admin("POST", "/api/v1/flags/f/explain", &wish.to_string());
    let answer = reply.json();
    let text = ["variant", "error_code", "code"].iter().find_map(|field| answer[field].as_str());
    text.unwrap_or_else(|| panic!("{wish}: {answer}")).to_owned()
}

fn evaluated(api: &Api, context: &Value) -> String {
    let answer = api.admin("POST", "/ofrep/v1/evaluate/flags/f", &json!({ "context": context }).to_string()).json();
    ["variant", "errorCode"].iter().find_map(|field| answer[field].as_str()).unwrap().to_owned()
}

#[test]
fn an_explanation_decides_as_the_evaluation_does() {
    each_database(|database| {
        let api = Api::new(&database);
        let mut contexts: Vec<Value> = world(&api).iter().map(|id| json!({ "targetingKey": id })).collect();
        contexts.extend([
            json!({ "targetingKey": "u9", "plan": "pro" }),
            json!({ "targetingKey": "u9", "plan": 7 }),
            json!({ "plan": "team" }),
            json!({}),
        ]);
        for context in &contexts {
            assert_eq!(explained(&api, &json!({ "context": context })), evaluated(&api, context), "{context}");
        }
        let told =
            api.ok("POST", "/api/v1/flags/f/explain", &json!({ "context": { "targetingKey": "u9", "plan": 7 } }));
        assert_eq!(told["rules"].as_array().unwrap().len(), 3, "{told}");
        assert_eq!(told["rules"][1]["clauses"][0]["outcome"], "indeterminate");
        assert!(told["rules"][2]["rollout"]["bucket"].is_u64() && told["rules"][2]["rollout"]["seed"] == "f");
        assert!(told["rules"][0]["cohort"]["generation"].is_i64());
        assert_eq!(told["prerequisites"][0]["trace"]["variant"], "new");
    });
}

#[test]
fn as_of_an_earlier_version_it_is_what_was_answered_then() {
    each_database(|database| {
        let api = Api::new(&database);
        let (ids, mut random) = (world(&api), Random::new(11));
        let mut past: Vec<(i64, Vec<String>)> = Vec::new();
        for _ in 0..24 {
            let some = |random: &mut Random| -> Vec<String> {
                ids.iter().filter(|_| random.is_one_in(2)).cloned().chain([String::from("x")]).collect()
            };
            match random.below(8) {
                0 => upload(&api, "PUT", "/api/v1/cohorts/beta/ids", &some(&mut random)),
                1 => upload(&api, "POST", "/api/v1/cohorts/staff/ids", &some(&mut random)),
                2 => upload(&api, "POST", "/api/v1/cohorts/beta/removals", &some(&mut random)),
                3 => {
                    let body = json!({ "variant": "new", "percent": random.below(101) });
                    api.admin("PUT", "/api/v1/flags/f/rollouts/2", &body.to_string());
                }
                4 => {
                    let body = json!({ "enabled": random.is_one_in(2) });
                    api.admin("PUT", "/api/v1/flags/gate/enabled", &body.to_string());
                }
                5 => {
                    let body = json!({ "enabled": random.is_one_in(2) });
                    api.admin("PUT", "/api/v1/flags/f/enabled", &body.to_string());
                }
                6 => drop(api.admin("DELETE", "/api/v1/flags/f", "")),
                _ => drop(api.admin("POST", "/api/v1/flags", &busy().to_string())),
            }
            let version = api.ok("POST", "/api/v1/flags/gate/explain", &json!({}))["config_version"].as_i64().unwrap();
            let answers = ids.iter().map(|id| evaluated(&api, &json!({ "targetingKey": id }))).collect();
            past.push((version, answers));
        }
        for (version, answers) in &past {
            for (id, answer) in ids.iter().zip(answers) {
                let then = explained(&api, &json!({ "context": { "targetingKey": id }, "version": version }));
                let answer = if answer == "FLAG_NOT_FOUND" { "flag_not_found" } else { answer };
                assert_eq!(then, answer, "{id} at version {version}");
            }
        }
        let beyond = api.admin("POST", "/api/v1/flags/f/explain", &json!({ "version": 99_999 }).to_string());
        assert_eq!((beyond.status.as_u16(), &beyond.json()["code"]), (404, &json!("version_not_found")));
    });
}
