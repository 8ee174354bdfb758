//! Comparisons read another database where one is named, and write nothing there.

use changeover::primitives::Dialect;

use super::commands::{NAME, command, installed};
use crate::examples::support::{load_video_hosting, number};
use crate::support::{CrashingCluster, Server, TestDatabase, each_database};

/// The example, the same each time.
fn loaded(database: &TestDatabase) {
    load_video_hosting(&mut database.connection(), 300, 71);
    installed(database);
}

#[test]
fn a_comparison_reads_the_replica_and_the_report_is_stored_where_all_reports_are() {
    each_database(|database| {
        let replica = TestDatabase::new(database.dialect());
        loaded(&database);
        loaded(&replica);
        let mut connection = replica.connection();
        let id = number(&mut connection, "SELECT max(charge_id) FROM charge_allocations WHERE amount_minor > 0");
        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id = {id} AND payer_id =
                   (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id})"
            ))
            .unwrap();
        if replica.dialect() == Dialect::Postgres {
            let row = connection.get_row("SELECT current_database() AS name", &[]).unwrap();
            let name = row.text("name").unwrap();
            connection.batch(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).unwrap();
        }
        let read = ["--report-database-url", replica.url()];
        command(&database).args(["report", "run", NAME]).run().expect_code(0);
        let found = command(&database).args(read).args(["--json", "report", "run", NAME]).run().expect_code(1).json();
        assert_eq!(found["data"]["exceptions"][0]["charge_id"], id.to_string(), "the replica has the fault");
        let listed = command(&database).args(["--json", "report", "list", NAME]).run().expect_code(0).json();
        assert_eq!(listed[0]["id"], found["id"], "the service keeps it");
        let explained = ["report", "explain", &id.to_string()];
        command(&database).args(explained).run().expect_code(0);
        command(&database).args(read).args(explained).run().expect_code(1);

        let server = Server::start_with(&database, |command| command.args(read));
        let token = server.admin_token();
        let path = format!("/api/v1/changes/{NAME}/reports");
        let json = [("content-type", "application/json")];
        let answer = server.send_as(&token, "POST", &path, &json, Some(b"{}"));
        let job: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let job = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
        let ended = loop {
            let body = server.send_as(&token, "GET", &job, &[], None).body;
            let job: serde_json::Value = serde_json::from_str(&body).unwrap();
            if !["queued", "running"].contains(&job["state"].as_str().unwrap()) {
                break job;
            }
        };
        assert_eq!((&ended["state"], &ended["result"]["exceptions"]), (&"done".into(), &1.into()), "{ended}");
        let path = format!("/api/v1/changes/{NAME}/charges/{id}/explain");
        let body = server.send_as(&token, "GET", &path, &[], None).body;
        assert!(body.contains("\"class\":\"split_expected\"") || body.contains("\"class\":\"same_payer\""), "{body}");
    });
}

/// A hot standby that is really one: whatever would write there is refused by the server.
#[test]
fn a_report_is_run_on_a_hot_standby() {
    let primary = CrashingCluster::start();
    let database = TestDatabase::on(&primary);
    loaded(&database);
    let standby = primary.standby();
    let replica = TestDatabase::on(&standby);
    let is_standby = replica.connection().get_row("SELECT pg_is_in_recovery() AS yes", &[]).unwrap();
    assert!(is_standby.boolean("yes").unwrap());
    let run = |more: &[&str]| {
        let arguments = ["--json", "report", "run", NAME, "--as-of", "2025-06-01T06:00:00Z"];
        command(&database).args(more).args(arguments).run().expect_code(0).json()
    };
    let (there, here) = (run(&["--report-database-url", replica.url()]), run(&[]));
    assert_eq!(there["sha256"], here["sha256"], "the same bytes from either");
    assert!(there["data"]["exceptions_total"] == 0 && there["data"]["totals"] != serde_json::json!([]));
}
