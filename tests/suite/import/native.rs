//! Our own document: out and in again.

use changeover::store::imports::{self, ImportStep, Incoming};
use changeover::store::protection::Authority;
use changeover::store::{Origin, Store, state};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::protect::{People, flag};
use crate::support::{Random, changeover, each_database};

const ORIGIN: Origin<'static> = Origin { actor: "ada", reason: "a test" };

#[test]
fn an_import_of_an_export_changes_nothing() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/cohorts", &json!({"name": "beta", "description": "who asked"}));
        people.expect(200, "ada", "PUT", "/api/v1/cohorts/beta/ids", &json!("1\n2\n"));
        people.expect(201, "ada", "POST", "/api/v1/flags", &flag("z", 0, json!({})));
        let mut child = flag("a", 7_000, json!({"percent_per_hour": 5.5, "population": 7}));
        child["rules"] = json!([{"cohort": "beta", "serve": {"variant": "new"}}]);
        child["prerequisites"] = json!([{"flag": "z", "variants": ["old"]}]);
        child["expires"] = "2027-01-31".into();
        people.expect(201, "ada", "POST", "/api/v1/flags", &child);
        let exported = people.expect(200, "ada", "GET", "/api/v1/export", &Value::Null);
        assert_eq!(exported["flags"][0]["key"], "a", "in the order of their keys");
        let version = people.version("a");
        let answer = people.expect(200, "ada", "POST", "/api/v1/imports", &json!({"document": exported}));
        assert!(answer["plan"].as_array().unwrap().iter().all(|item| item["step"] == "unchanged"), "{answer}");
        assert_eq!(people.version("a"), version);
        let again = people.expect(200, "ada", "GET", "/api/v1/export", &Value::Null);
        assert_eq!(exported, again);
        let some = people.expect(200, "ada", "GET", "/api/v1/export?flags=z", &Value::Null);
        assert_eq!((some["flags"].as_array().unwrap().len(), &some["cohorts"]), (1, &json!([])));

        // Into another service, with the ids.
        let directory = tempfile::tempdir().unwrap();
        let ids = directory.path().join("ids");
        let document = changeover()
            .service(&database)
            .args(["flag", "export", "--with-cohorts"])
            .arg(&ids)
            .run()
            .expect_code(0)
            .stdout;
        let other = crate::support::TestDatabase::new(database.connection().dialect());
        let import = |arguments: &[&str]| {
            changeover()
                .service(&other)
                .args(["--json", "flag", "import", "-", "--with-cohorts"])
                .arg(&ids)
                .args(arguments)
                .input(document.clone())
                .run()
        };
        let dry = import(&["--dry-run"]).expect_code(0).json();
        assert_eq!((&dry["written"], &dry["plan"][0]["step"]), (&json!(false), &json!("create")));
        import(&[]).expect_code(0);
        let versions =
            |database| state::versions(&mut crate::support::TestDatabase::connection(database)).unwrap().config;
        let before = versions(&other);
        assert!(import(&[]).expect_code(0).json()["plan"].to_string().contains("unchanged"));
        assert_eq!(versions(&other), before, "not one version more");
        let there = changeover().service(&other).args(["flag", "export"]).run().expect_code(0).stdout;
        assert_eq!(there, document, "the same bytes");
        let count = changeover().service(&other).args(["--json", "cohort", "list"]).run().expect_code(0).stdout;
        assert!(count.contains("\"ids\": 2") || count.contains("\"id_count\": 2"), "{count}");
    });
}

#[test]
fn all_of_it_or_nothing_and_nothing_unasked() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &flag("f", 0, json!({})));
        let version = people.version("f");
        let document = json!({"format": 1, "cohorts": [{"name": "c", "conditions": [[{"attribute": "plan", "operator": "equals", "value": "pro"}]]}],
            "flags": [flag("new", 0, json!({})), flag("f", 5_000, json!({}))]});
        let problem =
            people.refused("import_conflict", "ada", "POST", "/api/v1/imports", &json!({"document": document}));
        assert!(problem["detail"].as_str().unwrap().contains("flag/f"), "{problem}");
        assert_eq!(people.send("ada", "GET", "/api/v1/flags/new", &Value::Null).status, 404, "all or nothing");
        let dry = people.expect(200, "ada", "POST", "/api/v1/imports", &json!({"document": document, "dry_run": true}));
        assert_eq!((&dry["written"], dry["plan"].as_array().unwrap().len()), (&json!(false), 3));
        assert!(dry["plan"].to_string().contains("/ranges"), "{dry}");
        people.expect(
            200,
            "ada",
            "POST",
            "/api/v1/imports",
            &json!({"document": document, "replace": true, "reason": "moved"}),
        );
        assert!(people.version("f") > version);
        let history = people.expect(200, "ada", "GET", "/api/v1/flags/f/history?limit=1", &Value::Null);
        assert_eq!(history["items"][0]["reason"], "moved");
        for (bad, at) in [
            (json!({"format": 2, "flags": []}), "format"),
            (json!({"format": 1, "flags": [flag("f", 0, json!({})), flag("f", 0, json!({}))]}), "flags[1]"),
            (
                json!({"format": 1, "flags": [{"key": "x", "type": "boolean", "variants": {}, "default_variant": "a", "off_variant": "a"}]}),
                "flags[0].variants",
            ),
            (json!({"format": 1, "flags": [], "cohorts": [{"name": "no name"}]}), "cohorts[0].name"),
        ] {
            let problem = people.refused("invalid_flag", "ada", "POST", "/api/v1/imports", &json!({"document": bad}));
            assert!(problem["mistakes"].to_string().contains(&format!("\"{at}")), "{problem}");
        }
        people.refused("invalid_import", "ada", "POST", "/api/v1/imports", &json!({"document": {"flags": 1}}));
        people.refused("invalid_import", "ada", "POST", "/api/v1/imports", &json!({"document": {}, "from": "flagd"}));
        let lossy = json!({"flags": {"bad": {"state": "ENABLED", "variants": {}, "defaultVariant": "a"}}});
        people.refused(
            "invalid_import",
            "ada",
            "POST",
            "/api/v1/imports",
            &json!({"document": lossy, "from": "flagd", "strict": true}),
        );
        let answer = people.expect(200, "ada", "POST", "/api/v1/imports", &json!({"document": lossy, "from": "flagd"}));
        assert_eq!((&answer["notes"][0]["kind"], &answer["notes"][0]["flag"]), (&json!("left_out"), &json!("bad")));
    });
}

#[test]
fn an_import_over_a_flag_that_takes_two_persons_waits_as_a_whole() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &flag("two", 0, json!({"two_person": true})));
        let document = json!({"format": 1, "flags": [flag("aside", 0, json!({})), flag("two", 5_000, json!({"two_person": true}))]});
        let wish = json!({"document": document, "replace": true});
        let place = people.send("ada", "POST", "/api/v1/imports", &wish).location.unwrap();
        assert_eq!(people.send("ada", "GET", "/api/v1/flags/aside", &Value::Null).status, 404);
        assert_eq!(people.expect(200, "ada", "GET", &place, &Value::Null)["writes"].as_array().unwrap().len(), 2);
        people.expect(200, "grace", "POST", &format!("{place}/approval"), &json!({}));
        people.version("aside");
        let with_cohort = json!({"format": 1, "flags": [flag("two", 6_000, json!({"two_person": true}))], "cohorts": [{"name": "c"}]});
        people.refused(
            "second_person_needed",
            "ada",
            "POST",
            "/api/v1/imports",
            &json!({"document": with_cohort, "replace": true}),
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::support::full_length(60, 6) as u32))]

    #[test]
    fn whatever_was_exported_is_imported_as_it_was(seed: u64) {
        each_database(|database| {
            let mut random = Random::new(seed);
            let flags: Vec<Value> = (0..1 + random.below(6)).map(|number| any_flag(number, &mut random)).collect();
            let store = Store::open(database.database()).unwrap();
            let read = |document: Value| serde_json::from_value::<changeover::flags::import::Document>(document).unwrap().check().unwrap();
            let first = read(json!({"format": 1, "flags": flags, "cohorts": [{"name": "beta"}]}));
            store.write(|conn| imports::import(conn, incoming(&first), Authority::ALONE, ORIGIN)).unwrap();
            let exported = store.read(|conn| imports::export(conn, &[])).unwrap();
            let version = store.read(state::versions).unwrap();
            let again = read(serde_json::to_value(&exported).unwrap());
            let plan = store.write(|conn| imports::import(conn, incoming(&again), Authority::ALONE, ORIGIN)).unwrap();
            assert!(plan.items().all(|item| item.step == ImportStep::Unchanged), "{plan:?}");
            assert_eq!(store.read(state::versions).unwrap(), version);
            assert_eq!(store.read(|conn| imports::export(conn, &[])).unwrap(), exported);
        });
    }
}

fn incoming(document: &changeover::flags::import::Checked) -> Incoming<'_> {
    Incoming { document, ids: &[], replace: false }
}

fn any_flag(number: u64, random: &mut Random) -> Value {
    let mut flag = flag(&format!("f{number}"), u32::try_from(random.below(100_001)).unwrap(), json!({}));
    flag["enabled"] = random.is_one_in(2).into();
    if random.is_one_in(2) {
        flag["protection"] = json!({"percent_per_hour": random.below(100) + 1, "reason_required": true});
    }
    if random.is_one_in(2) {
        flag["rules"][0]["cohort"] = "beta".into();
    }
    if random.is_one_in(3) {
        let clause =
            json!({"attribute": "born", "operator": "before", "value": "2000-01-01T01:00:00+01:00", "negate": true});
        flag["rules"].as_array_mut().unwrap().push(json!({"clauses": [clause, {"attribute": "v", "operator": "exists"}], "serve": {"schedule": [{"from": "2026-12-01T00:00:00Z", "variant": "new"}]}}));
    }
    if number > 0 && random.is_one_in(3) {
        // Also one that is written before the flag that it asks for, by its key.
        flag["prerequisites"] = json!([{"flag": "f0", "variants": ["old"]}]);
    }
    if random.is_one_in(4) {
        flag["type"] = "float".into();
        flag["variants"] = json!({"old": 1, "new": 2.5e-7});
    }
    flag
}
