//! Users' ids of every type that applications use, in the one text form that they arrive in.

use changeover::primitives::Dialect;
use changeover::routing::{Because, Side};
use changeover::sql::names::literal;

use super::fixture::{FILE, Fixture, pilot_of, rollout_of};
use crate::support::{TestDatabase, each_database};

const DECEMBER: &str = "2026-12";

fn is_found(database: TestDatabase, user_type: &str, id: &str, file: &str) {
    let fixture = Fixture::with(database, user_type, file);
    fixture.run(&format!("INSERT INTO memberships VALUES (1, {})", literal(id)));
    let receipt = fixture.assign(&pilot_of(&[id, "404", "not-an-id"], "old"), DECEMBER).unwrap();
    assert_eq!(receipt.assigned_new, 1, "{user_type}");
    let answer = fixture.router().side_of_user(&rollout_of(0), &fixture.question(id, DECEMBER)).unwrap();
    assert_eq!((answer.side, answer.because), (Side::New, Because::Recorded), "{user_type}");
    let other = fixture.router().side_of_user(&rollout_of(0), &fixture.question("404", DECEMBER)).unwrap();
    assert_eq!(other.because, Because::UnknownUser, "{user_type}");
}

#[test]
fn ids_are_found_whatever_their_column_is() {
    each_database(|database| {
        let dialect = database.dialect();
        let kinds: &[(&str, &str)] = match dialect {
            Dialect::Sqlite => &[("integer", "42"), ("text", "a'42"), ("blob", "b"), ("numeric", "42")],
            Dialect::Postgres => &[
                ("smallint", "42"),
                ("integer", "42"),
                ("bigint", "9000000000"),
                ("text", "a'42"),
                ("varchar(40)", "ä"),
                ("char(3)", "abc"),
                ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ],
        };
        for (user_type, id) in kinds {
            is_found(TestDatabase::new(dialect), user_type, id, FILE);
        }
    });
}

#[test]
fn integers_in_an_sqlite_column_without_a_type_are_found() {
    let fixture = Fixture::with(TestDatabase::sqlite(), "", FILE);
    fixture.run("INSERT INTO memberships VALUES (1, 42)");
    let receipt = fixture.assign(&pilot_of(&["42"], "old"), DECEMBER).unwrap();
    assert_eq!((receipt.assigned_new, receipt.widened[0].users_without_group), (1, 0));
    let answer = fixture.router().side_of_user(&rollout_of(0), &fixture.question("42", DECEMBER)).unwrap();
    assert_eq!(answer.side, Side::New);
}

#[test]
fn a_type_that_ids_cannot_be_read_into_safely_is_refused_with_the_remedy() {
    let fixture = Fixture::with(TestDatabase::postgres(), "double precision", FILE);
    let refused = fixture.assign(&pilot_of(&["1"], "old"), DECEMBER).unwrap_err().to_string();
    assert!(refused.contains("double precision") && refused.contains("CAST"), "{refused}");
}

#[test]
fn a_query_that_does_not_use_the_parameter_is_refused() {
    each_database(|database| {
        let file = FILE.replace("user_id = :user ", "user_id = ':user' ").replace("bigint", "text");
        if changeover::change::ChangeFile::parse(&file).is_err() {
            return; // The file's own check says so already.
        }
        let fixture = Fixture::with(database, "text", &file);
        let refused = fixture.assign(&pilot_of(&["1"], "old"), DECEMBER).unwrap_err().to_string();
        assert!(refused.contains("does not ask for `:user`"), "{refused}");
    });
}
