//! A block whose query reads its own target: a refund of a closed month is divided as the refunded charge was, and both may be written by
//! one statement, by one batch of a backfill, or by two workers at once.

use changeover::change::Stage;
use changeover::database::Dialect;
use changeover::translation::{BackfillOptions, backfill, backfill_with, install, resolve};

use super::fixture::{Installed, deed, file, installed, loaded, step};
use crate::support::{TestDatabase, each_database};

/// A closed month with a charge, its refund, and a refund of that one.
const CHAIN: &str = "
    UPDATE periods SET closed = true WHERE period = '2026-10';
    INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id) VALUES
      (100,1,1,'2026-10','EUR',700,NULL),(101,1,1,'2026-11','EUR',-700,100);
    UPDATE periods SET closed = true WHERE period = '2026-11';
    INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id) VALUES
      (102,1,1,'2026-11','EUR',700,101),(103,1,1,'2026-11','EUR',-700,102);";

fn at_dualwrite_unfilled(database: TestDatabase, data: &str) -> Installed {
    let mut connection = loaded(&database);
    connection.batch(data).unwrap();
    let model = resolve(&mut connection, &file()).unwrap();
    install(&mut connection, &model, &file(), deed()).unwrap();
    step(&mut connection, &model, Stage::DualWrite);
    Installed { database, model, stage: Stage::DualWrite }
}

#[test]
fn a_refund_is_filled_in_the_batch_of_what_it_refunds() {
    each_database(|database| {
        let installed = at_dualwrite_unfilled(database, CHAIN);
        backfill(&mut installed.connection(), &installed.model, BackfillOptions::default(), &mut |_, _, _| true)
            .unwrap();
        installed.assert_agrees(false, &|| String::from("one batch"));
    });
}

#[test]
fn a_refund_is_filled_before_what_it_refunds() {
    each_database(|database| {
        // Keys that do not grow with time, as UUIDs: each refund stands before what it reverses, and in a batch of its own.
        let data = "
            UPDATE periods SET closed = true;
            INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id) VALUES
              (100,1,1,'2026-10','EUR',700,NULL),(99,1,1,'2026-11','EUR',-700,100),(98,1,1,'2026-11','EUR',700,99),(97,1,1,'2026-11','EUR',-700,98);";
        let installed = at_dualwrite_unfilled(database, data);
        let options = BackfillOptions { batch_rows: Some(1), ..BackfillOptions::default() };
        let filled = backfill(&mut installed.connection(), &installed.model, options, &mut |_, _, _| true).unwrap();
        assert!(filled.iter().all(|block| block.finished));
        installed.assert_agrees(false, &|| String::from("backwards"));
    });
}

#[test]
fn several_workers_fill_refunds_of_one_another() {
    each_database(|database| {
        let data = "
            UPDATE periods SET closed = true;
            INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)
              WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2999)
              SELECT 100 + i, 1 + i % 6, 1 + i % 6, '2026-10', 'EUR', i + 1 FROM n;
            INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id)
              SELECT 10000 - id, user_id, video_id, '2026-11', 'EUR', -amount_minor, id FROM charges WHERE id >= 100;";
        let installed = at_dualwrite_unfilled(database, data);
        let options = BackfillOptions { batch_rows: Some(100), workers: 3, ..BackfillOptions::default() };
        let database = installed.database.database();
        let filled = backfill_with(&database, &installed.model, &options, &mut |_| true).unwrap();
        assert!(filled.finished);
        installed.assert_agrees(false, &|| String::from("three workers"));
    });
}

#[test]
fn one_statement_writes_a_charge_of_a_closed_month_and_its_refunds() {
    each_database(|database| {
        let installed = installed(database, Stage::DualWrite);
        let mut connection = installed.connection();
        connection.batch("UPDATE periods SET closed = true").unwrap();
        connection
            .batch(
                "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id) VALUES
                   (100,1,1,'2026-10','EUR',700,NULL),(101,1,1,'2026-11','EUR',-700,100),(102,1,1,'2026-11','EUR',700,101)",
            )
            .unwrap();
        installed.assert_agrees(false, &|| String::from("an insert of three"));
        // A statement that touches them all again finds nothing to be done.
        connection.batch("UPDATE charges SET amount_minor = amount_minor * 2 WHERE id >= 100").unwrap();
        installed.assert_agrees(false, &|| String::from("an update of three"));
        connection.batch("DELETE FROM charges WHERE id >= 101").unwrap();
        installed.assert_agrees(false, &|| String::from("a delete of two"));
        if connection.dialect() == Dialect::Postgres {
            connection.batch("DELETE FROM charges").unwrap();
            installed.assert_agrees(false, &|| String::from("a delete of all"));
        }
    });
}
