//! Values come back as they were sent, digit by digit, on a change over every type that is typed.

use changeover::change::{ChangeFile, Stage};
use changeover::database::Dialect;
use serde_json::Value;

use super::post;
use crate::support::{Server, TestDatabase, each_database};
use crate::translation::install_file;

const FILE: &str = r#"
format = 1
name = "all-types"
title = "A table of every type, copied"

[[forward]]
into = "copies"
from = "things"
key = "id"
query = "SELECT id, big, amount, note FROM things"
"#;

fn schema(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "CREATE TYPE mood AS ENUM ('fine', 'so so');
             CREATE DOMAIN price AS numeric(38,11) CHECK (VALUE IS NULL OR VALUE > -1000000000000000000000000000);
             CREATE TABLE things (id bigint PRIMARY KEY, big bigint, small smallint, amount price, note text, short varchar(5), flag boolean,
               day date, clock time, at timestamptz, local timestamp(3), id2 uuid, bytes bytea, doc jsonb, raw json, mood mood,
               list integer[], texts text[], ratio double precision, span interval, doubled bigint GENERATED ALWAYS AS (big / 2) STORED);
             CREATE TABLE copies (id bigint PRIMARY KEY, big bigint, amount numeric(38,11), note text)"
        }
        Dialect::Sqlite => {
            "CREATE TABLE things (id INTEGER PRIMARY KEY, big BIGINT, amount NUMERIC, note TEXT, flag BOOLEAN, day DATE, at TEXT,
               bytes BLOB, doc JSON, ratio REAL, doubled INTEGER GENERATED ALWAYS AS (big / 2) STORED);
             CREATE TABLE copies (id INTEGER PRIMARY KEY, big BIGINT, amount NUMERIC, note TEXT)"
        }
    }
}

fn served(database: &TestDatabase) -> Server {
    let mut connection = database.connection();
    connection.batch(schema(database.dialect())).unwrap();
    install_file(&mut connection, &ChangeFile::parse(FILE).unwrap(), Stage::DualWrite);
    Server::start(database)
}

fn sent(server: &Server, operations: &str) -> (u16, String) {
    let answer = post(server, "/api/v1/changes/all-types/writes", None, &format!("{{\"operations\":{operations}}}"));
    (answer.status, answer.body)
}

const BOTH: [(&str, &str); 12] = [
    ("big", "9223372036854775807"),
    ("big", "-9223372036854775808"),
    ("big", "9007199254740993"),
    ("big", "null"),
    ("note", r#""\"; DROP TABLE things; -- Ünïcödé 💩 \u202e\u0001\t'''""#),
    ("note", r#""""#),
    ("flag", "true"),
    ("day", r#""2024-02-29""#),
    ("bytes", r#""AAH/""#),
    ("bytes", r#""""#),
    ("ratio", "0.1"),
    ("amount", r#""12345.678""#),
];

const POSTGRES: [(&str, &str); 19] = [
    ("amount", r#""123456789012345678901234567.12345678901""#),
    ("amount", r#""-0.00000000001""#),
    ("small", "-32768"),
    ("short", r#""äöüß€""#),
    ("clock", r#""23:59:59.999999""#),
    ("at", r#""2026-11-30T12:30:00.123456+00:00""#),
    ("at", r#""infinity""#),
    ("local", r#""2026-11-30T12:30:00.123""#),
    ("id2", r#""0190b3a4-7c1e-7a51-9d5f-0123456789ab""#),
    ("doc", r#"{"n": 123456789012345678901234567890.5, "t": [null, "ä"]}"#),
    ("doc", "[]"),
    ("raw", r#"{"b":1,  "a":2}"#),
    ("mood", r#""so so""#),
    ("list", "[1,null,-3]"),
    ("texts", r#"["a\"b","","NULL",null,"c\\d,{}"]"#),
    ("ratio", "1.7976931348623157e+308"),
    ("ratio", r#""NaN""#),
    ("span", r#""1 day 02:00:00""#),
    ("day", r#""0001-01-01""#),
];

#[test]
fn what_is_sent_is_what_is_stored_and_answered() {
    each_database(|database| {
        let server = served(&database);
        let more: &[(&str, &str)] = if database.dialect() == Dialect::Postgres { &POSTGRES } else { &[] };
        for (number, (column, value)) in BOTH.iter().chain(more).enumerate() {
            let (status, body) =
                sent(&server, &format!(r#"[{{"insert":"things","row":{{"id":{number},"{column}":{value}}}}}]"#));
            assert_eq!(status, 200, "{column} {value}: {body}");
            let wanted = if (*column, *value) == ("amount", r#""12345.678""#) && database.dialect() == Dialect::Postgres
            {
                r#""12345.67800000000""#
            } else if (*column, *value) == ("amount", r#""-0.00000000001""#) {
                r#""-0.00000000001""#
            } else {
                value
            };
            let row = body.split("\"translated\"").next().unwrap();
            let is_there = row.contains(&format!("\"{column}\":{wanted}"))
                || same(row, column, wanted)
                || panicking(row, column, wanted);
            assert!(is_there);
            // The same value again, as an expectation: it is what the row holds.
            if *value != r#""NaN""# {
                let body = format!(
                    r#"[{{"update":"things","where":{{"id":{number}}},"set":{{"note":"seen"}},"if":{{"{column}":{value}}}}}]"#
                );
                let (status, answer) = sent(&server, &body);
                assert_eq!(status, 200, "{column} {value}: {answer}");
            }
        }
        let mut connection = database.connection();
        let differing = "SELECT count(*) AS n FROM things t LEFT JOIN copies c ON c.id = t.id
            WHERE c.id IS NULL OR coalesce(c.amount, 0) <> coalesce(t.amount, 0) OR coalesce(c.big, 0) <> coalesce(t.big, 0)";
        assert_eq!(connection.get_row(differing, &[]).unwrap().integer("n").unwrap(), 0);
    });
}

fn panicking(row: &str, column: &str, wanted: &str) -> bool {
    panic!("{column}: {wanted} is not in {row}")
}

/// Equal as JSON, where the text may be written in another way (escapes, spaces of jsonb).
fn same(row: &str, column: &str, wanted: &str) -> bool {
    let whole: Value =
        serde_json::from_str(&format!("{}null}}", row.trim_end_matches(',').to_owned() + ",\"x\":")).unwrap();
    let found = &whole["operations"][0]["rows"][0][column];
    *found == serde_json::from_str::<Value>(wanted).unwrap()
}

#[test]
fn what_would_be_rounded_cut_or_dropped_is_refused() {
    each_database(|database| {
        let server = served(&database);
        let refused: &[(&str, &str)] = match database.dialect() {
            Dialect::Postgres => &[
                ("big", "9223372036854775808"),
                ("amount", "0.123456789012"),
                ("amount", "1e30"),
                ("short", "\"abcdef\""),
                ("small", "32768"),
                ("day", "\"2026-02-29\""),
                ("at", "\"2026-11-30T12:30:00\""),
                ("local", "\"2026-11-30T12:30:00.1234\""),
                ("local", "\"2026-11-30T12:30:00Z\""),
                ("mood", "\"sad\""),
                ("list", "[1,\"x\"]"),
                ("doubled", "1"),
                ("note", "\"a\\u0000b\""),
                ("doc", "{\"a\":\"\\u0000\"}"),
                ("bytes", "\"not base64\""),
                ("span", "\"not a span\""),
                ("ratio", "1e999"),
            ],
            Dialect::Sqlite => &[
                ("big", "9223372036854775808"),
                ("amount", "123456789012345678901234567.12345678901"),
                ("note", "\"a\\u0000b\""),
                ("flag", "1"),
                ("doubled", "1"),
                ("bytes", "7"),
            ],
        };
        for (column, value) in refused {
            let (status, body) =
                sent(&server, &format!(r#"[{{"insert":"things","row":{{"id":1,"{column}":{value}}}}}]"#));
            assert_eq!(status, 422, "{column} {value}: {body}");
        }
        assert_eq!(
            database.connection().get_row("SELECT count(*) AS n FROM things", &[]).unwrap().integer("n").unwrap(),
            0
        );
    });
}
