//! Flags whose every write needs a reason.

use serde_json::{Value, json};

use super::{People, flag};
use crate::support::{changeover, each_database};

#[test]
fn every_write_of_the_flag_and_of_its_cohorts_says_why() {
    each_database(|database| {
        let people = People::new(&database);
        let mut wanted = flag("f", 1_000, json!({"reason_required": true}));
        wanted["rules"][0]["cohort"] = "beta".into();
        people.expect(201, "ada", "POST", "/api/v1/cohorts", &json!({"name": "beta"}));
        people.expect(201, "ada", "POST", "/api/v1/cohorts", &json!({"name": "free"}));
        let problem = people.refused("reason_required", "ada", "POST", "/api/v1/flags", &wanted);
        assert!(problem["detail"].as_str().unwrap().contains("`f`"), "{problem}");
        people.refused("reason_required", "ada", "POST", "/api/v1/flags?reason=%20%20", &wanted);
        let first = people.expect(201, "ada", "POST", "/api/v1/flags?reason=first", &wanted)["version"].clone();
        let step = json!({"variant": "new", "percent": 2});
        let writes: [(&str, String, Value); 6] = [
            ("PUT", "/api/v1/flags/f".into(), wanted.clone()),
            ("PUT", "/api/v1/flags/f/enabled".into(), json!({"enabled": false})),
            ("PUT", "/api/v1/flags/f/rollouts/0".into(), step.clone()),
            ("DELETE", "/api/v1/flags/f".into(), Value::Null),
            ("PUT", "/api/v1/cohorts/beta/ids".into(), json!("1\n2\n")),
            ("POST", "/api/v1/cohorts/beta/ids".into(), json!("3\n")),
        ];
        for (method, path, body) in &writes {
            people.refused("reason_required", "ada", method, path, body);
        }
        assert_eq!(people.version("f"), first.as_i64().unwrap(), "nothing was written");
        people.expect(200, "ada", "PUT", "/api/v1/cohorts/free/ids", &json!("1\n2\n"));
        people.expect(200, "ada", "PUT", "/api/v1/cohorts/beta/ids?reason=wave", &json!("1\n2\n"));
        people.expect(
            200,
            "ada",
            "PUT",
            "/api/v1/flags/f/rollouts/0",
            &json!({"variant": "new", "percent": 2, "reason": "on"}),
        );
        let restoration = format!("/api/v1/flags/f/history/{first}/restoration");
        people.refused("reason_required", "ada", "POST", &restoration, &Value::Null);
        people.expect(200, "ada", "POST", &format!("{restoration}?reason=back"), &Value::Null);
        // The command line writes by the same path.
        let command = |arguments: &[&str]| changeover().service(&database).args(arguments).run();
        let refused = command(&["flag", "kill", "f"]).expect_code(2);
        assert!(refused.stderr.contains("asks for a reason"), "{refused}");
        command(&["flag", "kill", "f", "--reason", "it flickers"]).expect_code(0);
        let off = json!({"key": "f", "type": "string", "variants": {"old": "o", "new": "n"}, "default_variant": "old",
                         "off_variant": "old", "rules": []});
        people.refused("override_needed", "ada", "PUT", "/api/v1/flags/f?reason=enough", &off);
        people.expect(200, "ada", "PUT", "/api/v1/flags/f?reason=enough&override=true", &off);
        people.expect(204, "ada", "DELETE", "/api/v1/flags/f", &Value::Null);
    });
}
