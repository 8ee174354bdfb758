//! A stored flag that cannot be read: a server that has a good version of it goes on serving that; one that has none says so.

use changeover::primitives::FlagKey;
use changeover::store::{Memory, Origin, Store, flags};
use serde_json::Value;

use super::fixture::{Fleet, evaluated, flag, user, wait_until};
use crate::support::each_database;

const ORIGIN: Origin<'static> = Origin { actor: "ada", reason: "a test" };

#[test]
fn the_last_good_version_of_a_flag_goes_on_being_served() {
    each_database(|database| {
        let fleet = Fleet::start(&database, 1);
        fleet.write(0, "POST", "/api/v1/flags", &flag("spoilt", "b"));
        fleet.write(0, "POST", "/api/v1/flags", &flag("other", "a"));
        database.connection().batch("UPDATE svc_changeover_flags SET data = '{}' WHERE key = 'spoilt'").unwrap();
        fleet.write(0, "PUT", "/api/v1/flags/other", &flag("other", "c"));
        let answer = fleet.ask(0, "POST", "/ofrep/v1/evaluate/flags/spoilt", &[], &user("7"));
        assert_eq!((answer.status, evaluated(&answer)), (200, Value::from("b")), "{answer:?}");
        let ready = fleet.readiness(0);
        assert_eq!(ready["unreadable_flags"][0]["key"], "spoilt", "{ready}");
        assert_eq!(ready["unreadable_flags"][0]["served_version"], 1, "{ready}");
        let metrics = fleet.ask(0, "GET", "/metrics", &[], &Value::Null).body;
        assert!(metrics.contains("\nchangeover_unreadable_flags 1\n"), "{metrics}");
        // A start from nothing has no good version.
        let cold = Memory::load(Store::open(database.database()).unwrap()).unwrap();
        assert!(cold.snapshot().find_flag("spoilt").is_none());
        assert_eq!((cold.unreadable()[0].key.as_str(), cold.unreadable()[0].served), ("spoilt", None));
        // A good version ends it.
        let store = Store::open(database.database()).unwrap();
        let good = flag("spoilt", "c").to_string();
        database
            .connection()
            .batch(&format!("UPDATE svc_changeover_flags SET data = '{good}' WHERE key = 'spoilt'"))
            .unwrap();
        let key = FlagKey::new("third").unwrap();
        store.write(|conn| flags::create(conn, &key, &flag("third", "a").to_string(), ORIGIN)).unwrap();
        wait_until("it is well again", || fleet.readiness(0).get("unreadable_flags").is_none());
        let answer = fleet.ask(0, "POST", "/ofrep/v1/evaluate/flags/spoilt", &[], &user("7"));
        assert_eq!(evaluated(&answer), Value::from("c"));
    });
}
