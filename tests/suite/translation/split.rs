//! The division in SQL is the division in Rust, to the unit, on both databases; and the acceptance examples.

use changeover::allocation::{Share, split};
use changeover::change::{ChangeFile, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use proptest::prelude::*;

use super::fixture::install_file;
use crate::support::{TestDatabase, each_database};

const CHANGE: &str = r#"
format = 1
name   = "shares"
title  = "Divide a bill over its shares"
on_error = "fail"

[routing]
flag = "shares"
period = "month"

[[forward]]
into  = "parts"
from  = "bills"
key   = "bill_id"
query = "SELECT b.id AS bill_id, s.member, s.weight, b.amount, s.is_first FROM bills b JOIN shares s ON s.bill_id = b.id"
split = { amount = "amount", by = "weight", first = "is_first" }
  [[forward.follows]]
  table = "shares"
  by    = "bill_id"
  keys  = "SELECT bill_id FROM changed"
  reads = "SELECT id FROM changed"
"#;

fn prepared(database: &TestDatabase) -> DatabaseConnection {
    let mut connection = database.connection();
    let (id, truth) = match database.dialect() {
        Dialect::Postgres => ("BIGINT", "BOOLEAN"),
        Dialect::Sqlite => ("INTEGER", "INTEGER"),
    };
    connection
        .batch(&format!(
            "CREATE TABLE bills (id {id} PRIMARY KEY, amount BIGINT NOT NULL);
             CREATE TABLE shares (bill_id {id} NOT NULL, member TEXT NOT NULL, weight BIGINT NOT NULL, is_first {truth} NOT NULL, PRIMARY KEY (bill_id, member));
             CREATE TABLE parts (bill_id {id} NOT NULL, member TEXT NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (bill_id, member));"
        ))
        .unwrap();
    install_file(&mut connection, &ChangeFile::parse(CHANGE).unwrap(), Stage::DualWrite);
    connection
}

/// Writes a bill with its shares (member, weight, first) and returns its parts in the order of the members' bytes.
fn divided(
    connection: &mut DatabaseConnection,
    id: i64,
    amount: i64,
    shares: &[(String, i64, bool)],
) -> Result<Vec<i64>, String> {
    let truth = |truth: bool| match (connection.dialect(), truth) {
        (Dialect::Postgres, truth) => truth.to_string(),
        (Dialect::Sqlite, truth) => i64::from(truth).to_string(),
    };
    let rows: Vec<String> = shares
        .iter()
        .map(|(member, weight, first)| format!("({id}, '{member}', {weight}, {})", truth(*first)))
        .collect();
    connection.batch(&format!("INSERT INTO shares VALUES {}", rows.join(", "))).map_err(|error| error.to_string())?;
    connection.batch(&format!("INSERT INTO bills VALUES ({id}, {amount})")).map_err(|error| error.to_string())?;
    let collation = if connection.dialect() == Dialect::Postgres { " COLLATE \"C\"" } else { "" };
    let parts =
        connection.query(&format!("SELECT amount FROM parts WHERE bill_id = {id} ORDER BY member{collation}"), &[]);
    Ok(parts.unwrap().iter().map(|row| row.integer("amount").unwrap()).collect())
}

fn by_rust(amount: i64, shares: &[(String, i64, bool)]) -> Vec<i64> {
    let shares: Vec<Share> = shares.iter().map(|(_, weight, first)| Share { weight: *weight, first: *first }).collect();
    split(amount, &shares).unwrap()
}

fn three(first: usize) -> Vec<(String, i64, bool)> {
    ["a", "b", "c"].iter().enumerate().map(|(at, member)| ((*member).to_owned(), 1, at == first)).collect()
}

#[test]
fn a_thousand_over_three_a_refund_a_zero_and_a_unit() {
    each_database(|database| {
        let mut connection = prepared(&database);
        assert_eq!(divided(&mut connection, 1, 1_000, &three(1)).unwrap(), [333, 334, 333], "the uploader comes first");
        assert_eq!(
            divided(&mut connection, 2, -1_000, &three(1)).unwrap(),
            [-333, -334, -333],
            "a refund is the mirror"
        );
        assert_eq!(divided(&mut connection, 3, 0, &three(1)).unwrap(), [0, 0, 0], "zero stays allocated");
        assert_eq!(divided(&mut connection, 4, 1, &three(2)).unwrap(), [0, 0, 1], "one unit goes to one of them");
        assert_eq!(divided(&mut connection, 5, -1, &three(2)).unwrap(), [0, 0, -1]);
    });
}

#[test]
fn what_cannot_be_divided_is_refused_and_nothing_is_written() {
    each_database(|database| {
        let mut connection = prepared(&database);
        let refused =
            divided(&mut connection, 1, 1_000, &[("a".into(), 1, false), ("b".into(), -1, false)]).unwrap_err();
        assert!(refused.contains("block f1 (parts)") && refused.contains("weight"), "{refused}");
        assert_eq!(connection.get_row("SELECT count(*) AS n FROM bills", &[]).unwrap().integer("n").unwrap(), 0);
        if database.dialect() == Dialect::Sqlite {
            let refused = divided(&mut connection, 2, 1 << 62, &three(0)).unwrap_err();
            assert!(refused.contains("2^62"), "{refused}");
        }
    });
}

fn share() -> impl Strategy<Value = (i64, bool)> {
    (prop_oneof![Just(0i64), 1..5i64, 1..1_000_000i64, Just(200_000_000i64)], any::<bool>())
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3..4i64,
        -100_000..100_000i64,
        -(1i64 << 61)..(1i64 << 61),
        Just((1i64 << 62) - 1),
        Just(-(1i64 << 62) + 1)
    ]
}

#[test]
fn sql_divides_as_rust_does() {
    each_database(|database| {
        let mut connection = prepared(&database);
        let mut id = 0;
        let mut runner =
            proptest::test_runner::TestRunner::new(ProptestConfig { cases: 300, ..ProptestConfig::default() });
        let connection = std::cell::RefCell::new(&mut connection);
        let id = std::cell::RefCell::new(&mut id);
        runner
            .run(&(amount(), prop::collection::vec(share(), 1..9)), |(amount, shares)| {
                **id.borrow_mut() += 1;
                // Ids whose order by bytes is not that of any language: B < a < ä.
                let names = ["B", "Z", "a", "b", "z", "ä", "é", "ü", "ÿ"];
                let shares: Vec<(String, i64, bool)> = shares
                    .iter()
                    .zip(names)
                    .map(|((weight, first), name)| (name.to_owned(), *weight, *first))
                    .collect();
                let found = divided(*connection.borrow_mut(), **id.borrow(), amount, &shares).unwrap();
                prop_assert_eq!(found, by_rust(amount, &shares), "{} over {:?}", amount, shares);
                Ok(())
            })
            .unwrap();
    });
}

/// The same bill, its amounts NUMERIC with 11 decimals.
const SCALED: &str = "CREATE TABLE bills (id BIGINT PRIMARY KEY, amount NUMERIC NOT NULL);
    CREATE TABLE shares (bill_id BIGINT NOT NULL, member TEXT NOT NULL, weight BIGINT NOT NULL, is_first BOOLEAN NOT NULL, PRIMARY KEY (bill_id, member));
    CREATE TABLE parts (bill_id BIGINT NOT NULL, member TEXT NOT NULL, amount NUMERIC(40,11) NOT NULL, PRIMARY KEY (bill_id, member));";

fn scaled_file() -> ChangeFile {
    ChangeFile::parse(&CHANGE.replace("first = \"is_first\" }", "first = \"is_first\", scale = 11 }")).unwrap()
}

/// An integer of 10^-11 as PostgreSQL writes it.
fn eleven(amount: i64) -> String {
    let digits = format!("{:012}", amount.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - 11);
    format!("{}{whole}.{fraction}", if amount < 0 { "-" } else { "" })
}

#[test]
fn amounts_with_eleven_decimals_are_divided_as_integers_are() {
    each_database(|database| {
        let mut connection = database.connection();
        if database.dialect() == Dialect::Sqlite {
            drop(prepared(&database));
            let refused = changeover::translation::resolve(&mut connection, &scaled_file()).unwrap_err().to_string();
            assert!(refused.contains("scale") && refused.contains("integers of the smallest unit"), "{refused}");
            return;
        }
        connection.batch(SCALED).unwrap();
        install_file(&mut connection, &scaled_file(), Stage::DualWrite);
        let connection = std::cell::RefCell::new(connection);
        let id = std::cell::Cell::new(0_i64);
        let mut runner =
            proptest::test_runner::TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
        runner
            .run(&(amount(), prop::collection::vec(share(), 1..9)), |(amount, shares)| {
                id.set(id.get() + 1);
                let shares: Vec<(String, i64, bool)> = shares
                    .iter()
                    .zip('a'..)
                    .map(|((weight, first), name)| (name.to_string(), *weight, *first))
                    .collect();
                let rows: Vec<String> = shares
                    .iter()
                    .map(|(member, weight, first)| format!("({}, '{member}', {weight}, {first})", id.get()))
                    .collect();
                let mut connection = connection.borrow_mut();
                connection
                    .batch(&format!(
                        "INSERT INTO shares VALUES {}; INSERT INTO bills VALUES ({}, {})",
                        rows.join(", "),
                        id.get(),
                        eleven(amount)
                    ))
                    .unwrap();
                let sql =
                    format!("SELECT amount::text AS amount FROM parts WHERE bill_id = {} ORDER BY member", id.get());
                let found: Vec<String> =
                    connection.query(&sql, &[]).unwrap().iter().map(|row| row.text("amount").unwrap()).collect();
                let wanted: Vec<String> = by_rust(amount, &shares).into_iter().map(eleven).collect();
                prop_assert_eq!(found, wanted);
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn decimals_beyond_the_scale_are_refused() {
    each_database(|database| {
        if database.dialect() == Dialect::Sqlite {
            return;
        }
        let mut connection = database.connection();
        connection.batch(SCALED).unwrap();
        install_file(&mut connection, &scaled_file(), Stage::DualWrite);
        connection.batch("INSERT INTO shares VALUES (1, 'a', 1, true), (2, 'a', 1, true), (3, 'a', 1, true)").unwrap();
        for amount in ["1.000000000001", "'NaN'", "'Infinity'"] {
            let refused = connection.batch(&format!("INSERT INTO bills VALUES (1, {amount})")).unwrap_err().to_string();
            assert!(refused.contains("more than 11 decimals") && refused.contains("f1 (parts)"), "{refused}");
        }
        connection
            .batch("INSERT INTO bills VALUES (2, 20.52022672899000), (3, 123456789012345678901234567.1)")
            .unwrap();
        let row = connection.get_row("SELECT sum(amount)::text AS sum FROM parts", &[]).unwrap();
        assert_eq!(row.text("sum").unwrap(), "123456789012345678901234587.62022672899");
    });
}

proptest! {
    #[test]
    fn a_division_is_exact_fair_within_a_unit_deterministic_and_symmetric(
        amount in amount(), shares in prop::collection::vec(share(), 1..9),
    ) {
        let shares: Vec<Share> = shares.into_iter().map(|(weight, first)| Share { weight, first }).collect();
        let parts = split(amount, &shares).unwrap();
        prop_assert_eq!(parts.iter().map(|part| i128::from(*part)).sum::<i128>(), i128::from(amount));
        let all_zero = shares.iter().all(|share| share.weight == 0);
        let weight = |share: &Share| if all_zero { 1 } else { i128::from(share.weight) };
        let total: i128 = shares.iter().map(weight).sum();
        for (part, share) in parts.iter().zip(&shares) {
            let off = i128::from(*part) * total - i128::from(amount) * weight(share);
            prop_assert!(off.abs() < total, "{part} is a unit or more from the exact part");
        }
        prop_assert_eq!(&split(amount, &shares).unwrap(), &parts);
        let mirrored: Vec<i64> = split(-amount, &shares).unwrap().into_iter().map(|part| -part).collect();
        prop_assert_eq!(mirrored, parts);
    }
}
