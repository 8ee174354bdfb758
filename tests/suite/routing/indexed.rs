//! What a bill run of one period reads: that period, however many there are.

use changeover::database::{DatabaseConnection, Dialect};
use changeover::sql::names::own;

use crate::examples::support::load_video_hosting;
use crate::report::commands::installed;
use crate::support::each_database;

/// The plan of a statement, a line a step.
fn plan(connection: &mut DatabaseConnection, sql: &str) -> Vec<String> {
    let (explain, column) = match connection.dialect() {
        Dialect::Postgres => ("EXPLAIN (COSTS OFF)", "QUERY PLAN"),
        Dialect::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
    };
    let rows = connection.query(&format!("{explain} {sql}"), &[]).unwrap();
    rows.iter().map(|row| row.text(column).unwrap().trim().to_owned()).collect()
}

#[test]
fn a_bill_run_reads_the_charges_of_its_period_and_no_others() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 5);
        let is_postgres = database.dialect() == Dialect::Postgres;
        // A long past beside the period, so that reading all of it does not pay.
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) SELECT i FROM n";
        connection
            .batch(&format!(
                "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)
                 SELECT 1000000 + n.i, v.user_id, v.id, CAST(1900 + n.i % 100 AS TEXT) || '-01', 'EUR', n.i
                 FROM ({numbers}) n JOIN videos v ON v.id = (SELECT min(id) FROM videos)"
            ))
            .unwrap();
        installed(&database);
        connection
            .batch(if is_postgres {
                "ANALYZE; SET enable_seqscan = off; SET enable_bitmapscan = off"
            } else {
                "ANALYZE"
            })
            .unwrap();
        let view = own(database.dialect(), "effective_allocation");
        let by_period = plan(
            &mut connection,
            &format!("SELECT payer, sum(amount) FROM {view} WHERE period = '2026-11' GROUP BY payer"),
        );
        let by_charge = plan(&mut connection, &format!("SELECT payer, amount FROM {view} WHERE charge_id = 7"));
        for (plan, index) in [
            (&by_period, "charges_period"),
            (&by_charge, if is_postgres { "charges_pkey" } else { "INTEGER PRIMARY KEY" }),
        ] {
            let reads_all = |line: &&String| {
                let scans = line.contains("Seq Scan on charge")
                    || line.starts_with("SCAN charge")
                    || line.starts_with("SCAN c ");
                scans && !line.contains("USING")
            };
            assert_eq!(plan.iter().find(reads_all), None, "{plan:#?}");
            let branches = plan.iter().filter(|line| line.contains(index)).count();
            // PostgreSQL may begin a refund's branches at the few refunds instead.
            assert!(branches >= 2, "by {index}: {plan:#?}");
        }
        let conditions =
            by_period.iter().filter(|line| line.contains("period = '2026-11'") || line.contains("(period=?)")).count();
        assert!(conditions >= 2, "{by_period:#?}");
    });
}
