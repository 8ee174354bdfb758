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
