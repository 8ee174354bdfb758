//! What could go is listed with its reasons.

use changeover::store::flag_usage;
use serde_json::{Value, json};

use super::flag;
use crate::api::Api;
use crate::support::each_database;

fn reasons(api: &Api, query: &str) -> Value {
    let list = api.ok("GET", &format!("/api/v1/flags?stale=true{query}"), &Value::Null);
    let told = |item: &Value| {
        let why: Vec<Value> = item["stale"].as_array().unwrap().iter().map(|stale| stale["why"].clone()).collect();
        json!([item["flag"]["key"], why])
    };
    list["items"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn flags_that_could_go_are_listed_with_their_reasons() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("constant"));
        let mut busy = flag("busy");
        busy["rules"] = json!([{ "cohort": "some", "serve": { "variant": "new" } }]);
        busy["expires"] = json!("2001-01-01");
        api.create_flag(&busy);
        api.admin("POST", "/api/v1/cohorts", r#"{"name":"some"}"#);
        assert_eq!(reasons(&api, ""), json!([["busy", ["expired"]]]));
        assert_eq!(reasons(&api, "&days=0"), json!([["busy", ["expired"]], ["constant", ["one_variant"]]]));
        assert_eq!(reasons(&api, "&days=0&prefix=con"), json!([["constant", ["one_variant"]]]));
        api.admin("DELETE", "/api/v1/cohorts/some", "");
        let store = changeover::store::Store::open(database.database()).unwrap();
        store.write(|conn| flag_usage::note(conn, &[String::from("constant")])).unwrap();
        assert_eq!(
            reasons(&api, "&days=0"),
            json!([["busy", ["expired", "not_evaluated"]], ["constant", ["one_variant", "not_evaluated"]]])
        );
        assert_eq!(api.ok("GET", "/api/v1/flags?cohort=some", &Value::Null)["items"][0]["flag"]["key"], "busy");
        assert_eq!(api.ok("GET", "/api/v1/flags?cohort=none", &Value::Null)["items"], json!([]));
        let page = api.ok("GET", "/api/v1/flags?stale=true&days=0&limit=1", &Value::Null);
        let next = page["next"].as_str().unwrap();
        assert_eq!(reasons(&api, &format!("&days=0&after={next}"))[0][0], "constant");
    });
}

#[test]
fn what_was_evaluated_is_counted_by_flag() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("asked"));
        api.create_flag(&flag("silent"));
        api.variants("asked", &[String::from("1"), String::from("2")]);
        let counts = api.state.metrics().evaluations_by_flag();
        assert_eq!((counts.get("asked"), counts.get("silent")), (Some(&2.0), None));
    });
}

#[test]
fn the_audit_log_is_filtered_by_who_what_and_when() {
    each_database(|database| {
        let api = Api::new(&database);
        api.create_flag(&flag("a"));
        api.create_flag(&flag("a_b"));
        api.admin("POST", "/api/v1/cohorts", r#"{"name":"some"}"#);
        let count = |query: &str| {
            let list = api.ok("GET", &format!("/api/v1/audit?{query}"), &Value::Null);
            list["items"].as_array().unwrap().len()
        };
        assert_eq!(count("subject=flag/a"), 1);
        assert_eq!(count("subject=flag/"), 2);
        assert_eq!(count("action=flag.create&actor=admin"), 2);
        assert_eq!(count("action=cohort."), 1);
        assert_eq!(count("actor=nobody"), 0);
        assert_eq!(count("subject=flag/&since=2001-01-01T00:00:00Z&until=2999-01-01T00:00:00Z"), 2);
        assert_eq!(count("until=2001-01-01T00:00:00Z"), 0);
        assert_eq!(count("since=2999-01-01T00:00:00Z"), 0);
    });
}
