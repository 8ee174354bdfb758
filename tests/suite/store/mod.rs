//! The store on both databases: migrations, versions, cohorts against a model, the audit log, memory.

mod cohorts;
mod leases;
mod migrations;
mod prerequisites;
mod versions;
mod worker_gates;

use changeover::store::{Origin, Store};

use crate::support::TestDatabase;

const ORIGIN: Origin<'static> = Origin { actor: "ada", reason: "a test" };

fn open(database: &TestDatabase) -> Store {
    Store::open(database.database()).unwrap()
}
