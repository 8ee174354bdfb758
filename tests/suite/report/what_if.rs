//! What-if reads: nobody waits for it, a role that may only read is enough, nothing of it stays, and it says when it cannot.

use changeover::change::ChangeFile;
use changeover::database::DatabaseConnection;
use changeover::primitives::Dialect;
use changeover::report::{RunOptions, what_if};

use crate::examples::support::load_video_hosting;
use crate::support::{TestDatabase, each_database};

const CHANGE: &str = include_str!("../../../examples/video-hosting/change.toml");

fn clean(connection: &mut DatabaseConnection) -> Result<bool, String> {
    let file = ChangeFile::parse(CHANGE).unwrap();
    let options = RunOptions::of(jiff::Timestamp::now().into(), "test");
    what_if(connection, &file, &options).map(|report| report.data.clean).map_err(|error| format!("{error:#}"))
}

#[test]
fn an_open_writer_neither_waits_nor_is_waited_for() {
    each_database(|database| {
        load_video_hosting(&mut database.connection(), 200, 1);
        let mut writer = database.connection();
        writer.batch("BEGIN").unwrap();
        writer.batch("UPDATE users SET name = name").unwrap();
        assert_eq!(clean(&mut database.connection()), Ok(true));
        writer.batch("COMMIT").unwrap();
    });
}

#[test]
fn a_role_that_may_only_read_and_make_temporary_tables_is_enough() {
    let database = TestDatabase::postgres();
    let mut owner = database.connection();
    load_video_hosting(&mut owner, 200, 1);
    let role = "what_if_reader";
    owner
        .batch(&format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role}; END IF; END $$;
             GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
        ))
        .unwrap();
    let mut reader = database.connection();
    assert_eq!(reader.dialect(), Dialect::Postgres);
    reader.batch(&format!("SET ROLE {role}")).unwrap();
    assert_eq!(clean(&mut reader), Ok(true));

    owner
        .batch("DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$")
        .unwrap();
    let refused = clean(&mut reader).unwrap_err();
    assert!(refused.contains("GRANT TEMPORARY ON DATABASE"), "{refused}");
}

#[test]
fn what_would_read_past_the_temporary_tables_is_refused_by_name() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 50, 1);
        let clean_but = |connection: &mut DatabaseConnection, text: &str| {
            let file = ChangeFile::parse(text).map_err(|mistakes| format!("{mistakes:?}")).unwrap();
            let options = RunOptions::of(jiff::Timestamp::now().into(), "test");
            what_if(connection, &file, &options).map(|_| ()).map_err(|error| format!("{error:#}"))
        };
        connection.batch("CREATE VIEW allocated AS SELECT * FROM charge_allocations").unwrap();
        assert!(CHANGE.contains("FROM charge_allocations"), "the example reads its own target");
        let through_view = CHANGE.replace("FROM charge_allocations", "FROM allocated");
        let refused = clean_but(&mut connection, &through_view).unwrap_err();
        assert!(refused.contains("reads the view `allocated`"), "{refused}");
        let schema = if connection.dialect() == Dialect::Postgres { "public" } else { "main" };
        let qualified = CHANGE.replace("FROM charge_allocations", &format!("FROM {schema}.charge_allocations"));
        let refused = clean_but(&mut connection, &qualified).unwrap_err();
        assert!(refused.contains("with its schema"), "{refused}");
    });
}

#[test]
fn it_takes_only_the_newest_periods_and_draws_from_no_sequence_of_the_application() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 200, 1);
        let run = |arguments: &[&str]| {
            let all = ["--json", "report", "run", "--what-if", super::commands::CHANGE];
            super::commands::command(&database).args(all).args(arguments).run().expect_code(0).json()
        };
        let all = run(&[]);
        let newest = run(&["--last", "1"]);
        let periods = newest["data"]["periods"].as_array().unwrap();
        assert_eq!(periods.len(), 1, "{newest}");
        let one = run(&["--period", periods[0].as_str().unwrap()]);
        assert_eq!(one["data"]["totals"], newest["data"]["totals"]);
        assert_ne!(all["data"]["totals"], newest["data"]["totals"]);
        if connection.dialect() == Dialect::Postgres {
            let drawn = "SELECT count(*) AS n FROM pg_sequences WHERE schemaname = 'public' AND sequencename LIKE 'accounts%' AND last_value IS NOT NULL";
            assert_eq!(connection.get_row(drawn, &[]).unwrap().integer("n").unwrap(), 0);
        }
    });
}
