//! `changeover report` on the video-hosting example: before anything is installed, while both models are fed, and after a fault.

use changeover::primitives::Dialect;
use changeover::sql::names::own;
use serde_json::Value;

use crate::examples::support::{load_video_hosting, number};
use crate::support::{Changeover, TestDatabase, changeover, each_database};

pub(super) const CHANGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/video-hosting/change.toml");
pub(super) const NAME: &str = "billing-allocation";

pub(super) fn command(database: &TestDatabase) -> Changeover {
    changeover().service(database).app(database)
}

pub(super) fn report(database: &TestDatabase, arguments: &[&str], code: i32) -> Value {
    command(database).args(["--json", "report", "run"]).args(arguments).run().expect_code(code).json()
}

pub(crate) fn installed(database: &TestDatabase) {
    let run = |arguments: &[&str]| drop(command(database).args(arguments).run().expect_code(0));
    run(&["change", "install", CHANGE]);
    run(&["change", "stage", NAME, "dualwrite"]);
    run(&["backfill", NAME]);
}

#[test]
fn what_if_tells_the_truth_and_leaves_nothing_behind() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 1);
        let tables = ["accounts", "memberships", "video_accounts", "charge_allocations"];
        let mut rows = || tables.map(|table| number(&mut connection, &format!("SELECT count(*) FROM {table}")));
        let before = rows();
        let what_if = report(&database, &["--what-if", CHANGE], 0);
        assert_eq!(what_if["data"]["clean"], true);
        assert_eq!(what_if["data"]["basis"]["kind"], "what_if");
        assert_eq!(rows(), before, "everything was rolled back");
        assert!(before[3] == 0, "nothing is allocated yet");
        assert!(!has_own_objects(&database), "and nothing was left");

        installed(&database);
        let after = report(&database, &[NAME], 0);
        for table in ["totals", "classes", "payers", "movers", "histogram"] {
            let (mut before, mut after) = (what_if["data"][table].clone(), after["data"][table].clone());
            for total in [&mut before, &mut after].into_iter().filter_map(Value::as_array_mut).flatten() {
                // Only what is installed knows groups' accounts by the same ids; nothing else may differ.
                total.as_object_mut().unwrap().remove("effective");
            }
            assert_eq!(before, after, "{table}");
        }
        let again = command(&database).args(["report", "run", "--what-if", CHANGE]).run().expect_code(2);
        assert!(again.stderr.contains("installed already"), "{again}");
    });
}

#[test]
fn a_report_is_run_stored_shown_signed_and_exits_as_it_should() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 2);
        installed(&database);

        let report = report(&database, &[NAME, "--period", "2026-11"], 0);
        let id = report["id"].as_str().unwrap();
        assert_eq!(report["data"]["basis"]["stage"], "dualwrite");
        assert_eq!(report["data"]["effective"], "view");
        assert_eq!(report["data"]["totals"].as_array().unwrap().len(), currencies(&mut connection));

        let sign = ["report", "sign", id, "--name", "Grace", "--role", "finance"];
        let signed = command(&database).arg("--json").args(sign).run().expect_code(0).json();
        assert_eq!(signed["sha256"], report["sha256"]);
        assert_eq!(signed["signatures"][0]["name"], "Grace");
        command(&database).args(sign).run().expect_code(2);

        let shown = command(&database).args(["report", "show", id]).run().expect_code(0);
        assert!(shown.stdout.contains("CLEAN") && shown.stdout.contains("Grace (finance)"), "{shown}");
        let page = command(&database).args(["report", "show", id, "--format", "html"]).run().expect_code(0);
        assert!(page.stdout.starts_with("<!DOCTYPE html>") && page.stdout.contains("<svg"), "{page}");
        for asset in ["http://", "https://", " src=", "<link", "<img", "<iframe", "@import", "url("] {
            assert!(!page.stdout.contains(asset), "the page is self-contained: {asset}");
        }
        let listed = command(&database).args(["--json", "report", "list", NAME]).run().expect_code(0).json();
        assert_eq!(listed[0]["id"], id);
        assert_eq!(listed[0]["signatures"][0]["role"], "finance");

        let none = command(&database).args(["report", "run", NAME, "--period", "2062-11"]).run().expect_code(2);
        assert!(none.stderr.contains("no charge in 2062-11"), "{none}");
        command(&database).args(["report", "show", "nowhere"]).run().expect_code(2);
        command(&database).args(["report", "run", "nowhere"]).run().expect_code(2);
    });
}

fn has_own_objects(database: &TestDatabase) -> bool {
    let sql = match database.dialect() {
        Dialect::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name LIKE 'changeover_%'",
        Dialect::Postgres => "SELECT count(*) FROM pg_namespace WHERE nspname = 'changeover'",
    };
    number(&mut database.connection(), sql) > 0
}

fn currencies(connection: &mut changeover::database::DatabaseConnection) -> usize {
    usize::try_from(number(connection, "SELECT count(DISTINCT currency) FROM charges WHERE period = '2026-11'"))
        .unwrap()
}

#[test]
fn a_fault_ends_with_one_and_csv_names_it() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 3);
        installed(&database);
        // Behind the triggers' back: a part grows by one unit.
        let id = number(&mut connection, "SELECT max(charge_id) FROM charge_allocations WHERE amount_minor > 0");
        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id = {id} AND payer_id =
                   (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id})"
            ))
            .unwrap();
        let report = report(&database, &[NAME], 1);
        let exceptions = report["data"]["exceptions"].as_array().unwrap();
        assert_eq!(exceptions[0]["class"], "not_conserved");
        assert_eq!(exceptions[0]["charge_id"], id.to_string());

        let directory = tempfile::tempdir().unwrap();
        let csv = ["report", "run", NAME, "--format", "csv", "--out"];
        command(&database).args(csv).arg(directory.path()).run().expect_code(1);
        let lines = std::fs::read_to_string(directory.path().join("exceptions.csv")).unwrap();
        assert!(lines.contains(&format!("{id},not_conserved,")), "{lines}");
        command(&database).args(["report", "run", NAME, "--format", "csv"]).run().expect_code(2);
    });
}

#[test]
fn what_is_in_force_is_measured_on_both_sides_and_still_exact() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 600, 4);
        installed(&database);
        let assignment = own(database.dialect(), "assignment");
        connection
            .batch(&format!(
                "INSERT INTO {assignment} (change, period, group_id, side, at, actor, reason, flag_version)
                 SELECT '{NAME}', p.period, CAST(a.id AS TEXT), 'new', 0, 'test', '', 1
                 FROM accounts a CROSS JOIN (SELECT DISTINCT period FROM charges) p WHERE a.id % 2 = 0"
            ))
            .unwrap();
        let report = report(&database, &[NAME], 0);
        let totals = report["data"]["totals"].as_array().unwrap();
        let sum = |field: &str| totals.iter().map(|total| total[field].as_u64().unwrap()).sum::<u64>();
        assert!(0 < sum("on_new") && sum("on_new") < sum("charges"), "some are on each side");
        for total in totals {
            assert_eq!(total["effective"]["amount"], total["amount"]);
            assert_eq!(total["effective"]["charges"], total["charges"]);
        }

        // A new side that is wrong is wrong in force as well, and told once.
        let sql = format!(
            "SELECT min(e.charge_id) FROM {} e WHERE e.side = 'new' AND e.amount > 0",
            own(database.dialect(), "effective_allocation")
        );
        let id = number(&mut connection, &sql);
        let first = format!("(SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id})");
        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor + 7 WHERE charge_id = {id} AND payer_id = {first}"
            ))
            .unwrap();
        let report = self::report(&database, &[NAME], 1);
        let exceptions = report["data"]["exceptions"].as_array().unwrap();
        let of_charge: Vec<_> =
            exceptions.iter().filter(|line| line["charge_id"].as_str() == Some(&id.to_string())).collect();
        assert_eq!(of_charge.len(), 1);
        assert_eq!(of_charge[0]["class"], "not_conserved");
        assert_eq!(of_charge[0]["effective_amount"], of_charge[0]["new_amount"]);
        assert_ne!(of_charge[0]["effective_amount"], of_charge[0]["amount"]);
    });
}
