//! A small ledger to compare: charges with their old and new allocation, all in plain tables, so that a test can plant any fault.

use changeover::allocation::{ChargeClass, Comparison, Share, split};
use changeover::change::{Allocation, Located};
use changeover::database::DatabaseConnection;
use changeover::translation::compare::{CompareError, CompareRequest, Unwatched, compare};

use crate::support::TestDatabase;

/// The tables of a ledger. Charge ids are text, amounts 64-bit integers.
const SCHEMA: &str = "
    CREATE TABLE charges (id VARCHAR(40), period VARCHAR(7), currency VARCHAR(3), amount BIGINT, reverses_id VARCHAR(40));
    CREATE TABLE old_parts (charge_id VARCHAR(40), payer VARCHAR(40), amount BIGINT);
    CREATE TABLE new_parts (charge_id VARCHAR(40), payer VARCHAR(40), amount BIGINT, currency VARCHAR(3));
    CREATE TABLE members (charge_id VARCHAR(40), payer VARCHAR(40));
    CREATE TABLE charge_groups (charge_id VARCHAR(40), group_id VARCHAR(40))";

pub struct Ledger {
    pub database: TestDatabase,
    pub connection: DatabaseConnection,
    pub allocation: Allocation,
}

fn located(text: &str) -> Located<String> {
    Located { value: text.to_owned(), line: 1 }
}

pub fn allocation() -> Allocation {
    Allocation {
        line: 1,
        charges: located("SELECT id AS charge_id, period, currency, amount FROM charges"),
        old: located("SELECT charge_id, payer, amount FROM old_parts"),
        new: located("SELECT charge_id, payer, amount, currency FROM new_parts"),
        group: located("SELECT charge_id, group_id FROM charge_groups"),
        expected_payers: Some(located("SELECT charge_id, payer FROM members")),
        reverses: Some(located("SELECT id AS charge_id, reverses_id FROM charges WHERE reverses_id IS NOT NULL")),
        exponent: None,
        scale: None,
    }
}

impl Ledger {
    pub fn new(database: TestDatabase) -> Self {
        let mut connection = database.connection();
        connection.batch(SCHEMA).unwrap();
        Self { database, connection, allocation: allocation() }
    }

    pub fn run(&mut self, sql: &str) {
        self.connection.batch(sql).unwrap();
    }

    /// A charge of `payers[0]` that the new model divides over all of them by the one rule there is.
    pub fn charge(&mut self, id: &str, period: &str, amount: i64, payers: &[&str]) {
        self.charge_in(id, period, "EUR", amount, payers);
    }

    pub fn charge_in(&mut self, id: &str, period: &str, currency: &str, amount: i64, payers: &[&str]) {
        let shares: Vec<Share> = (0..payers.len()).map(|place| Share { weight: 1, first: place == 0 }).collect();
        let mut sql = format!(
            "INSERT INTO charges VALUES ('{id}', '{period}', '{currency}', {amount}, NULL);
             INSERT INTO old_parts VALUES ('{id}', '{}', {amount});
             INSERT INTO charge_groups VALUES ('{id}', 'group of {id}');",
            payers[0]
        );
        for (payer, part) in payers.iter().zip(split(amount, &shares).unwrap()) {
            sql.push_str(&format!(
                "INSERT INTO new_parts VALUES ('{id}', '{payer}', {part}, '{currency}');
                 INSERT INTO members VALUES ('{id}', '{payer}');"
            ));
        }
        self.run(&sql);
    }

    /// The refund of a charge: the same payers, the opposite amount.
    pub fn refund(&mut self, id: &str, reverses: &str, period: &str, amount: i64, payers: &[&str]) {
        self.charge(id, period, amount, payers);
        self.run(&format!("UPDATE charges SET reverses_id = '{reverses}' WHERE id = '{id}'"));
    }

    pub fn try_compare(&mut self, periods: &[&str]) -> Result<Comparison, CompareError> {
        let periods: Vec<String> = periods.iter().map(|&period| period.to_owned()).collect();
        let request = CompareRequest {
            periods: &periods,
            exceptions_max: 1000,
            movers_max: 10,
            ..CompareRequest::of(&self.allocation)
        };
        Ok(compare(&mut self.connection, &request, &mut Unwatched)?.finished().unwrap())
    }

    pub fn compare(&mut self) -> Comparison {
        self.try_compare(&[]).unwrap()
    }
}

/// Ids of the charges in a wrong class, with it, in the order of their ids.
pub fn found(comparison: &Comparison) -> Vec<(String, ChargeClass)> {
    let mut found: Vec<_> = comparison.exceptions.iter().map(|line| (line.charge_id.clone(), line.class)).collect();
    found.sort();
    found
}

/// How many charges are in a class.
pub fn count(comparison: &Comparison, class: ChargeClass) -> u64 {
    comparison.classes.iter().filter(|total| total.class == class).map(|total| total.charges).sum()
}
