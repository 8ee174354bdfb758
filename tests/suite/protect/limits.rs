//! Flags of which at most so many per cent may move in an hour.

use changeover::database::Value as Sql;
use changeover::flags::WHOLE;
use changeover::primitives::CohortName;
use changeover::store::cohorts::{self, Changes};
use changeover::store::protection::Protected;
use changeover::store::{Origin, Store, StoreError};
use serde_json::{Value, json};

use super::{People, flag};
use crate::support::{TestDatabase, each_database};

fn limited(new: u32) -> Value {
    flag("f", new, json!({"percent_per_hour": 5.0, "population": 1000}))
}

/// Makes everything that was moved so far as old as this.
fn age(database: &TestDatabase, seconds: i64) {
    let micros = Sql::from(seconds * 1_000_000);
    let mut connection = database.connection();
    for table in ["svc_changeover_flag_exposures", "svc_changeover_flag_versions"] {
        connection.execute(&format!("UPDATE {table} SET at = at - $1"), std::slice::from_ref(&micros)).unwrap();
    }
}

#[test]
fn so_many_per_cent_move_within_any_hour_and_no_more() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &limited(0));
        let grow = |new: u32| people.send("ada", "PUT", "/api/v1/flags/f", &limited(new));
        assert_eq!(grow(3_000).status, 200);
        let before = people.version("f");
        let refused = grow(6_000);
        let problem = refused.json();
        assert_eq!((refused.status.as_u16(), &problem["code"]), (409, &json!("exposure_limit")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("3 %") && detail.contains("5 %") && detail.contains("2 % are left"), "{detail}");
        assert_eq!(people.version("f"), before, "nothing is changed");
        age(&database, 30 * 60);
        assert_eq!(grow(5_000).status, 200, "what is left may move");
        assert_eq!(grow(5_001).json()["code"], "exposure_limit");
        age(&database, 31 * 60);
        assert_eq!(grow(8_000).status, 200, "what moved more than an hour ago counts no more");
        assert_eq!(grow(8_001).json()["code"], "exposure_limit");
        // Larger than the limit itself: no time is the time for it.
        let all = people.send("ada", "PUT", "/api/v1/flags/f/rollouts/0", &json!({"variant": "new", "percent": 50}));
        assert!(all.json()["detail"].as_str().unwrap().contains("move fewer at a time"), "{:?}", all.json());
    });
}

#[test]
fn safety_and_the_way_back_wait_for_nothing_but_count() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &limited(4_000));
        let enabled = |on: bool| people.send("ada", "PUT", "/api/v1/flags/f/enabled", &json!({"enabled": on}));
        age(&database, 2 * 60 * 60);
        people.expect(200, "ada", "PUT", "/api/v1/flags/f", &limited(8_000));
        let version = people.version("f");
        assert_eq!(enabled(false).status, 200);
        assert_eq!(enabled(true).status, 200, "it was served within the hour");
        people.refused("exposure_limit", "ada", "PUT", "/api/v1/flags/f", &limited(8_001));
        people.expect(200, "ada", "PUT", "/api/v1/flags/f", &limited(4_000));
        people.expect(200, "ada", "POST", &format!("/api/v1/flags/f/history/{version}/restoration"), &Value::Null);
        assert_eq!(enabled(false).status, 200);
        age(&database, 2 * 60 * 60);
        assert_eq!(enabled(true).json()["code"], "exposure_limit", "8 % at once");
        people.refused(
            "reason_required",
            "ada",
            "PUT",
            "/api/v1/flags/f/enabled?override=true",
            &json!({"enabled": true}),
        );
        let body = json!({"enabled": true, "reason": "the incident is over"});
        people.expect(200, "ada", "PUT", "/api/v1/flags/f/enabled?override=true", &body);
        let audit = people.expect(200, "ada", "GET", "/api/v1/audit?subject=flag/f&limit=1", &Value::Null);
        assert_eq!(
            (&audit["items"][0]["action"], &audit["items"][0]["actor"]),
            (&json!("flag.override"), &json!("ada"))
        );
    });
}

#[test]
fn cohorts_and_prerequisites_move_subjects_too() {
    each_database(|database| {
        let people = People::new(&database);
        for name in ["beta", "staff"] {
            people.expect(201, "ada", "POST", "/api/v1/cohorts", &json!({"name": name}));
        }
        let ids = |from: u32, to: u32| json!((from..to).map(|id| format!("{id}\n")).collect::<String>());
        let mut wanted = limited(0);
        wanted["rules"] = json!([{"cohort": "beta", "serve": {"variant": "new"}}]);
        wanted["prerequisites"] = json!([{"flag": "g", "variants": ["old"]}]);
        people.expect(201, "ada", "POST", "/api/v1/flags", &flag("g", 0, json!({})));
        people.expect(201, "ada", "POST", "/api/v1/flags", &wanted);
        people.expect(200, "ada", "PUT", "/api/v1/cohorts/beta/ids", &ids(0, 30));
        people.refused("exposure_limit", "ada", "POST", "/api/v1/cohorts/beta/ids", &ids(30, 51));
        people.expect(200, "ada", "POST", "/api/v1/cohorts/beta/ids", &ids(0, 30));
        people.expect(200, "ada", "POST", "/api/v1/cohorts/staff/ids", &ids(0, 999));
        let conditions = r#"[[{"attribute":"plan","operator":"equals","value":"pro"}]]"#;
        let conditions = Changes { description: None, conditions: Some(conditions) };
        let (store, beta) = (Store::open(database.database()).unwrap(), CohortName::new("beta").unwrap());
        let origin = Origin { actor: "ada", reason: "" };
        let refused = store.write(|conn| cohorts::describe(conn, &beta, conditions, None, origin)).unwrap_err();
        assert!(matches!(refused, StoreError::Protected(Protected::Exposure { asked: WHOLE, .. })), "{refused}");
        people.refused("exposure_limit", "ada", "PUT", "/api/v1/flags/g", &flag("g", 2_001, json!({})));
        people.expect(200, "ada", "PUT", "/api/v1/flags/g", &flag("g", 2_000, json!({})));
        people.refused("exposure_limit", "ada", "POST", "/api/v1/cohorts/beta/ids", &ids(30, 31));
        let count = people.expect(200, "ada", "GET", "/api/v1/cohorts/beta", &Value::Null);
        assert!(count.to_string().contains("30"), "{count}");
        people.expect(200, "ada", "PUT", "/api/v1/flags/f/enabled", &json!({"enabled": false}));
        people.expect(200, "ada", "POST", "/api/v1/cohorts/beta/ids", &ids(30, 500));
    });
}

#[test]
fn a_new_flag_moves_nobody_and_one_that_comes_back_does() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &limited(60_000));
        people.refused("exposure_limit", "ada", "DELETE", "/api/v1/flags/f", &Value::Null);
        people.expect(204, "ada", "DELETE", "/api/v1/flags/f?override=true&reason=over", &Value::Null);
        age(&database, 2 * 60 * 60);
        people.refused("exposure_limit", "ada", "POST", "/api/v1/flags", &limited(60_000));
        people.expect(201, "ada", "POST", "/api/v1/flags", &limited(5_000));
    });
}

#[test]
fn a_limit_is_not_raised_by_the_way() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &limited(0));
        for protection in [
            json!({}),
            json!({"percent_per_hour": 6.0, "population": 1000}),
            json!({"percent_per_hour": 5.0, "population": 1001}),
        ] {
            people.refused("override_needed", "ada", "PUT", "/api/v1/flags/f?reason=more", &flag("f", 0, protection));
        }
        let stricter = flag("f", 1_000, json!({"percent_per_hour": 1.0, "population": 1000, "reason_required": true}));
        people.expect(200, "ada", "PUT", "/api/v1/flags/f?reason=less", &stricter);
        people.refused(
            "exposure_limit",
            "ada",
            "PUT",
            "/api/v1/flags/f?reason=more",
            &flag("f", 1_001, stricter["protection"].clone()),
        );
        people.expect(
            200,
            "ada",
            "PUT",
            "/api/v1/flags/f?reason=all%20of%20it&override=true",
            &flag("f", 100_000, json!({})),
        );
    });
}
