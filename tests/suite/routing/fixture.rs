//! A small billing database with a change in it: accounts, memberships, charges and their new allocation.

use changeover::change::{ChangeFile, Stage};
use changeover::database::{Database, DatabaseConnection, Row};
use changeover::flags::{Cohort, CohortIds, Flag, Snapshot, VersionedFlag};
use changeover::primitives::{ChangeName, CohortName, Dialect, Instant, Period};
use changeover::routing::{
    AssignReceipt, Assigning, GroupId, Move, MoveReceipt, Question, RoutedChange, Router, RoutingError, Side,
};
use changeover::sql::names::own;
use changeover::sql::{assignment, effective};
use serde_json::json;

use crate::support::TestDatabase;

/// Two members of account 1 (users 11 and 12), one of account 2 (21), one of account 3 (31), which has no charge.
const DATA: &str = "
    INSERT INTO accounts VALUES (1, 'one'), (2, 'two'), (3, 'three');
    INSERT INTO memberships VALUES (1, 11), (1, 12), (2, 21), (3, 31);
    INSERT INTO charges (id, account_id, user_id, period, currency, amount_minor) VALUES
        (101, 1, 11, '2026-11', 'EUR', 1001), (102, 1, 12, '2026-12', 'EUR', 500), (201, 2, 21, '2026-12', 'EUR', 300),
        (202, 2, 21, '2026-12', 'JPY', 7), (999, NULL, 21, '2026-12', 'EUR', 40);
    INSERT INTO charge_allocations VALUES
        (101, 11, 501), (101, 12, 500), (102, 11, 250), (102, 12, 250), (201, 21, 300), (202, 21, 7), (999, 21, 40);
";

pub const FILE: &str = r#"
format = 1
name   = "billing-allocation"
title  = "Charge an account's members"

[routing]
flag   = "billing-allocation"
period = "month"
group_of_user = "SELECT account_id FROM memberships WHERE user_id = :user ORDER BY account_id LIMIT 1"

[[forward]]
into    = "accounts"
from    = "users"
key     = "id"
columns = { id = "id" }

[allocation]
charges = "SELECT id AS charge_id, period, currency, amount_minor AS amount FROM charges"
old     = "SELECT id AS charge_id, user_id AS payer, amount_minor AS amount FROM charges"
new     = "SELECT charge_id, payer_id AS payer, amount_minor AS amount FROM charge_allocations -- as divided"
group   = "SELECT id AS charge_id, account_id AS group_id FROM charges;"
reverses = "SELECT id AS charge_id, reverses_id FROM charges WHERE reverses_id IS NOT NULL"
"#;

/// The database, with the change installed and live.
pub struct Fixture {
    pub database: TestDatabase,
    pub name: ChangeName,
}

impl Fixture {
    pub fn new(database: TestDatabase) -> Self {
        Self::with(database, "bigint", FILE)
    }

    pub fn with(database: TestDatabase, user_type: &str, file: &str) -> Self {
        let mut connection = database.connection();
        connection
            .batch(&format!(
                "CREATE TABLE accounts (id integer PRIMARY KEY, name text);
                 CREATE TABLE memberships (account_id integer NOT NULL, user_id {user_type} NOT NULL);
                 CREATE INDEX memberships_user ON memberships (user_id);
                 CREATE TABLE charges (id integer PRIMARY KEY, account_id integer, user_id {user_type} NOT NULL,
                     period text NOT NULL, currency text NOT NULL, amount_minor bigint NOT NULL, reverses_id integer);
                 CREATE TABLE charge_allocations (charge_id integer NOT NULL, payer_id {user_type} NOT NULL, amount_minor bigint NOT NULL);
                 CREATE INDEX charge_allocations_charge ON charge_allocations (charge_id);"
            ))
            .unwrap();
        let fixture = Self { database, name: ChangeName::new("billing-allocation").unwrap() };
        fixture.install(file);
        fixture
    }

    pub fn with_data(database: TestDatabase) -> Self {
        let fixture = Self::new(database);
        fixture.run(DATA);
        fixture
    }

    fn install(&self, text: &str) {
        let dialect = self.database.dialect();
        let file = ChangeFile::parse(text).unwrap();
        let mut connection = self.database.connection();
        if dialect == Dialect::Postgres {
            connection.batch("CREATE SCHEMA changeover").unwrap();
        }
        for statement in changeover::translation::own::create_tables(dialect) {
            connection.batch(&statement).unwrap();
        }
        let change = own(dialect, "change");
        connection
            .execute(
                &format!(
                    "INSERT INTO {change} (name, title, file, stage, installed_at, stage_at) VALUES ($1, '', $2, 'live', 1, 1)"
                ),
                &[self.name.as_str().into(), text.into()],
            )
            .unwrap();
        for statement in assignment::create(dialect) {
            connection.batch(&statement).unwrap();
        }
        for statement in effective::create(dialect, &self.name, file.allocation.as_ref().unwrap()) {
            connection.batch(&statement).unwrap();
        }
    }

    pub fn run(&self, sql: &str) {
        self.connection().batch(sql).unwrap();
    }

    pub fn connection(&self) -> DatabaseConnection {
        self.database.connection()
    }

    pub fn pool(&self) -> Database {
        self.database.database()
    }

    pub fn router(&self) -> Router {
        Router::new(self.pool())
    }

    pub fn change(&self) -> RoutedChange {
        RoutedChange::get(&mut self.connection(), &self.name).unwrap()
    }

    pub fn set_stage(&self, stage: Stage) {
        let change = own(self.database.dialect(), "change");
        self.run(&format!("UPDATE {change} SET stage = '{stage}'"));
    }

    pub fn close_before(&self, open_period: &str) {
        let change = own(self.database.dialect(), "change");
        self.run(&format!("UPDATE {change} SET open_period = '{open_period}'"));
    }

    pub fn assign(&self, snapshot: &Snapshot, at: &str) -> Result<AssignReceipt, RoutingError> {
        let assigning = Assigning { period: period(at), actor: "ann", at: Instant::from_micros(1_000) };
        changeover::routing::assign(&mut self.connection(), &self.change(), snapshot, &assigning)
    }

    pub fn move_group(&self, id: &str, at: &str, side: Side) -> Result<MoveReceipt, RoutingError> {
        let id = group(id);
        let wanted = Move {
            group: &id,
            period: period(at),
            side,
            actor: "ann",
            reason: "asked for it",
            at: Instant::from_micros(2_000),
        };
        changeover::routing::move_group(&mut self.connection(), &self.change(), &wanted)
    }

    pub fn question<'a>(&'a self, user: &'a str, at: &str) -> Question<'a> {
        Question { change: &self.name, user, period: Some(period(at)), actor: "ofrep", at: Instant::from_micros(3_000) }
    }

    /// What the bill run reads.
    pub fn effective(&self, columns: &str, rest: &str) -> Vec<Row> {
        let view = own(self.database.dialect(), "effective_allocation");
        self.connection().query(&format!("SELECT {columns} FROM {view} {rest}"), &[]).unwrap()
    }

    /// `charge:payer:amount:side:group`, in order.
    pub fn bill(&self, at: &str) -> Vec<String> {
        let rows = self.effective(
            "charge_id, payer, amount, side, group_id",
            &format!("WHERE period = '{at}' ORDER BY charge_id, payer"),
        );
        let text = |row: &Row, column| row.find_text(column).unwrap().unwrap_or_else(|| String::from("-"));
        rows.iter()
            .map(|row| ["charge_id", "payer", "amount", "side", "group_id"].map(|column| text(row, column)).join(":"))
            .collect()
    }

    pub fn count(&self, table: &str) -> i64 {
        let table = own(self.database.dialect(), table);
        let sql = format!("SELECT count(*) AS n FROM {table}");
        self.connection().get_row(&sql, &[]).unwrap().integer("n").unwrap()
    }
}

pub fn period(text: &str) -> Period {
    text.parse().unwrap()
}

pub fn group(text: &str) -> GroupId {
    GroupId::new(text).unwrap()
}

/// Users of the cohort `pilot` are on the new side; everybody else on `otherwise`.
pub fn pilot_of(users: &[&str], otherwise: &str) -> Snapshot {
    let rules = json!([{ "cohort": "pilot", "serve": { "variant": "new" } }]);
    snapshot(&rules, otherwise, Some(users))
}

/// This many of 100,000 buckets are on the new side.
pub fn rollout_of(buckets: u32) -> Snapshot {
    let ranges: Vec<_> = [("new", 0, buckets), ("old", buckets, 100_000)]
        .into_iter()
        .filter(|(_, from, to)| from < to)
        .map(|(variant, from, to)| json!({ "variant": variant, "from": from, "to": to }))
        .collect();
    let rules = json!([{ "serve": { "rollout": { "ranges": ranges } } }]);
    snapshot(&rules, "old", None)
}

pub fn snapshot(rules: &serde_json::Value, default: &str, pilot: Option<&[&str]>) -> Snapshot {
    let flag = json!({
        "key": "billing-allocation", "type": "boolean", "variants": { "old": false, "new": true },
        "default_variant": default, "off_variant": "old", "change": "billing-allocation", "rules": rules,
    });
    let flag = VersionedFlag { flag: Flag::parse(&flag.to_string()).unwrap(), version: 5 };
    let cohorts = pilot.map(|users| {
        let ids: CohortIds = users.iter().collect();
        std::sync::Arc::new(Cohort::new(CohortName::new("pilot").unwrap(), i64::try_from(users.len()).unwrap(), ids))
    });
    Snapshot::build(7, Instant::from_micros(0), vec![flag], cohorts.into_iter().collect())
}
