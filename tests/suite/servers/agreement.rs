//! Two servers at the same version agree on every decision, whatever the flags and the contexts are.

use serde_json::{Value, json};

use super::fixture::Fleet;
use crate::support::{Random, each_database, full_length};

const COHORTS: [&str; 2] = ["early", "staff"];

#[test]
fn two_servers_agree_on_every_decision_at_the_same_version() {
    each_database(|database| {
        let fleet = Fleet::start(&database, 2);
        let mut random = Random::new(11);
        for name in COHORTS {
            fleet.write(0, "POST", "/api/v1/cohorts", &json!({"name": name}));
        }
        let mut known = Vec::new();
        for round in 0..full_length(150, 30) {
            let writer = random.index(2);
            let version = write_something(&fleet, writer, &mut random, &mut known, round);
            let version = version.to_string();
            for _ in 0..4 {
                let context = json!({"context": context(&mut random)});
                let ask = |nth| {
                    let headers = [("changeover-version", version.as_str())];
                    fleet.ask(nth, "POST", "/ofrep/v1/evaluate/flags", &headers, &context)
                };
                let (one, other) = (ask(0), ask(1));
                assert_eq!(one.status, 200, "{one:?}");
                assert_eq!(one.body, other.body, "round {round}, {context}");
                assert_eq!(one.header("etag"), other.header("etag"), "round {round}, {context}");
                let body: Value = serde_json::from_str(&one.body).unwrap();
                assert_eq!(body["flags"].as_array().unwrap().len(), known.len(), "{body}");
            }
        }
    });
}

fn write_something(fleet: &Fleet, nth: usize, random: &mut Random, known: &mut Vec<String>, round: u64) -> i64 {
    if random.is_one_in(4) {
        let name = COHORTS[random.index(2)];
        let ids: Vec<String> = (0..random.below(200)).map(|_| random.below(300).to_string()).collect();
        let path = format!("/api/v1/cohorts/{name}/ids");
        let answer = fleet.servers[nth].send_as(
            &fleet.token,
            "PUT",
            &path,
            &[("content-type", "text/plain")],
            Some(ids.join("\n").as_bytes()),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        return super::fixture::version_of(&answer);
    }
    if known.is_empty() || random.is_one_in(3) {
        let key = format!("flag-{round}");
        known.push(key.clone());
        return fleet.write(nth, "POST", "/api/v1/flags", &flag(&key, random));
    }
    let key = known[random.index(known.len())].clone();
    fleet.write(nth, "PUT", &format!("/api/v1/flags/{key}"), &flag(&key, random))
}

fn flag(key: &str, random: &mut Random) -> Value {
    let rule = match random.below(3) {
        0 => json!({"cohort": COHORTS[random.index(2)], "serve": {"variant": "on"}}),
        1 => {
            json!({"clauses": [{"attribute": "plan", "operator": "equals", "value": "pro"}], "serve": {"variant": "on"}})
        }
        _ => {
            let end = random.below(99_999) + 1;
            let on = json!({"variant": "on", "from": 0, "to": end});
            let off = json!({"variant": "off", "from": end, "to": 100_000});
            json!({"serve": {"rollout": {"ranges": [on, off]}}})
        }
    };
    json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "default_variant": "off",
           "off_variant": "off", "enabled": !random.is_one_in(6), "rules": [rule]})
}

fn context(random: &mut Random) -> Value {
    let plan = ["pro", "free", ""][random.index(3)];
    json!({"targetingKey": random.below(300).to_string(), "plan": plan, "seats": random.below(50)})
}
