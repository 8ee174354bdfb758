//! What cannot be compared is refused with a sentence that names it; nothing is lost on the way.

use changeover::allocation::Minor;

use super::ledger::Ledger;
use crate::support::each_database;

fn refusal(ledger: &mut Ledger) -> String {
    let error = ledger.try_compare(&[]).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn rows_that_cannot_be_compared_are_named() {
    let plants: [(&str, &[&str]); 8] = [
        ("INSERT INTO charges VALUES ('a', '2026-11', 'EUR', 10, NULL)", &["charge a", "more than once"]),
        ("UPDATE charges SET amount = NULL", &["charge a", "no amount", "`charges`"]),
        ("UPDATE charges SET currency = NULL", &["charge a", "no currency"]),
        ("UPDATE charges SET period = NULL", &["charge a", "no period"]),
        ("UPDATE new_parts SET amount = NULL", &["`new`", "charge a", "no amount"]),
        ("UPDATE old_parts SET charge_id = NULL", &["`old`", "without charge_id"]),
        ("INSERT INTO charge_groups VALUES ('a', 'another')", &["charge a", "more than one group"]),
        (
            "INSERT INTO charges VALUES ('b', '2026-11', 'EUR', 0, 'a'), ('b', '2026-11', 'EUR', 0, 'c')",
            &["charge b", "reverses more than one"],
        ),
    ];
    for (plant, words) in plants {
        each_database(|database| {
            let mut ledger = Ledger::new(database);
            ledger.charge("a", "2026-11", 10, &["ann"]);
            ledger.run(plant);
            let said = refusal(&mut ledger);
            assert!(words.iter().all(|word| said.contains(word)), "{plant}: {said}");
        });
    }
}

#[test]
fn amounts_that_are_no_integers_are_refused_and_never_rounded() {
    each_database(|database| {
        for amount in ["10.5", "CAST(10 AS DOUBLE PRECISION)", "1e30"] {
            let mut ledger = Ledger::new(crate::support::TestDatabase::new(database.dialect()));
            ledger.charge("a", "2026-11", 10, &["ann"]);
            ledger.allocation.new.value =
                format!("SELECT charge_id, payer, {amount} AS amount FROM new_parts -- a remark");
            let said = refusal(&mut ledger);
            assert!(said.contains("charge a") && said.contains("no integer"), "{amount}: {said}");
        }
    });
}

#[test]
fn a_query_that_fails_or_lacks_a_column_is_named() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge("a", "2026-11", 10, &["ann"]);
        ledger.allocation.old.value = String::from("SELECT charge_id, amount FROM old_parts");
        let said = refusal(&mut ledger);
        assert!(said.contains("`old`") && said.contains("`payer`"), "{said}");
        ledger.allocation.old.value = String::from("SELECT charge_id, amount FROM nowhere");
        let said = refusal(&mut ledger);
        assert!(said.contains("`old`") && said.contains("nowhere"), "{said}");
    });
}

#[test]
fn sums_beyond_sixty_four_bits_are_exact_or_refused() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        let large = i64::pow(2, 62) - 1;
        for id in ["a", "b", "c"] {
            ledger.charge(id, "2026-11", large, &["ann", "bob"]);
        }
        match ledger.try_compare(&[]) {
            Ok(comparison) => {
                assert!(comparison.is_clean());
                assert_eq!(comparison.totals[0].amount, Minor::new(i128::from(large) * 3));
            }
            Err(_) => assert!(refusal(&mut ledger).contains("overflow")),
        }
    });
}

#[test]
fn nothing_at_all_is_compared_too() {
    each_database(|database| {
        let comparison = Ledger::new(database).compare();
        assert!(comparison.is_clean());
        assert_eq!(comparison.charges(), 0);
    });
}

#[test]
fn ids_of_any_type_are_compared_as_text() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge("9", "2026-11", 10, &["1", "2"]);
        ledger.charge("10", "2026-11", 10, &["1"]);
        ledger.allocation.new.value = String::from(
            "SELECT CAST(charge_id AS INTEGER) AS charge_id, CAST(payer AS BIGINT) AS payer, amount FROM new_parts;",
        );
        assert!(ledger.compare().is_clean());
        ledger.run("DELETE FROM new_parts");
        let lines: Vec<_> = ledger.compare().exceptions.into_iter().map(|line| line.charge_id).collect();
        assert_eq!(lines, ["9", "10"], "shorter ids first, so numbers sort as numbers");
    });
}
