//! Assignments over HTTP: many questions and many moves, splits, who was where, and who may ask.

use changeover::primitives::FlagKey;
use changeover::store::tokens::Role;
use changeover::store::{Origin, Store, flags};
use serde_json::{Value, json};

use super::{Api, Call, Reply};
use crate::routing::fixture::Fixture;
use crate::support::each_database;

const PATH: &str = "/api/v1/changes/billing-allocation/assignments";
const DECEMBER: &str = "2026-12";

/// The small billing database, live, with a flag that puts everybody on the old side.
fn live(database: crate::support::TestDatabase) -> (Fixture, Api) {
    let fixture = Fixture::with_data(database);
    let flag = json!({
        "key": "billing-allocation", "type": "boolean", "variants": { "old": false, "new": true },
        "default_variant": "old", "off_variant": "old", "change": "billing-allocation",
    });
    let key = FlagKey::new("billing-allocation").unwrap();
    let data = serde_json::to_string(&changeover::flags::Flag::parse(&flag.to_string()).unwrap().to_draft()).unwrap();
    let store = Store::open(fixture.pool()).unwrap();
    let origin = Origin { actor: "ann", reason: "" };
    store.write(|connection| flags::create(connection, &key, &data, origin).map(drop)).unwrap();
    let api = Api::new(&fixture.database);
    (fixture, api)
}

fn asked(api: &Api, role: Role, query: &str, lines: &str) -> Reply {
    let headers = [("Content-Type", "application/x-ndjson")];
    let path = format!("{PATH}/query{query}");
    api.send(&Call {
        method: "POST",
        path: &path,
        token: Some(api.token(role)),
        headers: &headers,
        body: lines.as_bytes(),
    })
}

fn lines(reply: &Reply) -> Vec<Value> {
    let text = std::str::from_utf8(&reply.body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn questions_are_answered_line_by_line_over_http() {
    each_database(|database| {
        let (fixture, api) = live(database);
        let questions = "{\"user\":\"11\"}\n{\"group\":\"2\"}\n\nnonsense\n{\"user\":\"nobody\"}";
        let reply = asked(&api, Role::Evaluate, &format!("?period={DECEMBER}&record=false"), questions);
        assert_eq!((reply.status.as_u16(), reply.kind.as_str()), (200, "application/x-ndjson"));
        let answers = lines(&reply);
        assert_eq!(answers.len(), 5);
        assert_eq!(
            (&answers[0]["user"], &answers[0]["group"], &answers[0]["side"]),
            (&json!("11"), &json!("1"), &json!("old"))
        );
        assert_eq!((&answers[1]["group"], &answers[1]["because"]), (&json!("2"), &json!("not_recorded")));
        for (line, answer) in [(3, &answers[2]), (4, &answers[3])] {
            assert_eq!(answer["line"], line);
            assert!(answer["error"].as_str().unwrap().contains("not a question"), "{answer}");
        }
        assert_eq!(answers[4]["because"], "unknown_user");
        assert_eq!(fixture.count("assignment"), 0);

        // A long stream: more than one batch, in pieces, answered in order.
        let many: String = (0..3_003).map(|n| format!("{{\"user\":\"{}\"}}\n", [11, 12, 21][n % 3])).collect();
        let answers = lines(&asked(&api, Role::Admin, &format!("?period={DECEMBER}"), &many));
        assert_eq!(answers.len(), 3_003);
        assert!(answers.iter().zip(1_u64..).all(|(answer, line)| answer["line"] == line && answer["side"] == "old"));
        assert_eq!(fixture.count("assignment"), 2, "one for each account");

        assert_eq!(asked(&api, Role::Evaluate, "?period=2026-Q4", questions).status.as_u16(), 422);
        let nobody = Call { method: "POST", path: &format!("{PATH}/query"), token: None, headers: &[], body: b"{}" };
        assert_eq!(api.send(&nobody).status.as_u16(), 401);
        assert_eq!(lines(&asked(&api, Role::Evaluate, "", "")), Vec::<Value>::new());
    });
}

#[test]
fn questions_that_nothing_can_answer_are_refused_before_the_first_line() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let api = Api::new(&fixture.database);
        let reply = asked(&api, Role::Evaluate, &format!("?period={DECEMBER}"), "{\"user\":\"11\"}\n");
        let problem = reply.json();
        assert!(
            reply.status.is_client_error() && problem["detail"].as_str().unwrap().contains("create it with"),
            "{problem}"
        );
        assert_eq!(fixture.count("assignment"), 0);
    });
}

#[test]
fn groups_are_moved_split_and_looked_back_at_over_http() {
    each_database(|database| {
        let (fixture, api) = live(database);
        let post = |path: &str, body: &Value| {
            let reply = api.admin("POST", &format!("{PATH}{path}"), &body.to_string());
            (reply.status.as_u16(), reply.json())
        };
        let wish = json!({ "groups": ["1", "2"], "side": "new", "period": DECEMBER });
        let with = |more: Value| {
            let mut wish = wish.clone();
            wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            wish
        };
        let (status, preview) = post("/moves", &with(json!({ "preview": true })));
        assert_eq!((status, &preview["recorded"], &preview["preview"]), (200, &json!(2), &json!(true)), "{preview}");
        let (status, refused) = post("/moves", &wish);
        assert_eq!(status, 422, "no reason: {refused}");
        assert_eq!(fixture.count("assignment") + fixture.count("assignment_history"), 0);
        let (status, moved) = post("/moves", &with(json!({ "reason": "wave 1" })));
        assert_eq!((status, &moved["recorded"], &moved["moved"]), (200, &json!(2), &json!(0)), "{moved}");
        assert_eq!(post("/moves", &json!({ "groups": [""], "side": "new", "reason": "x" })).0, 422);
        assert_eq!(post("/moves", &json!({ "groups": ["1"], "side": "left", "reason": "x" })).0, 400);

        let split = json!({ "from": "1", "into": ["5"], "period": DECEMBER, "reason": "a subsidiary" });
        let (status, answer) = post("/splits", &split);
        assert_eq!((status, &answer["moves"][0]["after"]), (200, &json!("new")), "{answer}");
        let nothing = json!({ "from": "77", "into": ["5"], "period": DECEMBER, "reason": "a subsidiary" });
        let (status, refused) = post("/splits", &nothing);
        assert_eq!(status, 409, "{refused}");

        let get = |path: &str| api.admin("GET", &format!("{PATH}{path}"), "");
        let stood = get(&format!("/at?user=11&period={DECEMBER}")).json();
        assert_eq!((&stood["side"], &stood["because"]["reason"]), (&json!("new"), &json!("wave 1")), "{stood}");
        let before = get(&format!("/at?group=1&period={DECEMBER}&at=2020-01-01T00:00:00Z")).json();
        assert_eq!((&before["side"], before["since"].as_array().unwrap().len()), (&json!("old"), 1), "{before}");
        assert_eq!(get("/at").status.as_u16(), 422, "whose?");
        assert_eq!(get("/at?user=11&group=1").status.as_u16(), 422);
        assert_eq!(get("/at?user=404").status.as_u16(), 422, "the application knows no such user");
        assert_eq!(get("/groups/5").json()["events"][0]["reason"], "split from group `1`: a subsidiary");
        assert_eq!(get("/counts").json()["periods"], json!([{ "period": DECEMBER, "old": 0, "new": 3 }]));

        let audit = api.admin("GET", "/api/v1/audit?subject=change/billing-allocation", "").json();
        let actions: Vec<&str> =
            audit["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["change.split", "change.move"], "{audit}");

        fixture.close_before("2027-01");
        let (status, refused) = post("/moves", &with(json!({ "reason": "late", "side": "old" })));
        assert_eq!((status, refused["code"].as_str()), (409, Some("refused")), "{refused}");
        assert_eq!(get("/counts").json()["periods"], json!([{ "period": DECEMBER, "old": 0, "new": 3 }]));
    });
}
