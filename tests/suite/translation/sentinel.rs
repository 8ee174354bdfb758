//! The sentinel: it looks at everything again and again, tells what it finds, and puts it right when it is asked to.

use changeover::change::Stage;
use changeover::translation::{SentinelOptions, own, sentinel_step};

use super::faults::behind_its_back;
use super::fixture::{Installed, deed, installed};
use crate::support::{Server, each_database};

const OPTIONS: SentinelOptions = SentinelOptions { range_keys: 2, repair: false };

/// Steps until every range has been looked at once more. Returns the rows that differed and those put right.
fn one_pass(installed: &Installed, options: SentinelOptions) -> (i64, i64) {
    let mut connection = installed.connection();
    let name = &installed.model.name;
    let passes = |connection: &mut _| -> Vec<_> {
        let change = own::get_change(connection, name).unwrap();
        let health = changeover::translation::ChangeHealth::read(connection, &change).unwrap();
        let kept = health.blocks.into_iter().filter(|block| block.block.starts_with('f'));
        kept.map(|block| block.sentinel.last_pass_at).collect()
    };
    let before = passes(&mut connection);
    let (mut found, mut repaired) = (0, 0);
    for _ in 0..200 {
        let change = own::get_change(&mut connection, name).unwrap();
        let step = sentinel_step(&mut connection, &installed.model, &change, options, deed()).unwrap();
        let step = step.expect("there is something to look at");
        found += step.drift;
        repaired += step.repaired;
        let after = passes(&mut connection);
        if before.iter().zip(&after).all(|(before, after)| after > before) {
            return (found, repaired);
        }
    }
    panic!("no pass ended: {before:?}");
}

#[test]
fn a_pass_looks_at_everything_and_repairs_only_when_told_to() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        assert_eq!(one_pass(&installed, OPTIONS), (0, 0));
        behind_its_back(
            &installed,
            &[
                "DELETE FROM charge_allocations WHERE charge_id = 5",
                "INSERT INTO charge_allocations VALUES (999, 6, 6, 1, 5, 'EUR')",
            ],
        );
        let (found, repaired) = one_pass(&installed, OPTIONS);
        assert!(found >= 2 && repaired == 0, "{found} {repaired}");
        assert_eq!(one_pass(&installed, SentinelOptions { repair: true, ..OPTIONS }).1, 2);
        one_pass(&installed, OPTIONS);
        installed.assert_agrees(false, &|| String::from("repaired by the sentinel"));
        let mut connection = installed.connection();
        let entries = own::history(&mut connection, &installed.model.name).unwrap();
        let repairs: Vec<_> = entries.iter().filter(|entry| entry.action == "repair").collect();
        assert!(
            !repairs.is_empty() && repairs.iter().all(|entry| entry.detail.contains("\"samples\":[{")),
            "{repairs:?}"
        );
    });
}

#[test]
fn ranges_follow_the_keys_as_they_come_and_go() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        one_pass(&installed, OPTIONS);
        let mut connection = installed.connection();
        let ranges = |connection: &mut changeover::database::DatabaseConnection| {
            let table = changeover::sql::names::own(connection.dialect(), "range");
            let sql = format!(
                "SELECT count(*) AS n, count(DISTINCT coalesce(after_key, '')) AS starts, count(DISTINCT coalesce(until_key, '')) AS ends
                 FROM {table} WHERE block = 'f4' AND run = 'current'"
            );
            let row = connection.get_row(&sql, &[]).unwrap();
            (row.integer("n").unwrap(), row.integer("starts").unwrap(), row.integer("ends").unwrap())
        };
        let values: Vec<String> = (100..140).map(|id| format!("({id}, 1, 1, '2026-11', 'EUR', {id})")).collect();
        connection
            .batch(&format!(
                "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES {}",
                values.join(", ")
            ))
            .unwrap();
        one_pass(&installed, OPTIONS);
        let (grown, starts, ends) = ranges(&mut connection);
        assert!(grown >= 20 && grown == starts && grown == ends, "{grown} {starts} {ends}");
        connection.batch("DELETE FROM charges WHERE id >= 100").unwrap();
        for _ in 0..3 {
            one_pass(&installed, OPTIONS);
        }
        let (shrunk, starts, ends) = ranges(&mut connection);
        assert!(shrunk < grown / 2 && shrunk == starts && shrunk == ends, "{shrunk} of {grown}, {starts} {ends}");
    });
}

#[test]
fn nothing_is_looked_at_before_it_is_filled_or_while_it_is_paused() {
    each_database(|database| {
        let installed = installed(database, Stage::Off);
        let mut connection = installed.connection();
        let change = own::get_change(&mut connection, &installed.model.name).unwrap();
        let step = sentinel_step(&mut connection, &installed.model, &change, OPTIONS, deed()).unwrap();
        assert!(step.is_none(), "{step:?}");
    });
}

/// The value of the first series of a metric whose line holds all the parts.
fn metric(server: &Server, parts: &[&str]) -> Option<f64> {
    let page = server.send("GET", "/metrics", &[], None).body;
    let line = page.lines().find(|line| parts.iter().all(|part| line.contains(part)))?.to_owned();
    line.rsplit(' ').next()?.parse().ok()
}

fn wait_until(server: &Server, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never: {what}\n{}", server.output());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_server_tells_of_drift_and_another_repairs_it() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        behind_its_back(&installed, &["UPDATE charge_allocations SET currency = 'USD' WHERE charge_id = 4"]);
        let drift = ["changeover_drift_rows", "block=\"f4\"", "class=\"different\""];
        let server = Server::start(&installed.database);
        wait_until(&server, "the drift is told", || metric(&server, &drift) == Some(1.0));
        assert!(
            metric(&server, &["changeover_oldest_range_age_seconds", "block=\"f4\""]).is_some_and(|age| age >= 0.0)
        );
        assert!(metric(&server, &["changeover_sentinel_keys_total", "block=\"f4\""]).is_some_and(|keys| keys > 0.0));
        let token = server.admin_token();
        drop(server);
        let server =
            Server::start_with(&installed.database, |command| command.arg("--sentinel-repair").env("TOKEN", &token));
        let mut connection = installed.connection();
        let sql = "SELECT count(*) AS n FROM charge_allocations WHERE charge_id = 4 AND currency = 'USD'";
        wait_until(&server, "the drift is put right", || {
            connection.get_row(sql, &[]).unwrap().integer("n").unwrap() == 0
        });
        wait_until(&server, "the repair stands in the history", || {
            let entries = own::history(&mut connection, &installed.model.name).unwrap();
            entries.iter().any(|entry| entry.actor == "sentinel" && entry.action == "repair")
        });
    });
}
