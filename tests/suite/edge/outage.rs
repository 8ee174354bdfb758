//! The database goes away: visitors stay where they were last known to be, and nobody sees an error.

use std::process::Command;

use serde_json::json;

use super::world::{EDGE, World, session};
use crate::support::{CrashingCluster, TestDatabase};

#[test]
fn without_a_database_visitors_stay_where_they_were() {
    let cluster = CrashingCluster::start();
    let world = World::new(TestDatabase::on(&cluster));
    world.set(&World::settings());
    assert_eq!(world.told("user=11"), "new next assigned");
    cluster.crash();
    assert_eq!(world.told("user=11"), "new next last_known");
    assert_eq!(world.told("user=12"), "old legacy default", "never seen, so the old side");
    assert_eq!(world.told(""), "old legacy default");
    let staff = session("ann", &json!({}));
    assert_eq!(world.told(&format!("{staff}; upstream=beta")), "old beta chosen", "cohorts are in memory");
    cluster.recover();
    crate::servers::fixture::wait_until("the recorded side is told again", || {
        world.told("user=12") == "new next assigned"
    });

    // A change that has everybody on the new side has them there without its database too.
    world.fixture.set_stage(changeover::change::Stage::Complete);
    assert_eq!(world.told(""), "new next everybody");
    world.write("PUT", &format!("{EDGE}/maintenance"), &json!({ "on": true, "reason": "test" }));
    assert_eq!(world.told("user=31"), "503");
    cluster.crash();
    assert_eq!(world.told("user=31"), "503", "maintenance stays as well");
    assert_eq!(world.told(&session("root", &json!({}))), "new next last_known");
}

#[test]
fn a_server_that_starts_without_its_database_knows_what_is_set_for_edges() {
    let cluster = CrashingCluster::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.snapshot");
    let mut world = World::with(TestDatabase::on(&cluster), |command| command.arg("--snapshot-file").arg(&file));
    world.set(&World::settings());
    world.write("PUT", &format!("{EDGE}/maintenance"), &json!({ "on": true, "reason": "test" }));
    assert_eq!(world.told("user=11"), "503");
    // Asked to end, a server saves what it has in memory.
    let sent = Command::new("kill").arg(world.server.process_id().to_string()).status().unwrap();
    assert!(sent.success() && world.server.wait().is_some());
    cluster.crash();
    world.restart(|command| command.arg("--snapshot-file").arg(&file));
    assert_eq!(world.told("user=11"), "503", "visitors are kept out");
    assert_eq!(world.told(&session("root", &json!({}))), "old legacy default", "admins are not");
    cluster.recover();
    let end = json!({ "on": false, "reason": "test" });
    crate::servers::fixture::wait_until("the server writes again", || {
        world.call("PUT", &format!("{EDGE}/maintenance"), &end).status == 200
    });
    crate::servers::fixture::wait_until("sides are told again", || world.told("user=11") == "new next assigned");
}
