//! What every integration test stands on: a database of its own in each dialect, the real binary, a real server, and
//! the filters that make snapshots repeatable. Tests run in parallel and share nothing but one PostgreSQL cluster.
//!
//! ```ignore
//! use crate::support::{changeover, each_database};
//!
//! #[test]
//! fn a_change_is_checked() {
//!     each_database(|database| {
//!         database.connection().batch("CREATE TABLE users (id BIGINT PRIMARY KEY)").unwrap();
//!         let finished = changeover().app(&database).args(["change", "check", "a.toml"]).run();
//!         assert_eq!(finished.code, 2, "{finished}");
//!     });
//! }
//! ```

mod cluster;
mod command;
mod database;
mod event_source;
mod generated;
mod random;
pub mod redactions;
mod server;

pub use cluster::{CrashingCluster, program};
pub use command::{Changeover, Finished, changeover};
pub use database::{TestDatabase, each_database};
pub use event_source::EventSource;
pub use generated::assert_generated;
pub use random::Random;
pub use server::{Answer, Server, free_port};

/// How long a stress test runs: `full` with `CHANGEOVER_TEST_FULL=1`, otherwise `short`.
pub fn full_length(full: u64, short: u64) -> u64 {
    if std::env::var("CHANGEOVER_TEST_FULL").is_ok_and(|value| value == "1") { full } else { short }
}
