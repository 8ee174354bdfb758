//! Transactions and run-time SQL on both databases.

use changeover::database::{DatabaseError, Value};

use crate::support::each_database;

#[test]
fn a_failed_transaction_leaves_nothing() {
    each_database(|database| {
        let mut connection = database.connection();
        connection.batch("CREATE TABLE numbers (id BIGINT PRIMARY KEY)").unwrap();
        let outcome: Result<(), DatabaseError> = connection.in_transaction(|connection| {
            connection.execute("INSERT INTO numbers VALUES ($1)", &[Value::Integer(1)])?;
            connection.execute("INSERT INTO numbers VALUES ($1)", &[Value::Integer(1)])?;
            Ok(())
        });
        assert!(outcome.unwrap_err().is_unique_violation());
        let rows = connection.get_row("SELECT count(*) AS rows FROM numbers", &[]).unwrap();
        assert_eq!(rows.integer("rows").unwrap(), 0);
    });
}

#[test]
fn values_come_back_as_they_went_in() {
    each_database(|database| {
        let mut connection = database.connection();
        connection.batch("CREATE TABLE kept (id BIGINT PRIMARY KEY, note TEXT, amount BIGINT)").unwrap();
        let values = [Value::Integer(i64::MAX), Value::from("naïve 'quotes' ∥"), Value::Null];
        connection.execute("INSERT INTO kept VALUES ($1, $2, $3)", &values).unwrap();
        let row = connection.get_row("SELECT id, note, amount FROM kept", &[]).unwrap();
        assert_eq!(row.integer("id").unwrap(), i64::MAX);
        assert_eq!(row.text("note").unwrap(), "naïve 'quotes' ∥");
        assert_eq!(row.find_integer("amount").unwrap(), None);
    });
}

#[test]
fn two_writers_take_turns() {
    each_database(|database| {
        let mut connection = database.connection();
        connection.batch("CREATE TABLE counter (value BIGINT NOT NULL); INSERT INTO counter VALUES (0)").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut connection = database.connection();
                    for _ in 0..50 {
                        connection.execute("UPDATE counter SET value = value + 1", &[]).unwrap();
                    }
                });
            }
        });
        assert_eq!(connection.get_row("SELECT value FROM counter", &[]).unwrap().integer("value").unwrap(), 100);
    });
}
