//! SQLite: its own forms of INSERT and UPDATE, the application's triggers, pragmas, attached files, several processes.

use std::process::{Command, Stdio};

use changeover::change::Stage;

use super::{STAGES, Way, assert_found_and_mended, holds, installed_with, run_all};
use crate::support::TestDatabase;

const WAYS: &[Way] = &[
    (
        "several rows in one INSERT",
        &[
            "INSERT INTO users (id, name) VALUES (10, 'x'), (11, 'ÿ'), (12, '')",
            "INSERT INTO videos (id, user_id, title) VALUES (101, 10, 't'), (102, 11, 't'), (103, 12, 't')",
        ],
        "(SELECT count(*) FROM video_accounts v JOIN accounts a ON a.id = v.account_id WHERE a.owner_id IN (10, 11, 12)) = 3",
    ),
    (
        "INSERT OR IGNORE",
        &["INSERT OR IGNORE INTO users (id, name, company) VALUES (10, 'o', 'ignored'), (14, 'n', 'new')"],
        "(SELECT count(*) FROM accounts WHERE name = 'new') = 1 AND NOT EXISTS (SELECT 1 FROM accounts WHERE name = 'ignored')",
    ),
    (
        "INSERT OR REPLACE",
        &[
            "INSERT OR REPLACE INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (1, 3, 3, '2026-11', 'JPY', 77), (150, 1, 1, '2026-11', 'EUR', 9)",
        ],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id IN (1, 150)) = 86",
    ),
    (
        "REPLACE of a row that others refer to",
        &[
            "PRAGMA foreign_keys = OFF; REPLACE INTO users (id, name, company) VALUES (3, 'r', 'replaced'); PRAGMA foreign_keys = ON",
        ],
        "(SELECT name FROM accounts WHERE owner_id = 3) = 'replaced'",
    ),
    (
        "INSERT OR ROLLBACK, OR FAIL, OR ABORT",
        &[
            "INSERT OR ROLLBACK INTO users (id, name) VALUES (15, 'a'); INSERT OR FAIL INTO users (id, name) VALUES (16, 'b'); INSERT OR ABORT INTO users (id, name) VALUES (17, 'c')",
        ],
        "(SELECT count(*) FROM accounts WHERE owner_id IN (15, 16, 17)) = 3",
    ),
    (
        "UPSERT",
        &[
            "INSERT INTO users (id, name, company) VALUES (10, 'u', 'upserted'), (18, 'n', 'inserted') ON CONFLICT (id) DO UPDATE SET company = excluded.company",
            "INSERT INTO users (id, name) VALUES (10, 'x') ON CONFLICT DO NOTHING",
        ],
        "(SELECT count(*) FROM accounts WHERE (owner_id, name) IN (VALUES (10, 'upserted'), (18, 'inserted'))) = 2",
    ),
    (
        "UPDATE of many rows",
        &["UPDATE charges SET amount_minor = amount_minor + 7"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 150) = 16",
    ),
    (
        "UPDATE OR REPLACE of a key",
        &["UPDATE OR REPLACE charges SET id = 150 WHERE id = 1"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id IN (1, 150)) = 84",
    ),
    (
        "UPDATE OR IGNORE of a key",
        &[
            "UPDATE OR IGNORE charges SET id = 2 WHERE id IN (150, 4)",
            "UPDATE OR IGNORE charges SET id = 151 WHERE id = 150",
        ],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 151) = 84",
    ),
    (
        "UPDATE ... FROM",
        &["UPDATE videos SET user_id = u.id FROM users u WHERE u.company = 'upserted' AND videos.id = 103"],
        "(SELECT a.owner_id = 10 FROM video_accounts v JOIN accounts a ON a.id = v.account_id WHERE v.video_id = 103)",
    ),
    (
        "UPDATE of keys, one after the other",
        &["UPDATE videos SET id = id + 1000 WHERE id > 100", "UPDATE users SET id = 55 WHERE id = 16"],
        "EXISTS (SELECT 1 FROM video_accounts WHERE video_id = 1103) AND EXISTS (SELECT 1 FROM accounts WHERE owner_id = 55)",
    ),
    (
        "RETURNING",
        &[
            "INSERT INTO users (id, name) VALUES (19, 'r') RETURNING id; UPDATE users SET company = 'ret' WHERE id = 19 RETURNING *; DELETE FROM charges WHERE id = 151 RETURNING id",
        ],
        "(SELECT name FROM accounts WHERE owner_id = 19) = 'ret'",
    ),
    (
        "savepoints, one of them rolled back",
        &[
            "BEGIN; INSERT INTO users (id, name) VALUES (22, 'kept'); SAVEPOINT a; INSERT INTO users (id, name) VALUES (23, 'lost'); UPDATE users SET company = 'lost' WHERE id = 22; ROLLBACK TO a; RELEASE a; UPDATE users SET company = 'kept' WHERE id = 22; COMMIT",
        ],
        "(SELECT count(*) FROM accounts WHERE owner_id IN (22, 23) AND name = 'kept') = 1",
    ),
    (
        "DELETE of everything",
        &[
            "PRAGMA foreign_keys = OFF; CREATE TABLE put_by AS SELECT * FROM charges; DELETE FROM charges; PRAGMA foreign_keys = ON",
        ],
        "NOT EXISTS (SELECT 1 FROM charge_allocations)",
    ),
    (
        "INSERT ... SELECT",
        &["INSERT INTO charges SELECT * FROM put_by", "DROP TABLE put_by"],
        "EXISTS (SELECT 1 FROM charge_allocations)",
    ),
    (
        "tables altered after the change was installed",
        &[
            "ALTER TABLE charges ADD COLUMN note TEXT DEFAULT 'n'",
            "UPDATE charges SET amount_minor = 4, note = 'x' WHERE id = 5",
        ],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 5) = 4",
    ),
    (
        "an integer where text is",
        &["INSERT INTO users (id, name, company) VALUES ('24', 5, 6); UPDATE users SET id = '25' WHERE id = 24"],
        "(SELECT name FROM accounts WHERE owner_id = 25) = '6'",
    ),
    (
        "VACUUM and ANALYZE",
        &["VACUUM", "ANALYZE", "INSERT INTO videos (id, user_id, title) VALUES (300, 25, 'v')"],
        "EXISTS (SELECT 1 FROM video_accounts WHERE video_id = 300)",
    ),
];

#[test]
fn whatever_statement_writes_both_models_agree() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::sqlite(), "", stage);
        run_all(&installed, WAYS);
    }
}

#[test]
fn a_replace_that_skips_delete_triggers_is_found_and_mended() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::sqlite(), "", stage);
        let mut connection = installed.connection();
        // The new row moves into the key of another; that one's own allocations are never told.
        connection.batch("PRAGMA recursive_triggers = OFF; PRAGMA foreign_keys = OFF; UPDATE OR REPLACE users SET id = 3 WHERE id = 4").unwrap();
        connection.batch("REPLACE INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (1, 5, 5, '2026-11', 'EUR', 50)").unwrap();
        connection
            .batch("UPDATE videos SET user_id = 3 WHERE user_id = 4; UPDATE charges SET user_id = 3 WHERE user_id = 4")
            .unwrap();
        let drift = super::drift(&installed);
        if drift > 0 {
            assert_found_and_mended(&installed, "REPLACE without recursive_triggers");
        }
        installed.assert_agrees(stage == Stage::Live, &|| String::from("REPLACE without recursive_triggers"));
    }
}

#[test]
fn what_the_applications_own_triggers_write_is_translated() {
    for stage in STAGES {
        for moment in ["BEFORE", "AFTER"] {
            let triggers = format!(
                "CREATE TRIGGER aaa AFTER INSERT ON charges WHEN NEW.currency <> 'FEE' BEGIN
                   INSERT INTO charges (user_id, video_id, period, currency, amount_minor, reverses_id) VALUES (NEW.user_id, NEW.video_id, NEW.period, 'FEE', 5, NEW.id); END;
                 CREATE TRIGGER bbb {moment} UPDATE ON videos BEGIN UPDATE users SET company = coalesce(company, '') || '!' WHERE id = NEW.user_id; END;
                 CREATE TRIGGER ccc {moment} DELETE ON videos BEGIN DELETE FROM charges WHERE video_id = OLD.id; END;
                 CREATE TRIGGER ddd AFTER INSERT ON videos WHEN NEW.title = 'for three' BEGIN UPDATE videos SET user_id = 3 WHERE id = NEW.id; END;
                 CREATE VIEW euro_charges AS SELECT * FROM charges WHERE currency = 'EUR';
                 CREATE TRIGGER eee INSTEAD OF UPDATE ON euro_charges BEGIN UPDATE charges SET amount_minor = NEW.amount_minor WHERE id = OLD.id; END;"
            );
            let installed = installed_with(TestDatabase::sqlite(), &triggers, stage);
            // And one that is made after ours: it fires before them.
            installed.connection().batch("CREATE TRIGGER zzz AFTER UPDATE OF amount_minor ON charges WHEN NEW.amount_minor = 13 BEGIN UPDATE charges SET amount_minor = 14 WHERE id = NEW.id; END").unwrap();
            run_all(
                &installed,
                &[
                    (
                        "rows that triggers add",
                        &[
                            "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (200, 1, 1, '2026-11', 'EUR', 10), (210, 3, 3, '2026-11', 'EUR', 20)",
                        ],
                        "(SELECT count(DISTINCT charge_id) FROM charge_allocations WHERE currency = 'FEE') = 2",
                    ),
                    (
                        "triggers that write another source table",
                        &[
                            "UPDATE videos SET user_id = 3 WHERE id = 2",
                            "INSERT INTO videos (id, user_id, title) VALUES (200, 1, 'for three')",
                        ],
                        "(SELECT name FROM accounts WHERE owner_id = 3) LIKE 'C!%' AND (SELECT a.owner_id = 3 FROM video_accounts v JOIN accounts a ON a.id = v.account_id WHERE v.video_id = 200)",
                    ),
                    (
                        "triggers that delete",
                        &["DELETE FROM videos WHERE id = 6"],
                        "NOT EXISTS (SELECT 1 FROM charge_allocations WHERE charge_id = 6)",
                    ),
                    (
                        "INSTEAD OF",
                        &["UPDATE euro_charges SET amount_minor = 55 WHERE id = 200"],
                        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 200) = 55",
                    ),
                    (
                        "a trigger that was made later",
                        &["UPDATE charges SET amount_minor = 13 WHERE id = 200"],
                        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 200) = 14",
                    ),
                ],
            );
        }
    }
}

#[test]
fn the_file_may_be_attached_to_another() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::sqlite(), "", stage);
        let other = TestDatabase::sqlite();
        let mut connection = other.connection();
        let path = installed.database.url().trim_start_matches("sqlite:");
        connection.batch(&format!("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (70, 'elsewhere'); ATTACH '{path}' AS app")).unwrap();
        connection.batch("INSERT INTO app.users (id, name) SELECT id, name FROM main.users; INSERT INTO app.videos VALUES (70, 70, 'x'); UPDATE app.charges SET amount_minor = 3 WHERE id = 1").unwrap();
        assert!(holds(&mut installed.connection(), "EXISTS (SELECT 1 FROM video_accounts WHERE video_id = 70)"));
        installed.assert_agrees(stage == Stage::Live, &|| String::from("attached"));
    }
}

/// Python's own SQLite, another version and another build than ours, in several processes.
#[test]
fn several_processes_of_another_build_write_one_file() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::sqlite(), "", stage);
        let path = installed.database.url().trim_start_matches("sqlite:").to_owned();
        let program = "import sqlite3, sys\n\
            c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n\
            c.execute('PRAGMA foreign_keys = ON')\n\
            n = int(sys.argv[2])\n\
            for i in range(60):\n    c.execute('BEGIN IMMEDIATE')\n    k = 1000 * n + i\n\
            \x20   c.execute('INSERT INTO users (id, name) VALUES (?, ?)', (k, 'é'))\n\
            \x20   c.execute('INSERT INTO videos (id, user_id, title) VALUES (?, ?, ?)', (k, k, 't'))\n\
            \x20   c.execute(\"INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (?, ?, ?, '2026-11', 'EUR', ?)\", (k, k, k, i * 7))\n\
            \x20   c.execute('UPDATE charges SET amount_minor = amount_minor + 1 WHERE id = ?', (1 + i % 6,))\n\
            \x20   c.execute('UPDATE videos SET user_id = ? WHERE id = ?', (1 + (i + n) % 6, k))\n\
            \x20   c.execute('COMMIT')\n";
        let mut children: Vec<_> = (1..=4)
            .map(|n| {
                Command::new("python3")
                    .args(["-c", program, &path, &n.to_string()])
                    .stdin(Stdio::null())
                    .spawn()
                    .expect("python3")
            })
            .collect();
        for child in &mut children {
            assert!(child.wait().unwrap().success(), "a writer failed");
        }
        assert!(holds(
            &mut installed.connection(),
            "(SELECT count(*) FROM charges) = 246 AND (SELECT sum(amount_minor) FROM charges WHERE id <= 6) = 100000000774 + 240"
        ));
        installed.assert_agrees(stage == Stage::Live, &|| String::from("four processes"));
    }
}
