//! Restore points: each move leaves one where that is possible, says why where it is not, and is made in either case.

use std::path::{Path, PathBuf};

use changeover::change::Stage;
use changeover::database::{DatabaseConnection, Dialect};
use changeover::routing::{StageError, StageMove, Wish, change_stage};
use changeover::store::Store;
use changeover::translation::{Before, RestorePoints, own, restore_points};

use super::fixture::{Installed, deed, installed};
use crate::support::{CrashingCluster, TestDatabase, each_database};

fn moved(installed: &Installed, to: Stage, restore: &RestorePoints) -> StageMove {
    let mut connection = installed.connection();
    let change = own::get_change(&mut connection, &installed.model.name).unwrap();
    let store = Store::open(installed.database.database()).unwrap();
    let wish = Wish { to, deed: deed(), force: true, restore: Some(restore) };
    let outcome = change_stage(&store, &mut connection, &change, wish).unwrap();
    assert!(outcome.moved);
    outcome
}

fn stage_in(file: &Path) -> String {
    let mut connection = DatabaseConnection::open(&file.to_str().unwrap().parse().unwrap()).unwrap();
    let stage = connection.get_row("SELECT stage FROM changeover_change", &[]).unwrap().text("stage").unwrap();
    assert_eq!(connection.get_row("SELECT count(*) AS n FROM users", &[]).unwrap().integer("n").unwrap(), 6);
    stage
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn each_move_leaves_a_point_or_says_why_not() {
    each_database(|database| {
        let installed = installed(database, Stage::Off);
        let outcome = moved(&installed, Stage::DualWrite, &RestorePoints::default());
        let point = outcome.restore_point.unwrap();
        match installed.database.dialect() {
            Dialect::Sqlite => {
                let file = point.file.clone().unwrap();
                assert_eq!(stage_in(&file), "off", "as it was before the move");
                let name = file.file_name().unwrap().to_string_lossy();
                assert_eq!(point.clone().without_directory().told(), name, "what others than admins read");
                assert!(file.parent().unwrap().to_string_lossy().ends_with("test.db.restore-points"), "{file:?}");
            }
            // The tests' cluster.
            Dialect::Postgres => assert!(!point.made && point.told().contains("wal_level is minimal"), "{point:?}"),
        }
        let past = restore_points(&mut installed.connection(), &installed.model.name, 10).unwrap();
        // The fixture's own moves made none.
        assert_eq!(past.len(), 1, "{past:?}");
        assert_eq!((past[0].from.as_str(), past[0].to.as_str(), &past[0].point), ("off", "dualwrite", &point));
    });
}

#[test]
fn a_point_in_the_log_takes_a_right_and_a_log_that_can_be_replayed() {
    let cluster = CrashingCluster::start();
    let installed = installed(TestDatabase::on(&cluster), Stage::Off);
    let outcome = moved(&installed, Stage::DualWrite, &RestorePoints::default());
    let point = outcome.restore_point.unwrap();
    assert!(point.made && point.name.as_ref().unwrap().starts_with("changeover-billing"), "{point:?}");
    assert!(point.name.as_ref().unwrap().len() <= 63 && point.told().contains("archive_mode is off"), "{point:?}");

    let mut connection = installed.connection();
    connection.batch("CREATE ROLE \"no rights\"; SET ROLE \"no rights\"").unwrap();
    let before = Before { change: &installed.model.name, from: Stage::Off, to: Stage::DualWrite, at: deed().at };
    let refused = RestorePoints::default().make(&mut connection, before);
    assert!(!refused.made && refused.told().contains("TO \"no rights\""), "{refused:?}");
    connection.batch("RESET ROLE; GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text) TO \"no rights\"; SET ROLE \"no rights\"").unwrap();
    assert!(RestorePoints::default().make(&mut connection, before).made);
}

#[test]
fn so_many_copies_are_kept_as_the_settings_say() {
    let installed = installed(TestDatabase::sqlite(), Stage::Off);
    let place = tempfile::tempdir().unwrap();
    // The directory is made; what is not ours in it stays.
    let directory = place.path().join("deep/er");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("test.db.notes.db"), "mine").unwrap();
    std::fs::write(directory.join("other.db.billing.off-dualwrite.20200101T000000000000Z.db"), "another's").unwrap();
    let restore = RestorePoints { directory: Some(directory.clone()), keep: 2, ..RestorePoints::default() };
    let mut made = Vec::new();
    for to in [Stage::DualWrite, Stage::Off, Stage::DualWrite, Stage::Shadow] {
        made.push(moved(&installed, to, &restore).restore_point.unwrap().file.unwrap());
    }
    let there: Vec<bool> = made.iter().map(|file| file.exists()).collect();
    assert_eq!(there, [false, false, true, true]);
    assert_eq!(files(&directory).len(), 4, "{:?}", files(&directory));
    assert_eq!(stage_in(&made[3]), "dualwrite");
}

#[test]
fn a_copy_that_cannot_be_made_stops_no_move() {
    let installed = installed(TestDatabase::sqlite(), Stage::Off);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let blocked = RestorePoints { directory: Some(file), ..RestorePoints::default() };
    let note = |outcome: StageMove| outcome.restore_point.unwrap();
    let point = note(moved(&installed, Stage::DualWrite, &blocked));
    assert!(!point.made && point.told().contains("cannot be written"), "{point:?}");
    let small = RestorePoints { bytes_max: 4096, ..RestorePoints::default() };
    let point = note(moved(&installed, Stage::Off, &small));
    assert!(!point.made && point.told().contains("--restore-point-max-mib"), "{point:?}");
    let past = restore_points(&mut installed.connection(), &installed.model.name, 10).unwrap();
    assert_eq!(past.len(), 2, "notes stand in the history as well: {past:?}");
}

#[test]
fn a_move_that_is_refused_leaves_no_copy() {
    let installed = installed(TestDatabase::sqlite(), Stage::Off);
    let place = tempfile::tempdir().unwrap();
    let restore = RestorePoints { directory: Some(place.path().to_owned()), ..RestorePoints::default() };
    let mut connection = installed.connection();
    let seen = own::get_change(&mut connection, &installed.model.name).unwrap();
    moved(&installed, Stage::DualWrite, &restore);
    let store = Store::open(installed.database.database()).unwrap();
    // Somebody else was faster.
    let wish = Wish { to: Stage::DualWrite, deed: deed(), force: true, restore: Some(&restore) };
    let refused = change_stage(&store, &mut connection, &seen, wish);
    assert!(matches!(refused, Err(StageError::Translation(_))), "{refused:?}");
    assert_eq!(files(place.path()).len(), 1, "{:?}", files(place.path()));
}
