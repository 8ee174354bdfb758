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
