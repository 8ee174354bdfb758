//! The coverage audit: each way of silencing or breaking a trigger is tried for real, found, mended by hand and found no more.

use changeover::change::Stage;
use changeover::database::{DatabaseConnection, Dialect};
use changeover::translation::audit::{Code, Finding, audit, audit_change};
use changeover::translation::own::get_change;

use super::fixture::{Installed, go_to, install_file, installed, loaded};
use crate::support::{TestDatabase, changeover, each_database};

/// What is done, what of it is found (code, part of the object), and what mends it.
struct Case {
    breaks: &'static str,
    finds: (Code, &'static str),
    mends: &'static str,
}

const fn case(breaks: &'static str, code: Code, object: &'static str, mends: &'static str) -> Case {
    Case { breaks, finds: (code, object), mends }
}

const POSTGRES: &[Case] = &[
    case(
        "ALTER TABLE users DISABLE TRIGGER ALL",
        Code::TriggerDisabled,
        "insert on users",
        "ALTER TABLE users ENABLE TRIGGER ALL",
    ),
    case(
        "ALTER TABLE videos ENABLE REPLICA TRIGGER changeover_billing_allocation_1_ft3_update",
        Code::TriggerDisabled,
        "update on videos",
        "ALTER TABLE videos ENABLE TRIGGER changeover_billing_allocation_1_ft3_update",
    ),
    case(
        "ALTER FUNCTION changeover.billing_allocation_f1_apply(bigint[]) RENAME TO away",
        Code::FunctionMissing,
        "f1_apply",
        "ALTER FUNCTION changeover.away(bigint[]) RENAME TO billing_allocation_f1_apply",
    ),
    case(
        "ALTER FUNCTION changeover.changeover_billing_allocation_1_ft1_insert() SECURITY INVOKER",
        Code::FunctionSettings,
        "ft1_insert",
        "ALTER FUNCTION changeover.changeover_billing_allocation_1_ft1_insert() SECURITY DEFINER",
    ),
    case(
        "ALTER FUNCTION changeover.changeover_billing_allocation_1_ft1_insert() SET work_mem = '1MB'",
        Code::FunctionSettings,
        "ft1_insert",
        "ALTER FUNCTION changeover.changeover_billing_allocation_1_ft1_insert() RESET work_mem",
    ),
    case(
        "ALTER TABLE users ADD spare bigint; ALTER TABLE users RENAME name TO full_name",
        Code::ColumnMissing,
        "users.name",
        "ALTER TABLE users RENAME full_name TO name; ALTER TABLE users DROP spare",
    ),
    case(
        "ALTER TABLE users ALTER name TYPE varchar(300)",
        Code::ColumnRetyped,
        "users.name",
        "ALTER TABLE users ALTER name TYPE text",
    ),
    case(
        "ALTER TABLE accounts ADD plan text NOT NULL DEFAULT ''; ALTER TABLE accounts ALTER plan DROP DEFAULT",
        Code::ColumnUnfilled,
        "accounts.plan",
        "ALTER TABLE accounts DROP plan",
    ),
    case(
        "ALTER TABLE accounts DROP CONSTRAINT accounts_owner_id_key",
        Code::KeyChanged,
        "accounts",
        "ALTER TABLE accounts ADD CONSTRAINT accounts_owner_id_key UNIQUE (owner_id)",
    ),
    case("DROP INDEX videos_user_id", Code::IndexMissing, "videos", "CREATE INDEX videos_user_id ON videos (user_id)"),
    case(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'charges_user_id'::regclass",
        Code::IndexInvalid,
        "charges_user_id",
        "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'charges_user_id'::regclass",
    ),
    case(
        "ALTER TABLE charge_allocations SET UNLOGGED",
        Code::TableUnlogged,
        "charge_allocations",
        "ALTER TABLE charge_allocations SET LOGGED",
    ),
    case(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database()); END $$",
        Code::ReplicationRole,
        "database",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET session_replication_role', current_database()); END $$",
    ),
    case(
        "CREATE FUNCTION public.quietly() RETURNS void LANGUAGE sql SET session_replication_role = replica AS 'SELECT'",
        Code::ReplicationRole,
        "function quietly()",
        "DROP FUNCTION public.quietly()",
    ),
    case(
        "ALTER TABLE users RENAME TO users_old",
        Code::Unresolvable,
        "billing-allocation",
        "ALTER TABLE users_old RENAME TO users",
    ),
    case(
        "CREATE TABLE videos_2030 () INHERITS (videos)",
        Code::PartitionUncovered,
        "videos_2030",
        "DROP TABLE videos_2030",
    ),
];

const SQLITE: &[Case] = &[
    case(
        "UPDATE changeover_billing_allocation_control SET mode = 1000000",
        Code::ControlStuck,
        "changeover_billing_allocation_control",
        "UPDATE changeover_billing_allocation_control SET mode = 0",
    ),
    case(
        "DELETE FROM changeover_billing_allocation_control",
        Code::ControlStuck,
        "changeover_billing_allocation_control",
        "INSERT INTO changeover_billing_allocation_control VALUES (1, 0)",
    ),
    case("DROP INDEX videos_user_id", Code::IndexMissing, "videos", "CREATE INDEX videos_user_id ON videos (user_id)"),
];

fn findings(installed: &Installed, connection: &mut DatabaseConnection) -> Vec<Finding> {
    let change = get_change(connection, &installed.model.name).unwrap();
    audit_change(connection, &change).unwrap()
}

#[test]
fn what_silences_or_breaks_a_trigger_is_found_until_it_is_mended() {
    each_database(|database| {
        let cases = if database.dialect() == Dialect::Postgres { POSTGRES } else { SQLITE };
        let installed = installed(database, Stage::Live);
        let mut connection = installed.connection();
        assert_eq!(findings(&installed, &mut connection), []);
        for case in cases {
            connection.batch(case.breaks).unwrap_or_else(|error| panic!("{}: {error}", case.breaks));
            let found = findings(&installed, &mut connection);
            let (code, object) = case.finds;
            assert!(
                found.iter().any(|finding| finding.code == code && finding.object.contains(object)),
                "{}: {found:#?}",
                case.breaks
            );
            assert!(found.iter().all(|finding| !finding.remedy.is_empty() && !finding.what.ends_with('.')));
            connection.batch(case.mends).unwrap_or_else(|error| panic!("{}: {error}", case.mends));
            assert_eq!(findings(&installed, &mut connection), [], "after {}", case.mends);
        }
    });
}

#[test]
fn a_dropped_or_replaced_trigger_is_found_and_a_stage_move_is_none() {
    each_database(|database| {
        let mut connection = loaded(&database);
        let file = super::fixture::file();
        let model = install_file(&mut connection, &file, Stage::Off);
        assert_eq!(audit(&mut connection, &model).unwrap(), []);
        go_to(&mut connection, &model, Stage::Live);
        assert_eq!(audit(&mut connection, &model).unwrap(), []);
        super::fixture::step(&mut connection, &model, Stage::Shadow);
        assert_eq!(audit(&mut connection, &model).unwrap(), []);
        let (drop, name) = match database.dialect() {
            Dialect::Postgres => (
                "DROP TRIGGER changeover_billing_allocation_1_ft1_insert ON users",
                "changeover_billing_allocation_1_ft1_insert",
            ),
            Dialect::Sqlite => {
                ("DROP TRIGGER changeover_billing_allocation_ft1_insert", "changeover_billing_allocation_ft1_insert")
            }
        };
        connection.batch(drop).unwrap();
        let found = audit(&mut connection, &model).unwrap();
        assert!(
            found.len() == 1 && found[0].code == Code::TriggerMissing && found[0].object.contains(name),
            "{found:#?}"
        );
        let forged = match database.dialect() {
            Dialect::Postgres => format!(
                "CREATE TRIGGER {name} AFTER INSERT ON users FOR EACH ROW WHEN (NEW.id < 0) \
                 EXECUTE FUNCTION changeover.{name}()"
            ),
            Dialect::Sqlite => format!("CREATE TRIGGER {name} AFTER INSERT ON users BEGIN SELECT 1; END"),
        };
        connection.batch(&forged).unwrap();
        let found = audit(&mut connection, &model).unwrap();
        assert!(found.len() == 1 && found[0].code == Code::TriggerChanged, "{found:#?}");
    });
}

/// The twelve steps by which SQLite's manual changes a table drop its triggers.
#[test]
fn a_rebuilt_table_has_lost_its_triggers() {
    let installed = installed(TestDatabase::sqlite(), Stage::DualWrite);
    let mut connection = installed.connection();
    connection
        .batch(
            "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN; CREATE TABLE users_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL, company TEXT, extra);
             INSERT INTO users_new (id, name, company) SELECT id, name, company FROM users; DROP TABLE users;
             ALTER TABLE users_new RENAME TO users; COMMIT; PRAGMA foreign_keys = ON",
        )
        .unwrap();
    let found = findings(&installed, &mut connection);
    let missing: Vec<&str> = found.iter().map(|finding| finding.object.as_str()).collect();
    assert!(found.len() == 3 && found.iter().all(|finding| finding.code == Code::TriggerMissing), "{missing:?}");
}

#[test]
fn a_replaced_body_and_a_lost_right_are_found() {
    let installed = installed(TestDatabase::postgres(), Stage::DualWrite);
    let mut connection = installed.connection();
    let role = format!("owner_{}", std::process::id());
    let function = "changeover.changeover_billing_allocation_1_ft1_insert()";
    let definition = connection
        .get_row(&format!("SELECT pg_get_functiondef('{function}'::regprocedure) AS sql"), &[])
        .unwrap()
        .text("sql")
        .unwrap();
    connection
        .batch(&format!(
            "CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        ))
        .unwrap();
    let found = findings(&installed, &mut connection);
    assert!(found.iter().any(|finding| finding.code == Code::FunctionChanged), "{found:#?}");
    connection.batch(&definition).unwrap();
    assert_eq!(findings(&installed, &mut connection), []);

    connection.batch(&format!("CREATE ROLE {role}; ALTER FUNCTION {function} OWNER TO {role}")).unwrap();
    let found = findings(&installed, &mut connection);
    for code in [Code::FunctionOwner, Code::RightMissing] {
        assert!(found.iter().any(|finding| finding.code == code), "{code:?}: {found:#?}");
    }
    connection
        .batch(&format!(
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; ALTER TABLE charges ENABLE ROW LEVEL SECURITY"
        ))
        .unwrap();
    let found = findings(&installed, &mut connection);
    assert!(!found.iter().any(|finding| finding.code == Code::RightMissing), "{found:#?}");
    assert!(found.iter().any(|finding| finding.code == Code::RowSecurity), "{found:#?}");
    connection
        .batch(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"))
        .unwrap();
    connection.batch("ALTER TABLE charges DISABLE ROW LEVEL SECURITY").unwrap();
    assert_eq!(findings(&installed, &mut connection), []);
}

#[test]
fn a_file_that_fits_no_more_is_found_beside_what_else_is_wrong() {
    let installed = installed(TestDatabase::sqlite(), Stage::DualWrite);
    let mut connection = installed.connection();
    connection.batch("ALTER TABLE accounts RENAME TO accounts_old; DROP INDEX videos_user_id").unwrap();
    let found = findings(&installed, &mut connection);
    for code in [Code::Unresolvable, Code::TableMissing, Code::TriggerChanged, Code::IndexMissing] {
        assert!(found.iter().any(|finding| finding.code == code), "{code:?}: {found:#?}");
    }
}

#[test]
fn the_command_says_what_is_wrong_and_the_gate_stays_shut() {
    each_database(|database| {
        let mut connection = loaded(&database);
        install_file(&mut connection, &super::fixture::file(), Stage::Off);
        let service = TestDatabase::sqlite();
        let run = |arguments: &[&str]| changeover().service(&service).app(&database).args(arguments).run();
        let clean = run(&["change", "audit"]).expect_code(0);
        assert!(clean.stdout.contains("nothing silences or breaks"), "{clean}");
        let (break_it, code) = match database.dialect() {
            Dialect::Postgres => ("ALTER TABLE users DISABLE TRIGGER ALL", "trigger_disabled"),
            Dialect::Sqlite => ("UPDATE changeover_billing_allocation_control SET mode = 7", "control_stuck"),
        };
        connection.batch(break_it).unwrap();
        let found = run(&["change", "audit", "billing-allocation", "--json"]).expect_code(1).json();
        assert_eq!(found["findings"][0]["code"], code, "{found}");
        let shut = run(&["change", "stage", "dualwrite"]).expect_code(1);
        assert!(shut.stdout.contains("changeover change audit"), "{shut}");
    });
}
