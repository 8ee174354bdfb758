//! Each example by the library's own functions: installed on loaded tables, filled, written to by the old application, verified
//! and compared, to the last unit.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use changeover::allocation::Minor;
use changeover::change::{ChangeFile, Stage};
use changeover::cli::demo::Example;
use changeover::database::DatabaseConnection;
use changeover::primitives::Instant;
use changeover::report::{Report, RunOptions, run, what_if};
use changeover::routing::{Wish, change_stage};
use changeover::sql::model::ChangeModel;
use changeover::store::Store;
use changeover::translation::{BackfillOptions, Deed, VerifyOptions, backfill, check, install, own, resolve, verify};

use super::support::{RUNNING, load_cloud_costs, load_video_hosting, number};
use crate::support::{TestDatabase, changeover, each_database};

#[test]
fn video_hosting_holds_while_old_code_writes() {
    each_database(|database| {
        load_video_hosting(&mut database.connection(), 1_000, 3);
        let installed = Installed::new(&database, Example::VideoHosting);
        installed.fill();
        assert_eq!(installed.drift(), 0, "after the backfill");
        let report = installed.report();
        assert!(report.data.clean, "{:#?}", report.data.comparison.exceptions);

        write_as_old_code(&database, Example::VideoHosting, 600);
        assert_eq!(installed.drift(), 0, "after old code has written");
        installed.assert_clean_and_exact();
    });
}

#[test]
fn a_closed_month_and_what_reverses_it_stay_as_they_were_divided() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 400, 3);
        let installed = Installed::new(&database, Example::VideoHosting);
        installed.fill();
        // A charge of last month, in an account of one.
        connection
            .batch(
                "INSERT INTO users (id, name) VALUES (9001, 'owner'), (9002, 'joins later'), (9003, 'buys the video');
                 INSERT INTO videos (id, user_id, title) VALUES (9001, 9001, 'one');
                 INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)
                 VALUES (9001, 9001, 9001, '2026-10', 'EUR', 1000), (9002, 9001, 9001, '2026-11', 'EUR', 1000);
                 UPDATE periods SET closed = true WHERE period < '2026-11'",
            )
            .unwrap();
        let name = &installed.model.name;
        connection.in_transaction(|connection| own::close_before(connection, name, RUNNING, deed())).unwrap();
        connection
            .batch(
                "INSERT INTO memberships (account_id, user_id, weight) SELECT id, 9002, 1 FROM accounts WHERE owner_id = 9001;
                 INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id)
                 VALUES (9003, 9001, 9001, '2026-11', 'EUR', -1000, 9001), (9004, 9001, 9001, '2026-11', 'EUR', -1000, 9002)",
            )
            .unwrap();
        let divided = |connection: &mut DatabaseConnection, charge: i64| -> Vec<(i64, i64)> {
            let sql = "SELECT payer_id, amount_minor FROM charge_allocations WHERE charge_id = $1 ORDER BY payer_id";
            let rows = connection.query(sql, &[charge.into()]).unwrap();
            rows.iter().map(|row| (row.integer("payer_id").unwrap(), row.integer("amount_minor").unwrap())).collect()
        };
        for _ in 0..2 {
            assert_eq!(divided(&mut connection, 9001), [(9001, 1000)], "closed: who joined later does not pay");
            assert_eq!(divided(&mut connection, 9003), [(9001, -1000)], "reverses a closed charge: as that one was");
            assert_eq!(installed.drift(), 0);
            installed.assert_clean_and_exact();
            // The same once the video is somebody else's.
            connection.batch("UPDATE videos SET user_id = 9003 WHERE id = 9001").unwrap();
        }
        assert_eq!(divided(&mut connection, 9002), [(9003, 1000)], "open: it moves with the video");
        assert_eq!(divided(&mut connection, 9004), [(9003, -1000)]);
    });
}

#[test]
fn a_thousand_over_three_members_is_334_333_333_and_its_refund_the_mirror() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 100, 3);
        let installed = Installed::new(&database, Example::VideoHosting);
        installed.fill();
        connection
            .batch(
                "INSERT INTO users (id, name) VALUES (9001, 'a'), (9002, 'b'), (9003, 'c');
                 INSERT INTO videos (id, user_id, title) VALUES (9001, 9001, 'shared');
                 INSERT INTO memberships (account_id, user_id)
                 SELECT a.id, u.id FROM accounts a JOIN users u ON u.id IN (9002, 9003) WHERE a.owner_id = 9001;
                 INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id) VALUES
                 (9001, 9002, 9001, '2026-11', 'EUR', 1000, NULL), (9002, 9002, 9001, '2026-11', 'EUR', -1000, 9001),
                 (9003, 9002, 9001, '2026-11', 'EUR', 0, NULL), (9004, 9003, 9001, '2026-11', 'EUR', 1, NULL)",
            )
            .unwrap();
        let mut parts = |charge: i64| -> Vec<i64> {
            let sql = "SELECT amount_minor FROM charge_allocations WHERE charge_id = $1 ORDER BY payer_id";
            let rows = connection.query(sql, &[charge.into()]).unwrap();
            rows.iter().map(|row| row.integer("amount_minor").unwrap()).collect()
        };
        assert_eq!(parts(9001), [333, 334, 333], "the uploader is the second one");
        assert_eq!(parts(9002), [-333, -334, -333]);
        assert_eq!(parts(9003), [0, 0, 0]);
        assert_eq!(parts(9004), [0, 0, 1], "one unit goes to the uploader");
        assert_eq!(installed.drift(), 0);
        installed.assert_clean_and_exact();
    });
}

#[test]
fn the_real_charges_come_to_the_same_total_on_either_side() {
    each_database(|database| {
        if load_cloud_costs(&mut database.connection()).is_none() {
            return;
        }
        let file = ChangeFile::parse(Example::CloudCosts.change_file()).unwrap();
        let before = what_if(&mut database.connection(), &file, &options()).unwrap();
        assert!(before.data.clean, "{:#?}", before.data.comparison.exceptions);

        let installed = Installed::new(&database, Example::CloudCosts);
        installed.fill();
        assert_eq!(installed.drift(), 0, "after the backfill");
        let report = installed.assert_clean_and_exact();
        let sum = |side: fn(&changeover::allocation::ControlTotal) -> Minor| -> String {
            report.data.comparison.totals.iter().map(side).sum::<Minor>().decimal(11)
        };
        assert_eq!(report.data.comparison.charges(), 1_000);
        assert_eq!(sum(|total| total.old.amount), "20.52022672899");
        assert_eq!(sum(|total| total.new.amount), "20.52022672899");
        assert_eq!(sum(|total| total.effective.amount), "20.52022672899");

        write_as_old_code(&database, Example::CloudCosts, 60);
        assert_eq!(installed.drift(), 0, "after old code has written");
        installed.assert_clean_and_exact();
        let sum = number(&mut database.connection(), "SELECT sum(amount) FROM charge_allocations");
        assert_eq!(sum, 2_052_022_672_899, "old code only moves amounts");
    });
}

#[test]
fn an_untagged_charge_is_divided_by_what_its_sub_account_has_tagged() {
    each_database(|database| {
        let mut connection = database.connection();
        connection.batch(Example::CloudCosts.schema(database.dialect())).unwrap();
        let installed = Installed::new(&database, Example::CloudCosts);
        installed.fill();
        connection
            .batch(
                r#"INSERT INTO billing_accounts (id, name) VALUES ('b', 'all');
                INSERT INTO sub_accounts (id, name) VALUES ('shared', 's'), ('untagged', 'u');
                INSERT INTO charges (id, billing_account_id, sub_account_id, period, currency, amount, service, tags) VALUES
                (1, 'b', 'shared', '2026-11', 'USD', 300000, 'x', '{"business_unit": "A"}'),
                (2, 'b', 'shared', '2026-11', 'USD', 199999, 'x', '{"business_unit": "B"}'),
                (3, 'b', 'shared', '2026-11', 'USD', -5, 'x', '{"business_unit": "C"}'),
                (4, 'b', 'shared', '2026-11', 'USD', 1000, 'x', NULL),
                (5, 'b', 'untagged', '2026-11', 'USD', -7, 'x', '{"env": "dev"}'),
                (6, 'b', NULL, '2026-11', 'USD', 9, 'x', NULL)"#,
            )
            .unwrap();
        let mut shares = |charge: i64| -> Vec<(String, i64)> {
            let sql =
                "SELECT business_unit, amount FROM charge_allocations WHERE charge_id = $1 ORDER BY business_unit";
            let rows = connection.query(sql, &[charge.into()]).unwrap();
            rows.iter().map(|row| (row.text("business_unit").unwrap(), row.integer("amount").unwrap())).collect()
        };
        let pairs = |pairs: &[(&str, i64)]| -> Vec<(String, i64)> {
            pairs.iter().map(|(unit, amount)| ((*unit).to_owned(), *amount)).collect()
        };
        assert_eq!(shares(4), pairs(&[("A", 600), ("B", 200), ("C", 200)]), "3 : 1 : 1 micro-dollars");
        assert_eq!(shares(5), pairs(&[("unassigned", -7)]));
        assert_eq!(shares(6), pairs(&[("unassigned", 9)]));
        assert_eq!(installed.drift(), 0);
        installed.assert_clean_and_exact();
    });
}

/// An example with its change installed and dual writing on.
struct Installed<'a> {
    database: &'a TestDatabase,
    store: Store,
    model: ChangeModel,
}

impl<'a> Installed<'a> {
    fn new(database: &'a TestDatabase, example: Example) -> Self {
        let mut connection = database.connection();
        let file = ChangeFile::parse(example.change_file()).unwrap();
        let checked = check(&mut connection, &database.url().parse().unwrap(), &file).unwrap();
        assert!(checked.is_clean(), "{:#?}", checked.mistakes);
        let model = resolve(&mut connection, &file).unwrap();
        let change = install(&mut connection, &model, &file, deed()).unwrap();
        let store = Store::open(database.database()).unwrap();
        let wish = Wish { to: Stage::DualWrite, deed: deed(), force: false, restore: None };
        assert!(change_stage(&store, &mut connection, &change, wish).unwrap().moved);
        Self { database, store, model }
    }

    fn fill(&self) {
        let options = BackfillOptions::default();
        let states = backfill(&mut self.database.connection(), &self.model, options, &mut |_, _, _| true).unwrap();
        assert!(states.iter().all(|state| state.finished), "{states:?}");
    }

    fn drift(&self) -> u64 {
        let connection = &mut self.database.connection();
        let found = verify(connection, &self.model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        for sample in found.iter().flat_map(|block| &block.samples).take(5) {
            eprintln!("{sample:?}");
        }
        found.iter().map(|block| block.drift()).sum()
    }

    fn report(&self) -> Report {
        run(&mut self.database.connection(), &self.store, &self.model.name, &options(), &mut |_, _| true).unwrap()
    }

    fn assert_clean_and_exact(&self) -> Report {
        let report = self.report();
        assert!(report.data.clean, "{:#?}", report.data.comparison.exceptions);
        let totals = &report.data.comparison.totals;
        assert!(!totals.is_empty() && totals.iter().all(|total| total.is_exact()), "{totals:#?}");
        report
    }
}

fn deed() -> Deed<'static> {
    Deed { actor: "test", at: now(), reason: "" }
}

fn now() -> Instant {
    jiff::Timestamp::now().into()
}

fn options() -> RunOptions<'static> {
    RunOptions { exceptions_max: 20, movers_max: 5, ..RunOptions::of(now(), "test") }
}

/// Lets the old application write at least so many rows, as the process of its own that it is.
fn write_as_old_code(database: &TestDatabase, example: Example, rows: u64) {
    let arguments = ["demo", "old-code", "--example", example.name(), "--period", RUNNING, "--seed", "11"];
    let mut command = changeover().service(database).args(arguments).into_command();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    let written = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| {
        let written: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        written["rows"].as_u64().unwrap()
    });
    let enough = written.into_iter().find(|written| *written >= rows);
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(enough.is_some(), "old code ended before it had written {rows} rows");
}
