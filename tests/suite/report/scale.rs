//! NUMERIC amounts with a declared scale: exact to the last decimal, or refused.

use changeover::allocation::Minor;
use changeover::database::Dialect;

use super::ledger::{Ledger, found};
use crate::support::{TestDatabase, each_database};

fn precise() -> Ledger {
    let mut ledger = Ledger::new(TestDatabase::new(Dialect::Postgres));
    for table in ["charges", "old_parts", "new_parts"] {
        ledger.run(&format!("ALTER TABLE {table} ALTER amount TYPE NUMERIC(20, 11)"));
    }
    ledger.allocation.scale = Some(11);
    for (id, payers) in [("a", &["ann", "bob", "cid"][..]), ("b", &["ann"])] {
        ledger.charge(id, "2026-11", 3, payers);
        // A third of a third: 3.00000000001 = 1.00000000001 + 1 + 1.
        ledger.run(&format!(
            "UPDATE charges SET amount = amount + 0.00000000001 WHERE id = '{id}';
             UPDATE old_parts SET amount = amount + 0.00000000001 WHERE charge_id = '{id}';
             UPDATE new_parts SET amount = amount + 0.00000000001 WHERE charge_id = '{id}' AND payer = 'ann'"
        ));
    }
    ledger
}

#[test]
fn eleven_decimals_are_compared_exactly() {
    let mut ledger = precise();
    let comparison = ledger.compare();
    assert!(comparison.is_clean());
    assert_eq!(comparison.totals[0].amount, Minor::new(600_000_000_002));
    assert_eq!(comparison.totals[0].amount.decimal(comparison.exponent("EUR")), "6.00000000002");

    ledger.run("UPDATE new_parts SET amount = amount + 0.00000000001 WHERE charge_id = 'a' AND payer = 'cid'");
    let comparison = ledger.compare();
    assert_eq!(found(&comparison).len(), 1);
    assert_eq!(comparison.exceptions[0].new_amount, Minor::new(300_000_000_002));
}

#[test]
fn amounts_beyond_sixty_four_bits_of_the_last_decimal_are_exact_too() {
    let mut ledger = precise();
    ledger.run("UPDATE charges SET amount = 999999999.99999999999 WHERE id = 'b'; UPDATE old_parts SET amount = 999999999.99999999999 WHERE charge_id = 'b'; UPDATE new_parts SET amount = 999999999.99999999999 WHERE charge_id = 'b'");
    let comparison = ledger.compare();
    assert!(comparison.is_clean());
    assert_eq!(comparison.totals[0].amount, Minor::new(99_999_999_999_999_999_999 + 300_000_000_001));
}

#[test]
fn a_decimal_more_than_declared_is_refused() {
    let mut ledger = precise();
    ledger.allocation.scale = Some(10);
    let said = ledger.try_compare(&[]).unwrap_err().to_string();
    assert!(said.contains("at most 10 decimals") && said.contains("3.00000000001"), "{said}");
    for query in ["charges", "old_parts", "new_parts"] {
        ledger.run(&format!("UPDATE {query} SET amount = 1"));
    }
    ledger.run("DELETE FROM new_parts WHERE payer <> 'ann'; DELETE FROM members WHERE payer <> 'ann'");
    let comparison = ledger.compare();
    assert!(comparison.is_clean());
    assert_eq!(comparison.totals[0].amount, Minor::new(20_000_000_000));
    assert_eq!(comparison.totals[0].amount.decimal(comparison.exponent("EUR")), "2.0000000000");
}

#[test]
fn sqlite_has_no_such_numbers() {
    each_database(|database| {
        let dialect = database.dialect();
        let mut ledger = Ledger::new(database);
        ledger.allocation.scale = Some(2);
        assert_eq!(ledger.try_compare(&[]).is_err(), dialect == Dialect::Sqlite);
    });
}
