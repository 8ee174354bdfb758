//! The report on real charges: a thousand of them with eleven decimals, exact in every form, on both databases.

use std::fs;

use changeover::primitives::Dialect;
use changeover::report::CsvTable;
use changeover::sql::names::own;
use serde_json::Value;

use super::formats::faults_of_schema;
use super::{markup, pages};
use crate::examples::support::load_cloud_costs;
use crate::support::{Changeover, TestDatabase, changeover, each_database};

const CHANGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cloud-costs/change.toml");
const NAME: &str = "cost-allocation";
/// What the sample's charges come to, in 10⁻¹¹ US dollars and written out.
const UNITS: i128 = 2_052_022_672_899;
const WRITTEN: &str = "20.52022672899";

fn command(database: &TestDatabase) -> Changeover {
    changeover().service(database).app(database)
}

/// Both models filled, and every other sub-account billed by the new one.
fn installed(database: &TestDatabase) {
    let run = |arguments: &[&str]| drop(command(database).args(arguments).run().expect_code(0));
    run(&["change", "install", CHANGE]);
    run(&["change", "stage", NAME, "dualwrite"]);
    run(&["backfill", NAME]);
    let assignment = own(database.dialect(), "assignment");
    let some = "SELECT id, row_number() OVER (ORDER BY id) AS place FROM sub_accounts";
    let sql = format!(
        "INSERT INTO {assignment} (change, period, group_id, side, at, actor, reason, flag_version)
         SELECT '{NAME}', p.period, s.id, 'new', 0, 'test', '', 1
         FROM ({some}) s CROSS JOIN (SELECT DISTINCT period FROM charges) p WHERE s.place % 2 = 0"
    );
    database.connection().batch(&sql).unwrap();
}

fn sum(report: &Value, side: &str) -> i128 {
    let amount = |total: &Value| total[side]["amount"].as_str().unwrap().parse::<i128>().unwrap();
    report["data"]["totals"].as_array().unwrap().iter().map(amount).sum()
}

#[test]
fn the_real_charges_report_is_exact_in_every_form() {
    each_database(|database| {
        if load_cloud_costs(&mut database.connection()).is_none() {
            return;
        }
        installed(&database);
        let out = tempfile::tempdir().unwrap();
        let json = command(&database).args(["--json", "report", "run", NAME]).run().expect_code(0);
        assert_eq!(faults_of_schema(&json.stdout), Vec::<String>::new());
        let report = json.json();
        assert_every_charge_is_classed(&report);
        for side in ["old", "new", "effective"] {
            assert_eq!(sum(&report, side), UNITS, "{side}");
        }
        let on_new: u64 =
            report["data"]["totals"].as_array().unwrap().iter().map(|total| total["on_new"].as_u64().unwrap()).sum();
        assert!(0 < on_new && on_new < 1_000, "both sides are in force: {on_new}");

        let id = report["id"].as_str().unwrap();
        let show = |form: &str, path: &str| {
            let path = out.path().join(path);
            command(&database).args(["report", "show", id, "--format", form, "--out"]).arg(&path).run().expect_code(0);
            path
        };
        let page = fs::read_to_string(show("html", "page.html")).unwrap();
        markup::check(&page);
        assert!(page.matches(WRITTEN).count() >= 4, "charged, old, new and in force, over all periods");
        let name = if database.dialect() == Dialect::Sqlite { "costs.html" } else { "costs-postgres.html" };
        pages::keep(name, &page);
        let set = show("csv", "set");
        command(&database).args(["report", "verify"]).arg(&set).run().expect_code(0);
        let totals = fs::read_to_string(set.join(CsvTable::ControlTotals.file_name())).unwrap();
        for side in ["charges", "old", "new", "effective"] {
            assert_eq!(written_sum(&totals, side), WRITTEN, "{side}");
        }
        let text = command(&database).args(["report", "show", id]).run().expect_code(0).stdout;
        assert!(text.starts_with("CLEAN: Every charge is allocated exactly once."), "{text}");
    });
}

fn assert_every_charge_is_classed(report: &Value) {
    assert_eq!(report["data"]["clean"], true);
    let classes = report["data"]["classes"].as_array().unwrap();
    assert_eq!(classes.iter().map(|class| class["charges"].as_u64().unwrap()).sum::<u64>(), 1_000);
    let is_fine =
        |class: &Value| ["same_payer", "split_expected", "moved_expected"].contains(&class["class"].as_str().unwrap());
    assert!(classes.iter().all(is_fine), "{classes:#?}");
}

/// The amounts of one side, added up as a reader of the file would: exactly, with eleven decimals.
fn written_sum(totals: &str, side: &str) -> String {
    let mut reader = csv::Reader::from_reader(totals.as_bytes());
    let units: i128 = reader
        .records()
        .map(Result::unwrap)
        .filter(|row| &row[2] == side)
        .map(|row| {
            let (_, decimals) = row[5].split_once('.').unwrap();
            assert_eq!(decimals.len(), 11);
            row[5].replace('.', "").parse::<i128>().unwrap()
        })
        .sum();
    changeover::allocation::Minor::new(units).decimal(11)
}
