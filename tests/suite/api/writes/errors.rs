//! Everything that is refused names its operation, row and place, and leaves nothing behind.

use changeover::change::Stage;
use changeover::database::Dialect;
use serde_json::{Value, json};

use super::{Shop, translated};
use crate::support::each_database;

#[test]
fn what_does_not_fit_the_tables_is_told_place_by_place() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::DualWrite);
        let problem = shop.refused(
            json!([
                { "insert": "users", "rows": [{ "name": "ok" }, { "company": "no name" }, { "name": 7 }, { "nmae": "x" }] },
                { "update": "videos", "where": { "title": "a" }, "set": { "title": "b" } },
                { "delete": "pg_class", "where": { "oid": 1 } },
                { "insert": "charges", "row": { "user_id": "1.5", "video_id": 1, "period": "x", "currency": "EUR", "amount_minor": 9223372036854775808u64 } },
                { "insert": "users", "update": "users" },
                { "update": "users", "where": { "id": null }, "set": {} },
                { "insert": "videos", "row": { "user_id": { "operation": 7, "column": "id" }, "title": "\u{0}" } },
                [],
            ]),
            422,
            "invalid_write",
        );
        let faults = problem["faults"].as_array().unwrap();
        let at = |pointer: &str| -> Vec<&str> {
            faults
                .iter()
                .filter(|fault| fault["pointer"] == pointer)
                .map(|fault| fault["detail"].as_str().unwrap())
                .collect()
        };
        for (pointer, part) in [
            ("/operations/0/rows/1", "`name` is NOT NULL"),
            ("/operations/0/rows/2/name", "write a string"),
            ("/operations/0/rows/3/nmae", "no column `nmae`"),
            ("/operations/1/where", "by (id)"),
            ("/operations/2", "not a table of this change"),
            ("/operations/3/row/user_id", "not a whole number"),
            ("/operations/3/row/amount_minor", "out of range"),
            ("/operations/4", "exactly one of"),
            ("/operations/5/set", "`set` is empty"),
            ("/operations/6/row/user_id", "operation 7"),
            ("/operations/6/row/title", "NUL"),
            ("/operations/7", "an array"),
        ] {
            assert!(at(pointer).iter().any(|detail| detail.contains(part)), "{pointer} {part}: {problem:#}");
        }
        let of_row = faults.iter().find(|fault| fault["pointer"] == "/operations/0/rows/2/name").unwrap();
        assert_eq!((&of_row["operation"], &of_row["row"], &of_row["column"]), (&json!(0), &json!(2), &json!("name")));
    });
}

#[test]
fn constraints_are_named_with_the_row_that_breaks_them() {
    each_database(|database| {
        let is_postgres = database.dialect() == Dialect::Postgres;
        let shop = Shop::at(database, Stage::Live);
        let problem = shop.refused(
            json!([
                { "update": "users", "where": { "id": 1 }, "set": { "company": "first" } },
                { "insert": "users", "rows": [{ "id": 50, "name": "a" }, { "id": 51, "name": "b" }, { "id": 3, "name": "c" }] },
            ]),
            409,
            "unique_violation",
        );
        let fault = &problem["faults"][0];
        assert_eq!(
            (&fault["operation"], &fault["row"], &fault["table"]),
            (&json!(1), &json!(2), &json!("users")),
            "{problem}"
        );
        assert_eq!(fault["constraint"], if is_postgres { "users_pkey" } else { "users.id" });
        let problem = shop.refused(
            json!([{ "insert": "videos", "row": { "user_id": 999, "title": "x" } }]),
            409,
            "foreign_key_violation",
        );
        assert_eq!(problem["faults"][0]["operation"], 0, "{problem}");
        shop.refused(json!([{ "delete": "users", "where": { "id": 1 } }]), 409, "foreign_key_violation");
        let problem = shop.refused(
            json!([{ "insert": "memberships", "row": { "account_id": 1, "user_id": 5, "weight": -1 } }]),
            422,
            "constraint_violation",
        );
        assert!(problem["faults"][0]["constraint"].as_str().is_some(), "{problem}");
        shop.refused(
            json!([{ "update": "users", "where": { "id": 999 }, "set": { "name": "x" } }]),
            404,
            "row_not_found",
        );
        let problem = shop.refused(
            json!([{ "update": "users", "where": { "id": 1 }, "set": { "name": "x" }, "if": { "name": "Ben" } }]),
            412,
            "row_differs",
        );
        assert!(problem["detail"].as_str().unwrap().contains("`name` is \"Ada\""), "{problem}");
        shop.refused(json!([{ "delete": "users", "where": { "id": 2 }, "if": { "company": "" } }]), 412, "row_differs");
    });
}

#[test]
fn a_failure_of_translation_is_called_one() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::Live);
        // The old tables take any name; the new one now refuses this one.
        let sql = match shop.installed.database.dialect() {
            Dialect::Postgres => "ALTER TABLE accounts ADD CONSTRAINT polite CHECK (name <> 'rude')",
            Dialect::Sqlite => {
                "CREATE TRIGGER polite BEFORE UPDATE ON accounts WHEN NEW.name = 'rude' BEGIN SELECT RAISE(ABORT, 'polite'); END"
            }
        };
        shop.installed.connection().batch(sql).unwrap();
        let problem = shop.refused(
            json!([{ "update": "users", "where": { "id": 1 }, "set": { "company": "rude" } }]),
            422,
            "translation_failed",
        );
        assert!(problem["detail"].as_str().unwrap().contains("polite"), "{problem}");
        if shop.installed.database.dialect() == Dialect::Postgres {
            assert_eq!(problem["faults"][0]["block"], "f1", "{problem}");
        }
        assert!(shop.written(json!([{ "update": "users", "where": { "id": 1 }, "set": { "company": "kind" } }]))["translated"].is_array());
    });
}

#[test]
fn limits_are_clear() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::DualWrite);
        let many: Vec<Value> = (0..1001).map(|number| json!({ "name": number.to_string() })).collect();
        let problem = shop.refused(json!([{ "insert": "users", "rows": many }]), 413, "too_large");
        assert!(problem["detail"].as_str().unwrap().contains("1000"), "{problem}");
        let operations: Vec<Value> = (0..201).map(|_| json!({ "insert": "users", "row": { "name": "x" } })).collect();
        shop.refused(json!(operations), 413, "too_large");
        shop.refused(json!([{ "insert": "users", "row": { "name": "x".repeat(3 << 20) } }]), 413, "too_large");
        let rows: Vec<Value> =
            (0..1000).map(|number| json!({ "name": number.to_string(), "company": "many" })).collect();
        let answer = shop.written(json!([{ "insert": "users", "rows": rows }]));
        assert_eq!(answer["operations"][0]["rows"].as_array().unwrap().len(), 1000);
        assert_eq!(translated(&answer, "f1").len(), 1000);
        let headers = [("content-type", "text/plain")];
        assert_eq!(shop.server.send("POST", super::PATH, &headers, Some(b"{}")).status, 415);
        assert_eq!(shop.send(None, "{").status, 400);
        assert_eq!(shop.send(Some("a b"), "{}").status, 400);
        assert_eq!(super::post(&shop.server, "/api/v1/changes/none/writes", None, "{}").status, 404);
    });
}
