//! Every charge is in exactly one class, and every planted fault is found, with nothing besides.

use changeover::allocation::{ChargeClass, EffectiveSource, Minor};
use changeover::translation::compare::{CompareRequest, Unwatched, compare};

use super::ledger::{Ledger, count, found};
use crate::support::each_database;

/// Clean charges of every fine kind: same payer, divided, moved, zero, one unit over three, full and partial refunds.
fn clean_charges(ledger: &mut Ledger) {
    for number in 0..6 {
        ledger.charge(&format!("same{number}"), "2026-10", 100 + number, &["ann"]);
        ledger.charge(&format!("split{number}"), "2026-11", 1000 + number, &["ann", "bob", "cid"]);
    }
    ledger.charge("moved", "2026-11", 500, &["ann"]);
    ledger.run(
        "UPDATE new_parts SET payer = 'dan' WHERE charge_id = 'moved'; UPDATE members SET payer = 'dan' WHERE charge_id = 'moved'",
    );
    ledger.charge("zero", "2026-11", 0, &["ann", "bob", "cid"]);
    ledger.charge("one", "2026-11", 1, &["ann", "bob", "cid"]);
    ledger.refund("refund", "split0", "2026-11", -1000, &["ann", "bob", "cid"]);
    ledger.refund("partial", "split1", "2026-11", -334, &["ann", "bob", "cid"]);
    ledger.charge_in("yen", "2026-11", "JPY", 7, &["eve", "ann"]);
}

#[test]
fn clean_charges_are_in_fine_classes_and_totals_agree() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        clean_charges(&mut ledger);
        let comparison = ledger.compare();

        assert_eq!(found(&comparison), []);
        assert!(comparison.is_clean());
        assert_eq!(comparison.effective, EffectiveSource::Old);
        assert_eq!(count(&comparison, ChargeClass::SamePayer), 6);
        assert_eq!(count(&comparison, ChargeClass::SplitExpected), 11);
        assert_eq!(count(&comparison, ChargeClass::MovedExpected), 1);
        assert_eq!(comparison.charges(), 18);

        let keys: Vec<_> =
            comparison.totals.iter().map(|t| (t.period.as_str(), t.currency.as_str(), t.charges)).collect();
        assert_eq!(keys, [("2026-10", "EUR", 6), ("2026-11", "EUR", 11), ("2026-11", "JPY", 1)]);
        assert!(comparison.totals.iter().all(|total| total.is_exact()));
        assert_eq!(comparison.exponent("EUR"), 2);
        assert_eq!(comparison.exponent("JPY"), 0);

        let payers = &comparison.payers[0];
        assert_eq!((payers.payers, payers.changed), (4, 4));
        assert_eq!(payers.old - payers.moved_out + payers.moved_in, payers.new);
        assert_eq!(payers.moved_out, payers.moved_in, "what some no longer pay others pay");
        for mover in &comparison.movers {
            assert_eq!(mover.old - mover.moved_out + mover.moved_in, mover.new);
        }
        let sum: Minor = comparison.movers.iter().map(|mover| mover.change()).sum();
        assert_eq!(sum, Minor::ZERO);
    });
}

/// Three faults of each class, planted among clean charges: all of them are found, in their class, and nothing else.
#[test]
fn every_planted_fault_is_found_and_nothing_else() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        clean_charges(&mut ledger);
        let mut planted = Vec::new();
        for number in 0..3i64 {
            let mut plant = |class: ChargeClass, kind: &str, faults: &[String]| {
                let id = format!("{class}-{kind}{number}");
                ledger.charge(&id, "2026-11", 1000 + number, &["ann", "bob", "cid"]);
                for fault in faults {
                    ledger.run(&fault.replace("{id}", &id));
                }
                planted.push((id, class));
            };
            let at = "WHERE charge_id = '{id}'";
            plant(ChargeClass::Orphan, "new", &["DELETE FROM charges WHERE id = '{id}'".into()]);
            plant(
                ChargeClass::Orphan,
                "old",
                &["DELETE FROM charges WHERE id = '{id}'".into(), format!("DELETE FROM new_parts {at}")],
            );
            plant(ChargeClass::Unallocated, "new", &[format!("DELETE FROM new_parts {at}")]);
            plant(ChargeClass::Unallocated, "old", &[format!("DELETE FROM old_parts {at}")]);
            plant(
                ChargeClass::Unallocated,
                "nobody",
                &[format!("UPDATE new_parts SET payer = NULL {at} AND payer = 'bob'")],
            );
            plant(
                ChargeClass::Currency,
                "",
                &[format!("UPDATE new_parts SET currency = 'USD' {at} AND payer = 'cid'")],
            );
            plant(
                ChargeClass::Currency,
                "none",
                &[format!("UPDATE new_parts SET currency = NULL {at} AND payer = 'cid'")],
            );
            plant(ChargeClass::Duplicate, "", &["INSERT INTO new_parts VALUES ('{id}', 'bob', 333, 'EUR')".into()]);
            plant(
                ChargeClass::Duplicate,
                "conserved",
                &["INSERT INTO new_parts VALUES ('{id}', 'bob', 0, 'EUR')".into()],
            );
            plant(
                ChargeClass::NotConserved,
                "",
                &[format!("UPDATE new_parts SET amount = amount + 1 {at} AND payer = 'ann'")],
            );
            plant(ChargeClass::NotConserved, "old", &[format!("UPDATE old_parts SET amount = amount - 1 {at}")]);
            plant(
                ChargeClass::MixedSign,
                "",
                &[
                    format!("UPDATE new_parts SET amount = amount + 500 {at} AND payer = 'ann'"),
                    format!("UPDATE new_parts SET amount = amount - 500 {at} AND payer = 'bob'"),
                ],
            );
            plant(
                ChargeClass::UnexpectedPayer,
                "stranger",
                &[format!("UPDATE new_parts SET payer = 'zoe' {at} AND payer = 'cid'")],
            );
            plant(ChargeClass::UnexpectedPayer, "missing", &["INSERT INTO members VALUES ('{id}', 'zoe')".into()]);
            plant(
                ChargeClass::RefundDrift,
                "full",
                &[
                    "UPDATE charges SET amount = -1003, reverses_id = 'split3' WHERE id = '{id}'".into(),
                    format!("UPDATE old_parts SET amount = -1003 {at}"),
                    format!("UPDATE new_parts SET amount = -334 {at} AND payer <> 'ann'"),
                    format!("UPDATE new_parts SET amount = -335 {at} AND payer = 'ann'"),
                    // One unit from bob to cid: the refund's total is right, its payers' are not.
                    format!("UPDATE new_parts SET amount = amount + 1 {at} AND payer = 'bob'"),
                    format!("UPDATE new_parts SET amount = amount - 1 {at} AND payer = 'cid'"),
                ],
            );
            plant(
                ChargeClass::RefundDrift,
                "partial",
                &[
                    "UPDATE charges SET amount = -300, reverses_id = 'split4' WHERE id = '{id}'".into(),
                    format!("UPDATE old_parts SET amount = -300 {at}"),
                    format!("UPDATE new_parts SET amount = -100 {at}"),
                    format!("UPDATE new_parts SET amount = amount + 5 {at} AND payer = 'bob'"),
                    format!("UPDATE new_parts SET amount = amount - 5 {at} AND payer = 'cid'"),
                ],
            );
            plant(
                ChargeClass::RefundDrift,
                "dangling",
                &["UPDATE charges SET reverses_id = 'nowhere' WHERE id = '{id}'".into()],
            );
        }
        planted.sort();
        let comparison = ledger.compare();
        assert_eq!(found(&comparison), planted);
        assert_eq!(comparison.exceptions_total, u64::try_from(planted.len()).unwrap());
        assert!(!comparison.is_clean());
        // Nothing is closed here: `closed` shows the class of what has moved since.
        for class in ChargeClass::ALL.into_iter().filter(|class| *class != ChargeClass::FrozenChanged) {
            assert!(count(&comparison, class) > 0, "{class} is produced");
        }
        assert_eq!(comparison.charges() + 6, comparison.classes.iter().map(|total| total.charges).sum::<u64>());
    });
}

#[test]
fn opposite_errors_behind_equal_totals_are_found() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        clean_charges(&mut ledger);
        ledger.run(
            "UPDATE new_parts SET amount = amount + 5 WHERE charge_id = 'same1'; UPDATE new_parts SET amount = amount - 5 WHERE charge_id = 'same2';
             UPDATE new_parts SET payer = 'x' WHERE charge_id = 'same3'; UPDATE new_parts SET payer = 'ann' WHERE charge_id = 'moved'",
        );
        let comparison = ledger.compare();
        assert!(comparison.totals.iter().all(|total| total.is_exact()), "totals alone hide all four");
        assert_eq!(
            found(&comparison),
            [
                (String::from("moved"), ChargeClass::UnexpectedPayer),
                (String::from("same1"), ChargeClass::NotConserved),
                (String::from("same2"), ChargeClass::NotConserved),
                (String::from("same3"), ChargeClass::UnexpectedPayer),
            ]
        );
        let line = comparison.exceptions.iter().find(|line| line.charge_id == "same1").unwrap();
        assert_eq!((line.amount, line.new_amount), (Some(Minor::new(101)), Minor::new(106)));
        assert_eq!(line.parts.len(), 1);
    });
}

#[test]
fn a_period_alone_is_compared_with_its_orphans_and_with_refunds_of_earlier_charges() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        clean_charges(&mut ledger);
        ledger.refund("later", "split2", "2026-12", -1002, &["ann", "bob", "cid"]);
        ledger.refund("drifts", "split5", "2026-12", -1005, &["ann", "bob"]);
        ledger.run(
            "INSERT INTO new_parts VALUES ('ghost', 'ann', 5, 'EUR'); DELETE FROM new_parts WHERE charge_id = 'same0';
             DELETE FROM charge_groups WHERE charge_id = 'later'",
        );
        let comparison = ledger.try_compare(&["2026-12"]).unwrap();
        assert_eq!(
            found(&comparison),
            [(String::from("drifts"), ChargeClass::RefundDrift), (String::from("ghost"), ChargeClass::Orphan),]
        );
        assert_eq!(comparison.charges(), 2);
        assert_eq!(comparison.totals[0].without_group, 1);
        let none = ledger.try_compare(&["2027-01"]).unwrap();
        assert_eq!(none.charges(), 0);
    });
}

#[test]
fn a_flood_of_one_class_does_not_hide_another_and_all_are_counted() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        for number in 0..50 {
            ledger.charge(&format!("c{number}"), "2026-11", 10, &["ann", "bob"]);
        }
        ledger.run(
            "DELETE FROM new_parts WHERE charge_id LIKE 'c%' AND charge_id <> 'c7'; UPDATE new_parts SET amount = 4 WHERE charge_id = 'c7'",
        );
        let request = CompareRequest { exceptions_max: 5, movers_max: 1, ..CompareRequest::of(&ledger.allocation) };
        let comparison = compare(&mut ledger.connection, &request, &mut Unwatched).unwrap().finished().unwrap();
        assert_eq!(comparison.exceptions_total, 50);
        assert_eq!(comparison.exceptions.len(), 5);
        assert!(comparison.exceptions.iter().any(|line| line.class == ChargeClass::NotConserved));
        assert_eq!(comparison.movers.len(), 1);
    });
}

#[test]
fn a_closed_period_keeps_the_payers_it_had() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        for period in ["2026-10", "2026-11"] {
            ledger.charge(&format!("joined {period}"), period, 10, &["ann", "bob"]);
            ledger.charge(&format!("left {period}"), period, 10, &["ann", "bob"]);
        }
        ledger.run(
            "INSERT INTO members SELECT id, 'new' FROM charges WHERE id LIKE 'joined%'; DELETE FROM members WHERE payer = 'bob' AND charge_id LIKE 'left%'",
        );
        let request = CompareRequest {
            closed_before: Some("2026-11"),
            exceptions_max: 5,
            movers_max: 1,
            ..CompareRequest::of(&ledger.allocation)
        };
        let comparison = compare(&mut ledger.connection, &request, &mut Unwatched).unwrap().finished().unwrap();
        assert_eq!(
            found(&comparison),
            [
                (String::from("joined 2026-11"), ChargeClass::UnexpectedPayer),
                (String::from("left 2026-11"), ChargeClass::UnexpectedPayer),
            ]
        );
    });
}
