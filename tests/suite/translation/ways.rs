//! Every way to write: whatever statement old code uses, both models agree afterwards. Each way is one or more statements, and a
//! condition that must hold when they have run, so that a way that writes nothing does not pass unseen.

mod postgres;
mod sqlite;

use changeover::change::{Direction, Stage};
use changeover::database::DatabaseConnection;
use changeover::translation::{VerifyOptions, repair};

use super::fixture::{Installed, file, go_to, loaded};
use crate::support::TestDatabase;

/// (what it is, the statements, what is true afterwards)
pub type Way = (&'static str, &'static [&'static str], &'static str);

const STAGES: [Stage; 2] = [Stage::DualWrite, Stage::Live];

/// The example, with an application's own extras made before anything is installed.
fn installed_with(database: TestDatabase, extras: &str, stage: Stage) -> Installed {
    let mut connection = loaded(&database);
    connection.batch(extras).unwrap();
    let model = super::fixture::install_file(&mut connection, &file(), Stage::Off);
    go_to(&mut connection, &model, stage);
    connection
        .batch("INSERT INTO memberships (account_id, user_id, role, weight) SELECT a.id, 2, 'member', 2 FROM accounts a WHERE a.owner_id = 1")
        .unwrap();
    drop(connection);
    Installed { database, model, stage }
}

/// Runs the ways one after the other, each on a connection of its own, and looks at both models after each.
fn run_all(installed: &Installed, ways: &[Way]) {
    for (name, statements, condition) in ways {
        let mut connection = installed.connection();
        for statement in *statements {
            connection.batch(statement).unwrap_or_else(|error| panic!("{name}: {error}\n{statement}"));
        }
        assert!(holds(&mut connection, condition), "{name}: it did not do what it should: {condition}");
        installed.assert_agrees(installed.stage == Stage::Live, &|| format!("{}: {name}", installed.stage));
    }
}

fn holds(connection: &mut DatabaseConnection, condition: &str) -> bool {
    connection.get_row(&format!("SELECT ({condition}) AS holds"), &[]).unwrap().boolean("holds").unwrap()
}

/// Rows that differ, of all blocks that should hold.
fn drift(installed: &Installed) -> u64 {
    installed.drift(installed.stage == Stage::Live).iter().map(|block| block.drift()).sum()
}

/// What no trigger saw is drift; a repair mends it.
fn assert_found_and_mended(installed: &Installed, name: &str) {
    assert!(drift(installed) > 0, "{name}: verify found nothing");
    let mut connection = installed.connection();
    repair(&mut connection, &installed.model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
    for block in installed.drift(true) {
        let is_forward = block.block.starts_with(changeover::sql::names::letter(Direction::Forward));
        assert!(block.drift() == 0 || !is_forward, "{name}: not mended: {block:#?}");
    }
}
