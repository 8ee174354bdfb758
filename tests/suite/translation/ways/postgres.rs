//! PostgreSQL: what an application, its libraries, its triggers and its administrators may send.

use std::io::Write;
use std::process::{Command, Stdio};

use changeover::change::Stage;

use super::{STAGES, Way, assert_found_and_mended, drift, holds, installed_with, run_all};
use crate::support::{TestDatabase, program};

/// What this application has besides the example's tables: foreign keys that cascade, a generated column, a view with rules.
const EXTRAS: &str = "
    ALTER TABLE charges ADD COLUMN gross bigint GENERATED ALWAYS AS (amount_minor * 2) STORED;
    ALTER TABLE charges DROP CONSTRAINT charges_video_id_fkey,
        ADD FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE ON UPDATE CASCADE;
    ALTER TABLE charges DROP CONSTRAINT charges_reverses_id_fkey,
        ADD FOREIGN KEY (reverses_id) REFERENCES charges (id) ON DELETE SET NULL ON UPDATE CASCADE;
    ALTER TABLE charges DROP CONSTRAINT charges_user_id_fkey,
        ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE;
    ALTER TABLE videos DROP CONSTRAINT videos_user_id_fkey,
        ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE;
    CREATE VIEW euro_charges AS SELECT * FROM charges WHERE currency = 'EUR';
    CREATE VIEW short_charges AS SELECT id, video_id, amount_minor FROM charges;
    CREATE RULE short_insert AS ON INSERT TO short_charges DO INSTEAD
        INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)
        SELECT NEW.id, v.user_id, v.id, '2026-11', 'EUR', NEW.amount_minor FROM videos v WHERE v.id = NEW.video_id;
    CREATE TABLE notes (id bigint PRIMARY KEY, text text);
    CREATE RULE note_is_kept AS ON INSERT TO notes DO ALSO UPDATE users SET company = NEW.text WHERE id = NEW.id;
    CREATE FUNCTION add_charge(bigint, bigint, bigint) RETURNS bigint LANGUAGE sql AS
        'INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)
         SELECT $1, user_id, id, ''2026-11'', ''EUR'', $3 FROM videos WHERE id = $2 RETURNING id';";

const CHARGE: &str = "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)";

const WAYS: &[Way] = &[
    ("several rows in one INSERT", &["INSERT INTO users (id, name) VALUES (10, 'x'), (11, 'ÿ'), (12, '')",
        "INSERT INTO videos (id, user_id, title) SELECT 100 + i, 10 + i % 3, 't' FROM generate_series(1, 9) i"],
        "(SELECT count(*) FROM video_accounts v JOIN accounts a ON a.id = v.account_id WHERE a.owner_id IN (10, 11, 12)) = 9"),
    ("INSERT ... SELECT of no row", &["INSERT INTO users (id, name) SELECT 13, 'never' WHERE false"], "NOT EXISTS (SELECT 1 FROM accounts WHERE owner_id = 13)"),
    ("ON CONFLICT DO NOTHING", &["INSERT INTO users (id, name, company) VALUES (10, 'other', 'other'), (14, 'new', 'new') ON CONFLICT DO NOTHING"],
        "(SELECT name IS NULL FROM accounts WHERE owner_id = 10) AND (SELECT name = 'new' FROM accounts WHERE owner_id = 14)"),
    ("ON CONFLICT DO UPDATE, some rows new, some not", &["INSERT INTO users (id, name, company) VALUES (10, 'u', 'upserted'), (15, 'n', 'inserted') ON CONFLICT (id) DO UPDATE SET company = excluded.company"],
        "(SELECT count(*) FROM accounts WHERE (owner_id, name) IN ((10, 'upserted'), (15, 'inserted'))) = 2"),
    ("UPDATE of many rows", &["UPDATE charges SET amount_minor = amount_minor + 7"], "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 1) = 1007"),
    ("UPDATE that changes nothing", &["UPDATE charges SET amount_minor = amount_minor; UPDATE users SET company = company"], "true"),
    ("UPDATE ... FROM", &["UPDATE videos v SET user_id = u.id FROM users u WHERE u.company = 'upserted' AND v.id = 109"],
        "(SELECT a.owner_id = 10 FROM video_accounts v JOIN accounts a ON a.id = v.account_id WHERE v.video_id = 109)"),
    ("DELETE ... USING", &["DELETE FROM videos v USING users u WHERE u.id = v.user_id AND u.company = 'upserted' AND v.id = 109"], "NOT EXISTS (SELECT 1 FROM video_accounts WHERE video_id = 109)"),
    ("a CTE that inserts, one that updates, one that deletes", &["WITH u AS (INSERT INTO users (id, name) VALUES (20, 'cte') RETURNING id),
        v AS (INSERT INTO videos (id, user_id, title) SELECT 120, id, 'x' FROM u RETURNING id, user_id),
        d AS (DELETE FROM videos WHERE id = 108 RETURNING id),
        p AS (UPDATE charges SET amount_minor = 5 WHERE id = 2 RETURNING id)
        INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) SELECT 120, user_id, id, '2026-11', 'EUR', 3 FROM v"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id IN (2, 120)) = 8"),
    ("UPDATE of a key", &["UPDATE charges SET id = 121 WHERE id = 120", "UPDATE videos SET id = 121 WHERE id = 120", "UPDATE users SET id = 21 WHERE id = 20"],
        "(SELECT owner_id = 21 FROM accounts a JOIN video_accounts v ON v.account_id = a.id WHERE v.video_id = 121)"),
    ("UPDATE that swaps keys", &["BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE charges SET id = 999 WHERE id = 5; UPDATE charges SET id = 5 WHERE id = 6; UPDATE charges SET id = 6 WHERE id = 999; COMMIT"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 5) = 100000000014"),
    ("UPDATE that moves many keys", &["UPDATE charges SET id = id + 10000 WHERE id > 100"], "EXISTS (SELECT 1 FROM charge_allocations WHERE charge_id = 10121)"),
    ("savepoints, one of them rolled back", &["BEGIN", "INSERT INTO users (id, name) VALUES (22, 'kept')", "SAVEPOINT a", "INSERT INTO users (id, name) VALUES (23, 'lost'); UPDATE users SET company = 'lost' WHERE id = 22", "ROLLBACK TO a", "UPDATE users SET company = 'kept' WHERE id = 22", "RELEASE a", "COMMIT"],
        "(SELECT count(*) = 1 FROM accounts WHERE owner_id IN (22, 23) AND name = 'kept')"),
    ("an error that PL/pgSQL catches", &["DO $$ BEGIN INSERT INTO users (id, name) VALUES (24, 'kept'); BEGIN INSERT INTO users (id, name) VALUES (25, 'lost'); INSERT INTO users (id, name) VALUES (24, 'twice'); EXCEPTION WHEN unique_violation THEN NULL; END; END $$"],
        "(SELECT count(*) = 1 FROM accounts WHERE owner_id IN (24, 25))"),
    ("a prepared statement, executed often", &["PREPARE p (bigint, bigint) AS INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES ($1, 1, 1, '2026-11', 'EUR', $2)",
        "EXECUTE p (130, 1); EXECUTE p (131, 2); EXECUTE p (132, 3); EXECUTE p (133, 4); EXECUTE p (134, 5); EXECUTE p (135, 6); EXECUTE p (136, 7)", "DEALLOCATE p"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id BETWEEN 130 AND 136) = 28"),
    ("a function called from SQL", &["SELECT add_charge(140 + i, 1 + i % 3, i * 100) FROM generate_series(1, 5) i"], "(SELECT count(DISTINCT charge_id) FROM charge_allocations WHERE charge_id BETWEEN 141 AND 145) = 5"),
    ("a cursor", &["BEGIN", "DECLARE c CURSOR FOR SELECT * FROM charges WHERE id BETWEEN 141 AND 145 ORDER BY id FOR UPDATE", "FETCH c", "UPDATE charges SET amount_minor = 17 WHERE CURRENT OF c", "FETCH c", "DELETE FROM charges WHERE CURRENT OF c", "COMMIT"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id IN (141, 142)) = 17"),
    ("an updatable view", &["UPDATE euro_charges SET amount_minor = 19 WHERE id = 141", "DELETE FROM euro_charges WHERE id = 143", "INSERT INTO euro_charges (id, user_id, video_id, period, currency, amount_minor) VALUES (150, 1, 1, '2026-11', 'EUR', 11)"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id IN (141, 143, 150)) = 30"),
    ("rules", &["INSERT INTO short_charges VALUES (151, 2, 77)", "INSERT INTO notes VALUES (3, 'ruled')"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 151) = 77 AND (SELECT name FROM accounts WHERE owner_id = 3) = 'ruled'"),
    ("foreign keys that cascade a key", &["UPDATE videos SET id = 160 WHERE id = 3", "UPDATE users SET id = 60 WHERE id = 4"],
        "EXISTS (SELECT 1 FROM charge_allocations WHERE charge_id = 3) AND EXISTS (SELECT 1 FROM charge_allocations WHERE charge_id = 4 AND payer_id = 60)"),
    ("foreign keys that cascade a delete", &["INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id) VALUES (161, 1, 1, '2026-11', 'EUR', -3, 3)", "DELETE FROM videos WHERE id = 160", "DELETE FROM users WHERE id = 60"],
        "(SELECT reverses_id IS NULL FROM charges WHERE id = 161) AND NOT EXISTS (SELECT 1 FROM charge_allocations WHERE charge_id IN (3, 4)) AND NOT EXISTS (SELECT 1 FROM accounts WHERE owner_id = 60)"),
    ("REPEATABLE READ", &["BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; INSERT INTO users (id, name) VALUES (30, 'r'); INSERT INTO videos VALUES (170, 30, 'r'); UPDATE videos SET user_id = 1 WHERE id = 170; COMMIT"], "EXISTS (SELECT 1 FROM video_accounts WHERE video_id = 170)"),
    ("SERIALIZABLE", &["BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (170, 1, 170, '2026-11', 'EUR', 12); UPDATE charges SET amount_minor = 13 WHERE id = 170; COMMIT"], "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 170) = 13"),
    ("READ UNCOMMITTED, and constraints checked at once", &["BEGIN ISOLATION LEVEL READ UNCOMMITTED; SET CONSTRAINTS ALL IMMEDIATE; DELETE FROM charges WHERE id = 170; COMMIT"], "NOT EXISTS (SELECT 1 FROM charge_allocations WHERE charge_id = 170)"),
    ("a hostile search_path, and temporary tables of the new model's names", &["CREATE SCHEMA evil; CREATE TABLE evil.accounts (id bigint, owner_id bigint, name text); CREATE TABLE evil.memberships (x int); CREATE FUNCTION evil.hashtext(text) RETURNS integer LANGUAGE sql AS 'SELECT 0'",
        "CREATE TEMP TABLE accounts (id bigint, owner_id bigint, name text); CREATE TEMP TABLE video_accounts (x int); CREATE TEMP TABLE charge_allocations (x int); CREATE TEMP TABLE users (id bigint)",
        "SET search_path = pg_temp, evil, public", "INSERT INTO public.users (id, name, company) VALUES (31, 'h', 'hostile'); INSERT INTO public.videos VALUES (171, 31, 'h')",
        "SET search_path = ''", "INSERT INTO public.charges (id, user_id, video_id, period, currency, amount_minor) VALUES (171, 31, 171, '2026-11', 'EUR', 9)", "DROP SCHEMA evil CASCADE", "SET search_path = public; DISCARD TEMP"],
        "(SELECT a.name = 'hostile' FROM accounts a JOIN video_accounts v ON v.account_id = a.id JOIN charge_allocations c ON c.charge_id = 171 WHERE v.video_id = 171)"),
    ("unusual settings of the session", &["SET standard_conforming_strings = off; SET escape_string_warning = off; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape'; SET extra_float_digits = 0; SET TimeZone = 'Pacific/Chatham'; SET transform_null_equals = on; SET enable_indexscan = off; SET lc_numeric = 'C'",
        "INSERT INTO users (id, name, company) VALUES (32, 'x', 'back\\\\slash'); UPDATE charges SET amount_minor = -amount_minor WHERE id IN (1, 171)"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id IN (1, 171)) = -1016"),
    ("a statement that is cancelled, then another", &["DO $$ BEGIN PERFORM set_config('statement_timeout', '0', true); END $$", "BEGIN; SAVEPOINT s; INSERT INTO users (id, name) VALUES (33, 'x'); ROLLBACK TO s; INSERT INTO users (id, name) VALUES (33, 'y'); COMMIT"], "EXISTS (SELECT 1 FROM accounts WHERE owner_id = 33)"),
    ("tables altered after the change was installed", &["ALTER TABLE charges ADD COLUMN note text DEFAULT 'n'", "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (172, 1, 1, '2026-11', 'EUR', 8); UPDATE charges SET note = 'x', amount_minor = 6 WHERE id = 172",
        "ALTER TABLE charges DROP COLUMN note", "UPDATE charges SET amount_minor = 4 WHERE id = 172; ALTER TABLE users ADD COLUMN age integer; UPDATE users SET age = 4, company = 'aged' WHERE id = 33"],
        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 172) = 4 AND (SELECT name FROM accounts WHERE owner_id = 33) = 'aged'"),
    ("LOCK TABLE, and a session that is discarded", &["BEGIN; LOCK TABLE charges IN EXCLUSIVE MODE; DELETE FROM charges WHERE id = 172; COMMIT", "DISCARD ALL", "INSERT INTO users (id, name) VALUES (34, 'd')"], "EXISTS (SELECT 1 FROM accounts WHERE owner_id = 34)"),
    ("a table rewritten by VACUUM FULL and CLUSTER", &["VACUUM FULL users", "CLUSTER charges USING charges_pkey", "UPDATE users SET company = 'after' WHERE id = 34"], "(SELECT name FROM accounts WHERE owner_id = 34) = 'after'"),
];

const MERGE: &[Way] = &[("MERGE", &["MERGE INTO users u USING (VALUES (34, 'merged'), (35, 'merged'), (33, NULL)) s (id, company) ON u.id = s.id
    WHEN MATCHED AND s.company IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET company = s.company WHEN NOT MATCHED THEN INSERT (id, name, company) VALUES (s.id, 'm', s.company)"],
    "(SELECT count(*) FROM accounts WHERE name = 'merged') = 2 AND NOT EXISTS (SELECT 1 FROM accounts WHERE owner_id = 33)")];

#[test]
fn whatever_statement_writes_both_models_agree() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::postgres(), EXTRAS, stage);
        run_all(&installed, WAYS);
        let version = "SELECT current_setting('server_version_num')::integer AS version";
        if installed.connection().get_row(version, &[]).unwrap().integer("version").unwrap() >= 150_000 {
            run_all(&installed, MERGE);
        }
    }
}

#[test]
fn copied_rows_are_translated() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::postgres(), EXTRAS, stage);
        let url = installed.database.url();
        let rows: String = (1..=2_000).map(|i| format!("{}\tname {i}\t\\N\n", 5_000 + i)).collect();
        psql(url, "COPY users (id, name, company) FROM STDIN", rows.as_bytes());
        psql(
            url,
            "COPY videos (id, user_id, title) FROM STDIN (FORMAT csv)",
            b"5001,5001,\"a, b\"\n5002,5002,c\n5003,5001,\"\"\n",
        );
        installed.assert_agrees(stage == Stage::Live, &|| String::from("COPY of text"));
        // The same rows once more, under other keys, as the binary copy of a table.
        let copy =
            "COPY (SELECT id + 10000, name, 'copied'::text FROM users WHERE id > 5000) TO STDOUT (FORMAT binary)";
        psql(url, "COPY users (id, name, company) FROM STDIN (FORMAT binary)", &psql(url, copy, b""));
        let condition = "(SELECT count(*) FROM accounts WHERE name = 'copied') = 2000 AND (SELECT count(*) FROM video_accounts WHERE video_id > 5000) = 3";
        assert!(holds(&mut installed.connection(), condition));
        installed.assert_agrees(stage == Stage::Live, &|| String::from("binary COPY"));
    }
}

fn psql(url: &str, command: &str, input: &[u8]) -> Vec<u8> {
    let mut process = Command::new(program("psql"));
    process.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command, url]);
    let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    drop(writing.join().unwrap());
    output.stdout
}

/// The application's own triggers write too: before and after ours in the order of names, for each row and each statement.
#[test]
fn what_the_applications_own_triggers_write_is_translated() {
    for stage in STAGES {
        for name in ["aaa", "zzz"] {
            let triggers = format!(
                "CREATE FUNCTION raise_amount() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.amount_minor := NEW.amount_minor + 1; RETURN NEW; END';
                 CREATE FUNCTION add_fee() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   IF NEW.currency <> 'FEE' THEN
                     INSERT INTO charges (user_id, video_id, period, currency, amount_minor, reverses_id) VALUES (NEW.user_id, NEW.video_id, NEW.period, 'FEE', 5, NEW.id);
                   END IF; RETURN NULL; END $$;
                 CREATE FUNCTION rename_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   UPDATE users SET company = coalesce(company, '') || '!' WHERE id IN (SELECT user_id FROM videos) AND company IS DISTINCT FROM 'stop'; RETURN NULL; END $$;
                 CREATE FUNCTION move_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   UPDATE videos SET user_id = 3 WHERE id = NEW.id AND NEW.title = 'for three'; RETURN NULL; END $$;
                 CREATE FUNCTION keep_no_stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.title = 'keep' THEN RETURN NULL; END IF; RETURN OLD; END $$;
                 CREATE TRIGGER {name}_1 BEFORE INSERT OR UPDATE ON charges FOR EACH ROW EXECUTE FUNCTION raise_amount();
                 CREATE TRIGGER {name}_2 AFTER INSERT ON charges FOR EACH ROW EXECUTE FUNCTION add_fee();
                 CREATE TRIGGER {name}_3 AFTER INSERT OR UPDATE ON videos FOR EACH STATEMENT EXECUTE FUNCTION rename_all();
                 CREATE TRIGGER {name}_4 AFTER INSERT ON videos FOR EACH ROW EXECUTE FUNCTION move_first();
                 CREATE TRIGGER {name}_5 BEFORE DELETE ON videos FOR EACH ROW EXECUTE FUNCTION keep_no_stop();
                 CREATE CONSTRAINT TRIGGER {name}_6 AFTER UPDATE ON charges DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.currency <> 'FEE') EXECUTE FUNCTION add_fee();"
            );
            let installed = installed_with(TestDatabase::postgres(), &triggers, stage);
            run_all(
                &installed,
                &[
                    (
                        "rows that triggers change and add",
                        &[concat!(
                            "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)",
                            " VALUES (200, 1, 1, '2026-11', 'EUR', 10), (201, 3, 3, '2026-11', 'EUR', 20)"
                        )],
                        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id IN (200, 201)) = 32 AND (SELECT count(*) FROM charges WHERE currency = 'FEE') = 2",
                    ),
                    (
                        "statement triggers that write another source table",
                        &[
                            "INSERT INTO videos (id, user_id, title) VALUES (200, 1, 'for three'), (201, 1, 'x')",
                            "UPDATE videos SET user_id = 2 WHERE id = 201",
                        ],
                        "(SELECT a.owner_id = 3 FROM video_accounts v JOIN accounts a ON a.id = v.account_id WHERE v.video_id = 200) AND (SELECT name FROM accounts WHERE owner_id = 3) LIKE 'C!!%'",
                    ),
                    (
                        "a trigger that refuses some rows",
                        &[
                            "INSERT INTO videos (id, user_id, title) VALUES (202, 1, 'keep'), (203, 1, 'go')",
                            "DELETE FROM videos WHERE id IN (202, 203)",
                        ],
                        "(SELECT count(*) FROM video_accounts WHERE video_id IN (202, 203)) = 1",
                    ),
                    (
                        "a deferred trigger",
                        &[
                            "BEGIN; UPDATE charges SET amount_minor = 70 WHERE id = 200; UPDATE charges SET amount_minor = 80 WHERE id = 200; COMMIT",
                        ],
                        "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 200) = 81 AND (SELECT count(*) FROM charges WHERE reverses_id = 200) = 3",
                    ),
                ],
            );
        }
    }
}

#[test]
fn old_code_needs_no_rights_beyond_its_own() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::postgres(), EXTRAS, stage);
        let mut connection = installed.connection();
        let role = "changeover_ways_legacy";
        connection
            .batch(&format!(
                "DO $$ BEGIN CREATE ROLE {role} NOINHERIT; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
                 REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
                 GRANT SELECT, INSERT, UPDATE, DELETE ON users, videos, charges TO {role};
                 SET SESSION AUTHORIZATION {role};
                 {CHARGE} VALUES (90, 1, 1, '2026-11', 'EUR', 10);
                 UPDATE videos SET user_id = 3 WHERE id = 4;
                 DELETE FROM videos WHERE id = 3;
                 WITH c AS (UPDATE charges SET amount_minor = 11 WHERE id = 90 RETURNING *) SELECT 1 FROM c;
                 RESET SESSION AUTHORIZATION"
            ))
            .unwrap();
        assert!(holds(&mut connection, "(SELECT sum(amount_minor) FROM charge_allocations WHERE charge_id = 90) = 11"));
        installed.assert_agrees(stage == Stage::Live, &|| String::from("a role without rights"));
        let denied = connection.batch(&format!("SET ROLE {role}; SELECT 1 FROM accounts")).unwrap_err().to_string();
        assert!(
            denied.contains("permission denied"),
            "the role may read the new model, so this shows nothing: {denied}"
        );
    }
}

#[test]
fn truncate_is_refused_and_leaves_every_row() {
    for stage in STAGES {
        let installed = installed_with(TestDatabase::postgres(), EXTRAS, stage);
        let mut connection = installed.connection();
        for sql in ["TRUNCATE charges CASCADE", "TRUNCATE users, videos, charges CASCADE", "TRUNCATE users CASCADE"] {
            let refused = connection.batch(sql).unwrap_err().to_string();
            assert!(refused.contains("is refused while change billing-allocation"), "{refused}");
        }
        assert!(holds(&mut connection, "(SELECT count(*) FROM charge_allocations) >= 6"));
        installed.assert_agrees(stage == Stage::Live, &|| String::from("TRUNCATE"));
    }
}

#[test]
fn what_triggers_do_not_see_is_found_and_mended() {
    for stage in STAGES {
        for (name, silence) in [
            ("session_replication_role", "SET session_replication_role = replica"),
            (
                "disabled triggers",
                "ALTER TABLE users DISABLE TRIGGER USER; ALTER TABLE videos DISABLE TRIGGER USER; ALTER TABLE charges DISABLE TRIGGER USER",
            ),
        ] {
            let installed = installed_with(TestDatabase::postgres(), EXTRAS, stage);
            let mut connection = installed.connection();
            connection
                .batch(&format!(
                    "{silence}; INSERT INTO users (id, name) VALUES (40, 'unseen'); INSERT INTO videos VALUES (40, 40, 'unseen');
                     UPDATE charges SET amount_minor = 4711 WHERE id = 1; DELETE FROM charges WHERE id = 2; UPDATE videos SET user_id = 5 WHERE id = 4;
                     SET session_replication_role = origin; ALTER TABLE users ENABLE TRIGGER USER; ALTER TABLE videos ENABLE TRIGGER USER; ALTER TABLE charges ENABLE TRIGGER USER"
                ))
                .unwrap();
            assert_found_and_mended(&installed, name);
            assert_eq!(drift(&installed), 0, "{name}");
        }
    }
}
