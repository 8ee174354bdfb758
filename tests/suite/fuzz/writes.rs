//! Writes that are nearly right, or not at all: never a 5xx, every refusal a problem that leaves nothing behind, every write that is
//! taken in both models.

use std::collections::BTreeMap;

use changeover::change::Stage;
use changeover::database::DatabaseConnection;
use serde_json::{Map, Value, json};

use crate::support::{Random, Server, each_database};
use crate::translation::fixture::installed;

const PATH: &str = "/api/v1/changes/billing-allocation/writes";
const TABLES: [&str; 7] =
    ["users", "videos", "charges", "accounts", "memberships", "video_accounts", "charge_allocations"];

#[test]
fn no_write_breaks_the_server_or_parts_the_models() {
    each_database(|database| {
        let shop = installed(database, Stage::Live);
        let server = Server::start(&shop.database);
        let mut connection = shop.connection();
        let mut random = Random::new(11);
        let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
        for _ in 0..400 {
            let mut bytes = body(&mut random).to_string().into_bytes();
            match random.index(30) {
                0 => bytes.truncate(random.index(bytes.len())),
                1 => bytes = "[".repeat(100_000).into_bytes(),
                2 => bytes = format!("{{\"operations\":{}{}}}", "[".repeat(200), "]".repeat(200)).into_bytes(),
                3 => bytes = vec![0xff, 0xfe, b'{'],
                4 => {
                    let at = random.index(bytes.len());
                    bytes[at] = random.below(256) as u8;
                }
                _ => {}
            }
            let before = dump(&mut connection);
            let answer = server.send("POST", PATH, &[("content-type", "application/json")], Some(&bytes));
            let sent = String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned();
            assert!(answer.status < 500, "{sent}\n{answer:?}\n{}", server.output());
            *outcomes.entry(answer.status).or_default() += 1;
            if answer.status >= 400 {
                assert_eq!(answer.content_type, "application/problem+json", "{sent}\n{answer:?}");
                assert_eq!(before, dump(&mut connection), "refused and written all the same: {sent}\n{answer:?}");
            }
        }
        assert!(outcomes[&200] > 40 && outcomes.len() > 4, "one-sided: {outcomes:?}");
        shop.assert_agrees(true, &|| format!("{outcomes:?}"));
    });
}

fn dump(connection: &mut DatabaseConnection) -> Vec<String> {
    let rows = TABLES.iter().flat_map(|table| connection.query(&format!("SELECT * FROM {table}"), &[]).unwrap());
    let mut rows: Vec<String> = rows.map(|row| format!("{row:?}")).collect();
    rows.sort();
    rows
}

/// One to three operations, most of which could be taken; in half of the bodies one value somewhere inside is something else.
fn body(random: &mut Random) -> Value {
    let operations: Vec<Value> = (0..=random.index(3)).map(|_| operation(random)).collect();
    let mut body = json!({ "operations": operations, "dry_run": random.is_one_in(8) });
    if random.is_one_in(2) {
        return body;
    }
    let mut at = &mut body;
    loop {
        let len = at.as_object().map(Map::len).or_else(|| at.as_array().map(Vec::len)).unwrap_or(0);
        if len == 0 || random.is_one_in(6) {
            *at = junk(random);
            return body;
        }
        let nth = random.index(len);
        at = match at {
            Value::Object(object) => object.values_mut().nth(nth).expect("a value"),
            other => &mut other[nth],
        };
    }
}

fn operation(random: &mut Random) -> Value {
    let id = |random: &mut Random| json!(1 + random.below(9));
    match random.index(8) {
        0 => json!({ "insert": "users", "row": { "name": text(random), "company": text(random) } }),
        1 => {
            json!({ "insert": "videos", "rows": [{ "user_id": id(random), "title": text(random) }, { "user_id": id(random), "title": "b" }] })
        }
        2 => json!({ "update": "videos", "where": { "id": id(random) }, "set": { "user_id": id(random) } }),
        3 => json!({ "insert": "charges", "row": { "user_id": id(random), "video_id": id(random), "period": "2026-11",
                     "currency": "EUR", "amount_minor": random.below(1 << 40) } }),
        4 => json!({ "delete": "charges", "where": { "id": id(random) } }),
        5 => json!({ "upsert": "users", "row": { "id": id(random), "name": text(random) } }),
        6 => {
            json!({ "update": "memberships", "where": { "account_id": id(random), "user_id": id(random) }, "set": { "weight": id(random) } })
        }
        _ => {
            json!({ "upsert": "memberships", "row": { "account_id": id(random), "user_id": id(random), "weight": id(random) } })
        }
    }
}

fn text(random: &mut Random) -> String {
    const TEXTS: [&str; 8] = ["a", "", "Ünïcödé", "'; DROP TABLE users; --", "\u{202e}\n\t", "\"", "\\", "💩"];
    TEXTS[random.index(TEXTS.len())].to_owned()
}

fn junk(random: &mut Random) -> Value {
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!(0.1),
        json!("\u{0}"),
        json!("x"),
        json!([]),
        json!({}),
        json!([[[null]]]),
        json!({ "operation": 0, "row": 0, "column": "id" }),
        json!({ "id\"; --": 1 }),
        json!("users\"; DROP TABLE users; --"),
    ];
    values[random.index(values.len())].clone()
}
