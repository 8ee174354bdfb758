//! The database goes away: visitors stay where they were last known to be, and nobody sees an error.

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
