//! Growing and shrinking: who moves, who does not, and what is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::flag;
use crate::api::Api;
use crate::support::{Random, each_database};

const PATH: &str = "/api/v1/flags/f/rollouts/0";

#[test]
fn a_share_is_set_stepped_and_given_back() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        let first = api.ok("PUT", PATH, &json!({ "variant": "new", "percent": 12.5, "reason": "begin" }));
        assert_eq!(
            first["step"],
            json!({ "rule": 0, "variant": "new", "donor": "old", "percent_before": 0, "percent": 12.5 })
        );
        let ranges = first["flag"]["rules"][0]["serve"]["rollout"]["ranges"].clone();
        assert_eq!(ranges[0], json!({ "variant": "new", "from": 0, "to": 12_500 }));
        let up = api.ok("PUT", PATH, &json!({ "variant": "new", "percent": "+0.001" }));
        assert_eq!(up["step"]["percent"], 12.501);
        let odd = api.ok("PUT", PATH, &json!({ "variant": "odd", "percent": 2, "donor": "new" }));
        assert_eq!(odd["step"]["donor"], "new");
        api.ok("PUT", PATH, &json!({ "variant": "odd", "percent": 0, "donor": "new" }));
        let back = api.ok("PUT", PATH, &json!({ "variant": "new", "percent": "-0.001" }));
        assert_eq!(back["flag"]["rules"], first["flag"]["rules"]);
        let version = back["version"].clone();
        let same = api.ok("PUT", PATH, &json!({ "variant": "new", "percent": 12.5 }));
        assert_eq!(same["version"], version, "a step to where it stands writes nothing");
        let audit = api.ok("GET", "/api/v1/audit?subject=flag/f&limit=1", &Value::Null);
        assert_eq!(audit["items"][0]["action"], "flag.rollout");
        assert_eq!(audit["items"][0]["detail"]["percent_before"], 12.501);
    });
}

#[test]
fn what_cannot_be_is_refused_and_says_why() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        let refused = [
            (PATH, json!({ "variant": "new", "percent": 12.0001 }), 400, "0.001"),
            (PATH, json!({ "variant": "new", "percent": -5 }), 400, "\\\"-5\\\""),
            (PATH, json!({ "variant": "new", "percent": 100.001 }), 400, "at most 100"),
            (PATH, json!({ "variant": "new", "percent": "+101" }), 400, "at most 100"),
            (PATH, json!({ "variant": "new", "percent": "-1" }), 422, "below 0"),
            (PATH, json!({ "variant": "none", "percent": 1 }), 422, "none"),
            (PATH, json!({ "variant": "new", "percent": 1, "donor": "odd" }), 409, "`odd` has 0"),
            (PATH, json!({ "variant": "new", "percent": 1, "donor": "new" }), 409, "itself"),
            (PATH, json!({ "variant": "new", "percent": 1, "extra": 1 }), 400, "extra"),
            ("/api/v1/flags/f/rollouts/1", json!({ "variant": "new", "percent": 1 }), 422, "0 rules"),
            ("/api/v1/flags/none/rollouts/0", json!({ "variant": "new", "percent": 1 }), 404, "none"),
        ];
        for (path, body, status, says) in refused {
            let reply = api.admin("PUT", path, &body.to_string());
            assert_eq!(reply.status.as_u16(), status, "{body}: {}", reply.json());
            assert!(reply.json().to_string().contains(says), "{body}: {}", reply.json());
        }
        assert_eq!(api.ok("GET", "/api/v1/flags/f", &Value::Null)["flag"]["rules"], json!([]));
    });
}

#[test]
fn of_two_admins_who_saw_the_same_version_one_writes() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        let seen = api.admin("GET", "/api/v1/flags/f", "").etag.unwrap();
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let step = |percent: u32| {
                let (api, seen) = (&api, &seen);
                scope.spawn(move || {
                    let body = json!({ "variant": "new", "percent": percent });
                    api.admin_seen("PUT", PATH, seen, &body).status.as_u16()
                })
            };
            let admins = [step(10), step(20)];
            admins.map(|admin| admin.join().unwrap()).to_vec()
        });
        assert_eq!(statuses.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&200, &412]), "{statuses:?}");
    });
}

#[test]
fn only_the_donors_users_move_and_they_come_back() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("f"));
        api.ok("PUT", PATH, &json!({ "variant": "new", "percent": 30 }));
        api.ok("PUT", PATH, &json!({ "variant": "odd", "percent": 20 }));
        let ids: Vec<String> = (0..400).map(|number| format!("user-{number}")).collect();
        let (mut random, names) = (Random::new(7), ["old", "new", "odd"]);
        for _ in 0..12 {
            let (variant, donor) = (names[random.index(3)], names[random.index(3)]);
            let by = random.below(40_000);
            let up = format!("+{}.{:03}", by / 1_000, by % 1_000);
            let before = api.variants("f", &ids);
            let reply =
                api.admin("PUT", PATH, &json!({ "variant": variant, "percent": up, "donor": donor }).to_string());
            if reply.status != 200 {
                assert_eq!(api.variants("f", &ids), before, "a refused step moves nobody");
                continue;
            }
            let after = api.variants("f", &ids);
            for (id, (was, is)) in ids.iter().zip(before.iter().zip(&after)).filter(|(_, (was, is))| was != is) {
                assert_eq!((was.as_str(), is.as_str()), (donor, variant), "{id} by {up}");
            }
            if random.is_one_in(2) {
                let down = up.replace('+', "-");
                api.ok("PUT", PATH, &json!({ "variant": variant, "percent": down, "donor": donor }));
                assert_eq!(api.variants("f", &ids), before, "shrinking returns everybody");
            }
        }
    });
}
