//! A user who may be in several accounts: what old and new code do to users and memberships, in both stages, on both databases.

use changeover::change::{ChangeFile, Direction, Stage};
use changeover::database::{DatabaseConnection, DatabaseError, Dialect};
use changeover::sql::model::ChangeModel;
use changeover::translation::{LawOptions, VerifyOptions, check, laws, verify_block};

use crate::support::{Random, TestDatabase, each_database};
use crate::translation::install_file;

/// Accounts 1–4; users 1–4 in accounts 1, 1, 2 and none.
const DATA: &str = "
    INSERT INTO accounts (id, name) VALUES (1, 'Ünïcode GmbH'), (2, 'B'), (3, ''), (4, 'D');
    INSERT INTO users (id, name, account_id, account_role) VALUES
      (1, 'Ada', 1, 'owner'), (2, 'Ben', 1, 'member'), (3, 'Cleo', 2, 'admin'), (4, 'Dan', NULL, 'member');";

pub struct App {
    database: TestDatabase,
    model: ChangeModel,
    stage: Stage,
    pub connection: DatabaseConnection,
}

pub fn file() -> ChangeFile {
    ChangeFile::parse(include_str!("../../../examples/one-to-many/change.toml")).unwrap()
}

pub fn load(database: &TestDatabase) -> DatabaseConnection {
    let mut connection = database.connection();
    connection
        .batch(match database.dialect() {
            Dialect::Postgres => include_str!("../../../examples/one-to-many/schema.postgres.sql"),
            Dialect::Sqlite => include_str!("../../../examples/one-to-many/schema.sqlite.sql"),
        })
        .unwrap();
    connection.batch(DATA).unwrap();
    if database.dialect() == Dialect::Postgres {
        connection
            .batch("SELECT setval(pg_get_serial_sequence('users', 'id'), 1000), setval(pg_get_serial_sequence('accounts', 'id'), 1000)")
            .unwrap();
    }
    connection
}

impl App {
    fn new(database: TestDatabase, stage: Stage) -> Self {
        let mut connection = load(&database);
        let checked = check(&mut connection, &database.url().parse().unwrap(), &file()).unwrap();
        assert!(checked.is_clean(), "{:#?}", checked.mistakes);
        let model = install_file(&mut connection, &file(), stage);
        Self { database, model, stage, connection }
    }

    fn act(&mut self, sql: &str) -> &mut Self {
        self.connection.batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        self
    }

    /// `account role*` of each membership of a user, the home with a star, by account.
    fn memberships(&mut self, user: i64) -> Vec<String> {
        let sql = "SELECT account_id, role, home FROM memberships WHERE user_id = $1 ORDER BY account_id";
        let rows = self.connection.query(sql, &[user.into()]).unwrap();
        rows.iter()
            .map(|row| {
                let star = if row.boolean("home").unwrap() { "*" } else { "" };
                format!("{} {}{star}", row.integer("account_id").unwrap(), row.text("role").unwrap())
            })
            .collect()
    }

    /// The account and role that the old model knows.
    fn account(&mut self, user: i64) -> (Option<i64>, String) {
        let row = self.connection.get_row("SELECT account_id, account_role FROM users WHERE id = $1", &[user.into()]);
        let row = row.unwrap();
        (row.find_integer("account_id").unwrap(), row.text("account_role").unwrap())
    }

    fn agrees(&mut self, story: &dyn Fn() -> String) {
        let live = self.stage == Stage::Live;
        for block in self.model.blocks.iter().filter(|block| live || block.id.direction == Direction::Forward) {
            let drift = verify_block(&mut self.connection, block, VerifyOptions::default(), &mut |_, _| {}).unwrap();
            assert_eq!(
                drift.drift(),
                0,
                "{} {}: {:#?}\n{}",
                self.database.dialect(),
                self.stage,
                drift.samples,
                story()
            );
        }
        for (what, sql) in [
            (
                "orphan",
                "SELECT count(*) AS n FROM memberships m WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = m.user_id) OR NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = m.account_id)",
            ),
            (
                "user whose account is no home",
                "SELECT count(*) AS n FROM users u WHERE u.account_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = u.id AND m.account_id = u.account_id AND m.role = u.account_role AND m.home)",
            ),
            (
                "second home",
                "SELECT count(*) AS n FROM (SELECT user_id FROM memberships WHERE home GROUP BY user_id HAVING count(*) > 1) h",
            ),
        ] {
            let count = self.connection.get_row(sql, &[]).unwrap().integer("n").unwrap();
            assert_eq!(count, 0, "{} {}: {what}\n{}", self.database.dialect(), self.stage, story());
        }
    }
}

fn each_stage(test: impl Fn(&mut App)) {
    for stage in [Stage::DualWrite, Stage::Shadow, Stage::Live] {
        each_database(|database| {
            let mut app = App::new(database, stage);
            test(&mut app);
            app.agrees(&|| String::from("at the end"));
        });
    }
}

#[test]
fn an_old_path_move_leaves_one_membership_with_the_role() {
    each_stage(|app| {
        assert_eq!(app.memberships(1), ["1 owner*"]);
        app.act("UPDATE users SET account_id = 2 WHERE id = 1");
        assert_eq!(app.memberships(1), ["2 owner*"]);
        app.act("UPDATE users SET account_id = 3, account_role = 'admin' WHERE account_id = 2");
        assert_eq!(
            (app.memberships(1), app.memberships(3)),
            (vec![String::from("3 admin*")], vec![String::from("3 admin*")])
        );
    });
}

#[test]
fn an_old_path_delete_leaves_no_orphan() {
    each_stage(|app| {
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (1, 4, 'guest')");
        app.act("DELETE FROM users WHERE id IN (1, 4)");
        assert_eq!(app.memberships(1), [""; 0]);
        assert_eq!(app.memberships(2), ["1 member*"]);
    });
}

#[test]
fn a_user_without_an_account_has_no_membership_until_there_is_one() {
    each_stage(|app| {
        assert_eq!(app.memberships(4), [""; 0]);
        app.act("UPDATE users SET name = 'Däniel' WHERE id = 4").act("UPDATE users SET account_id = 2 WHERE id = 4");
        assert_eq!(app.memberships(4), ["2 member*"]);
        app.act("UPDATE users SET account_id = NULL WHERE id = 4");
        assert_eq!(app.memberships(4), [""; 0]);
        app.act("INSERT INTO users (id, name) VALUES (5, 'Eve'), (6, 'Fay')");
        app.act("INSERT INTO users (id, name, account_id, account_role) VALUES (7, 'Gus', 4, 'owner')");
        assert_eq!((app.memberships(5), app.memberships(7)), (vec![], vec![String::from("4 owner*")]));
    });
}

#[test]
fn removing_the_home_falls_back_to_what_stands_for_it() {
    each_stage(|app| {
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (1, 3, 'guest'), (1, 2, 'admin')");
        assert_eq!(app.memberships(1), ["1 owner*", "2 admin", "3 guest"]);
        assert_eq!(app.account(1), (Some(1), String::from("owner")));
        app.act("DELETE FROM memberships WHERE user_id = 1 AND account_id = 1");
        if app.stage == Stage::Live {
            assert_eq!(app.memberships(1), ["2 admin*", "3 guest"], "the first of the others");
            assert_eq!(app.account(1), (Some(2), String::from("admin")));
            app.act("DELETE FROM memberships WHERE user_id = 1");
            assert_eq!((app.memberships(1), app.account(1).0), (vec![], None));
        } else {
            assert_eq!(app.memberships(1), ["1 owner*", "2 admin", "3 guest"], "the old side has the say");
            app.act("DELETE FROM memberships WHERE user_id = 1 AND account_id <> 1");
            assert_eq!((app.memberships(1), app.account(1).0), (vec![String::from("1 owner*")], Some(1)));
        }
    });
}

#[test]
fn a_user_in_two_accounts_by_the_new_path_is_moved_by_the_old_path() {
    each_stage(|app| {
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (2, 3, 'guest')");
        app.act("UPDATE users SET name = 'Benedikt' WHERE id = 2");
        assert_eq!(app.memberships(2), ["1 member*", "3 guest"], "a write that moves nobody leaves both");
        app.act("UPDATE users SET account_id = 4 WHERE id = 2");
        assert_eq!(app.memberships(2), ["4 member*"], "to a third one");
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (2, 3, 'guest'), (2, 1, 'guest')");
        app.act("UPDATE users SET account_id = 3 WHERE id = 2");
        assert_eq!(app.memberships(2), ["3 member*"], "to one that he was in: he is nowhere else");
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (2, 1, 'guest')");
        app.act("UPDATE users SET account_id = NULL WHERE id = 2");
        assert_eq!(app.memberships(2), [""; 0], "out of his account");
    });
}

#[test]
fn new_code_chooses_another_home_in_one_statement_or_two() {
    each_database(|database| {
        let mut app = App::new(database, Stage::Live);
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (3, 1, 'guest'), (3, 4, 'owner')");
        app.act("UPDATE memberships SET home = (account_id = 4) WHERE user_id = 3");
        assert_eq!(app.memberships(3), ["1 guest", "2 admin", "4 owner*"]);
        assert_eq!(app.account(3), (Some(4), String::from("owner")));
        app.act("UPDATE memberships SET home = true WHERE user_id = 3 AND account_id = 1");
        assert_eq!(app.memberships(3), ["1 guest*", "2 admin", "4 owner"]);
        app.act("UPDATE memberships SET role = 'boss' WHERE user_id = 3 AND account_id = 1");
        assert_eq!(app.account(3), (Some(1), String::from("boss")));
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (4, 3, 'x'), (4, 2, 'y')");
        assert_eq!(app.memberships(4).len(), 2);
        assert!(app.account(4).0.is_some());
        app.agrees(&|| String::from("homes"));
    });
}

#[test]
fn a_deleted_account_takes_only_its_own_memberships() {
    each_stage(|app| {
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (1, 3, 'guest')");
        app.act("DELETE FROM accounts WHERE id = 1");
        let home = if app.stage == Stage::Live { "*" } else { "" };
        assert_eq!(app.memberships(1), [format!("3 guest{home}")]);
        let account = if app.stage == Stage::Live { Some(3) } else { None };
        assert_eq!(app.account(1).0, account);
        assert_eq!((app.memberships(2), app.account(2).0), (vec![], None));
    });
}

#[test]
fn its_losses_are_declared() {
    each_database(|database| {
        let mut app = App::new(database, Stage::Shadow);
        app.act("INSERT INTO memberships (user_id, account_id, role) VALUES (1, 3, 'guest'), (3, 4, 'owner')");
        let found = laws(&mut app.connection, &file(), LawOptions { sample: 60, seed: 5 }, &mut |_, _| {}).unwrap();
        assert!(found.held, "{:#?}", (found.undeclared().collect::<Vec<_>>(), &found.faults, &found.tables));
        assert!(found.declared.iter().any(|loss| loss.seen > 0), "{:#?}", found.declared);
        app.agrees(&|| String::from("after the laws"));
    });
}

/// The id of some existing row.
fn some(random: &mut Random, table: &str) -> String {
    let nth = random.below(1_000);
    format!(
        "(SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET (SELECT {nth} % CASE WHEN count(*) = 0 THEN 1 ELSE count(*) END FROM {table}))"
    )
}

fn deed(random: &mut Random, fresh: u64) -> String {
    let (user, account) = (some(random, "users"), some(random, "accounts"));
    let role = ["owner", "admin", "member", "gäst"][random.index(4)];
    match random.below(14) {
        0 => {
            format!("INSERT INTO users (id, name, account_id, account_role) VALUES ({fresh}, 'u', {account}, '{role}')")
        }
        1 => format!("INSERT INTO users (id, name) VALUES ({fresh}, 'u'), ({fresh} + 1, '')"),
        2 => format!("UPDATE users SET account_id = {account} WHERE id = {user}"),
        3 => format!("UPDATE users SET account_id = {account}, account_role = '{role}' WHERE id % 5 = {}", fresh % 5),
        4 => format!("UPDATE users SET account_id = NULL WHERE id = {user}"),
        5 => format!("UPDATE users SET name = 'n{fresh}'"),
        6 if random.is_one_in(3) => format!("DELETE FROM users WHERE id = {user}"),
        6 => format!("UPDATE users SET account_role = '{role}' WHERE id = {user}"),
        7 => format!("INSERT INTO accounts (id, name) VALUES ({fresh}, 'a')"),
        8 if random.is_one_in(4) => format!("DELETE FROM accounts WHERE id = {account}"),
        8 => format!("UPDATE users SET id = {fresh} WHERE id = {user}"),
        9 | 10 => format!(
            "INSERT INTO memberships (user_id, account_id, role) SELECT {user}, {account}, '{role}' WHERE EXISTS (SELECT 1 FROM users) AND EXISTS (SELECT 1 FROM accounts) ON CONFLICT (user_id, account_id) DO NOTHING"
        ),
        11 => format!("DELETE FROM memberships WHERE user_id = {user} AND account_id = {account}"),
        12 => format!(
            "UPDATE memberships SET home = (account_id = (SELECT max(account_id) FROM memberships m WHERE m.user_id = {user})) WHERE user_id = {user}"
        ),
        _ => format!("DELETE FROM memberships WHERE user_id = {user} AND NOT home"),
    }
}

#[test]
fn random_histories_leave_both_models_in_agreement() {
    for stage in [Stage::Shadow, Stage::Live] {
        each_database(|database| {
            let mut app = App::new(database, stage);
            for seed in 0..40 {
                let mut random = Random::new(seed);
                let mut told = Vec::new();
                for number in 0..50 {
                    let sql = deed(&mut random, 10_000 + seed * 1_000 + number * 10);
                    let outcome =
                        app.connection.in_transaction::<_, DatabaseError>(|connection| connection.batch(&sql));
                    outcome.unwrap_or_else(|error| panic!("{sql}: {error}"));
                    told.push(sql);
                    if std::env::var_os("CHANGEOVER_TEST_STEPWISE").is_some() {
                        app.agrees(&|| format!("seed {seed}: {told:#?}"));
                    }
                }
                app.agrees(&|| format!("seed {seed}: {told:#?}"));
            }
        });
    }
}
