//! OFREP on the real server: flags that route a change, and what one server writes seen by another.

use std::time::{Duration, Instant};

use changeover::change::Stage;
use serde_json::{Value, json};

use crate::routing::fixture::Fixture;
use crate::support::{Server, each_database};

struct Client {
    server: Server,
    token: String,
}

impl Client {
    /// `token` is that of the first start, which only the first server on a database prints.
    fn new(server: Server, token: Option<&str>) -> Self {
        let output = server.output();
        let printed = output.split_whitespace().find(|word| word.starts_with("co_"));
        let token = token.or(printed).expect("the first start prints a token").to_owned();
        Self { server, token }
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request =
            ureq::http::Request::builder().method(method).uri(self.server.at(path)).header("content-type", kind);
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        let tag = response.headers().get("etag").map_or("", |tag| tag.to_str().unwrap()).to_owned();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), tag, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn create(&self, path: &str, body: &Value) {
        let (status, _, answer) = self.send("POST", path, "application/json", &body.to_string());
        assert_eq!(status, 201, "{answer}");
    }

    fn replace_ids(&self, cohort: &str, ids: &str) {
        let (status, _, answer) = self.send("PUT", &format!("/api/v1/cohorts/{cohort}/ids"), "text/plain", ids);
        assert_eq!(status, 200, "{answer}");
    }

    /// Variant and reason, and the bulk answer's tag.
    fn evaluate(&self, key: &str, user: &str) -> (String, String, String) {
        let body = json!({"context": {"targetingKey": user}}).to_string();
        let (status, _, single) =
            self.send("POST", &format!("/ofrep/v1/evaluate/flags/{key}"), "application/json", &body);
        assert_eq!(status, 200, "{single}");
        let (_, tag, bulk) = self.send("POST", "/ofrep/v1/evaluate/flags", "application/json", &body);
        let items = bulk["flags"].as_array().unwrap();
        assert_eq!(items.iter().find(|item| item["key"] == json!(key)), Some(&single));
        (single["variant"].as_str().unwrap().to_owned(), single["reason"].as_str().unwrap().to_owned(), tag)
    }

    fn answer(&self, key: &str, user: &str) -> (String, String) {
        let (variant, reason, _) = self.evaluate(key, user);
        (variant, reason)
    }
}

fn sides(key: &str, change: &str) -> Value {
    json!({"key": key, "type": "string", "change": change, "variants": {"old": "old", "new": "new"},
           "default_variant": "old", "off_variant": "old", "rules": [{"cohort": "pilot", "serve": {"variant": "new"}}]})
}

fn answer(variant: &str, reason: &str) -> (String, String) {
    (variant.to_owned(), reason.to_owned())
}

#[test]
fn a_changes_flag_says_where_a_users_group_is_billed() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        fixture.set_stage(Stage::Shadow);
        let client = Client::new(Server::start(&fixture.database), None);
        client.create("/api/v1/cohorts", &json!({"name": "pilot"}));
        client.replace_ids("pilot", "12\n");
        client.create("/api/v1/flags", &sides("billing-allocation", "billing-allocation"));
        client.create("/api/v1/flags", &sides("elsewhere", "not-installed"));
        assert_eq!(client.answer("elsewhere", "12"), answer("old", "DISABLED"));

        let (variant, reason, before) = client.evaluate("billing-allocation", "11");
        assert_eq!((variant, reason), answer("old", "DISABLED"), "before live");
        fixture.set_stage(Stage::Live);
        let (variant, reason, after) = client.evaluate("billing-allocation", "11");
        assert_eq!((variant, reason), answer("new", "TARGETING_MATCH"), "user 12, of the same group, is in the cohort");
        assert_ne!(before, after, "the tag knows of the stage, which is no part of the configuration");
        assert_eq!(client.answer("billing-allocation", "21"), answer("old", "TARGETING_MATCH"));
        assert_eq!(client.answer("billing-allocation", "404"), answer("old", "DEFAULT"));

        client.replace_ids("pilot", "21\n");
        assert_eq!(client.answer("billing-allocation", "12"), answer("new", "TARGETING_MATCH"), "recorded");
        let (status, _, failed) =
            client.send("POST", "/ofrep/v1/evaluate/flags/billing-allocation", "application/json", "");
        assert_eq!((status, &failed["errorCode"]), (400, &json!("TARGETING_KEY_MISSING")));
    });
}

#[test]
fn a_cohort_changed_through_one_server_is_seen_by_another() {
    each_database(|database| {
        let writer = Client::new(Server::start(&database), None);
        let reader = Client::new(Server::start(&database), Some(&writer.token));
        writer.create("/api/v1/cohorts", &json!({"name": "pilot"}));
        let mut flag = sides("plain", "x");
        flag.as_object_mut().unwrap().remove("change");
        writer.create("/api/v1/flags", &flag);
        for (ids, variant) in [("7\n", "new"), ("8\n", "old")] {
            writer.replace_ids("pilot", ids);
            assert_eq!(writer.evaluate("plain", "7").0, variant, "the writer has it at once");
            // Generous, since tests share two cores: the server itself looks several times a second.
            let deadline = Instant::now() + Duration::from_secs(20);
            let body = json!({"context": {"targetingKey": "7"}}).to_string();
            while reader.send("POST", "/ofrep/v1/evaluate/flags/plain", "application/json", &body).2["variant"]
                != json!(variant)
            {
                assert!(Instant::now() < deadline, "{variant} is not seen");
            }
        }
    });
}
