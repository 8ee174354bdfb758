//! One charge among millions, explained: alone it is in the class that the comparison of all gives it, and the reasons are its own.

use changeover::allocation::ChargeClass;
use changeover::database::DatabaseConnection;
use changeover::primitives::{ChangeName, Instant};
use changeover::routing::{Side, side_of_charge};
use changeover::sql::names::own;
use changeover::translation::charge::read_charge;
use changeover::translation::compare::{CompareError, CompareRequest};
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::commands::{NAME, command, installed, report};
use super::properties::{CHANGE, allocation, for_all, store};
use super::worlds::{Case, any_case};
use crate::examples::support::{load_video_hosting, number};
use crate::routing::fixture::{Fixture, pilot_of};
use crate::support::{Server, TestDatabase, changeover, each_database, full_length};

/// The class of a charge that is read alone, and how many reasons there are for it.
fn alone(
    connection: &mut DatabaseConnection,
    case: &Case,
    id: &str,
) -> Result<Option<(ChargeClass, usize)>, CompareError> {
    let (allocation, change) = (allocation(connection.dialect(), case), ChangeName::new(CHANGE).unwrap());
    let request = CompareRequest {
        closed_before: case.world.closed_before.as_deref(),
        closed_of: Some(&change),
        ..CompareRequest::of(&allocation)
    };
    let read = read_charge(connection, &request, id)?;
    assert_eq!(read.refused, None, "nothing here cannot be compared");
    Ok(read.class.map(|class| (class, read.facts.reasons(class).len())))
}

#[test]
fn a_charge_read_alone_is_in_the_class_that_the_comparison_of_all_gives_it() {
    for_all(full_length(1_000, 60), &any_case(), |connection, case| {
        let allocation = allocation(connection.dialect(), case);
        store(connection, case, &allocation);
        if case.world.may_overflow(true) {
            return Ok(());
        }
        for (id, class) in &case.world.expect().class_of {
            let found =
                alone(connection, case, id).map_err(|error| TestCaseError::fail(format!("{id:?}: {error:?}")))?;
            if found.map(|(class, _)| class) != Some(*class) {
                return Err(TestCaseError::fail(format!("{id:?} alone is {found:?}, among all it is {class}")));
            }
            if found.is_some_and(|(_, reasons)| reasons == 0) {
                return Err(TestCaseError::fail(format!("{id:?} is {class}, and nothing says why")));
            }
        }
        Ok(())
    });
}

fn explain(database: &TestDatabase, id: i64, code: i32) -> (Value, String) {
    let arguments = [String::from("report"), String::from("explain"), id.to_string()];
    let document = command(database).arg("--json").args(&arguments).run().expect_code(code).json();
    (document, command(database).args(&arguments).run().expect_code(code).stdout)
}

#[test]
fn an_engineer_finds_the_one_wrong_charge_and_reads_why() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 31);
        installed(&database);
        let id = number(
            &mut connection,
            "SELECT max(charge_id) FROM (SELECT charge_id FROM charge_allocations WHERE amount_minor > 0
               GROUP BY charge_id HAVING count(*) > 1) d",
        );
        let (fine, text) = explain(&database, id, 0);
        assert_eq!((&fine["class"], &fine["verdict"]), (&json!("split_expected"), &json!("fine")), "{fine}");
        let names: Vec<&str> =
            fine["queries"].as_array().unwrap().iter().map(|query| query["query"].as_str().unwrap()).collect();
        assert_eq!(names, ["charges", "old", "new", "group", "expected_payers", "reverses", "effective"]);
        assert_eq!(fine["queries"][0]["rows"][0]["charge_id"], id.to_string());
        assert!(text.contains("has no recorded side in") && text.contains("not `live` yet"), "{text}");
        assert_eq!(fine["routing"]["side"], "old");

        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id = {id} AND payer_id =
                   (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id})"
            ))
            .unwrap();
        let run = report(&database, &[NAME], 1);
        let (wrong, text) = explain(&database, id, 1);
        assert_eq!((&wrong["class"], &wrong["verdict"]), (&json!("not_conserved"), &json!("wrong")));
        let why = wrong["why"][1].as_str().unwrap();
        assert!(why.contains("The new model's parts add up to") && why.contains("0.01"), "{why}");
        assert!(
            text.contains("WRONG, not_conserved") && text.contains(why) && text.contains("Nobody explains it"),
            "{text}"
        );
        assert_eq!(
            (&wrong["last_report"]["id"], &wrong["last_report"]["class"]),
            (&run["id"], &json!("not_conserved"))
        );

        let fixed = ["explanation", "add", NAME, "--class", "not_conserved", "--reason-code", "rounding-2019"];
        let words = ["--text", "booked by hand", "--owner", "Ada", "--expires", "2099-12-31", "--max-count", "1"];
        let about = |charge: &str| {
            command(&database).args(fixed).args(words).args(["--charge", charge]).run().expect_code(0);
        };
        about("another");
        assert_eq!(explain(&database, id, 1).0["explanations"], json!([]), "it is about another charge");
        about(&id.to_string());
        let (covered, text) = explain(&database, id, 1);
        assert_eq!(
            (&covered["explanations"][0]["owner"], &covered["explanations"][0]["state"]),
            (&json!("Ada"), &json!("holds"))
        );
        assert!(text.contains("booked by hand"), "{text}");

        let unknown = command(&database).args(["report", "explain", "nothing-like-it"]).run().expect_code(2);
        assert!(unknown.stderr.contains("has no charge `nothing-like-it`"), "{unknown}");
    });
}

#[test]
fn a_closed_period_says_what_it_recorded_and_over_http_any_viewer_may_ask() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 32);
        installed(&database);
        let run = |arguments: &[&str]| drop(command(&database).args(arguments).run().expect_code(0));
        run(&["verify", NAME]);
        run(&["change", "stage", NAME, "shadow"]);
        run(&["change", "close", NAME, "--before", "2026-11", "--reason", "billed"]);
        connection.batch("UPDATE periods SET closed = true WHERE period < '2026-11'").unwrap();
        let id = number(
            &mut connection,
            "SELECT max(id) FROM charges c WHERE period = '2026-10' AND reverses_id IS NULL
               AND NOT EXISTS (SELECT 1 FROM charges r WHERE r.reverses_id = c.id)",
        );
        let secret = |role: &str| {
            let issued = changeover().service(&database).args(["--json", "token", "create", role, "--role", role]);
            issued.run().expect_code(0).json()["secret"].as_str().unwrap().to_owned()
        };
        let (viewer, application) = (secret("viewer"), secret("evaluate"));
        let server = Server::start(&database);
        let path = format!("/api/v1/changes/{NAME}/charges/{id}/explain");
        let answer = server.send_as(&viewer, "GET", &path, &[], None);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["verdict"]), (200, &json!("fine")), "{body}");
        assert!(body["facts"]["recorded"]["closed_at"].is_string() && body["facts"]["is_closed"] == true, "{body}");
        assert_eq!(body["facts"]["recorded"]["old"], body["facts"]["old"]);
        assert_eq!(server.send_as(&application, "GET", &path, &[], None).status, 403);
        for (path, code) in [
            (format!("/api/v1/changes/{NAME}/charges/nothing/explain"), "charge_not_found"),
            (format!("/api/v1/changes/nothing/charges/{id}/explain"), "change_not_found"),
        ] {
            let answer = server.send_as(&viewer, "GET", &path, &[], None);
            assert_eq!(answer.status, 404, "{answer:?}");
            assert!(answer.body.contains(code), "{answer:?}");
        }

        // Behind the triggers' back: the new model forgets what it had.
        connection
            .batch(&format!("UPDATE charge_allocations SET payer_id = (SELECT max(id) FROM users) WHERE charge_id = {id} AND payer_id =
                (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id})"))
            .unwrap();
        let (moved, text) = explain(&database, id, 1);
        assert_eq!(moved["class"], "frozen_changed", "{moved}");
        assert!(
            text.contains("when the period closed, and allocates") && text.contains("Its period closed at"),
            "{text}"
        );
        connection.batch(&format!("DELETE FROM charges WHERE id = {id}")).unwrap();
        connection.batch(&format!("DELETE FROM charge_allocations WHERE charge_id = {id}")).unwrap();
        let (gone, text) = explain(&database, id, 1);
        assert_eq!((&gone["class"], &gone["facts"]["charge"]), (&json!("frozen_changed"), &Value::Null));
        assert!(text.contains("gone since its period closed"), "{text}");
    });
}

#[test]
fn the_side_of_a_charge_is_told_with_who_put_it_there_and_why() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        fixture.assign(&pilot_of(&["11"], "old"), "2026-12").unwrap();
        let mut connection = fixture.connection();
        let now = Instant::from_micros(9_000);
        let mut side = |group: &str, period: &str| {
            side_of_charge(&mut connection, &fixture.name, (group, period), now).unwrap().unwrap()
        };
        let assigned = side("1", "2026-12");
        assert_eq!(assigned.stood.side, Side::New);
        assert!(
            assigned.why[0].contains("is on the new side in 2026-12: assigned at")
                && assigned.why[0].contains("by ann"),
            "{assigned:?}"
        );
        let before = side("1", "2026-11");
        assert!(before.why[0].contains("no recorded side in 2026-11, so the old model is in force."), "{before:?}");
        fixture.move_group("1", "2026-12", Side::Old).unwrap();
        let moved = side("1", "2026-12");
        assert_eq!(moved.stood.side, Side::Old);
        assert!(moved.why[0].contains("moved there") && moved.why[0].contains("(asked for it)"), "{moved:?}");
        assert!(moved.why[1].contains("it was on the new side"), "{moved:?}");
    });
}

/// No statement reads more than the one charge: where ids have an index, the plan uses it.
#[test]
fn a_plan_for_one_charge_reads_no_table_from_end_to_end() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 33);
        installed(&database);
        let is_sqlite = database.dialect() == changeover::primitives::Dialect::Sqlite;
        let view = own(database.dialect(), "effective_allocation");
        let id = number(&mut connection, "SELECT max(id) FROM charges");
        let explain = if is_sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
        let setting = if is_sqlite { "SELECT 1" } else { "SET enable_seqscan = off" };
        connection.batch(setting).unwrap();
        let sql = format!("{explain} SELECT * FROM {view} q WHERE q.charge_id IN (({id}))");
        let plan: Vec<String> = connection
            .query(&sql, &[])
            .unwrap()
            .iter()
            .flat_map(|row| row.columns().iter().filter_map(|(_, value)| value.to_text()).collect::<Vec<_>>())
            .collect();
        let plan = plan.join("\n");
        assert!(!plan.contains("SCAN c") && !plan.contains("Seq Scan on charges"), "{plan}");
    });
}
