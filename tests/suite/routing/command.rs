//! `changeover assign` as a person or a script runs it.

use changeover::primitives::FlagKey;
use changeover::store::{Origin, Store, flags};
use serde_json::{Value, json};

use super::fixture::Fixture;
use crate::support::{Changeover, Finished, TestDatabase, changeover, each_database};

const DECEMBER: &str = "2026-12";

fn command(fixture: &Fixture, service: &TestDatabase) -> Changeover {
    changeover().service(service).app(&fixture.database).args(["--actor", "ann", "assign"])
}

fn run(fixture: &Fixture, service: &TestDatabase, arguments: &[&str]) -> Finished {
    command(fixture, service).args(arguments).run()
}

fn json_of(fixture: &Fixture, service: &TestDatabase, arguments: &[&str]) -> Value {
    let finished = command(fixture, service).args(arguments).arg("--json").run();
    assert_eq!(finished.code, 0, "{finished}");
    serde_json::from_str(&finished.stdout).unwrap()
}

/// A store in which the flag puts everybody on the new side.
fn service_with_flag(database: &TestDatabase) -> TestDatabase {
    let service = TestDatabase::new(database.dialect());
    let flag = json!({
        "key": "billing-allocation", "type": "boolean", "variants": { "old": false, "new": true },
        "default_variant": "new", "off_variant": "old", "change": "billing-allocation",
    });
    let key = FlagKey::new("billing-allocation").unwrap();
    let data = changeover::flags::Flag::parse(&flag.to_string()).unwrap();
    let data = serde_json::to_string(&data.to_draft()).unwrap();
    let store = Store::open(service.database()).unwrap();
    store
        .write(|connection| flags::create(connection, &key, &data, Origin { actor: "ann", reason: "" }).map(drop))
        .unwrap();
    service
}

#[test]
fn a_period_is_assigned_moved_listed_and_told_on_the_command_line() {
    each_database(|database| {
        let service = service_with_flag(&database);
        let fixture = Fixture::with_data(database);
        let receipt = json_of(&fixture, &service, &["--period", DECEMBER]);
        assert_eq!((&receipt["groups"], &receipt["assigned_new"]), (&json!(2), &json!(2)), "{receipt}");

        let moved = ["--move", "1", "--to", "old", "--period", DECEMBER, "--reason", "disputed invoice"];
        let finished = run(&fixture, &service, &moved);
        assert_eq!(finished.code, 0, "{finished}");
        assert!(finished.stdout.contains("group `1` moved to old for 2026-12 (before: new)"), "{finished}");

        let listed = json_of(&fixture, &service, &["billing-allocation", "--list", "--period", DECEMBER]);
        let sides: Vec<&Value> = listed["assignments"].as_array().unwrap().iter().map(|row| &row["side"]).collect();
        assert_eq!(sides, [&json!("old"), &json!("new")]);
        let counts = json_of(&fixture, &service, &["--list"]);
        assert_eq!(counts["periods"], json!([{ "period": DECEMBER, "old": 1, "new": 1 }]));
        let told = json_of(&fixture, &service, &["--history", "1"]);
        let reasons: Vec<&Value> = told["events"].as_array().unwrap().iter().map(|event| &event["reason"]).collect();
        assert_eq!(reasons[1], &json!("disputed invoice"), "{told}");

        let store = Store::open(service.database()).unwrap();
        let page = changeover::store::PageRequest { after: None, limit: Some(10) };
        let subject = Some(String::from("change/billing-allocation"));
        let filter = changeover::store::audit::Filter { subject, ..Default::default() };
        let rows = store.read(|connection| changeover::store::audit::list(connection, &filter, &page)).unwrap();
        let actions: Vec<(&str, &str)> =
            rows.items.iter().map(|row| (row.action.as_str(), row.actor.as_str())).collect();
        assert_eq!(actions, [("change.move", "ann"), ("change.assign", "ann")]);
    });
}

#[test]
fn what_cannot_be_done_ends_with_2_and_says_why() {
    each_database(|database| {
        let service = service_with_flag(&database);
        let fixture = Fixture::with_data(database);
        fixture.close_before(DECEMBER);
        for (arguments, says) in [
            (&["--period", "2026-11"][..], "period 2026-11 of change `billing-allocation` is closed"),
            (&["--period", "2026-13"], "write 2026-11 (a month)"),
            (&["--move", "1", "--to", "new", "--period", DECEMBER], "--reason"),
            (&["--move", "1", "--to", "left", "--period", DECEMBER, "--reason", "x"], "write old or new"),
            (&["other", "--period", DECEMBER], "change `other` is not installed"),
            (&[], "--period"),
        ] {
            let finished = run(&fixture, &service, arguments);
            assert_eq!(finished.code, 2, "{finished}");
            assert!(finished.stderr.contains(says), "{finished}");
        }
        assert_eq!(fixture.count("assignment"), 0);
        let empty = TestDatabase::new(fixture.database.dialect());
        let finished = changeover().service(&service).app(&empty).args(["assign", "--period", DECEMBER]).run();
        assert_eq!(finished.code, 2, "{finished}");
        assert!(finished.stderr.contains("changeover change install FILE"), "{finished}");
    });
}

#[test]
fn many_groups_are_asked_moved_and_looked_back_at_on_the_command_line() {
    each_database(|database| {
        let service = service_with_flag(&database);
        let fixture = Fixture::with_data(database);
        let questions = "{\"user\":\"11\"}\n{\"group\":\"2\"}\n?\n";
        let asked =
            command(&fixture, &service).args(["--ask", "--no-record", "--period", DECEMBER]).input(questions).run();
        assert_eq!(asked.code, 0, "{asked}");
        let answers: Vec<Value> = asked.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (answers.len(), &answers[0]["side"], &answers[0]["group"]),
            (3, &json!("new"), &json!("1")),
            "{asked}"
        );
        assert!(asked.stderr.contains("3 lines, of which 1 could not be answered"), "{asked}");
        assert_eq!(fixture.count("assignment"), 0, "nothing is recorded");

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("groups");
        std::fs::write(&file, "1\n2\n\n").unwrap();
        let file = file.to_str().unwrap();
        let moves = ["--move-file", file, "--to", "new", "--period", DECEMBER];
        let preview = run(&fixture, &service, &[&moves[..], &["--preview"]].concat());
        assert!(preview.code == 0 && preview.stdout.contains("2 groups would be put on the new side"), "{preview}");
        let refused = run(&fixture, &service, &moves);
        assert!(refused.code == 2 && refused.stderr.contains("reason"), "{refused}");
        let moved = run(&fixture, &service, &[&moves[..], &["--reason", "wave 1"]].concat());
        assert!(moved.code == 0 && moved.stdout.contains("2 that had no record"), "{moved}");
        let split = ["--split", "1", "--into", "5,6", "--period", DECEMBER, "--reason", "a subsidiary"];
        let split = run(&fixture, &service, &split);
        assert!(split.stdout.contains("group `5` is on the new side in 2026-12, as `1` is"), "{split}");
        let told = run(&fixture, &service, &["--at", "2100-01-01T00:00:00Z", "--user", "11", "--period", DECEMBER]);
        assert!(
            told.stdout.contains("group `1` was on the new side for 2026-12") && told.stdout.contains("wave 1"),
            "{told}"
        );
        let told = run(&fixture, &service, &["--at", "2020-01-01T00:00:00Z", "--group", "1", "--period", DECEMBER]);
        assert!(told.stdout.contains("was on the old side") && told.stdout.contains("since then: new"), "{told}");
        let nobody = run(&fixture, &service, &["--at", "2100-01-01T00:00:00Z"]);
        assert!(nobody.code == 2 && nobody.stderr.contains("--group"), "{nobody}");
        let cohort = run(&fixture, &service, &["--move-cohort", "none", "--to", "old", "--reason", "x"]);
        assert!(cohort.code == 2 && cohort.stderr.contains("there is no cohort `none`"), "{cohort}");
    });
}
