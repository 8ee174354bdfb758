//! What an application may notice of translation: ids that its session was told last, and the journal of its file.

use changeover::change::Stage;
use changeover::database::{DatabaseConnection, Dialect};
use changeover::translation::uninstall;

use super::fixture::{installed, step};
use crate::support::each_database;

fn integer(connection: &mut DatabaseConnection, sql: &str) -> i64 {
    connection.get_row(&format!("SELECT ({sql}) AS n"), &[]).unwrap().integer("n").unwrap()
}

#[test]
fn the_last_id_of_a_session_is_the_applications_but_for_lastval() {
    each_database(|database| {
        let installed = installed(database, Stage::DualWrite);
        let mut connection = installed.connection();
        // From here on ids of users and of their accounts are not the same by chance.
        connection.batch("INSERT INTO users (id, name) VALUES (500, 'Flo')").unwrap();
        connection.batch("INSERT INTO users (name) VALUES ('Gus')").unwrap();
        let user = integer(&mut connection, "SELECT id FROM users WHERE name = 'Gus'");
        let account = integer(&mut connection, &format!("SELECT id FROM accounts WHERE owner_id = {user}"));
        assert_ne!(user, account, "else this test says nothing");
        match connection.dialect() {
            Dialect::Sqlite => assert_eq!(integer(&mut connection, "last_insert_rowid()"), user),
            Dialect::Postgres => {
                assert_eq!(integer(&mut connection, "currval(pg_get_serial_sequence('users', 'id'))"), user);
                assert_eq!(integer(&mut connection, "lastval()"), account);
                let sql = "INSERT INTO users (name) VALUES ('Ida') RETURNING id";
                let told = connection.get_row(sql, &[]).unwrap().integer("id").unwrap();
                assert_eq!(told, integer(&mut connection, "SELECT id FROM users WHERE name = 'Ida'"));
            }
        }
    });
}

#[test]
fn an_applications_file_stays_in_wal_mode_until_somebody_says_otherwise() {
    each_database(|database| {
        if database.dialect() == Dialect::Postgres {
            return;
        }
        let path = database.url().trim_start_matches("sqlite:").to_owned();
        // As the application opens it: nothing of ours sets a mode here.
        let journal = |statement: &str| {
            let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
            let output = std::process::Command::new("python3").args(["-c", script, &path, statement]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let installed = installed(database, Stage::DualWrite);
        step(&mut installed.connection(), &installed.model, Stage::Off);
        uninstall(&mut installed.connection(), &installed.model, true).unwrap();
        assert_eq!(journal("PRAGMA journal_mode"), "wal");
        assert_eq!(journal("PRAGMA journal_mode = DELETE"), "delete");
        assert_eq!(journal("PRAGMA journal_mode"), "delete");
    });
}
