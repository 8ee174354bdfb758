//! Several changes in one database: they share source tables, feed one another, stand at different stages, are paused, updated and
//! uninstalled, and none of them minds the others.

use changeover::change::{ChangeFile, Stage};
use changeover::database::{DatabaseConnection, DatabaseError, Dialect};
use changeover::sql::model::ChangeModel;
use changeover::translation::{
    TranslationError, VerifyOptions, install, own, pause, resolve, uninstall, update, verify_block,
};

use super::fixture::{deed, install_file, step};
use crate::support::{Random, TestDatabase, changeover, each_database};

const SCHEMA: &str = "
    CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, email TEXT, city TEXT);
    CREATE TABLE names (person_id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE addresses (person_id INTEGER PRIMARY KEY, email TEXT, city TEXT);
    CREATE TABLE labels (person_id INTEGER PRIMARY KEY, label TEXT);
    CREATE TABLE shouts (label_id INTEGER PRIMARY KEY, text TEXT);
    INSERT INTO people VALUES (1, 'Ada', 'a@x', NULL), (2, 'Ben', NULL, 'Ulm'), (3, NULL, '', 'Köln');";

/// Names that are prefixes of one another, also of one another's objects. `billing-ft1` is fed by `billing`, `billing-2` shares its source.
const NAMES: [&str; 4] = ["billing", "billing-2", "billing-f1", "billing-ft1"];

fn file(name: &str) -> ChangeFile {
    let blocks = match name {
        "billing" => ("names", "people", "person_id", "name = \"name\"", "id", "name = \"name\""),
        "billing-2" => (
            "addresses",
            "people",
            "person_id",
            "email = \"email\", city = \"city\"",
            "id",
            "email = \"email\", city = \"city\"",
        ),
        "billing-f1" => ("labels", "people", "person_id", "label = \"upper(city)\"", "", ""),
        _ => ("shouts", "names", "label_id", "text = \"name\"", "person_id", "name = \"text\""),
    };
    let (into, from, key, columns, back_key, back) = blocks;
    let driving = if from == "people" { "id" } else { "person_id" };
    let mut text = format!(
        "format = 1\nname = \"{name}\"\n[[forward]]\ninto = \"{into}\"\nfrom = \"{from}\"\nkey = \"{key}\"\ncolumns = {{ {key} = \"{driving}\", {columns} }}\n"
    );
    if !back.is_empty() {
        text.push_str(&format!(
            "[[backward]]\ninto = \"{from}\"\nfrom = \"{into}\"\nkey = \"{back_key}\"\ninsert = false\ncolumns = {{ {back_key} = \"{key}\", {back} }}\n"
        ));
    }
    ChangeFile::parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{text}"))
}

fn loaded(database: &TestDatabase) -> DatabaseConnection {
    let mut connection = database.connection();
    connection.batch(SCHEMA).unwrap();
    connection
}

fn drift(connection: &mut DatabaseConnection, model: &ChangeModel, backward: bool, story: &dyn Fn() -> String) {
    for block in model.blocks.iter().filter(|block| backward || block.id.to_string().starts_with('f')) {
        let found = verify_block(connection, block, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert_eq!(found.drift(), 0, "{} {}: {:#?}\n{}", model.name, block.label(), found.samples, story());
    }
}

fn act(connection: &mut DatabaseConnection, random: &mut Random, fresh: u64, new_code: bool) -> String {
    let id = 1 + random.below(12);
    let text = ["NULL", "''", "'ä'", "'Ulm'", "'x y'"][random.index(5)];
    let sql = match random.below(if new_code { 11 } else { 7 }) {
        0 => format!(
            "INSERT INTO people (id, name, city) VALUES ({id}, {text}, {text}) ON CONFLICT (id) DO UPDATE SET name = 'again'"
        ),
        1 => format!("INSERT INTO people (id, email) VALUES ({fresh}, {text}), ({fresh} + 1, NULL)"),
        2 => format!("UPDATE people SET name = {text} WHERE id = {id}"),
        3 => format!("UPDATE people SET email = {text}, city = {text} WHERE id % 3 = {}", id % 3),
        4 => format!("UPDATE people SET city = {text}"),
        5 => format!("DELETE FROM people WHERE id = {id}"),
        6 => format!("UPDATE people SET id = {fresh} WHERE id = {id}"),
        7 => format!("UPDATE names SET name = {text} WHERE person_id = {id}"),
        8 => format!("UPDATE addresses SET email = {text} WHERE person_id = {id}"),
        9 => format!("UPDATE shouts SET text = {text} WHERE label_id % 2 = {}", id % 2),
        _ => format!("UPDATE names SET name = {text}"),
    };
    connection
        .in_transaction::<_, DatabaseError>(|connection| connection.batch(&sql))
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    sql
}

fn history(connection: &mut DatabaseConnection, seed: u64, new_code: bool) -> Vec<String> {
    let mut random = Random::new(seed);
    (0..60).map(|number| act(connection, &mut random, 1_000 + seed * 1_000 + number * 10, new_code)).collect()
}

#[test]
fn four_changes_at_their_own_stages_do_not_disturb_one_another() {
    each_database(|database| {
        let mut connection = loaded(&database);
        let stages = [Stage::Live, Stage::Live, Stage::Shadow, Stage::Live];
        let models: Vec<ChangeModel> =
            NAMES.iter().zip(stages).map(|(name, stage)| install_file(&mut connection, &file(name), stage)).collect();
        let all = |connection: &mut DatabaseConnection, but: &[usize], told: &[String]| {
            for (index, model) in models.iter().enumerate().filter(|(index, _)| !but.contains(index)) {
                drift(connection, model, stages[index] == Stage::Live, &|| format!("{told:#?}"));
            }
        };
        for seed in 0..3 {
            let told = history(&mut connection, seed, true);
            all(&mut connection, &[], &told);
        }
        // The first one is paused: the others go on, but for the one that it feeds nobody waits.
        let first = own::get_change(&mut connection, &models[0].name).unwrap();
        pause::pause(&mut connection, &first, false, deed()).unwrap();
        let told = history(&mut connection, 10, false);
        all(&mut connection, &[0, 3], &told);
        pause::resume(&mut connection, &models[0], Some(pause::Authority::Old), deed()).unwrap();
        let told = history(&mut connection, 11, true);
        all(&mut connection, &[], &told);
        // It is updated, and another one goes back and is uninstalled.
        update(&mut connection, &models[0], &file("billing"), deed()).unwrap();
        for stage in [Stage::DualWrite, Stage::Off] {
            step(&mut connection, &models[2], stage);
        }
        uninstall(&mut connection, &models[2], false).unwrap();
        let told = history(&mut connection, 12, true);
        all(&mut connection, &[2], &told);
        for model in [&models[3], &models[1], &models[0]] {
            for stage in [Stage::Shadow, Stage::DualWrite, Stage::Off] {
                step(&mut connection, model, stage);
            }
            uninstall(&mut connection, model, false).unwrap();
        }
        let left = match database.dialect() {
            Dialect::Postgres => "SELECT count(*) AS n FROM pg_namespace WHERE nspname = 'changeover'",
            Dialect::Sqlite => "SELECT count(*) AS n FROM sqlite_master WHERE name LIKE 'changeover%'",
        };
        assert_eq!(connection.get_row(left, &[]).unwrap().integer("n").unwrap(), 0);
    });
}

#[test]
fn a_second_change_may_not_fill_the_same_rows() {
    each_database(|database| {
        let mut connection = loaded(&database);
        install_file(&mut connection, &file("billing"), Stage::DualWrite);
        let rival = |owns: &str| {
            let text = format!(
                "format = 1\nname = \"rival\"\n[[forward]]\ninto = \"names\"\nfrom = \"people\"\nkey = \"person_id\"\n{owns}columns = {{ person_id = \"id\", name = \"city\" }}\n"
            );
            ChangeFile::parse(&text).unwrap()
        };
        let mut refused = |file: &ChangeFile| {
            let model = resolve(&mut connection, file).unwrap();
            install(&mut connection, &model, file, deed())
        };
        let error = refused(&rival("")).unwrap_err();
        assert!(matches!(error, TranslationError::Overlap { .. }), "{error}");
        assert!(error.to_string().contains("`billing`") && error.to_string().contains("owns"), "{error}");
        refused(&rival("owns = \"person_id > 100\"\n")).unwrap_err();
        // Another column of the same old rows is nobody else's business.
        refused(&file("billing-2")).unwrap();
    });
}

#[test]
fn a_command_asks_which_change_is_meant_and_moves_only_that_one() {
    each_database(|database| {
        let mut connection = loaded(&database);
        for name in NAMES {
            install_file(&mut connection, &file(name), Stage::Off);
        }
        let run = |arguments: &[&str]| changeover().app(&database).service(&database).args(arguments).run();
        let unclear = run(&["change", "stage", "dualwrite"]).expect_code(2);
        assert!(unclear.stderr.contains("billing-f1"), "{unclear}");
        run(&["change", "stage", "billing", "dualwrite"]).expect_code(0);
        let stages: Vec<String> = own::list_changes(&mut connection)
            .unwrap()
            .iter()
            .map(|change| format!("{} {}", change.name, change.stage))
            .collect();
        assert_eq!(stages, ["billing dualwrite", "billing-2 off", "billing-f1 off", "billing-ft1 off"]);
        connection.batch("UPDATE people SET name = 'moved', email = 'moved' WHERE id = 1").unwrap();
        let count = |connection: &mut DatabaseConnection, table: &str| {
            connection.get_row(&format!("SELECT count(*) AS n FROM {table}"), &[]).unwrap().integer("n").unwrap()
        };
        assert_eq!((count(&mut connection, "names"), count(&mut connection, "addresses")), (1, 0));
    });
}
