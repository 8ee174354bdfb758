//! What a division is based on is kept: a closed charge stays divided as it was, and a refund undoes what it reverses, payer by payer.

use changeover::change::{ChangeFile, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::sql::model::ChangeModel;
use changeover::translation::own::close_before;
use changeover::translation::{
    BackfillOptions, VerifyOptions, backfill, basis::record_frozen, install, repair, resolve, uninstall, update, verify,
};

use super::fixture::{deed, go_to, install_file};
use crate::support::{TestDatabase, each_database};

pub const CHANGE: &str = r#"
format = 1
name   = "shares"
title  = "Divide a bill over its account's members"
on_error = "fail"

[[forward]]
into   = "parts"
from   = "bills"
key    = "bill_id"
query  = """
SELECT b.id AS bill_id, s.member, s.weight, b.amount, b.currency, (s.member = b.payer) AS is_first
FROM bills b JOIN shares s ON s.account = b.account
"""
split  = { amount = "amount", by = "weight", first = "is_first", reverses = "reverses_id" }
frozen = "SELECT id FROM bills WHERE period < :open_period"
  [[forward.follows]]
  table = "shares"
  by    = "account"
  keys  = "SELECT b.id FROM bills b JOIN changed s ON s.account = b.account"
  reads = "SELECT account FROM changed"
"#;

pub fn create(database: &TestDatabase) -> DatabaseConnection {
    let mut connection = database.connection();
    let id = if database.dialect() == Dialect::Postgres { "BIGINT" } else { "INTEGER" };
    connection
        .batch(&format!(
            "CREATE TABLE bills (id {id} PRIMARY KEY, account {id} NOT NULL, payer TEXT NOT NULL, period TEXT NOT NULL, \
               currency TEXT NOT NULL DEFAULT 'EUR', amount BIGINT NOT NULL, reverses_id {id});
             CREATE INDEX bills_account ON bills (account);
             CREATE INDEX bills_reverses ON bills (reverses_id);
             CREATE TABLE shares (account {id} NOT NULL, member TEXT NOT NULL, weight BIGINT NOT NULL, PRIMARY KEY (account, member));
             CREATE TABLE parts (bill_id {id} NOT NULL, member TEXT NOT NULL, amount BIGINT NOT NULL, currency TEXT NOT NULL, PRIMARY KEY (bill_id, member));
             INSERT INTO shares VALUES (1,'a',1),(1,'b',1),(1,'c',1);"
        ))
        .unwrap();
    connection
}

fn prepared(database: &TestDatabase) -> (DatabaseConnection, ChangeModel) {
    let mut connection = create(database);
    let model = install_file(&mut connection, &ChangeFile::parse(CHANGE).unwrap(), Stage::DualWrite);
    (connection, model)
}

fn close(connection: &mut DatabaseConnection, model: &ChangeModel, open: &str) {
    connection.in_transaction(|connection| close_before(connection, &model.name, open, deed())).unwrap();
}

/// `a 334, b 333, c 333`
fn parts(connection: &mut DatabaseConnection, bill: i64) -> String {
    let rows =
        connection.query(&format!("SELECT member, amount FROM parts WHERE bill_id = {bill} ORDER BY member"), &[]);
    let part =
        |row: &changeover::database::Row| format!("{} {}", row.text("member").unwrap(), row.integer("amount").unwrap());
    rows.unwrap().iter().map(part).collect::<Vec<_>>().join(", ")
}

fn stored(connection: &mut DatabaseConnection, model: &ChangeModel) -> i64 {
    let table = table(model);
    connection.get_row(&format!("SELECT count(*) AS n FROM {table}"), &[]).unwrap().integer("n").unwrap()
}

fn table(model: &ChangeModel) -> String {
    changeover::sql::basis::table(model.dialect, model.blocks[0].basis.as_ref().unwrap())
}

fn drift(connection: &mut DatabaseConnection, model: &ChangeModel) -> u64 {
    let found = verify(connection, model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
    found.iter().map(changeover::translation::BlockDrift::drift).sum()
}

const BILL: &str = "INSERT INTO bills (id, account, payer, period, amount) VALUES (1, 1, 'b', '2026-10', 1000)";
const OTHERS: &str = "DELETE FROM shares WHERE member <> 'a'; INSERT INTO shares VALUES (1, 'd', 5)";

#[test]
fn a_closed_charge_that_is_corrected_is_divided_over_those_who_were_members_then() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database);
        connection.batch(BILL).unwrap();
        assert_eq!(parts(&mut connection, 1), "a 333, b 334, c 333");
        assert_eq!(stored(&mut connection, &model), 0, "an open charge costs no rows");
        close(&mut connection, &model, "2026-11");
        assert_eq!(stored(&mut connection, &model), 3);
        connection.batch(OTHERS).unwrap();
        assert_eq!(parts(&mut connection, 1), "a 333, b 334, c 333", "who left has paid, who came does not");
        connection.batch("UPDATE bills SET amount = 800, currency = 'USD' WHERE id = 1").unwrap();
        assert_eq!(parts(&mut connection, 1), "a 267, b 267, c 266");
        let row = connection.get_row("SELECT DISTINCT currency FROM parts", &[]).unwrap();
        assert_eq!(row.text("currency").unwrap(), "USD", "what the charge itself says is what it says now");
        assert_eq!(drift(&mut connection, &model), 0);
        let refilled = backfill(&mut connection, &model, BackfillOptions::default(), &mut |_, _, _| true);
        refilled.unwrap();
        assert_eq!(parts(&mut connection, 1), "a 267, b 267, c 266");
        connection.batch("DELETE FROM bills WHERE id = 1").unwrap();
        assert_eq!(parts(&mut connection, 1), "");
        connection.batch(BILL).unwrap();
        assert_eq!(parts(&mut connection, 1), "a 333, b 334, c 333", "deleted and restored");
    });
}

#[test]
fn a_refund_undoes_its_charge_payer_by_payer_whoever_has_left() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database);
        connection.batch(BILL).unwrap();
        close(&mut connection, &model, "2026-11");
        connection.batch(OTHERS).unwrap();
        let refund = |id: i64, period: &str, amount: i64, reverses: i64| {
            format!(
                "INSERT INTO bills (id, account, payer, period, amount, reverses_id) VALUES ({id}, 1, 'd', '{period}', {amount}, {reverses})"
            )
        };
        connection.batch(&refund(2, "2026-11", -1000, 1)).unwrap();
        assert_eq!(parts(&mut connection, 2), "a -333, b -334, c -333", "a full refund is the mirror, unit for unit");
        connection.batch(&refund(3, "2026-12", -500, 1)).unwrap();
        assert_eq!(parts(&mut connection, 3), "a -167, b -167, c -166", "a part of it, in another period");
        connection.batch(&refund(4, "2027-01", 1000, 2)).unwrap();
        assert_eq!(parts(&mut connection, 4), "a 333, b 334, c 333", "a refund that was refunded");
        connection.batch(&refund(5, "2026-10", -1000, 1)).unwrap();
        assert_eq!(parts(&mut connection, 5), "a -333, b -334, c -333", "booked into the closed period");
        connection.batch(&refund(6, "2026-11", -600, 99)).unwrap();
        assert_eq!(
            parts(&mut connection, 6),
            "a -100, d -500",
            "what it reverses is not there: a charge like any other"
        );
        connection
            .batch("INSERT INTO shares VALUES (2,'x',1); INSERT INTO bills (id, account, payer, period, amount) VALUES (99, 2, 'x', '2026-11', 600)")
            .unwrap();
        assert_eq!(parts(&mut connection, 6), "x -600", "and once it is there, its reversal");
        connection.batch("UPDATE bills SET reverses_id = 7 WHERE id = 99; ").unwrap();
        connection.batch(&refund(7, "2026-11", -1, 7)).unwrap();
        assert_eq!(parts(&mut connection, 7), "a 0, d -1", "what reverses itself is a charge");
        assert_eq!(drift(&mut connection, &model), 0);
        assert_eq!(stored(&mut connection, &model), 3, "a refund has no basis of its own");
    });
}

#[test]
fn a_refund_of_an_open_charge_is_divided_anew_with_it() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database);
        connection.batch(BILL).unwrap();
        connection
            .batch("INSERT INTO bills (id, account, payer, period, amount, reverses_id) VALUES (2, 7, 'z', '2026-10', -1000, 1), (3, 7, 'z', '2026-11', 1000, 2)")
            .unwrap();
        assert_eq!(parts(&mut connection, 2), "a -333, b -334, c -333", "whatever account the refund is booked on");
        connection.batch(OTHERS).unwrap();
        assert_eq!(parts(&mut connection, 1), "a 167, d 833");
        assert_eq!(parts(&mut connection, 2), "a -167, d -833");
        assert_eq!(parts(&mut connection, 3), "a 167, d 833");
        connection
            .batch("UPDATE bills SET account = 3 WHERE id = 1; INSERT INTO shares VALUES (3, 'm', 0), (3, 'n', 0)")
            .unwrap();
        assert_eq!(parts(&mut connection, 2), "m -500, n -500");
        assert_eq!(drift(&mut connection, &model), 0);
        close(&mut connection, &model, "2026-11");
        connection.batch("UPDATE shares SET weight = 4 WHERE member = 'n'").unwrap();
        assert_eq!(parts(&mut connection, 1), "m 500, n 500");
        assert_eq!(parts(&mut connection, 3), "m 500, n 500", "open, and yet its charge's mirror's mirror");
        assert_eq!(drift(&mut connection, &model), 0);
        connection.batch("DELETE FROM bills WHERE id = 2").unwrap();
        assert_eq!(parts(&mut connection, 3), "", "the account that it is booked on has no members");
        assert_eq!(drift(&mut connection, &model), 0);
    });
}

#[test]
fn planted_drift_in_a_closed_charge_is_found_and_mended() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database);
        connection.batch(BILL).unwrap();
        close(&mut connection, &model, "2026-11");
        connection.batch(OTHERS).unwrap();
        connection
            .batch("UPDATE parts SET amount = amount + 5 WHERE member = 'a'; UPDATE parts SET amount = amount - 5 WHERE member = 'b'; DELETE FROM parts WHERE member = 'c'; INSERT INTO parts VALUES (1, 'd', 333, 'EUR')")
            .unwrap();
        assert_eq!(drift(&mut connection, &model), 4);
        repair(&mut connection, &model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert_eq!(drift(&mut connection, &model), 0);
        assert_eq!(parts(&mut connection, 1), "a 333, b 334, c 333");
    });
}

#[test]
fn what_is_first_written_into_a_closed_period_is_frozen_as_it_is_then() {
    each_database(|database| {
        let mut connection = create(&database);
        connection.batch(BILL).unwrap();
        let file = ChangeFile::parse(CHANGE).unwrap();
        let model = resolve(&mut connection, &file).unwrap();
        install(&mut connection, &model, &file, deed()).unwrap();
        close(&mut connection, &model, "2026-11");
        go_to(&mut connection, &model, Stage::DualWrite);
        assert_eq!(stored(&mut connection, &model), 3, "the backfill keeps what it divided by");
        connection
            .batch("INSERT INTO bills (id, account, payer, period, amount) VALUES (2, 1, 'a', '2026-09', 7)")
            .unwrap();
        assert_eq!(stored(&mut connection, &model), 6);
        connection.batch(OTHERS).unwrap();
        connection.batch("UPDATE bills SET amount = 8 WHERE id = 2").unwrap();
        assert_eq!(parts(&mut connection, 2), "a 3, b 3, c 2");
        let again = connection.in_transaction(|connection| record_frozen(connection, &model)).unwrap();
        assert_eq!(again, 0, "nothing is left to record");
        close(&mut connection, &model, "2026-11");
        assert_eq!(stored(&mut connection, &model), 6, "the same close twice");
        assert_eq!(drift(&mut connection, &model), 0);
    });
}

#[test]
fn an_installation_of_an_earlier_version_is_brought_up_to_date_and_uninstalled_whole() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database);
        connection.batch(BILL).unwrap();
        close(&mut connection, &model, "2026-11");
        connection.batch(&format!("DROP TABLE {}", table(&model))).unwrap();
        let file = ChangeFile::parse(CHANGE).unwrap();
        let earlier = resolve(&mut connection, &file).unwrap();
        assert!(!earlier.blocks[0].basis.as_ref().unwrap().is_there);
        assert_eq!(drift(&mut connection, &earlier), 0, "it goes on as it did");
        assert_eq!(record_frozen(&mut connection, &earlier).unwrap(), 0);
        update(&mut connection, &earlier, &file, deed()).unwrap();
        let model = resolve(&mut connection, &file).unwrap();
        assert_eq!(stored(&mut connection, &model), 3, "closed periods: as they were billed");
        connection.batch(OTHERS).unwrap();
        assert_eq!(drift(&mut connection, &model), 0);
        connection.batch("UPDATE bills SET amount = 2000 WHERE id = 1").unwrap();
        assert_eq!(parts(&mut connection, 1), "a 666, b 668, c 666", "by the parts that were billed");
        go_back_and_uninstall(&mut connection, &model);
        let left = match database.dialect() {
            Dialect::Postgres => {
                "SELECT count(*) AS n FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = 'changeover'"
            }
            Dialect::Sqlite => "SELECT count(*) AS n FROM sqlite_master WHERE name LIKE 'changeover%'",
        };
        assert_eq!(connection.get_row(left, &[]).unwrap().integer("n").unwrap(), 0);
    });
}

fn go_back_and_uninstall(connection: &mut DatabaseConnection, model: &ChangeModel) {
    let wanted = changeover::translation::Move { to: Stage::Off, detail: serde_json::json!({}) };
    changeover::translation::move_stage(connection, model, &wanted, deed(), &mut |_, _| Ok(())).unwrap();
    uninstall(connection, model, true).unwrap();
}

#[test]
fn a_query_of_another_shape_loses_no_basis() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database);
        connection.batch(BILL).unwrap();
        close(&mut connection, &model, "2026-11");
        connection.batch("DELETE FROM shares WHERE member = 'c'").unwrap();
        connection.batch("ALTER TABLE parts ADD COLUMN share BIGINT").unwrap();
        let text = CHANGE.replace("b.currency, (s", "b.currency, s.weight AS share, (s");
        let file = ChangeFile::parse(&text).unwrap();
        let wanted = resolve(&mut connection, &file).unwrap();
        update(&mut connection, &wanted, &file, deed()).unwrap();
        let model = resolve(&mut connection, &file).unwrap();
        assert_eq!(stored(&mut connection, &model), 3);
        connection.batch("UPDATE bills SET amount = 100 WHERE id = 1").unwrap();
        assert_eq!(parts(&mut connection, 1), "a 33, b 34, c 33");
        assert_eq!(drift(&mut connection, &model), 0);
    });
}

#[test]
fn closing_while_writers_write_leaves_no_closed_charge_without_its_whole_basis() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database);
        std::thread::scope(|scope| {
            for writer in 0..3_i64 {
                let mut own = database.connection();
                scope.spawn(move || {
                    for turn in 0..40_i64 {
                        let id = 1 + writer * 1000 + turn;
                        let sql = match turn % 4 {
                            0 => format!("UPDATE shares SET weight = {turn} WHERE account = 1 AND member = 'c'"),
                            1 if writer == 0 => String::from("DELETE FROM shares WHERE account = 1 AND member = 'b'"),
                            3 if writer == 0 => String::from("INSERT INTO shares VALUES (1, 'b', 2)"),
                            _ => format!("INSERT INTO bills (id, account, payer, period, amount) VALUES ({id}, 1, 'a', '2026-10', {id})"),
                        };
                        while own.batch(&sql).is_err() {
                            std::thread::sleep(std::time::Duration::from_millis(5));
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            let closed = connection.in_transaction_with_retry(
                50,
                |_: &changeover::translation::TranslationError| true,
                |connection| close_before(connection, &model.name, "2026-11", deed()),
            );
            closed.unwrap();
        });
        let without = format!(
            "SELECT count(*) AS n FROM bills b WHERE NOT EXISTS (SELECT 1 FROM {} k WHERE k.bill_id = b.id)",
            table(&model)
        );
        assert_eq!(connection.get_row(&without, &[]).unwrap().integer("n").unwrap(), 0);
        assert_eq!(drift(&mut connection, &model), 0, "each charge is divided as its basis says");
    });
}
