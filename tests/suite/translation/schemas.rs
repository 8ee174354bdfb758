//! Schemas of every kind, each with a change of its own: what is written in random order leaves no drift, and the targets hold what a
//! query over the whole source says.

mod keys;
mod partitions;
mod shapes;
mod types;

use changeover::change::{ChangeFile, Direction, Stage};
use changeover::database::{DatabaseConnection, DatabaseError, Dialect};
use changeover::sql::model::ChangeModel;
use changeover::translation::{Due, VerifyOptions, check, pending, retry_pending, verify_block};

use super::fixture::install_file;
use crate::support::{Random, TestDatabase};

/// A database with a schema, some rows, and a change at a stage.
pub struct Scene {
    pub database: TestDatabase,
    pub model: ChangeModel,
    stage: Stage,
}

/// The change file's head.
pub const HEAD: &str = "format = 1\nname = \"scene\"\n";

impl Scene {
    /// Checks, installs and fills. `file` is the change file without its head.
    pub fn new(dialect: Dialect, schema: &str, file: &str, stage: Stage) -> Self {
        let database = TestDatabase::new(dialect);
        let mut connection = database.connection();
        connection.batch(schema).unwrap();
        let file = ChangeFile::parse(&format!("{HEAD}{file}")).unwrap();
        let checked = check(&mut connection, database.database().url(), &file).unwrap();
        assert!(checked.is_clean(), "{dialect}: {:#?}", checked.mistakes);
        let model = install_file(&mut connection, &file, stage);
        let scene = Self { database, model, stage };
        scene.assert_clean("after the backfill");
        scene
    }

    pub fn connection(&self) -> DatabaseConnection {
        self.database.connection()
    }

    pub fn run(&self, sql: &str) {
        self.connection().batch(sql).unwrap_or_else(|error| panic!("{}: {error}\n{sql}", self.database.dialect()));
    }

    /// Refreshes what waits in the queue, as the server's worker would: a write that met a deadlock left its keys there.
    pub fn heal(&self) {
        let mut connection = self.connection();
        for _ in 0..10 {
            if retry_pending(&mut connection, &self.model, Due::All).unwrap().pending == 0 {
                return;
            }
        }
        let keys = pending::list(&mut connection, &self.model.name, 20).unwrap();
        panic!("{}: keys stay in the queue: {keys:#?}", self.database.dialect());
    }

    /// No block that the stage keeps has drift.
    pub fn assert_clean(&self, story: &str) {
        let mut connection = self.connection();
        for block in &self.model.blocks {
            if block.id.direction == Direction::Backward && !self.stage.translates_backward() {
                continue;
            }
            let drift =
                verify_block(&mut connection, block, VerifyOptions { range_keys: 7, samples_max: 5 }, &mut |_, _| {});
            let drift = drift.unwrap_or_else(|error| panic!("{}: {error}\n{story}", block.label()));
            assert_eq!(
                drift.drift(),
                0,
                "{} {}: {:#?}\n{story}",
                self.database.dialect(),
                block.label(),
                drift.samples
            );
        }
    }

    /// Two queries return the same rows: `text` columns, in any order.
    pub fn assert_same(&self, wanted: &str, found: &str) {
        let [wanted_rows, found_rows] = [wanted, found].map(|sql| self.texts(sql));
        assert_eq!(wanted_rows, found_rows, "{}: {wanted}\n{found}", self.database.dialect());
    }

    /// The rows of a query of one text column `v`, sorted.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.connection().query(sql, &[]).unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let mut texts: Vec<String> = rows.iter().map(|row| row.text("v").unwrap()).collect();
        texts.sort();
        texts
    }

    /// Runs random transactions; the application's own constraints may refuse some. Looks at the whole now and then.
    pub fn history(&self, seeds: u64, deeds: u64, deed: impl Fn(&mut Random, u64) -> Vec<String>) {
        let mut connection = self.connection();
        for seed in 1..=seeds {
            let mut random = Random::new(seed);
            let mut told = Vec::new();
            for number in 0..deeds {
                let statements = deed(&mut random, seed * 10_000 + number);
                let outcome = connection.in_transaction::<_, DatabaseError>(|connection| {
                    statements.iter().try_for_each(|statement| connection.batch(statement))
                });
                if let Err(error) = outcome {
                    let text = error.to_string();
                    let names_target =
                        self.model.blocks.iter().any(|block| text.contains(&format!("\"{}\"", block.target.name)));
                    assert!(!names_target, "old code is refused on account of the new model: {text}\n{statements:#?}");
                    let is_own = ["duplicate key", "UNIQUE", "foreign key", "FOREIGN KEY"]
                        .iter()
                        .any(|part| text.contains(part));
                    assert!(is_own && !text.contains("changeover"), "{text}\n{statements:#?}");
                }
                told.push(statements);
                if std::env::var_os("CHANGEOVER_TEST_STEPWISE").is_some() {
                    self.assert_clean(&format!("history {seed}, last: {:#?}", told.last()));
                }
            }
            self.assert_clean(&format!("history {seed}: {told:#?}"));
        }
    }
}

/// A scene on each database, from a schema that both take.
pub fn each_scene(schema: &str, file: &str, stage: Stage, test: impl Fn(&Scene)) {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        test(&Scene::new(dialect, schema, file, stage));
    }
}

/// What the check says of a change file that it refuses.
pub fn mistakes(dialect: Dialect, schema: &str, file: &str) -> String {
    let database = TestDatabase::new(dialect);
    let mut connection = database.connection();
    connection.batch(schema).unwrap();
    let file = ChangeFile::parse(&format!("{HEAD}{file}")).unwrap();
    let checked = check(&mut connection, database.database().url(), &file).unwrap();
    assert!(!checked.is_clean(), "there is no mistake");
    checked.mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}
