//! What a write answers: the caller's rows and the rows of the other model, for every operation at every stage.

use changeover::change::Stage;
use serde_json::{Value, json};

use super::{PATH, Shop, translated};
use crate::support::each_database;

fn numbers(rows: &[Value], column: &str) -> Vec<i64> {
    let mut found: Vec<i64> =
        rows.iter().map(|row| row[column].as_i64().unwrap_or_else(|| panic!("{rows:?}"))).collect();
    found.sort_unstable();
    found
}

#[test]
fn old_shape_writes_answer_with_both_sides_while_the_old_model_is_authoritative() {
    for stage in [Stage::DualWrite, Stage::Shadow, Stage::Live] {
        each_database(|database| {
            let shop = Shop::at(database, stage);
            let answer = shop.written(json!([
                { "insert": "users", "row": { "name": "Gus", "company": "Güs & Söhne 🎬" } },
                { "insert": "videos", "rows": [
                    { "user_id": { "operation": 0, "row": 0, "column": "id" }, "title": "one" },
                    { "user_id": { "operation": 0, "column": "id" }, "title": "two" } ] },
            ]));
            let user = answer["operations"][0]["rows"][0]["id"].as_i64().unwrap();
            assert_eq!(answer["operations"][0]["rows"][0]["company"], "Güs & Söhne 🎬");
            assert_eq!(numbers(answer["operations"][1]["rows"].as_array().unwrap(), "user_id"), [user, user]);
            let account = &translated(&answer, "f1")[0];
            assert_eq!(
                (account["key"].as_str(), account["rows"][0]["name"].as_str()),
                (Some(user.to_string().as_str()), Some("Güs & Söhne 🎬"))
            );
            let account = account["rows"][0]["id"].as_i64().unwrap();
            assert_eq!(translated(&answer, "f2")[0]["rows"][0]["account_id"], account);
            assert_eq!(translated(&answer, "f3").len(), 2, "{answer}");
            assert_eq!(translated(&answer, "f3")[0]["rows"][0]["account_id"], account);

            // Account 1 has two members, of weight 1 and 2.
            let charge =
                json!({ "user_id": 1, "video_id": 1, "period": "2026-11", "currency": "EUR", "amount_minor": 1001 });
            let answer = shop.written(json!([{ "insert": "charges", "row": charge }]));
            let shares = translated(&answer, "f4")[0]["rows"].as_array().unwrap();
            assert_eq!((shares.len(), numbers(shares, "amount_minor")), (2, vec![334, 667]), "{answer}");

            let answer = shop.written(
                json!([{ "update": "videos", "where": { "id": 1 }, "set": { "user_id": 3 }, "if": { "user_id": 1 } }]),
            );
            assert_eq!(answer["operations"][0]["rows"][0]["user_id"], 3);
            assert_eq!(translated(&answer, "f3")[0]["key"], "1");
            let moved = &translated(&answer, "f4")[0];
            assert_eq!(numbers(moved["rows"].as_array().unwrap(), "payer_id"), [3], "{answer}");
            assert_eq!(numbers(moved["gone"].as_array().unwrap(), "payer_id"), [1, 2], "{answer}");

            let answer = shop.written(json!([{ "delete": "charges", "rows": [{ "where": { "id": 2 } }, { "where": { "id": 5 }, "if": { "currency": "USD" } }] }]));
            assert_eq!(
                numbers(answer["operations"][0]["rows"].as_array().unwrap(), "id"),
                [2, 5],
                "as they were: {answer}"
            );
            let gone = translated(&answer, "f4");
            assert_eq!(gone.len(), 2, "{answer}");
            assert!(
                gone.iter().all(
                    |key| key["rows"].as_array().unwrap().is_empty() && !key["gone"].as_array().unwrap().is_empty()
                )
            );

            let answer = shop.written(json!([{ "upsert": "users", "rows": [
                { "id": 3, "name": "Cleo", "company": "C2" }, { "id": 77, "name": "New", "company": null } ] }]));
            assert_eq!(answer["operations"][0]["inserted"], 1);
            assert_eq!(translated(&answer, "f1").len(), 2, "{answer}");
            let answer = shop
                .written(json!([{ "update": "users", "where": { "id": 3 }, "set": { "name": "only the old model" } }]));
            assert_eq!(answer["translated"], json!([]), "nothing of the other model changed");
        });
    }
}

#[test]
fn new_shape_writes_reach_the_old_model_once_it_is_live() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::Live);
        let account = |owner: i64| shop.number(&format!("SELECT id AS n FROM accounts WHERE owner_id = {owner}"));
        let answer = shop.written(
            json!([{ "insert": "memberships", "row": { "account_id": account(3), "user_id": 5, "weight": 3 } }]),
        );
        assert_eq!(answer["operations"][0]["side"], "new");
        assert_eq!(answer["operations"][0]["rows"][0]["role"], "member", "the default is in the answer");
        let shares = translated(&answer, "f4");
        assert_eq!(shares[0]["rows"].as_array().unwrap().len(), 2, "charge 3 is divided anew: {answer}");

        let answer = shop.written(
            json!([{ "update": "video_accounts", "where": { "video_id": 4 }, "set": { "account_id": account(5) } }]),
        );
        let back = &translated(&answer, "b1")[0];
        assert_eq!((back["key"].as_str(), back["rows"][0]["user_id"].as_i64()), (Some("4"), Some(5)), "{answer}");
        assert_eq!(translated(&answer, "f4")[0]["rows"][0]["payer_id"], 5, "{answer}");

        let answer =
            shop.written(json!([{ "delete": "memberships", "where": { "account_id": account(3), "user_id": 5 } }]));
        assert_eq!(translated(&answer, "f4")[0]["rows"].as_array().unwrap().len(), 1, "{answer}");

        // Nothing carries an account's name back: the next refresh would undo it.
        let problem = shop.refused(
            json!([{ "update": "accounts", "where": { "owner_id": 3 }, "set": { "name": "only here" } }]),
            409,
            "untranslated",
        );
        assert_eq!(problem["faults"][0]["block"], "f1", "{problem}");
    });
}

#[test]
fn each_stage_takes_what_it_can_keep_in_both_models() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::Off);
        let charge = json!([{ "update": "users", "where": { "id": 1 }, "set": { "company": "off" } }]);
        let (status, answer) = shop.write(charge.clone());
        assert_eq!(
            (status, &answer["stage"], &answer["translated"]),
            (200, &json!("off"), &json!([])),
            "as old code writes: {answer}"
        );
        let member = json!([{ "insert": "memberships", "row": { "account_id": 1, "user_id": 5 } }]);
        assert_eq!(shop.write(member.clone()).1["code"], "refused");
        let described: Value = serde_json::from_str(&shop.server.send("GET", PATH, &[], None).body).unwrap();
        let table = |name: &str| {
            described["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap().clone()
        };
        assert_eq!((&table("users")["writable"], &table("accounts")["writable"]), (&json!(true), &json!(false)));
        assert!(table("accounts")["reason"].as_str().unwrap().contains("move the change to `live`"));
        assert_eq!(table("charges")["keys"], json!([["id"]]));
        assert_eq!(table("users")["row"]["required"], json!(["name"]));
    });
    each_database(|database| {
        let shop = Shop::at(database, Stage::Shadow);
        shop.refused(json!([{ "insert": "memberships", "row": { "account_id": 1, "user_id": 5 } }]), 409, "refused");
    });
}

#[test]
fn a_dry_run_answers_and_leaves_nothing() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::DualWrite);
        let before = shop.dump();
        let body = json!({ "dry_run": true, "operations": [{ "update": "videos", "where": { "id": 1 }, "set": { "user_id": 3 } }] });
        let answer = shop.send(Some("dry"), &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&told["dry_run"], &translated(&told, "f3")[0]["key"]), (&json!(true), &json!("1")));
        assert_eq!(before, shop.dump());
        let wet = body.to_string().replace("\"dry_run\":true", "\"dry_run\":false");
        assert_eq!(shop.send(Some("dry"), &wet).header("idempotency-replayed"), None, "what was not done is not kept");
        assert_ne!(before, shop.dump());
    });
}
