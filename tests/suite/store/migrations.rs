//! Migrations run once, under a lock, there and back.

use changeover::database::{DatabaseConnection, Dialect, Value};
use changeover::store::{Store, StoreError, migrations};

use crate::support::each_database;

#[test]
fn up_down_and_up_leave_the_same_schema() {
    each_database(|database| {
        let mut connection = database.connection();
        let before = schema(&mut connection);
        migrations::run(&mut connection).unwrap();
        let after = schema(&mut connection);
        assert!(after.len() > before.len() + 9, "{after:?}");
        migrations::run(&mut connection).unwrap();
        assert_eq!(schema(&mut connection), after, "a second run does nothing");
        migrations::revert(&mut connection).unwrap();
        assert_eq!(schema(&mut connection), before);
        migrations::run(&mut connection).unwrap();
        assert_eq!(schema(&mut connection), after);
    });
}

#[test]
fn servers_that_start_together_migrate_once() {
    each_database(|database| {
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| Store::open(database.database()).map(drop))).collect();
            for start in starts {
                start.join().unwrap().unwrap();
            }
        });
    });
}

#[test]
fn an_older_program_refuses_a_newer_schema() {
    each_database(|database| {
        let mut connection = database.connection();
        migrations::run(&mut connection).unwrap();
        let insert = "INSERT INTO svc_changeover_migrations (version, run_at) VALUES ($1, 0)";
        connection.execute(insert, &[Value::from("29990101000000")]).unwrap();
        let error = migrations::run(&mut connection).unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema(_)), "{error}");
    });
}

#[test]
fn both_databases_have_the_same_tables_and_columns() {
    let columns = |dialect: &str| {
        let mut steps: Vec<_> =
            std::fs::read_dir(format!("migrations/{dialect}")).unwrap().map(|step| step.unwrap().path()).collect();
        steps.sort();
        let texts = steps.iter().map(|step| std::fs::read_to_string(step.join("up.sql")).unwrap());
        let text = texts.collect::<Vec<_>>().join("\n");
        let words = text.lines().filter(|line| line.starts_with("    ") || line.starts_with("CREATE"));
        words
            .map(|line| {
                line.split_whitespace().take(3).collect::<Vec<_>>()[..].first().copied().unwrap_or("").to_owned()
                    + line.split_whitespace().nth(2).filter(|_| line.starts_with("CREATE")).unwrap_or("")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(columns("postgres"), columns("sqlite"));
}

fn schema(connection: &mut DatabaseConnection) -> Vec<String> {
    let sql = match connection.dialect() {
        Dialect::Sqlite => "SELECT type || ' ' || name || ' ' || coalesce(sql, '') AS line FROM sqlite_master ORDER BY line",
        Dialect::Postgres => {
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(collation_name, '') AS line
             FROM information_schema.columns WHERE table_schema = 'public'
             UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY line"
        }
    };
    connection.query(sql, &[]).unwrap().iter().map(|row| row.text("line").unwrap()).collect()
}
