//! Round-trip laws: what both models can hold comes back as it was, and what cannot is declared.

use changeover::change::{ChangeFile, Stage};
use changeover::translation::{Law, LawOptions, Laws, last_laws, laws, own};

use super::fixture::{CHANGE_FILE, file, installed, loaded};
use crate::support::{changeover, each_database};

fn options() -> LawOptions {
    LawOptions { sample: 20, seed: 7 }
}

fn told(laws: &Laws) -> String {
    let losses: Vec<String> = laws
        .losses
        .iter()
        .map(|loss| {
            format!("{:?} {}.{} {:?} ×{}: {}", loss.law, loss.table, loss.column, loss.block, loss.count, loss.sample)
        })
        .collect();
    format!("{:#?}\n{:#?}\n{:#?}", laws.tables, losses, laws.faults)
}

#[test]
fn video_hosting_declares_its_losses() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        let mut connection = installed.connection();
        let found = laws(&mut connection, &file(), options(), &mut |_, _| {}).unwrap();
        assert!(found.held, "{}", told(&found));
        let seen = |column: &str| found.declared.iter().any(|loss| loss.column == column && loss.seen > 0);
        assert!(seen("user_id"), "{}", told(&found));
        assert_eq!(found.one_way, ["charge_allocations"]);
        installed.assert_agrees(false, &|| String::from("after laws"));
    });
}

#[test]
fn an_undeclared_loss_is_found_with_its_column_and_the_same_for_the_same_seed() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        let mut connection = installed.connection();
        let text = CHANGE_FILE.replace("loss    = { user_id = ", "# loss    = { user_id = ");
        assert_ne!(text, CHANGE_FILE);
        let file = ChangeFile::parse(&text).unwrap();
        let mut try_laws = || laws(&mut connection, &file, options(), &mut |_, _| {}).unwrap();
        let found = try_laws();
        assert!(!found.held);
        let undeclared: Vec<(&str, &str)> =
            found.undeclared().map(|loss| (loss.table.as_str(), loss.column.as_str())).collect();
        assert_eq!(undeclared, [("videos", "user_id")], "{}", told(&found));
        let counted = |laws: &Laws| -> Vec<String> {
            laws.losses.iter().map(|loss| format!("{} {} {}", loss.table, loss.column, loss.count)).collect()
        };
        assert_eq!(counted(&try_laws()), counted(&found), "a run can be repeated");
        installed.assert_agrees(false, &|| String::from("after the laws"));
    });
}

/// Amounts in cents become amounts in whole units: old code's cents are gone as soon as new code comes by.
const ROUNDING: &str = r#"
format = 1
name = "rounding"
[routing]
flag = "rounding"
[[forward]]
into = "units"
from = "cents"
key = "id"
columns = { id = "id", amount = "amount / 100" }
[[backward]]
into = "cents"
from = "units"
key = "id"
columns = { id = "id", amount = "amount * 100" }
"#;

#[test]
fn what_old_code_writes_must_survive_new_code() {
    each_database(|database| {
        let mut connection = database.connection();
        connection
            .batch(
                "CREATE TABLE cents (id INTEGER PRIMARY KEY, amount INTEGER);
                 CREATE TABLE units (id INTEGER PRIMARY KEY, amount INTEGER CHECK (amount < 1000));
                 INSERT INTO cents VALUES (1, 100), (2, 250), (3, NULL), (4, 99900)",
            )
            .unwrap();
        let file = ChangeFile::parse(ROUNDING).unwrap();
        let found = laws(&mut connection, &file, options(), &mut |_, _| {}).unwrap();
        assert!(found.undeclared().any(|loss| loss.law == Law::Stay && loss.column == "amount"), "{}", told(&found));
        // A constraint of the new model that refuses what the old one holds is found before it meets old code.
        connection.batch("INSERT INTO cents VALUES (5, 500)").unwrap();
        let text = ROUNDING.replace("amount / 100", "amount * 2").replace("amount * 100", "amount / 2");
        let declared = ChangeFile::parse(&text).unwrap();
        connection.batch("DELETE FROM cents WHERE id = 4; UPDATE cents SET amount = 1 WHERE id = 2").unwrap();
        let found = laws(&mut connection, &declared, options(), &mut |_, _| {});
        assert!(found.is_err(), "the new model cannot be filled at all");
        connection.batch("DELETE FROM cents WHERE id = 5").unwrap();
        let found = laws(&mut connection, &declared, options(), &mut |_, _| {}).unwrap();
        assert!(
            found.undeclared().any(|loss| loss.table == "units"),
            "an odd amount is not restored: {}",
            told(&found)
        );
    });
}

#[test]
fn the_command_stores_evidence_for_the_gate() {
    each_database(|database| {
        drop(loaded(&database));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/video-hosting/change.toml");
        let run = |arguments: &[&str]| changeover().app(&database).service(&database).args(arguments).run();
        run(&["change", "laws", "--file", path, "--sample", "20", "--seed", "3"]).expect_code(0);
        run(&["change", "install", path]).expect_code(0);
        let installed = run(&["change", "laws", "--sample", "20", "--seed", "3", "--json"]).expect_code(0);
        assert_eq!(installed.json()["held"], true);
        let mut connection = database.connection();
        let kept = last_laws(&mut connection, &file().name).unwrap().unwrap();
        assert!(kept.held && kept.seed == 3 && kept.sample == 20);
        let history = own::history(&mut connection, &file().name).unwrap();
        assert!(history.iter().any(|entry| entry.action == "laws"), "{history:#?}");
    });
}
