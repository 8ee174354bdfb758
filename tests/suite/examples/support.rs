//! Loads the examples and counts in them.

use std::path::PathBuf;

use changeover::cli::demo::video_hosting::{Loaded, Plan};
use changeover::cli::demo::{cloud_costs, video_hosting};
use changeover::database::DatabaseConnection;

/// The running month of generated data.
pub const RUNNING: &str = "2026-11";

/// Video hosting with so many charges.
pub fn load_video_hosting(connection: &mut DatabaseConnection, charges: u64, seed: u64) -> Loaded {
    let plan = Plan { charges, seed, running: RUNNING.parse().unwrap() };
    video_hosting::load(connection, &plan).unwrap()
}

/// The real charges' file, which is not part of the project. Without it a test says so and ends, but never in CI.
pub fn focus_sample() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/focus/focus_sample.csv");
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs the FOCUS sample at {}", path.display());
    eprintln!(
        "SKIPPED: the FOCUS sample is not at {}; examples/cloud-costs/README.md says where it comes from",
        path.display()
    );
    None
}

/// Cloud costs, if the sample is there.
pub fn load_cloud_costs(connection: &mut DatabaseConnection) -> Option<cloud_costs::Loaded> {
    focus_sample().map(|path| cloud_costs::load(connection, &path).unwrap())
}

/// The one number that a query returns.
pub fn number(connection: &mut DatabaseConnection, sql: &str) -> i64 {
    connection.get_row(&format!("SELECT CAST(({sql}) AS BIGINT) AS n"), &[]).unwrap().integer("n").unwrap()
}

/// The one text that a query returns.
pub fn text(connection: &mut DatabaseConnection, sql: &str) -> String {
    connection.get_row(&format!("SELECT CAST(({sql}) AS TEXT) AS t"), &[]).unwrap().text("t").unwrap()
}
