//! The kill switch: nothing is translated during a pause, and after the resume nothing is missing.

use changeover::change::{ChangeFile, Stage};
use changeover::database::DatabaseConnection;
use changeover::sql::model::ChangeModel;
use changeover::translation::own::{get_change, history};
use changeover::translation::pause::{Authority, Gap, open_gap, pause, resume};
use changeover::translation::{
    Move, TranslationError, VerifyOptions, install, move_stage, pending, resolve, verify_block,
};

use super::fixture::{deed, install_file, step};
use crate::support::{TestDatabase, changeover, each_database};

const SCHEMA: &str = "
CREATE TABLE items (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
CREATE TABLE things (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
CREATE TABLE others (id INTEGER PRIMARY KEY, word TEXT);
CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT);
INSERT INTO items VALUES (1, 10), (2, 20), (3, 30);
INSERT INTO others VALUES (1, 'x');
";

const FILE: &str = r#"
format = 1
name = "things"
[routing]
flag = "things"
[[forward]]
into = "things"
from = "items"
key = "id"
columns = { id = "id", amount = "amount" }
[[forward]]
into = "words"
from = "others"
key = "id"
columns = { id = "id", word = "word" }
[[backward]]
into = "items"
from = "things"
key = "id"
columns = { id = "id", amount = "amount" }
"#;

fn prepared(database: &TestDatabase, stage: Stage) -> (DatabaseConnection, ChangeModel) {
    let mut connection = database.connection();
    connection.batch(SCHEMA).unwrap();
    let model = install_file(&mut connection, &ChangeFile::parse(FILE).unwrap(), stage);
    (connection, model)
}

fn paused(connection: &mut DatabaseConnection, model: &ChangeModel, records_keys: bool) -> Gap {
    let change = get_change(connection, &model.name).unwrap();
    pause(connection, &change, records_keys, deed()).unwrap()
}

fn amounts(connection: &mut DatabaseConnection, table: &str) -> Vec<(i64, i64)> {
    let rows = connection.query(&format!("SELECT id, amount FROM {table} ORDER BY id"), &[]).unwrap();
    rows.iter().map(|row| (row.integer("id").unwrap(), row.integer("amount").unwrap())).collect()
}

fn assert_agrees(connection: &mut DatabaseConnection, model: &ChangeModel) {
    for block in &model.blocks {
        let drift = verify_block(connection, block, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert_eq!(drift.drift(), 0, "{}: {:#?}", block.label(), drift.samples);
    }
    assert_eq!(pending::count(connection, &model.name).unwrap(), 0);
}

const WRITES: &str =
    "INSERT INTO items VALUES (4, 40); UPDATE items SET amount = 11 WHERE id = 1; DELETE FROM items WHERE id = 2;
    UPDATE items SET id = 33 WHERE id = 3";

#[test]
fn a_pause_stops_translation_and_a_resume_makes_up_for_it() {
    each_database(|database| {
        for records_keys in [false, true] {
            let (mut connection, model) = if records_keys {
                (database.connection(), resolve(&mut database.connection(), &ChangeFile::parse(FILE).unwrap()).unwrap())
            } else {
                prepared(&database, Stage::Shadow)
            };
            if records_keys {
                connection.batch("DELETE FROM items; INSERT INTO items VALUES (1, 10), (2, 20), (3, 30)").unwrap();
            }
            let gap = paused(&mut connection, &model, records_keys);
            assert_eq!((gap.records_keys, gap.reason.as_str()), (records_keys, "a test"));
            let before = amounts(&mut connection, "things");
            connection.batch(WRITES).unwrap();
            assert_eq!(amounts(&mut connection, "things"), before, "nothing is translated");

            let change = get_change(&mut connection, &model.name).unwrap();
            let again = pause(&mut connection, &change, false, deed());
            assert!(matches!(again, Err(TranslationError::Paused { .. })), "{again:?}");
            let wanted = Move { to: Stage::Live, detail: serde_json::json!({}) };
            let moved = move_stage(&mut connection, &model, &wanted, deed(), &mut |_, _| Ok(()));
            assert!(matches!(moved, Err(TranslationError::Paused { .. })), "{moved:?}");

            let resumed = resume(&mut connection, &model, None, deed()).unwrap();
            let verified: &[&str] = if records_keys { &[] } else { &["f1 (things)"] };
            // What is not known to have changed is not looked at. (What `things` drives is not translated at this stage.)
            assert_eq!(resumed.verified, verified);
            assert_eq!(amounts(&mut connection, "things"), [(1, 11), (4, 40), (33, 30)]);
            assert_agrees(&mut connection, &model);
            assert!(open_gap(&mut connection, &model.name).unwrap().is_none());
            let told: Vec<String> =
                history(&mut connection, &model.name).unwrap().into_iter().map(|entry| entry.action).collect();
            assert_eq!(told.last_chunk().unwrap(), &["pause".to_owned(), "resume".to_owned()]);
            connection.batch("INSERT INTO items VALUES (5, 50)").unwrap();
            assert_agrees(&mut connection, &model);
            connection.batch("DELETE FROM items WHERE id = 5").unwrap();
        }
    });
}

#[test]
fn where_both_models_were_written_the_authoritative_one_stands_and_the_rest_is_kept() {
    for authority in [None, Some(Authority::New)] {
        each_database(|database| {
            let (mut connection, model) = prepared(&database, Stage::Live);
            let gap = paused(&mut connection, &model, false);
            assert!(gap.records_keys, "with both directions on the keys are always recorded");
            connection
                .batch("UPDATE items SET amount = 11 WHERE id = 1; UPDATE things SET amount = 12 WHERE id = 1")
                .unwrap();
            connection
                .batch("UPDATE items SET amount = 21 WHERE id = 2; UPDATE things SET amount = 32 WHERE id = 3")
                .unwrap();
            connection.batch("INSERT INTO things VALUES (4, 42)").unwrap();
            let resumed = resume(&mut connection, &model, authority, deed()).unwrap();
            let conflicts: Vec<&str> = resumed.conflicts.iter().map(|conflict| conflict.forward_key.as_str()).collect();
            assert_eq!(conflicts, ["1"]);
            let first = if authority.is_none() { 11 } else { 12 };
            assert_eq!(amounts(&mut connection, "items"), [(1, first), (2, 21), (3, 32), (4, 42)]);
            assert_agrees(&mut connection, &model);
        });
    }
}

#[test]
fn a_resume_waits_for_transactions_that_wrote_during_the_pause_on_postgres() {
    let database = TestDatabase::postgres();
    let (mut connection, model) = prepared(&database, Stage::Shadow);
    let mut old_code = database.connection();
    paused(&mut connection, &model, false);
    old_code.batch("BEGIN; UPDATE items SET amount = 11 WHERE id = 1").unwrap();
    let resumed = resume(&mut connection, &model, None, deed());
    assert!(matches!(resumed, Err(TranslationError::WritersOpen { .. })), "{resumed:?}");
    let gap = open_gap(&mut connection, &model.name).unwrap().expect("the gap stays open");
    assert!(gap.resumed_at.is_some());
    // Translation is on, though: what is written from now on is translated. A resume that died here looks like this, too.
    database.connection().batch("UPDATE items SET amount = 22 WHERE id = 2").unwrap();
    assert_eq!(amounts(&mut connection, "things"), [(1, 10), (2, 22), (3, 30)]);
    old_code.batch("COMMIT").unwrap();
    assert_eq!(resume(&mut connection, &model, None, deed()).unwrap().verified, ["f1 (things)"]);
    assert_eq!(amounts(&mut connection, "things"), [(1, 11), (2, 22), (3, 30)]);
    assert_agrees(&mut connection, &model);
}

#[test]
fn the_switch_works_on_what_cannot_be_resolved_any_more() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database, Stage::Shadow);
        connection.batch("ALTER TABLE things RENAME TO gone").unwrap();
        let paused = changeover().service(&database).args(["change", "pause", "--reason", "it is broken"]).run();
        paused.expect_code(0);
        connection.batch("INSERT INTO items VALUES (4, 40)").expect("old code is left alone");
        let shown = changeover().service(&database).args(["change", "list"]).run().expect_code(0);
        assert!(shown.stdout.contains("things"), "{shown}");
        connection.batch("ALTER TABLE gone RENAME TO things").unwrap();
        let resumed = changeover().service(&database).args(["--json", "change", "resume"]).run().expect_code(0).json();
        assert_eq!(resumed["resumed"]["verified"].as_array().map(Vec::len), Some(2), "{resumed}");
        assert_agrees(&mut connection, &model);
    });
}

#[test]
fn going_back_to_off_ends_a_pause() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database, Stage::Shadow);
        paused(&mut connection, &model, true);
        step(&mut connection, &model, Stage::DualWrite);
        connection.batch("INSERT INTO items VALUES (4, 40)").unwrap();
        assert_eq!(amounts(&mut connection, "things").len(), 3, "still paused");
        step(&mut connection, &model, Stage::Off);
        assert!(open_gap(&mut connection, &model.name).unwrap().is_none());
        let resumed = resume(&mut connection, &model, None, deed());
        assert!(matches!(resumed, Err(TranslationError::NotPaused(_))), "{resumed:?}");
    });
}

/// Old writers wait behind an install no longer than its lock timeout, and the message names who is in the way.
#[test]
fn an_install_gives_way_and_names_the_blocker_on_postgres() {
    let database = TestDatabase::postgres();
    let mut connection = database.connection();
    connection.batch(SCHEMA).unwrap();
    let file = ChangeFile::parse(FILE).unwrap();
    let model = resolve(&mut connection, &file).unwrap();
    let mut blocker = database.connection();
    blocker.batch("SET application_name = 'a long report'; BEGIN; UPDATE items SET amount = 1 WHERE id = 1").unwrap();
    std::thread::scope(|scope| {
        let installing = scope.spawn(|| install(&mut database.connection(), &model, &file, deed()));
        let mut old_code = database.connection();
        // Four times the install's own timeout: a write that had to wait for the blocker would fail.
        old_code.batch("SET lock_timeout = '2s'").unwrap();
        let mut id = 100;
        while !installing.is_finished() {
            id += 1;
            old_code.batch(&format!("INSERT INTO items VALUES ({id}, 1)")).expect("old code is not kept waiting");
        }
        let error = installing.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("a long report"), "{error}");
    });
    blocker.batch("ROLLBACK").unwrap();
    install(&mut connection, &model, &file, deed()).unwrap();
}
