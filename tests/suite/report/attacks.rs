//! What a distrustful auditor would try: names that are nearly the same, refunds that undo nothing, amounts that are none, columns that
//! lie about their type. Each is in the right class or refused with a sentence that names the row; none is passed over.

use changeover::allocation::{ChargeClass, ComparePart, Comparison, Minor};
use changeover::database::Dialect;
use changeover::translation::compare::{CompareError, CompareRequest, CompareWatcher, compare};

use super::ledger::{Ledger, count, found};
use crate::support::{TestDatabase, each_database};

/// The classes of the charges that are wrong, by id, in text.
fn wrong(ledger: &mut Ledger) -> Vec<String> {
    found(&ledger.compare()).into_iter().map(|(id, class)| format!("{id:?} {class}")).collect()
}

fn refusal(ledger: &mut Ledger) -> String {
    let error = ledger.try_compare(&[]).unwrap_err();
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn a_refund_of_itself_in_another_currency_or_of_the_same_sign_undoes_nothing() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        for id in ["a", "b", "c", "d", "e"] {
            ledger.charge(id, "2026-11", 1000, &["ann", "bob"]);
        }
        ledger.refund("itself", "itself", "2026-11", -1000, &["ann", "bob"]);
        ledger.charge_in("dollars", "2026-11", "USD", -1000, &["ann", "bob"]);
        ledger.run("UPDATE charges SET reverses_id = 'a' WHERE id = 'dollars'");
        ledger.refund("again", "b", "2026-11", 1000, &["ann", "bob"]);
        ledger.refund("part again", "b", "2026-11", 10, &["ann", "bob"]);
        // These do undo, payer by payer, what they reverse: each of a pair that reverse each other, and what comes to more than the charge
        // in one refund or in two. How much is refunded is the same in both models, and no matter of allocation.
        ledger.refund("more", "c", "2026-11", -3000, &["ann", "bob"]);
        ledger.refund("once", "d", "2026-11", -1000, &["ann", "bob"]);
        ledger.refund("twice", "d", "2026-11", -1000, &["ann", "bob"]);
        ledger.refund("back", "e", "2026-11", -1000, &["ann", "bob"]);
        ledger.run("UPDATE charges SET reverses_id = 'back' WHERE id = 'e'");
        ledger.refund("nothing", "nothing", "2026-11", 0, &["ann", "bob"]);
        let wanted = ["again", "dollars", "itself", "part again"].map(|id| format!("{id:?} refund_drift"));
        assert_eq!(wrong(&mut ledger), wanted);
    });
}

/// Products of such amounts have 124 bits.
#[test]
fn one_unit_of_a_large_partial_refund_is_seen() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        let large = (1i64 << 61) + 12_345;
        ledger.charge("a", "2026-11", large, &["ann", "bob", "cid"]);
        ledger.refund("right", "a", "2026-11", -(large / 7), &["ann", "bob", "cid"]);
        ledger.refund("shifted", "a", "2026-11", -(large / 7), &["ann", "bob", "cid"]);
        ledger.refund("other", "a", "2026-11", -(large / 7), &["ann", "bob", "dan"]);
        ledger.run(
            "UPDATE new_parts SET amount = amount + 3 WHERE charge_id = 'shifted' AND payer = 'ann';
             UPDATE new_parts SET amount = amount - 3 WHERE charge_id = 'shifted' AND payer = 'bob'",
        );
        assert_eq!(wrong(&mut ledger), ["\"other\" refund_drift", "\"shifted\" refund_drift"]);
    });
}

#[test]
fn payers_who_change_places_within_equal_amounts_are_seen_where_one_of_them_should_not_pay() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge("a", "2026-11", 1000, &["ann", "bob"]);
        ledger.charge("b", "2026-11", 1000, &["cid", "dan"]);
        ledger.run(
            "UPDATE new_parts SET payer = 'dan' WHERE charge_id = 'a' AND payer = 'bob';
             UPDATE new_parts SET payer = 'bob' WHERE charge_id = 'b' AND payer = 'dan'",
        );
        let comparison = ledger.compare();
        assert!(
            comparison.totals.iter().all(|total| total.is_exact()),
            "neither the period's totals nor a payer's differ"
        );
        assert_eq!(wrong(&mut ledger), ["\"a\" unexpected_payer", "\"b\" unexpected_payer"]);
    });
}

#[test]
fn an_id_that_differs_by_case_or_a_blank_is_another_one() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        for id in ["a", "A", "a ", "à", "a\u{300}"] {
            ledger.charge(id, "2026-11", 1000, &["ann", "Ann", "ann "]);
        }
        assert_eq!(wrong(&mut ledger), Vec::<String>::new());
        assert_eq!(ledger.compare().payers[0].payers, 3);
        ledger.run("UPDATE new_parts SET charge_id = 'A ' WHERE charge_id = 'A'");
        assert_eq!(wrong(&mut ledger), ["\"A\" unallocated", "\"A \" orphan"]);
    });
}

/// Columns that ignore case would make it the order of rows which name a report shows.
#[test]
fn a_column_that_ignores_case_hides_nothing() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge("a", "2026-11", 1000, &["ann", "bob"]);
        ledger.charge("b", "2026-11", 1000, &["ann", "bob"]);
        match ledger.connection.dialect() {
            Dialect::Postgres => ledger.run(
                "CREATE COLLATION careless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                 ALTER TABLE charges ALTER id TYPE text COLLATE careless, ALTER period TYPE text COLLATE careless;
                 ALTER TABLE old_parts ALTER charge_id TYPE text COLLATE careless, ALTER payer TYPE text COLLATE careless;
                 ALTER TABLE new_parts ALTER charge_id TYPE text COLLATE careless, ALTER payer TYPE text COLLATE careless;
                 ALTER TABLE charge_groups ALTER charge_id TYPE text COLLATE careless;
                 ALTER TABLE members ALTER charge_id TYPE text COLLATE careless, ALTER payer TYPE text COLLATE careless",
            ),
            Dialect::Sqlite => {
                for (table, columns) in [
                    ("charges", "id TEXT COLLATE NOCASE, period TEXT COLLATE NOCASE, currency TEXT COLLATE NOCASE, amount BIGINT, reverses_id TEXT COLLATE NOCASE"),
                    ("old_parts", "charge_id TEXT COLLATE NOCASE, payer TEXT COLLATE NOCASE, amount BIGINT"),
                    ("new_parts", "charge_id TEXT COLLATE NOCASE, payer TEXT COLLATE NOCASE, amount BIGINT, currency TEXT COLLATE NOCASE"),
                    ("members", "charge_id TEXT COLLATE NOCASE, payer TEXT COLLATE NOCASE"),
                ] {
                    ledger.run(&format!(
                        "CREATE TABLE careless ({columns}); INSERT INTO careless SELECT * FROM {table}; DROP TABLE {table};
                         ALTER TABLE careless RENAME TO {table}"
                    ));
                }
            }
        }
        assert_eq!(wrong(&mut ledger), Vec::<String>::new());
        ledger.run(
            "UPDATE new_parts SET payer = 'ANN' WHERE charge_id = 'a' AND payer = 'ann'; UPDATE new_parts SET charge_id = 'B' WHERE charge_id = 'b'",
        );
        assert_eq!(wrong(&mut ledger), ["\"B\" orphan", "\"a\" unexpected_payer", "\"b\" unallocated"]);
        assert_eq!(ledger.compare().payers[0].payers, 3, "ann, ANN and bob");
    });
}

#[test]
fn nobody_and_an_empty_name_are_not_the_same() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge("a", "2026-11", 1000, &["", "bob"]);
        ledger.charge("b", "2026-11", 1000, &["", "bob"]);
        assert_eq!(wrong(&mut ledger), Vec::<String>::new());
        ledger.run("UPDATE new_parts SET payer = NULL WHERE charge_id = 'b' AND payer = ''");
        assert_eq!(wrong(&mut ledger), ["\"b\" unallocated"]);
        let line = ledger.compare().exceptions.remove(0);
        assert_eq!(line.parts.iter().filter(|part| part.payer.as_deref().unwrap_or("").is_empty()).count(), 2);
    });
}

#[test]
fn a_period_with_a_blank_is_a_period_of_its_own() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge_in("a", "2026-11", "EUR", 1000, &["ann"]);
        ledger.run("ALTER TABLE charges ADD COLUMN longer TEXT");
        ledger.allocation.charges.value =
            String::from("SELECT id AS charge_id, period || longer AS period, currency, amount FROM charges");
        ledger.run("UPDATE charges SET longer = ' '");
        assert_eq!(ledger.compare().totals[0].period, "2026-11 ");
        assert_eq!(
            ledger.try_compare(&["2026-11"]).unwrap().charges(),
            0,
            "whoever asks for the period learns that it has no charge"
        );
        ledger.run("UPDATE charges SET longer = NULL");
        assert!(refusal(&mut ledger).contains("charge a has no period"));
    });
}

#[test]
fn a_query_may_return_more_columns_than_it_must() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge("a", "2026-11", 1000, &["ann", "bob"]);
        // Names that the comparison uses itself.
        for query in [&mut ledger.allocation.charges, &mut ledger.allocation.old, &mut ledger.allocation.new] {
            let more = "SELECT 7 AS times, 'x' AS class, 'y' AS fault, NULL AS side, 0 AS suspect, 'z' AS told, ";
            query.value = query.value.replacen("SELECT ", more, 1);
        }
        ledger.run("UPDATE new_parts SET amount = amount + 1 WHERE payer = 'bob'");
        assert_eq!(wrong(&mut ledger), ["\"a\" not_conserved"]);
    });
}

#[test]
fn what_is_no_number_is_refused_and_named() {
    for number in ["'NaN'", "'Infinity'", "'-Infinity'", "10.5", "9223372036854775808"] {
        let mut ledger = Ledger::new(TestDatabase::postgres());
        ledger.charge("a", "2026-11", 10, &["ann"]);
        ledger.run(&format!("ALTER TABLE new_parts ALTER amount TYPE NUMERIC; UPDATE new_parts SET amount = {number}"));
        let said = refusal(&mut ledger);
        assert!(said.contains("`new`: charge a has an amount that is no integer"), "{number}: {said}");
        ledger.run("UPDATE new_parts SET amount = 10.000");
        assert_eq!(wrong(&mut ledger), Vec::<String>::new());
        ledger.allocation.scale = Some(2);
        ledger.run(&format!("UPDATE new_parts SET amount = CAST({number} AS NUMERIC) / 1000"));
        let said = refusal(&mut ledger);
        let is_large = number.starts_with("92");
        assert!(
            said.contains("`new`: charge a has an amount that is no number of at most 2 decimals") || is_large,
            "{number}: {said}"
        );
    }
    for number in ["10.5", "'10'", "'ten'", "x'31'", "9223372036854775807", "-9223372036854775808", "1e20"] {
        let mut ledger = Ledger::new(TestDatabase::sqlite());
        ledger.charge("a", "2026-11", 10, &["ann"]);
        ledger.allocation.new.value = format!("SELECT charge_id, payer, {number} AS amount FROM new_parts");
        let said = refusal(&mut ledger);
        assert!(said.contains("`new`: charge a has an amount that is no integer"), "{number}: {said}");
        // In a column of integers, SQLite keeps what is no integer as it is.
        ledger.allocation.new.value = String::from("SELECT charge_id, payer, amount FROM new_parts");
        ledger.run("UPDATE new_parts SET amount = 10.25");
        assert!(refusal(&mut ledger).contains("`new`: charge a has an amount that is no integer"));
    }
}

#[test]
fn amounts_as_text_are_their_numbers_or_refused() {
    let mut ledger = Ledger::new(TestDatabase::postgres());
    ledger.charge("a", "2026-11", 10, &["ann"]);
    ledger.run("ALTER TABLE new_parts ALTER amount TYPE TEXT; UPDATE new_parts SET amount = ' 10'");
    assert_eq!(wrong(&mut ledger), Vec::<String>::new());
    ledger.run("UPDATE new_parts SET amount = 'ten'");
    assert!(refusal(&mut ledger).contains("\"ten\""));
}

/// The new side of a charge is 2^63 − 1 and −2^63 in different rows: no sum of it is a wrong number.
#[test]
fn sums_beyond_what_a_database_holds_are_refused_and_never_wrong() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        let large = (1i64 << 62) - 1;
        ledger.charge("a", "2026-11", large, &["ann"]);
        for _ in 0..3 {
            ledger.run(&format!(
                "INSERT INTO new_parts VALUES ('a', 'ann', {large}, 'EUR'), ('a', 'bob', -{large}, 'EUR')"
            ));
        }
        let said = refusal(&mut ledger);
        assert!(said.contains("overflow") || said.contains("out of range"), "{said}");
    });
}

#[test]
fn a_group_query_that_lists_a_charge_twice_or_never_is_told() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        ledger.charge("a", "2026-11", 10, &["ann"]);
        ledger.charge("b", "2026-11", 10, &["ann"]);
        ledger.run("INSERT INTO charge_groups SELECT charge_id, group_id FROM charge_groups WHERE charge_id = 'a'");
        assert!(ledger.compare().is_clean(), "the same group twice is one group");
        ledger.run("UPDATE charge_groups SET group_id = NULL WHERE charge_id = 'b'");
        assert_eq!(ledger.compare().totals[0].without_group, 1);
        ledger.run("INSERT INTO charge_groups VALUES ('a', 'another')");
        assert!(refusal(&mut ledger).contains("charge a is in more than one group"));
    });
}

/// Keeps parts, and gives those of an earlier run back.
#[derive(Default)]
struct Since {
    earlier: Vec<ComparePart>,
    parts: Vec<ComparePart>,
}

impl CompareWatcher for Since {
    fn checkpoint(&mut self, part: &ComparePart) -> Result<(), CompareError> {
        self.parts.push(part.clone());
        Ok(())
    }

    fn earlier(&mut self, number: u64) -> Result<Option<ComparePart>, CompareError> {
        Ok(self.earlier.get(usize::try_from(number).unwrap()).cloned())
    }
}

fn since(ledger: &mut Ledger, earlier: &[ComparePart]) -> (Comparison, Vec<ComparePart>) {
    let request = CompareRequest {
        chunk_charges: 5,
        checksums: true,
        exceptions_max: 100,
        ..CompareRequest::of(&ledger.allocation)
    };
    let mut watcher = Since { earlier: earlier.to_vec(), parts: Vec::new() };
    let comparison = compare(&mut ledger.connection, &request, &mut watcher).unwrap().finished().unwrap();
    (comparison, watcher.parts)
}

/// The refund is in another chunk than what it reverses, and nothing in its own chunk changes.
#[test]
fn a_comparison_since_an_earlier_one_sees_that_what_a_refund_reverses_has_changed() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        for number in 10..40 {
            ledger.charge(&format!("c{number}"), "2026-11", 1000, &["ann", "bob"]);
        }
        ledger.refund("z", "c10", "2026-11", -1000, &["ann", "bob"]);
        let (clean, parts) = since(&mut ledger, &[]);
        assert!(clean.is_clean() && parts.len() > 3);
        ledger.run(
            "UPDATE new_parts SET amount = amount + 1 WHERE charge_id = 'c10' AND payer = 'ann';
             UPDATE new_parts SET amount = amount - 1 WHERE charge_id = 'c10' AND payer = 'bob'",
        );
        let (comparison, parts) = since(&mut ledger, &parts);
        assert_eq!(count(&comparison, ChargeClass::RefundDrift), 1);
        assert_eq!(comparison, since(&mut ledger, &[]).0);
        ledger.run("UPDATE charges SET amount = 0 WHERE id = 'c10'");
        let (comparison, _) = since(&mut ledger, &parts);
        assert_eq!(comparison, since(&mut ledger, &[]).0);
        assert_eq!(comparison.totals[0].amount, Minor::new(28_000));
    });
}
