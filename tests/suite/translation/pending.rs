//! First, do no harm: what cannot be translated never reaches the writer while errors are queued. The keys wait with their error, are
//! seen, and heal once what was wrong is mended.

use changeover::change::{ChangeFile, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::sql::model::ChangeModel;
use changeover::translation::{Due, VerifyOptions, pending, resolve, retry_pending, update, verify_block};

use super::fixture::{deed, install_file};
use crate::support::{Server, TestDatabase, changeover, each_database};

/// Old code keeps amounts as text; the new table takes numbers below 1000, each code once, of kinds that there are.
pub const SCHEMA: &str = "
CREATE TABLE items (id INTEGER PRIMARY KEY, code TEXT, amount TEXT, kind INTEGER);
CREATE TABLE kinds (id INTEGER PRIMARY KEY);
CREATE TABLE things (id INTEGER PRIMARY KEY, code TEXT UNIQUE, amount INTEGER NOT NULL CHECK (amount < 1000), kind INTEGER REFERENCES kinds (id));
INSERT INTO kinds VALUES (1);
";

/// On PostgreSQL the cast fails; SQLite's casts never do, so there what is no number becomes NULL, which the target refuses.
fn amount(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "amount::integer",
        Dialect::Sqlite => "CASE WHEN amount GLOB '[0-9]*' THEN CAST(amount AS INTEGER) END",
    }
}

pub fn file(dialect: Dialect, more: &str, amount_sql: &str) -> ChangeFile {
    let _ = dialect;
    let text = format!(
        "format = 1\nname = \"things\"\n{more}\n[routing]\nflag = \"things\"\n\n[[forward]]\ninto = \"things\"\nfrom = \"items\"\nkey = \"id\"\n\
         columns = {{ id = \"id\", code = \"code\", amount = \"{amount_sql}\", kind = \"kind\" }}\n"
    );
    ChangeFile::parse(&text).unwrap()
}

fn prepared(database: &TestDatabase, more: &str) -> (DatabaseConnection, ChangeModel) {
    let mut connection = database.connection();
    connection.batch(SCHEMA).unwrap();
    let model =
        install_file(&mut connection, &file(database.dialect(), more, amount(database.dialect())), Stage::DualWrite);
    (connection, model)
}

fn keys(connection: &mut DatabaseConnection, model: &ChangeModel) -> Vec<(String, String)> {
    let found = pending::list(connection, &model.name, 100).unwrap();
    found.into_iter().map(|key| (key.key, key.error)).collect()
}

fn drift(connection: &mut DatabaseConnection, model: &ChangeModel) -> u64 {
    model
        .blocks
        .iter()
        .map(|block| verify_block(connection, block, VerifyOptions::default(), &mut |_, _| {}).unwrap().drift())
        .sum()
}

fn retry(connection: &mut DatabaseConnection, model: &ChangeModel) -> i64 {
    retry_pending(connection, model, Due::All).unwrap().pending
}

fn count(connection: &mut DatabaseConnection, sql: &str) -> i64 {
    connection.get_row(&format!("SELECT count(*) AS n FROM {sql}"), &[]).unwrap().integer("n").unwrap()
}

#[test]
fn a_broken_block_costs_old_code_nothing_and_heals_once_it_is_mended() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database, "");
        connection.batch("INSERT INTO items VALUES (1, 'a', '10', 1), (2, 'b', '20', 1)").unwrap();
        connection.batch("INSERT INTO items VALUES (3, 'c', 'a lot', 1)").unwrap();
        assert_eq!(count(&mut connection, "items"), 3, "the write of old code succeeds");
        assert_eq!(count(&mut connection, "things"), 2);
        let waiting = keys(&mut connection, &model);
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        assert_eq!(waiting[0].0, "3");
        let told = if database.dialect() == Dialect::Postgres { "invalid input syntax" } else { "refuses" };
        assert!(waiting[0].1.contains(told), "{waiting:?}");

        // Tried again it fails again, and does not hold up a neighbour.
        connection.batch("INSERT INTO items VALUES (4, 'd', 'none', 1)").unwrap();
        connection.batch("UPDATE items SET amount = '40' WHERE id = 4").unwrap();
        assert_eq!(retry(&mut connection, &model), 1);
        let tried = pending::list(&mut connection, &model.name, 9).unwrap();
        let told = if database.dialect() == Dialect::Postgres {
            "invalid input syntax"
        } else {
            "NOT NULL constraint failed: things.amount"
        };
        assert!(tried[0].attempts == 1 && tried[0].error.contains(told), "{tried:?}");

        // It is seen.
        let status = changeover().service(&database).args(["--json", "change", "status"]).run().expect_code(0).json();
        assert_eq!(status["pending"]["count"], 1, "{status}");
        let shown = changeover().service(&database).args(["change", "pending"]).run().expect_code(1);
        assert!(shown.stdout.contains("1 keys are pending"), "{shown}");

        // The block is mended, and the key heals.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mended.toml");
        let mended =
            file(database.dialect(), "", "CASE WHEN amount = 'a lot' THEN 999 ELSE CAST(amount AS INTEGER) END");
        std::fs::write(&path, &mended.text).unwrap();
        changeover().service(&database).args(["change", "update"]).arg(&path).run().expect_code(0);
        changeover().service(&database).args(["change", "pending", "--retry"]).run().expect_code(0);
        let model = resolve(&mut connection, &mended).unwrap();
        assert_eq!(drift(&mut connection, &model), 0);
        assert_eq!(count(&mut connection, "things WHERE id = 3 AND amount = 999"), 1);
        connection.batch("INSERT INTO items VALUES (5, 'e', 'a lot', 1)").unwrap();
        assert_eq!((keys(&mut connection, &model), drift(&mut connection, &model)), (Vec::new(), 0));
    });
}

#[test]
fn the_server_shows_pending_keys_and_heals_them() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database, "");
        connection.batch("INSERT INTO items VALUES (3, 'c', 'a lot', 1)").unwrap();
        let server = Server::start(&database);
        let token = format!("Bearer {}", server.admin_token());
        let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
        let shown = server.send("GET", "/api/v1/changes/things/pending", &headers, None);
        assert_eq!(shown.status, 200, "{}", shown.body);
        let document: serde_json::Value = serde_json::from_str(&shown.body).unwrap();
        assert_eq!((&document["count"], &document["by_block"]["f1"]), (&1.into(), &1.into()), "{document}");
        assert_eq!(document["keys"][0]["key"], "3", "{document}");
        let retried = server.send("POST", "/api/v1/changes/things/pending/retry", &headers, Some(b"{}"));
        assert!(retried.status == 200 && retried.body.contains("\"pending\":1"), "{}", retried.body);
        connection.batch("UPDATE items SET amount = '3' WHERE id = 3").unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while pending::count(&mut connection, &model.name).unwrap() > 0 {
            assert!(std::time::Instant::now() < until, "the worker does not heal: {:?}", keys(&mut connection, &model));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(drift(&mut connection, &model), 0);
    });
}

#[test]
fn with_fail_the_write_fails_too() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database, "on_error = \"fail\"");
        assert!(connection.batch("INSERT INTO items VALUES (3, 'c', 'a lot', 1)").is_err());
        assert_eq!((count(&mut connection, "items"), keys(&mut connection, &model)), (0, Vec::new()));
    });
}

#[test]
fn what_the_target_refuses_is_queued_whatever_it_is() {
    each_database(|database| {
        let (mut connection, model) = prepared(&database, "");
        connection.batch("INSERT INTO items VALUES (1, 'a', '1', 1), (2, 'b', '2', 1)").unwrap();
        // Not null, unique, check, foreign key; inserted, and then updated to.
        for (id, row) in [(11, "'x', NULL, 1"), (12, "'a', '5', 1"), (13, "'y', '5000', 1"), (14, "'z', '5', 77")] {
            connection.batch(&format!("INSERT INTO items VALUES ({id}, {row})")).unwrap();
            let waiting = keys(&mut connection, &model);
            assert_eq!(
                waiting.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
                [id.to_string()],
                "{waiting:?}"
            );
            connection
                .batch(&format!("UPDATE items SET code = 'ok {id}', amount = '7', kind = 1 WHERE id = {id}"))
                .unwrap();
            assert_eq!((retry(&mut connection, &model), drift(&mut connection, &model)), (0, 0));
        }
        for change in ["amount = NULL", "code = 'a'", "amount = '5000'", "kind = 77"] {
            connection.batch(&format!("UPDATE items SET {change} WHERE id = 2")).unwrap();
            assert_eq!(keys(&mut connection, &model).len(), 1, "{change}");
            assert_eq!(count(&mut connection, "things WHERE id = 1 AND code = 'a'"), 1, "{change}: another key's row");
            connection.batch("UPDATE items SET code = 'b', amount = '2', kind = 1 WHERE id = 2").unwrap();
            assert_eq!((retry(&mut connection, &model), drift(&mut connection, &model)), (0, 0), "{change}");
        }
    });
}

/// The application's own conflict clause overrides those of triggers.
#[test]
fn replacing_writes_of_old_code_delete_nobody_elses_rows_on_sqlite() {
    let database = TestDatabase::sqlite();
    let (mut connection, model) = prepared(&database, "");
    connection.batch("INSERT INTO items VALUES (1, 'a', '1', 1), (2, 'b', '2', 1)").unwrap();
    for statement in [
        "INSERT OR REPLACE INTO items VALUES (3, 'a', '3', 1)",
        "INSERT OR REPLACE INTO items VALUES (2, 'a', '2', 1)",
        "UPDATE OR REPLACE items SET code = 'a' WHERE id = 2",
        "INSERT OR REPLACE INTO items VALUES (4, 'd', NULL, 1)",
    ] {
        connection.batch(statement).unwrap();
        assert_eq!(count(&mut connection, "things WHERE id = 1 AND code = 'a'"), 1, "{statement}");
        assert!(pending::count(&mut connection, &model.name).unwrap() > 0, "{statement}");
    }
    connection.batch("UPDATE items SET code = 'code ' || id, amount = id").unwrap();
    assert_eq!((retry(&mut connection, &model), drift(&mut connection, &model)), (0, 0));
}

#[test]
fn whatever_happens_to_the_target_old_code_goes_on_on_postgres() {
    let breaks = [
        ("ALTER TABLE things RENAME TO gone", "ALTER TABLE gone RENAME TO things"),
        ("ALTER TABLE things RENAME COLUMN amount TO sum", "ALTER TABLE things RENAME COLUMN sum TO amount"),
        ("REVOKE ALL ON things FROM translator", "GRANT ALL ON things TO translator"),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ASSERT false, 'not that'; END $$;
             CREATE TRIGGER no BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION no()",
            "DROP FUNCTION no() CASCADE",
        ),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'out_of_memory'; END $$;
             CREATE TRIGGER no BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION no()",
            "DROP FUNCTION no() CASCADE",
        ),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'at commit'; END $$;
             CREATE CONSTRAINT TRIGGER no AFTER INSERT ON things DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION no()",
            "DROP FUNCTION no() CASCADE",
        ),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NEW; END $$;
             CREATE TRIGGER no BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION no(); SET statement_timeout = '300ms'",
            "SET statement_timeout = 0; DROP FUNCTION no() CASCADE",
        ),
    ];
    let database = TestDatabase::postgres();
    let (mut connection, model) = prepared(&database, "");
    connection.batch("DROP ROLE IF EXISTS translator; CREATE ROLE translator; GRANT ALL ON SCHEMA public, changeover TO translator;
        GRANT ALL ON ALL TABLES IN SCHEMA public, changeover TO translator;
        DO $$ DECLARE f record; BEGIN FOR f IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'changeover'::regnamespace
          LOOP EXECUTE 'ALTER FUNCTION ' || f.name || ' OWNER TO translator'; END LOOP; END $$").unwrap();
    for (at, (broken, mended)) in breaks.iter().enumerate() {
        connection.batch(broken).unwrap();
        connection.batch(&format!("INSERT INTO items VALUES ({at}, 'code {at}', '{at}', 1)")).unwrap();
        assert_eq!(keys(&mut connection, &model).len(), 1, "{broken}");
        connection.batch(mended).unwrap();
        assert_eq!((retry(&mut connection, &model), drift(&mut connection, &model)), (0, 0), "{broken}");
    }
    connection.batch("DROP TABLE changeover.pending").unwrap();
    connection.batch("INSERT INTO items VALUES (77, 'x', 'y', 1)").expect("not even the queue is needed");
    connection.batch("DROP OWNED BY translator CASCADE; DROP ROLE translator").unwrap();
}

#[test]
fn a_constraint_that_waits_for_the_commit_is_asked_before_on_postgres() {
    let database = TestDatabase::postgres();
    let mut connection = database.connection();
    connection.batch(SCHEMA).unwrap();
    connection
        .batch("ALTER TABLE things DROP CONSTRAINT things_kind_fkey; ALTER TABLE things ADD CONSTRAINT \"Of a kind\" FOREIGN KEY (kind) REFERENCES kinds DEFERRABLE INITIALLY DEFERRED")
        .unwrap();
    let model = install_file(&mut connection, &file(Dialect::Postgres, "", "amount::integer"), Stage::DualWrite);
    connection.batch("BEGIN; INSERT INTO items VALUES (1, 'a', '1', 77); COMMIT").expect("the commit is old code's");
    assert_eq!(keys(&mut connection, &model).len(), 1);
    connection.batch("INSERT INTO kinds VALUES (77)").unwrap();
    assert_eq!((retry(&mut connection, &model), drift(&mut connection, &model)), (0, 0));
}

#[test]
fn what_the_transaction_must_know_of_is_not_caught_on_postgres() {
    let database = TestDatabase::postgres();
    let (mut connection, model) = prepared(&database, "");
    connection
        .batch("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  IF NEW.id = 1 THEN RAISE EXCEPTION 'again, please' USING ERRCODE = 'serialization_failure'; END IF; PERFORM pg_sleep(60); RETURN NEW; END $$;
                CREATE TRIGGER no BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION no()")
        .unwrap();
    let error = connection.batch("INSERT INTO items VALUES (1, 'a', '1', 1)").unwrap_err();
    assert!(error.to_string().contains("again, please"), "{error}");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| database.connection().batch("INSERT INTO items VALUES (2, 'b', '2', 1)"));
        let sleeping = "pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        while count(&mut connection, sleeping) == 0 {
            std::thread::yield_now();
        }
        connection.batch(&format!("SELECT pg_cancel_backend(pid) FROM {sleeping}")).unwrap();
        let error = writer.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("user request"), "{error}");
    });
    assert_eq!((count(&mut connection, "items"), keys(&mut connection, &model)), (0, Vec::new()));
}

#[test]
fn a_deadlock_with_translation_is_not_old_codes_on_postgres() {
    let database = TestDatabase::postgres();
    let (mut connection, model) = prepared(&database, "");
    connection.batch("INSERT INTO items VALUES (1, 'a', '1', 1)").unwrap();
    let mut new_code = database.connection();
    // It never looks for a circle itself, so it is the other that finds one.
    new_code.batch("SET deadlock_timeout = '10min'; BEGIN; SELECT 1 FROM things WHERE id = 1 FOR UPDATE").unwrap();
    std::thread::scope(|scope| {
        let old_code = scope.spawn(|| {
            let mut connection = database.connection();
            connection.batch("SET deadlock_timeout = '2s'").unwrap();
            connection.batch("UPDATE items SET amount = '2' WHERE id = 1")
        });
        let waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while count(&mut connection, waiting) == 0 {
            std::thread::yield_now();
        }
        new_code.batch("UPDATE items SET amount = '3' WHERE id = 1").unwrap();
        old_code.join().unwrap().expect("old code sees no deadlock");
    });
    new_code.batch("COMMIT").unwrap();
    let waiting = pending::list(&mut connection, &model.name, 9).unwrap();
    assert_eq!(waiting.iter().map(|key| key.sqlstate.as_str()).collect::<Vec<_>>(), ["40P01"], "{waiting:?}");
    assert_eq!((retry(&mut connection, &model), drift(&mut connection, &model)), (0, 0));
}

/// Where it is not known which keys were concerned, the whole block is.
#[test]
fn keys_that_cannot_be_found_queue_the_whole_block_on_postgres() {
    let database = TestDatabase::postgres();
    let mut connection = database.connection();
    connection.batch(SCHEMA).unwrap();
    let text = "format = 1\nname = \"things\"\n[routing]\nflag = \"things\"\n[[forward]]\ninto = \"things\"\nfrom = \"items\"\nkey = \"id\"\n\
        query = \"SELECT i.id, i.code, i.amount::integer AS amount, k.id AS kind FROM items i JOIN kinds k ON k.id = i.kind\"\n\
        [[forward.follows]]\ntable = \"kinds\"\nby = \"id\"\nkeys = \"SELECT i.id FROM items i JOIN changed c ON c.id = i.kind WHERE 1 / (c.id - 5) < 9\"\nreads = \"SELECT kind FROM changed\"\n";
    let model = install_file(&mut connection, &ChangeFile::parse(text).unwrap(), Stage::DualWrite);
    connection.batch("INSERT INTO items VALUES (1, 'a', '1', 5), (2, 'b', '2', 1)").unwrap();
    assert_eq!(count(&mut connection, "things"), 1);
    connection.batch("INSERT INTO kinds VALUES (5)").expect("the division by zero is not old code's");
    assert_eq!(keys(&mut connection, &model)[0].0, "*");
    assert_eq!((retry(&mut connection, &model), drift(&mut connection, &model)), (0, 0));
    assert_eq!(count(&mut connection, "things"), 2);
}

#[test]
fn an_update_adds_and_removes_blocks_and_keeps_the_stage() {
    each_database(|database| {
        let (mut connection, before) = prepared(&database, "");
        connection.batch("CREATE TABLE labels (item_id INTEGER PRIMARY KEY, label TEXT); INSERT INTO items VALUES (1, 'a', '1', 1)").unwrap();
        let old = file(database.dialect(), "", amount(database.dialect()));
        let more = format!(
            "{}\n[[forward]]\ninto = \"labels\"\nfrom = \"items\"\nkey = \"item_id\"\ncolumns = {{ item_id = \"id\", label = \"code\" }}\n",
            old.text
        );
        let more = ChangeFile::parse(&more).unwrap();
        let model = resolve(&mut connection, &more).unwrap();
        let change = update(&mut connection, &model, &more, deed()).unwrap();
        assert_eq!(change.stage, Stage::DualWrite);
        connection.batch("INSERT INTO items VALUES (2, 'b', '2', 1)").unwrap();
        assert_eq!(count(&mut connection, "labels"), 1, "the new block translates; what was there needs a backfill");
        update(&mut connection, &before, &old, deed()).unwrap();
        connection.batch("INSERT INTO items VALUES (3, 'c', '3', 1)").unwrap();
        assert_eq!((count(&mut connection, "labels"), count(&mut connection, "things")), (1, 3));
        let left = match database.dialect() {
            Dialect::Postgres => {
                "pg_proc WHERE pronamespace = 'changeover'::regnamespace AND proname LIKE 'things_f2%'"
            }
            Dialect::Sqlite => "sqlite_master WHERE name LIKE 'changeover_things_f2%'",
        };
        assert_eq!(count(&mut connection, left), 0);
        assert_eq!((retry(&mut connection, &before), drift(&mut connection, &before)), (0, 0));
    });
}
