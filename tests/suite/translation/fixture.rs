//! The video-hosting example, installed and filled, with a little data of its own.

use changeover::change::{ChangeFile, Direction, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::sql::model::ChangeModel;
use changeover::translation::{
    BackfillOptions, BlockDrift, Deed, Due, Move, VerifyOptions, backfill, install, move_stage, pending, resolve,
    retry_pending, verify_block,
};

use crate::support::TestDatabase;

pub const CHANGE_FILE: &str = include_str!("../../../examples/video-hosting/change.toml");

/// Users 1–6; 1 and 2 share account 1; a video each and two charges each.
const DATA: &str = "
    INSERT INTO periods (period) VALUES ('2026-09'),('2026-10'),('2026-11');
    INSERT INTO users (id, name, company) VALUES (1,'Ada','Ünïcode GmbH'),(2,'Ben',NULL),(3,'Cleo','C'),(4,'Dan',''),(5,'Eve','E'),(6,'Fay',NULL);
    INSERT INTO videos (id, user_id, title) VALUES (1,1,'a'),(2,2,'b'),(3,3,'c'),(4,4,'d'),(5,5,'e'),(6,6,'f');
    INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES
      (1,1,1,'2026-11','EUR',1000),(2,2,2,'2026-11','EUR',1),(3,3,3,'2026-11','JPY',0),(4,4,4,'2026-11','EUR',-333),
      (5,5,5,'2026-10','USD',99),(6,6,6,'2026-10','USD',100000000007);";

pub struct Installed {
    pub database: TestDatabase,
    pub model: ChangeModel,
    pub stage: Stage,
}

pub fn deed() -> Deed<'static> {
    Deed { actor: "test", at: jiff::Timestamp::now().into(), reason: "a test" }
}

pub fn schema(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => include_str!("../../../examples/video-hosting/schema.postgres.sql"),
        Dialect::Sqlite => include_str!("../../../examples/video-hosting/schema.sqlite.sql"),
    }
}

/// Schema and data, nothing installed.
pub fn loaded(database: &TestDatabase) -> DatabaseConnection {
    let mut connection = database.connection();
    connection.batch(schema(database.dialect())).unwrap();
    connection.batch(DATA).unwrap();
    if database.dialect() == Dialect::Postgres {
        for table in ["users", "videos", "charges"] {
            let has =
                connection.get_row(&format!("SELECT pg_get_serial_sequence('{table}', 'id') IS NOT NULL AS has"), &[]);
            if has.unwrap().boolean("has").unwrap() {
                connection.batch(&format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1000)")).unwrap();
            }
        }
    }
    connection
}

pub fn file() -> ChangeFile {
    ChangeFile::parse(CHANGE_FILE).unwrap()
}

/// Installed, filled, at `stage` (gates aside).
pub fn installed(database: TestDatabase, stage: Stage) -> Installed {
    let mut connection = loaded(&database);
    let model = install_file(&mut connection, &file(), stage);
    connection.batch("INSERT INTO memberships (account_id, user_id, role, weight) SELECT a.id, 2, 'member', 2 FROM accounts a WHERE a.owner_id = 1").unwrap();
    drop(connection);
    Installed { database, model, stage }
}

pub fn install_file(connection: &mut DatabaseConnection, file: &ChangeFile, stage: Stage) -> ChangeModel {
    let model = resolve(connection, file).unwrap();
    install(connection, &model, file, deed()).unwrap();
    go_to(connection, &model, stage);
    model
}

/// Moves on, stage by stage, with a backfill at `dualwrite`.
pub fn go_to(connection: &mut DatabaseConnection, model: &ChangeModel, stage: Stage) {
    for to in [Stage::DualWrite, Stage::Shadow, Stage::Live] {
        if to > stage {
            break;
        }
        step(connection, model, to);
        if to == Stage::DualWrite {
            let options = BackfillOptions { batch_rows: Some(2), ..BackfillOptions::default() };
            backfill(connection, model, options, &mut |_, _, _| true).unwrap();
        }
    }
}

pub fn step(connection: &mut DatabaseConnection, model: &ChangeModel, to: Stage) {
    let wanted = Move { to, detail: serde_json::json!({}) };
    move_stage(connection, model, &wanted, deed(), &mut |_, _| Ok(())).unwrap();
}

impl Installed {
    pub fn connection(&self) -> DatabaseConnection {
        self.database.connection()
    }

    /// What verify finds of each block that should hold.
    pub fn drift(&self, with_backward: bool) -> Vec<BlockDrift> {
        let mut connection = self.connection();
        let blocks = self.model.blocks.iter().filter(|block| with_backward || block.id.direction == Direction::Forward);
        blocks
            .map(|block| verify_block(&mut connection, block, VerifyOptions::default(), &mut |_, _| {}).unwrap())
            .collect()
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

    /// Both models agree, and every charge whose video has an account is allocated to the unit.
    pub fn assert_agrees(&self, with_backward: bool, story: &dyn Fn() -> String) {
        self.heal();
        for block in self.drift(with_backward) {
            assert_eq!(
                block.drift(),
                0,
                "{} {}: {:#?}\n{}",
                self.database.dialect(),
                block.target,
                block.samples,
                story()
            );
        }
        assert_no_orphans(&mut self.connection(), story);
    }
}

/// Every row of the new model belongs to one of the old, and every charge is allocated to the unit.
pub fn assert_no_orphans(connection: &mut DatabaseConnection, story: &dyn Fn() -> String) {
    let checks = [
            ("orphaned allocation", "SELECT count(*) AS n FROM charge_allocations x WHERE NOT EXISTS (SELECT 1 FROM charges c WHERE c.id = x.charge_id)"),
            ("orphaned link", "SELECT count(*) AS n FROM video_accounts x WHERE NOT EXISTS (SELECT 1 FROM videos v WHERE v.id = x.video_id)"),
            ("video without link", "SELECT count(*) AS n FROM videos v WHERE NOT EXISTS (SELECT 1 FROM video_accounts x WHERE v.id = x.video_id)"),
            ("orphaned account", "SELECT count(*) AS n FROM accounts x WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = x.owner_id)"),
            ("charge not conserved", "SELECT count(*) AS n FROM (SELECT c.id FROM charges c LEFT JOIN charge_allocations x ON x.charge_id = c.id
                GROUP BY c.id, c.amount_minor HAVING count(x.charge_id) = 0 OR sum(x.amount_minor) <> c.amount_minor) w"),
        ];
    for (what, sql) in checks {
        let count = connection.get_row(sql, &[]).unwrap().integer("n").unwrap();
        assert_eq!(count, 0, "{}: {what}\n{}", connection.dialect(), story());
    }
}
