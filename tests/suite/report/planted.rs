//! Faults of every wrong class among 200,000 charges: all are found, each in its class, and nothing besides. Once in a ledger that is
//! written by hand, once in the video-hosting example with its translation in place, behind its triggers' back.

use changeover::allocation::{ChargeClass, Comparison};
use changeover::change::Stage;
use changeover::database::{DatabaseConnection, Dialect};
use changeover::sql::names::own;
use changeover::translation::compare::{CompareRequest, Unwatched, compare};
use changeover::translation::own::close_before;
use changeover::translation::{BackfillOptions, backfill};

use super::ledger::{Ledger, found};
use crate::examples::support::load_video_hosting;
use crate::support::each_database;
use crate::translation::fixture::{deed, file, install_file, step};

const CHARGES: u64 = 200_000;

/// A fault and the charge that it is planted in.
struct Planted {
    id: String,
    class: ChargeClass,
    sql: Vec<String>,
}

fn plant(class: ChargeClass, id: impl ToString, faults: &[&str]) -> Planted {
    let id = id.to_string();
    Planted { class, sql: faults.iter().map(|fault| fault.replace("{id}", &id)).collect(), id }
}

/// At least three of each wrong class, or the test would not say what it says.
fn assert_found(planted: &[Planted], comparison: &Comparison) {
    let closes = planted.iter().any(|fault| fault.class == ChargeClass::FrozenChanged);
    for class in ChargeClass::ALL.into_iter().filter(|class| class.is_wrong()) {
        // Only the installed example closes a period.
        let wanted = if class == ChargeClass::FrozenChanged && !closes { 0 } else { 3 };
        assert!(planted.iter().filter(|fault| fault.class == class).count() >= wanted, "too few faults of {class}");
    }
    let mut wanted: Vec<(String, ChargeClass)> = planted.iter().map(|fault| (fault.id.clone(), fault.class)).collect();
    wanted.sort();
    assert_eq!(found(comparison), wanted);
    assert_eq!(comparison.exceptions_total, wanted.len() as u64);
    assert!(!comparison.is_clean());
}

// ── by hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A third of the charges keeps its payer, a third is divided over three, a third moves to two others. Every twenty-fifth refunds the one
/// before it. `j` is the charge whose payers and size a row has.
fn filled(ledger: &mut Ledger) {
    let from = format!(
        "FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CHARGES}),
           c AS (SELECT i, CASE WHEN i % 25 = 0 THEN i - 1 ELSE i END AS j, CASE WHEN i % 25 = 0 THEN -1 ELSE 1 END AS sign FROM n)
         SELECT 'c' || i AS id, i, j, sign, CAST(j AS BIGINT) * 7919 % 90001 AS size FROM c) c"
    );
    let payer = |place: &str| format!("'p' || ((j * 13 + {place} * 101) % 5000)");
    let currency = "CASE j % 4 WHEN 0 THEN 'USD' WHEN 1 THEN 'JPY' ELSE 'EUR' END";
    // Places from 0 on keep the old payer; without place 0 the charge has moved.
    let parts = "JOIN (SELECT 0 AS k UNION ALL SELECT 1 UNION ALL SELECT 2) k
          ON (j % 3 = 0 AND k = 0) OR j % 3 = 1 OR (j % 3 = 2 AND k > 0)";
    let part = "sign * CASE j % 3 WHEN 0 THEN size WHEN 1 THEN size / 3 + CASE WHEN k < size % 3 THEN 1 ELSE 0 END
          ELSE size / 2 + CASE WHEN k = 1 THEN size % 2 ELSE 0 END END";
    ledger.run(&format!(
        "INSERT INTO charges SELECT id, '2026-' || CAST(9 + i % 4 AS VARCHAR(2)), {currency}, sign * size,
           CASE WHEN sign < 0 THEN 'c' || j END {from};
         INSERT INTO old_parts SELECT id, {first}, sign * size {from};
         INSERT INTO new_parts SELECT id, {payer}, {part}, {currency} {from} {parts};
         INSERT INTO members SELECT id, {payer} {from} {parts};
         INSERT INTO charge_groups SELECT id, 'g' || (j % 1000) {from};
         CREATE INDEX charges_id ON charges (id); CREATE INDEX old_id ON old_parts (charge_id); CREATE INDEX new_id ON new_parts (charge_id);
         CREATE INDEX members_id ON members (charge_id); CREATE INDEX groups_id ON charge_groups (charge_id)",
        first = payer("0"),
        payer = payer("k"),
    ));
}

/// Faults in charges that are divided over three, from the first ones to the last ones.
fn by_hand() -> Vec<Planted> {
    use ChargeClass as C;
    let (new, old) = ("WHERE charge_id = '{id}'", "WHERE charge_id = '{id}'");
    let one = "(SELECT min(payer) FROM new_parts WHERE charge_id = '{id}')";
    let other = "(SELECT max(payer) FROM new_parts WHERE charge_id = '{id}')";
    let shift = |amount: i64| {
        [
            format!("UPDATE new_parts SET amount = amount + {amount} {new} AND payer = {one}"),
            format!("UPDATE new_parts SET amount = amount - {amount} {new} AND payer = {other}"),
        ]
    };
    let (much, unit) = (shift(200_000), shift(1));
    let charges: Vec<(C, Vec<String>)> = vec![
        (C::Orphan, vec!["DELETE FROM charges WHERE id = '{id}'".into()]),
        (C::Orphan, vec!["DELETE FROM charges WHERE id = '{id}'".into(), format!("DELETE FROM new_parts {new}")]),
        (C::Unallocated, vec![format!("DELETE FROM new_parts {new}")]),
        (C::Unallocated, vec![format!("DELETE FROM old_parts {old}")]),
        (C::Unallocated, vec![format!("UPDATE new_parts SET payer = NULL {new} AND payer = {one}")]),
        (C::Currency, vec![format!("UPDATE new_parts SET currency = 'XXX' {new} AND payer = {one}")]),
        (C::Currency, vec!["UPDATE charges SET currency = 'eur' WHERE id = '{id}'".into()]),
        (
            C::Duplicate,
            vec![format!(
                "INSERT INTO new_parts SELECT charge_id, payer, 0, currency FROM new_parts {new} AND payer = {one}"
            )],
        ),
        (C::Duplicate, vec![format!("UPDATE new_parts SET payer = {one} {new} AND payer = {other}")]),
        (C::NotConserved, vec![format!("UPDATE new_parts SET amount = amount + 1 {new} AND payer = {one}")]),
        (C::NotConserved, vec![format!("UPDATE old_parts SET amount = amount - 1 {old}")]),
        (C::NotConserved, vec!["UPDATE charges SET amount = amount + 1 WHERE id = '{id}'".into()]),
        (C::NotConserved, vec![format!("DELETE FROM new_parts {new} AND payer = {one}")]),
        (C::MixedSign, much.to_vec()),
        (C::UnexpectedPayer, vec![format!("UPDATE new_parts SET payer = 'stranger' {new} AND payer = {one}")]),
        (C::UnexpectedPayer, vec!["INSERT INTO members VALUES ('{id}', 'joined')".into()]),
        (C::UnexpectedPayer, vec![format!("DELETE FROM members {new} AND payer = {one}")]),
        // Nobody but a blank tells the payer from the right one.
        (C::UnexpectedPayer, vec![format!("UPDATE new_parts SET payer = payer || ' ' {new} AND payer = {one}")]),
    ];
    let refunds: Vec<(C, Vec<String>)> = vec![
        (C::RefundDrift, unit.to_vec()),
        (C::RefundDrift, vec!["UPDATE charges SET reverses_id = 'nowhere' WHERE id = '{id}'".into()]),
        (C::RefundDrift, vec!["UPDATE charges SET reverses_id = id WHERE id = '{id}'".into()]),
        (
            C::RefundDrift,
            vec![
                "UPDATE charges SET currency = 'GBP' WHERE id = '{id}'".into(),
                format!("UPDATE new_parts SET currency = 'GBP' {new}"),
            ],
        ),
    ];
    let mut planted = Vec::new();
    for (place, (class, faults)) in charges.iter().enumerate() {
        for copy in 0..3u64 {
            // One more than a multiple of 75: divided over three, no refund, and not refunded.
            let number = 75 * (place as u64 + 1 + copy * 1300) + 1;
            planted.push(plant(*class, format!("c{number}"), &faults.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
    for (place, (class, faults)) in refunds.iter().enumerate() {
        for copy in 0..3u64 {
            // 25 × (3 n + 2) − 1 is one more than a multiple of 3.
            let number = 25 * (3 * (place as u64 + 50 + copy * 1300) + 2);
            planted.push(plant(*class, format!("c{number}"), &faults.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
    // Two errors that cancel out in the same period and currency, and for the same payers.
    for (id, delta) in [("twin1", 5), ("twin2", -5), ("twin3", 1), ("twin4", -1)] {
        let error =
            format!("UPDATE new_parts SET amount = amount + {delta} WHERE charge_id = '{{id}}' AND payer = 'ann'");
        planted.push(plant(C::NotConserved, id, &[&error]));
    }
    planted
}

#[test]
fn every_fault_among_two_hundred_thousand_charges_is_found() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        filled(&mut ledger);
        for id in ["twin1", "twin2", "twin3", "twin4"] {
            ledger.charge(id, "2026-11", 1000, &["ann", "bob"]);
        }
        let clean = ledger.compare();
        assert_eq!(found(&clean), []);
        assert_eq!(clean.charges(), CHARGES + 4);
        let planted = by_hand();
        let sql: Vec<&str> = planted.iter().flat_map(|fault| &fault.sql).map(String::as_str).collect();
        ledger.run(&sql.join(";\n"));
        assert_found(&planted, &ledger.compare());
        let in_chunks =
            CompareRequest { chunk_charges: 30_011, exceptions_max: 1000, ..CompareRequest::of(&ledger.allocation) };
        let in_chunks = compare(&mut ledger.connection, &in_chunks, &mut Unwatched).unwrap().finished().unwrap();
        assert_found(&planted, &in_chunks);
    });
}

#[test]
fn errors_that_cancel_out_for_the_same_payers_are_found() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        for id in ["one", "two", "three", "four"] {
            ledger.charge(id, "2026-11", 1000, &["ann", "bob"]);
        }
        let totals = ledger.compare();
        ledger.run(
            "UPDATE new_parts SET amount = amount + 5 WHERE charge_id = 'one' AND payer = 'ann';
             UPDATE new_parts SET amount = amount - 5 WHERE charge_id = 'two' AND payer = 'ann';
             UPDATE new_parts SET payer = 'cid' WHERE charge_id = 'three' AND payer = 'ann';
             UPDATE new_parts SET payer = 'ann' WHERE charge_id = 'three' AND payer = 'bob';
             UPDATE new_parts SET payer = 'bob' WHERE charge_id = 'three' AND payer = 'cid'",
        );
        let comparison = ledger.compare();
        assert_eq!((&comparison.totals, &comparison.payers[0].new), (&totals.totals, &totals.payers[0].new));
        let ids: Vec<String> = found(&comparison).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["one", "two"], "payers who change places within equal amounts pay what they should");
    });
}

// ── in the example ──────────────────────────────────────────────────────────────────────────────────────────────────

/// So that a statement changes only what it says: no trigger, no foreign key, and no unique index that would refuse a payer twice.
fn behind_its_back(connection: &mut DatabaseConnection, sql: &str) {
    match connection.dialect() {
        Dialect::Postgres => {
            connection
                .batch("ALTER TABLE charge_allocations DROP CONSTRAINT charge_allocations_pkey; SET session_replication_role = replica")
                .unwrap();
            connection.batch(sql).unwrap();
            connection
                .batch(
                    "SET session_replication_role = origin; CREATE INDEX by_charge ON charge_allocations (charge_id)",
                )
                .unwrap();
        }
        Dialect::Sqlite => {
            let triggers = connection.query("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'", &[]).unwrap();
            connection.batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON").unwrap();
            for trigger in &triggers {
                connection.batch(&format!("DROP TRIGGER \"{}\"", trigger.text("name").unwrap())).unwrap();
            }
            connection
                .batch(
                    "CREATE TABLE loose AS SELECT * FROM charge_allocations; DROP TABLE charge_allocations;
                     ALTER TABLE loose RENAME TO charge_allocations; CREATE INDEX by_charge ON charge_allocations (charge_id)",
                )
                .unwrap();
            connection.batch(sql).unwrap();
            for trigger in &triggers {
                connection.batch(&trigger.text("sql").unwrap()).unwrap();
            }
        }
    }
}

/// Ids of a month's charges with two payers or more, that nothing refunds.
fn charges(connection: &mut DatabaseConnection, period: &str, more: &str) -> Vec<i64> {
    let sql = format!(
        "SELECT c.id FROM charges c WHERE c.period = '{period}' AND abs(c.amount_minor) > 1000 AND {more}
         AND (SELECT count(*) FROM charge_allocations a WHERE a.charge_id = c.id AND a.amount_minor <> 0) > 1
         AND NOT EXISTS (SELECT 1 FROM charges r WHERE r.reverses_id = c.id) ORDER BY c.id"
    );
    connection.query(&sql, &[]).unwrap().iter().map(|row| row.integer("id").unwrap()).collect()
}

/// Faults in the example's own tables: each for several charges, spread over the month.
fn in_the_example(connection: &mut DatabaseConnection) -> Vec<Planted> {
    use ChargeClass as C;
    let at = "WHERE charge_id = {id}";
    let one = "(SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id})";
    let other = "(SELECT max(payer_id) FROM charge_allocations WHERE charge_id = {id})";
    let add = |amount: i64, payer: &str| {
        format!("UPDATE charge_allocations SET amount_minor = amount_minor + {amount} {at} AND payer_id = {payer}")
    };
    let more = 1_000_000_000_000;
    let again = "INSERT INTO charge_allocations SELECT charge_id, payer_id, account_id, weight, 0, currency FROM charge_allocations";
    let charge_faults: Vec<(C, Vec<String>)> = vec![
        (C::Orphan, vec!["DELETE FROM charges WHERE id = {id}".into()]),
        (C::Unallocated, vec![format!("DELETE FROM charge_allocations {at}")]),
        (C::Currency, vec![format!("UPDATE charge_allocations SET currency = 'XXX' {at} AND payer_id = {one}")]),
        (C::Duplicate, vec![format!("{again} {at} AND payer_id = {one}")]),
        (C::NotConserved, vec![add(1, one)]),
        (C::NotConserved, vec![add(-1, one)]),
        (C::NotConserved, vec!["UPDATE charges SET amount_minor = amount_minor + 1 WHERE id = {id}".into()]),
        (C::MixedSign, vec![add(more, one), add(-more, other)]),
        (C::UnexpectedPayer, vec![format!("UPDATE charge_allocations SET payer_id = 999999 {at} AND payer_id = {one}")]),
        (
            C::UnexpectedPayer,
            vec![
                format!(
                    "UPDATE charge_allocations SET amount_minor = amount_minor +
                       (SELECT amount_minor FROM charge_allocations {at} AND payer_id = {one}) {at} AND payer_id = {other}"
                ),
                format!("DELETE FROM charge_allocations {at} AND payer_id = {one}"),
            ],
        ),
    ];
    let refund_faults: Vec<(C, Vec<String>)> = vec![
        (C::RefundDrift, vec![add(1, one), add(-1, other)]),
        (C::RefundDrift, vec!["UPDATE charges SET reverses_id = 999999999 WHERE id = {id}".into()]),
        (
            C::RefundDrift,
            vec![
                "UPDATE charges SET currency = 'GBP' WHERE id = {id}".into(),
                format!("UPDATE charge_allocations SET currency = 'GBP' {at}"),
            ],
        ),
    ];
    // What moves in a closed month, even where nothing else is wrong with it.
    let closed_faults: Vec<(C, Vec<String>)> = vec![
        (C::FrozenChanged, vec![add(1, one), add(-1, other)]),
        (C::FrozenChanged, vec![format!("UPDATE charge_allocations SET payer_id = 999999 {at} AND payer_id = {one}")]),
        (
            C::FrozenChanged,
            vec!["UPDATE charges SET amount_minor = amount_minor + 1 WHERE id = {id}".into(), add(1, one)],
        ),
        (
            C::FrozenChanged,
            vec!["DELETE FROM charges WHERE id = {id}".into(), format!("DELETE FROM charge_allocations {at}")],
        ),
        (C::FrozenChanged, vec!["UPDATE charges SET period = '2026-11' WHERE id = {id}".into()]),
        // No new fault: a charge of a closed month is wrong as any other one is.
        (C::NotConserved, vec![add(1, one)]),
        (C::Orphan, vec!["DELETE FROM charges WHERE id = {id}".into()]),
    ];
    let mut planted = Vec::new();
    let candidates = [
        (charge_faults, charges(connection, "2026-11", "c.reverses_id IS NULL")),
        (refund_faults, charges(connection, "2026-11", "c.reverses_id IS NOT NULL")),
        (closed_faults, charges(connection, "2026-10", "c.reverses_id IS NULL")),
    ];
    for (faults, ids) in candidates {
        let apart = ids.len() / (faults.len() * 3);
        assert!(apart > 0, "{} charges for {} faults", ids.len(), faults.len() * 3);
        for (place, (class, sql)) in faults.iter().enumerate() {
            for copy in 0..3 {
                let id = ids[(place + copy * faults.len()) * apart];
                planted.push(plant(*class, id, &sql.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        }
    }
    planted
}

#[test]
fn every_fault_in_the_installed_example_is_found() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, CHARGES, 5);
        let file = file();
        let model = install_file(&mut connection, &file, Stage::Off);
        step(&mut connection, &model, Stage::DualWrite);
        backfill(&mut connection, &model, BackfillOptions::default(), &mut |_, _, _| true).unwrap();
        step(&mut connection, &model, Stage::Shadow);
        let closed = |connection: &mut DatabaseConnection| close_before(connection, &file.name, "2026-11", deed());
        connection.in_transaction(closed).unwrap();
        connection.batch("UPDATE periods SET closed = true WHERE period < '2026-11'").unwrap();
        // Half of the accounts are on the new side, so that what is in force is of both.
        let recorded = own(database.dialect(), "assignment");
        connection
            .batch(&format!(
                "INSERT INTO {recorded} (change, period, group_id, side, at, actor, reason, flag_version)
                 SELECT '{}', '2026-11', CAST(id AS TEXT), 'new', 0, 'test', '', 1 FROM accounts WHERE id % 2 = 0",
                file.name
            ))
            .unwrap();
        if database.dialect() == Dialect::Postgres {
            connection.batch("ANALYZE").unwrap();
        }
        let request = CompareRequest {
            exceptions_max: 1000,
            closed_before: Some("2026-11"),
            closed_of: Some(&file.name),
            ..CompareRequest::of(file.allocation.as_ref().unwrap())
        };
        let compare = |connection: &mut DatabaseConnection| {
            compare(connection, &request, &mut Unwatched).unwrap().finished().unwrap()
        };
        let clean = compare(&mut connection);
        assert!(clean.is_clean(), "{:#?}", found(&clean));
        assert!(clean.totals.iter().any(|total| total.on_new > 0 && total.on_new < total.charges));
        let planted = in_the_example(&mut connection);
        let sql: Vec<&str> = planted.iter().flat_map(|fault| &fault.sql).map(String::as_str).collect();
        behind_its_back(&mut connection, &sql.join(";\n"));
        assert_found(&planted, &compare(&mut connection));
    });
}
