//! Every kind of fault, planted behind translation's back, is found by verify and mended by repair.

use changeover::change::Stage;
use changeover::database::{DatabaseConnection, Dialect};
use changeover::translation::{BlockDrift, DriftClass, VerifyOptions, repair, verify};

use super::fixture::{Installed, installed};
use crate::support::each_database;

/// Runs statements that no trigger sees, as a restore or a replication worker would.
pub fn behind_its_back(installed: &Installed, statements: &[&str]) {
    let mut connection = installed.connection();
    match connection.dialect() {
        Dialect::Postgres => connection.batch("SET session_replication_role = replica").unwrap(),
        Dialect::Sqlite => connection
            .batch("UPDATE changeover_billing_allocation_control SET mode = 1000000; PRAGMA foreign_keys = OFF")
            .unwrap(),
    }
    for statement in statements {
        connection.batch(statement).unwrap();
    }
    if connection.dialect() == Dialect::Sqlite {
        connection.batch("UPDATE changeover_billing_allocation_control SET mode = 0").unwrap();
    }
}

fn found(installed: &Installed, connection: &mut DatabaseConnection) -> Vec<BlockDrift> {
    // Small ranges, so that a fault also lies at the edge of one.
    let options = VerifyOptions { range_keys: 2, samples_max: 100 };
    verify(connection, &installed.model, options, &mut |_, _| {}).unwrap()
}

/// (what is done, the block's target, the class, how many rows)
type Fault = (&'static str, &'static str, DriftClass, u64);

const FAULTS: &[Fault] = &[
    ("DELETE FROM charge_allocations WHERE charge_id = 5", "charge_allocations", DriftClass::Missing, 1),
    (
        "DELETE FROM charge_allocations WHERE charge_id = 1 AND payer_id = 2",
        "charge_allocations",
        DriftClass::Missing,
        1,
    ),
    ("INSERT INTO charge_allocations VALUES (3, 6, 6, 1, 0, 'JPY')", "charge_allocations", DriftClass::Extra, 1),
    ("INSERT INTO charge_allocations VALUES (999, 6, 6, 1, 5, 'EUR')", "charge_allocations", DriftClass::Extra, 1),
    ("INSERT INTO charge_allocations VALUES (-7, 6, 6, 1, 5, 'EUR')", "charge_allocations", DriftClass::Extra, 1),
    (
        "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id = 6",
        "charge_allocations",
        DriftClass::Different,
        1,
    ),
    (
        "UPDATE charge_allocations SET amount_minor = CASE payer_id WHEN 1 THEN amount_minor + 1 ELSE amount_minor - 1 END WHERE charge_id = 1",
        "charge_allocations",
        DriftClass::Different,
        2,
    ),
    (
        "UPDATE charge_allocations SET currency = 'USD' WHERE charge_id = 4",
        "charge_allocations",
        DriftClass::Different,
        1,
    ),
    ("UPDATE charges SET amount_minor = 77 WHERE id = 4", "charge_allocations", DriftClass::Different, 1),
    (
        "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (77, 4, 4, '2026-11', 'EUR', 5)",
        "charge_allocations",
        DriftClass::Missing,
        1,
    ),
    ("DELETE FROM charges WHERE id = 4", "charge_allocations", DriftClass::Extra, 1),
    ("DELETE FROM video_accounts WHERE video_id = 3", "video_accounts", DriftClass::Missing, 1),
    ("INSERT INTO video_accounts VALUES (998, 1)", "video_accounts", DriftClass::Extra, 1),
    ("UPDATE videos SET user_id = 5 WHERE id = 3", "video_accounts", DriftClass::Different, 1),
    ("UPDATE users SET company = 'other' WHERE id = 2", "accounts", DriftClass::Different, 1),
    ("UPDATE accounts SET name = NULL WHERE owner_id = 1", "accounts", DriftClass::Different, 1),
    ("DELETE FROM memberships WHERE user_id = 6", "memberships", DriftClass::Missing, 1),
    (
        "INSERT INTO memberships (account_id, user_id, role, weight) SELECT id, 4, 'owner', 1 FROM accounts WHERE owner_id = 5",
        "memberships",
        DriftClass::Extra,
        1,
    ),
];

#[test]
fn each_kind_of_fault_is_found_and_mended() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        installed.assert_agrees(false, &|| String::from("before any fault"));
        let mut connection = installed.connection();
        for (statement, target, class, rows) in FAULTS {
            behind_its_back(&installed, &[statement]);
            let drift = found(&installed, &mut connection);
            let block = drift.iter().find(|block| block.target == *target).unwrap();
            let count = block.samples.iter().filter(|row| row.class == *class).count() as u64;
            assert_eq!(count, *rows, "{statement}: {drift:#?}");
            for row in block.samples.iter().filter(|row| row.class == *class) {
                assert_eq!(row.expected.is_some(), *class != DriftClass::Extra, "{statement}: {row:?}");
                assert_eq!(row.actual.is_some(), *class != DriftClass::Missing, "{statement}: {row:?}");
            }
            repair(&mut connection, &installed.model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
            let left: u64 = found(&installed, &mut connection).iter().map(BlockDrift::drift).sum();
            assert_eq!(left, 0, "{statement} was not mended");
        }
    });
}

#[test]
fn all_faults_at_once_are_counted_beyond_the_samples() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        behind_its_back(&installed, &["DELETE FROM charge_allocations"]);
        let mut connection = installed.connection();
        let options = VerifyOptions { range_keys: 1_000, samples_max: 2 };
        let drift = verify(&mut connection, &installed.model, options, &mut |_, _| {}).unwrap();
        let block = drift.iter().find(|block| block.target == "charge_allocations").unwrap();
        assert_eq!((block.missing, block.samples.len(), block.keys), (7, 2, 6), "{block:#?}");
    });
}
