//! A change from install to uninstall: what is shown is what is run, nothing is left behind, each stage does what it says.

use changeover::change::Stage;
use changeover::database::{DatabaseConnection, Dialect};
use changeover::translation::{
    BackfillOptions, Outside, TranslationError, VerifyOptions, backfill, gates, install, own, plan, resolve, uninstall,
    verify,
};

use super::fixture::{deed, file, install_file, installed, loaded, step};
use crate::support::{TestDatabase, each_database};

/// Everything that the database knows of objects: kinds, names, texts.
pub(super) fn objects(connection: &mut DatabaseConnection) -> Vec<String> {
    let sql = match connection.dialect() {
        Dialect::Sqlite => "SELECT type || ' ' || name || ' ' || coalesce(sql, '') AS object FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1",
        Dialect::Postgres => {
            "SELECT 'relation ' || n.nspname || '.' || c.relname AS object FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg_temp%' AND n.nspname NOT LIKE 'pg_toast_temp%'
             UNION ALL SELECT 'function ' || p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
             UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
             UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' ORDER BY 1"
        }
    };
    connection.query(sql, &[]).unwrap().iter().map(|row| row.text("object").unwrap()).collect()
}

fn count(connection: &mut DatabaseConnection, table: &str) -> i64 {
    connection.get_row(&format!("SELECT count(*) AS n FROM {table}"), &[]).unwrap().integer("n").unwrap()
}

#[test]
fn uninstall_leaves_no_trace() {
    each_database(|database| {
        let mut connection = loaded(&database);
        let before = objects(&mut connection);
        let model = install_file(&mut connection, &file(), Stage::Live);
        assert_ne!(objects(&mut connection), before);
        for stage in [Stage::Shadow, Stage::DualWrite, Stage::Off] {
            step(&mut connection, &model, stage);
        }
        uninstall(&mut connection, &model, false).unwrap();
        assert_eq!(objects(&mut connection), before);
        assert_eq!(count(&mut connection, "accounts"), 6, "the new model's rows are the application's");
    });
}

#[test]
fn a_plan_shows_what_is_run_and_does_nothing() {
    each_database(|database| {
        let mut connection = loaded(&database);
        let before = objects(&mut connection);
        let file = file();
        let model = resolve(&mut connection, &file).unwrap();
        let steps = plan(&mut connection, &model, &file).unwrap();
        assert_eq!(objects(&mut connection), before);
        for step in &steps {
            connection.batch(&step.sql).unwrap();
        }
        let by_hand = objects(&mut connection);
        let other = TestDatabase::new(database.dialect());
        let mut connection = loaded(&other);
        install(&mut connection, &model, &file, deed()).unwrap();
        assert_eq!(objects(&mut connection), by_hand);
    });
}

#[test]
fn a_failed_install_leaves_nothing() {
    each_database(|database| {
        let mut connection = loaded(&database);
        let file = file();
        let model = resolve(&mut connection, &file).unwrap();
        // Something of the application's is in the way of one of the last statements.
        match database.dialect() {
            Dialect::Postgres => connection
                .batch("CREATE FUNCTION x() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                        CREATE TRIGGER changeover_billing_allocation_2_bt3_truncate BEFORE TRUNCATE ON accounts EXECUTE FUNCTION x();
                        CREATE TRIGGER changeover_billing_allocation_1_bt3_truncate BEFORE TRUNCATE ON accounts EXECUTE FUNCTION x()")
                .unwrap(),
            Dialect::Sqlite => connection.batch("CREATE TABLE changeover_billing_allocation_f4 (x)").unwrap(),
        }
        let before = objects(&mut connection);
        install(&mut connection, &model, &file, deed()).unwrap_err();
        assert_eq!(objects(&mut connection), before);
    });
}

#[test]
fn a_stage_moves_one_step_at_a_time_and_back_from_live_loses_nothing() {
    each_database(|database| {
        let installed = installed(database, Stage::Live);
        let mut connection = installed.connection();
        let wanted = changeover::translation::Move { to: Stage::Off, detail: serde_json::json!({}) };
        let refused =
            changeover::translation::move_stage(&mut connection, &installed.model, &wanted, deed(), &mut |_, _| Ok(()));
        assert!(matches!(refused, Err(TranslationError::NoStep { from: Stage::Live, to: Stage::Off })), "{refused:?}");
        step(&mut connection, &installed.model, Stage::Shadow);
        connection.batch("INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (50, 1, 1, '2026-11', 'EUR', 10)").unwrap();
        step(&mut connection, &installed.model, Stage::Live);
        installed.assert_agrees(true, &|| String::from("back and forth"));
        assert_eq!(count(&mut connection, "charge_allocations WHERE charge_id = 50"), 2);
    });
}

#[test]
fn nothing_is_written_at_stage_off() {
    each_database(|database| {
        let installed = installed(database, Stage::Off);
        let mut connection = installed.connection();
        connection.batch("INSERT INTO users (id, name) VALUES (70, 'late')").unwrap();
        assert_eq!(count(&mut connection, "accounts"), 0);
        let options = BackfillOptions::default();
        let refused = backfill(&mut connection, &installed.model, options, &mut |_, _, _| true).unwrap_err();
        assert!(refused.to_string().contains("dualwrite"), "{refused}");
    });
}

#[test]
fn gates_hold_back_what_is_not_ready_and_say_why() {
    each_database(|database| {
        let mut connection = loaded(&database);
        let model = resolve(&mut connection, &file()).unwrap();
        install(&mut connection, &model, &file(), deed()).unwrap();
        let none = Outside::at(deed().at);
        let change = own::get_change(&mut connection, &model.name).unwrap();
        assert!(
            gates(&mut connection, &model, &change, Stage::DualWrite, &none).unwrap().iter().all(|gate| gate.holds)
        );
        step(&mut connection, &model, Stage::DualWrite);
        let change = own::get_change(&mut connection, &model.name).unwrap();
        let found = gates(&mut connection, &model, &change, Stage::Shadow, &none).unwrap();
        assert!(found.iter().skip(2).all(|gate| !gate.holds) && found[2].evidence.contains("backfill"), "{found:#?}");
        let options = BackfillOptions::default();
        backfill(&mut connection, &model, options, &mut |_, _, _| true).unwrap();
        verify(&mut connection, &model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert!(gates(&mut connection, &model, &change, Stage::Shadow, &none).unwrap().iter().all(|gate| gate.holds));
        step(&mut connection, &model, Stage::Shadow);
        let change = own::get_change(&mut connection, &model.name).unwrap();
        let found = gates(&mut connection, &model, &change, Stage::Live, &none).unwrap();
        assert!(found.iter().any(|gate| !gate.holds && gate.evidence.contains("no signed report")), "{found:#?}");
    });
}

#[test]
fn a_stopped_backfill_goes_on_where_it_was() {
    each_database(|database| {
        let mut connection = loaded(&database);
        let model = resolve(&mut connection, &file()).unwrap();
        install(&mut connection, &model, &file(), deed()).unwrap();
        step(&mut connection, &model, Stage::DualWrite);
        let options = BackfillOptions { batch_rows: Some(2), ..BackfillOptions::default() };
        let mut batches = 0;
        let states = backfill(&mut connection, &model, options.clone(), &mut |_, _, _| {
            batches += 1;
            batches < 5
        })
        .unwrap();
        assert!(states.iter().any(|state| !state.finished && state.keys_done == 2), "{states:#?}");
        let mut first = None;
        let states = backfill(&mut connection, &model, options, &mut |block, done, _| {
            first.get_or_insert((block.id.to_string(), done));
            true
        })
        .unwrap();
        assert_eq!(first, Some((String::from("f2"), 4)), "{states:#?}");
        assert!(states.len() == 4 && states.iter().all(|state| state.finished), "{states:#?}");
    });
}

#[test]
fn truncate_is_refused_on_postgres_while_translation_is_on() {
    let installed = installed(TestDatabase::postgres(), Stage::DualWrite);
    let mut connection = installed.connection();
    let refused = connection.batch("TRUNCATE charges CASCADE").unwrap_err().to_string();
    assert!(refused.contains("TRUNCATE of charges is refused") && refused.contains("DELETE"), "{refused}");
}

#[test]
fn closed_periods_are_left_alone_by_who_joins_later() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        let mut connection = installed.connection();
        connection
            .in_transaction(|connection| own::close_before(connection, &installed.model.name, "2026-11", deed()))
            .unwrap();
        connection.batch("UPDATE periods SET closed = (1 = 1) WHERE period < '2026-11'").unwrap_or_else(|_| {
            connection.batch("UPDATE periods SET closed = 1 WHERE period < '2026-11'").unwrap();
        });
        let account = "SELECT id FROM accounts WHERE owner_id = 5";
        connection
            .batch(&format!(
                "INSERT INTO memberships (account_id, user_id, role, weight) SELECT ({account}), 6, 'member', 1"
            ))
            .unwrap();
        assert_eq!(count(&mut connection, "charge_allocations WHERE charge_id = 5"), 1, "2026-10 is closed");
        connection.batch("INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (60, 5, 5, '2026-11', 'EUR', 10)").unwrap();
        assert_eq!(count(&mut connection, "charge_allocations WHERE charge_id = 60"), 2, "2026-11 is open");
        for block in installed.drift(false) {
            assert_eq!(block.drift(), 0, "{block:#?}");
        }
        let refused = own::close_before(&mut connection, &installed.model.name, "2026-10", deed()).unwrap_err();
        assert!(refused.to_string().contains("closed already"), "{refused}");
    });
}

#[test]
fn a_transaction_that_wrote_before_dualwrite_is_waited_for_on_postgres() {
    let database = TestDatabase::postgres();
    let mut connection = loaded(&database);
    let model = resolve(&mut connection, &file()).unwrap();
    install(&mut connection, &model, &file(), deed()).unwrap();
    let mut early = database.connection();
    early.batch("BEGIN; INSERT INTO users (id, name) VALUES (80, 'early')").unwrap();
    std::thread::scope(|scope| {
        let (database, model) = (&database, &model);
        let mover = scope.spawn(move || step(&mut database.connection(), model, Stage::DualWrite));
        let waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        while connection.get_row(waiting, &[]).unwrap().integer("n").unwrap() == 0 {
            assert!(!mover.is_finished(), "the move did not wait for the open transaction");
        }
        early.batch("COMMIT").unwrap();
        mover.join().unwrap();
    });
    let options = BackfillOptions::default();
    backfill(&mut connection, &model, options, &mut |_, _, _| true).unwrap();
    assert_eq!(count(&mut connection, "accounts WHERE owner_id = 80"), 1);
}

#[test]
fn old_code_needs_no_right_on_the_new_tables_on_postgres() {
    let installed = installed(TestDatabase::postgres(), Stage::Live);
    let mut connection = installed.connection();
    connection
        .batch("DO $$ BEGIN CREATE ROLE changeover_legacy; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
                GRANT SELECT, INSERT, UPDATE, DELETE ON users, videos, charges TO changeover_legacy;
                SET ROLE changeover_legacy;
                INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (90, 1, 1, '2026-11', 'EUR', 10);
                UPDATE videos SET user_id = 3 WHERE id = 4;
                DELETE FROM charges WHERE id = 3;
                RESET ROLE")
        .unwrap();
    installed.assert_agrees(true, &|| String::from("old code under a role of its own"));
}
