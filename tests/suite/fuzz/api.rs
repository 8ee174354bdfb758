//! Requests made from the OpenAPI document itself: mostly what it asks for, here and there something else. Whatever is sent, the
//! answer is no 5xx; a refusal is a problem with a code, and leaves nothing behind.

use std::collections::BTreeMap;

use changeover::database::DatabaseConnection;
use serde_json::{Map, Value, json};

use crate::support::{Random, Server, TestDatabase, each_database};

const REQUESTS: usize = 1_200;

#[test]
fn no_request_breaks_the_server() {
    each_database(|database| {
        let server = Server::start(&database);
        let api = Api::read(&server);
        assert!(api.operations.len() > 15, "the document lists only {} operations", api.operations.len());
        let mut random = Random::new(7);
        let mut connection = database.connection();
        let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
        for _ in 0..REQUESTS {
            let operation = &api.operations[random.index(api.operations.len())];
            let request = api.request(operation, &mut random);
            let before = written(&mut connection);
            let answer = server.send(&request.method, &request.path, &request.headers(), request.body.as_deref());
            *outcomes.entry(answer.status).or_default() += 1;
            assert!(answer.status < 500, "{request:?}\n{answer:?}\n{}", server.output());
            if answer.status >= 400 {
                assert_problem(&request, &answer);
                assert_eq!(
                    before,
                    written(&mut connection),
                    "refused and written all the same: {request:?}\n{answer:?}"
                );
            }
        }
        let of = |from: u16| outcomes.range(from..from + 100).map(|(_, count)| count).sum::<usize>();
        assert!(of(200) > REQUESTS / 20 && of(400) > REQUESTS / 4, "one-sided: {outcomes:?}");
        assert_still_sound(&server);
    });
}

/// Everything that a write leaves in the service's database, by number of rows, and the version of the configuration.
fn written(connection: &mut DatabaseConnection) -> Vec<i64> {
    let tables = ["flags", "cohorts", "cohort_leaves", "tokens", "audit"];
    let count = |table: &str| format!("(SELECT count(*) FROM svc_changeover_{table}) AS {table}");
    let sql = format!("SELECT {}", tables.map(count).join(", "));
    let row = connection.get_row(&sql, &[]).unwrap();
    tables.iter().map(|table| row.integer(table).unwrap()).collect()
}

fn assert_problem(request: &Request, answer: &crate::support::Answer) {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {request:?}\n{answer:?}"));
    let code = if request.path.starts_with("/ofrep/") { "errorCode" } else { "code" };
    // OFREP knows no error code for a token that is missing or too weak, and bulk evaluation has none for the path itself.
    if body.get(code).and_then(Value::as_str).is_none_or(str::is_empty) && body.get("code").is_none() {
        panic!("a refusal without a {code}: {request:?}\n{answer:?}");
    }
    if code == "code" {
        assert_eq!(answer.content_type, "application/problem+json", "{request:?}\n{answer:?}");
        assert_eq!(body["status"].as_u64(), Some(u64::from(answer.status)), "{request:?}\n{answer:?}");
    }
}

fn assert_still_sound(server: &Server) {
    let get = |path: &str| server.send("GET", path, &[], None);
    assert_eq!(get("/readyz").status, 200);
    let verification = get("/api/v1/audit/verification");
    assert_eq!(verification.status, 200, "{verification:?}");
    let bulk = server.send(
        "POST",
        "/ofrep/v1/evaluate/flags",
        &[("content-type", "application/json")],
        Some(br#"{"context":{"targetingKey":"1"}}"#),
    );
    assert_eq!(bulk.status, 200, "{bulk:?}");
}

struct Api {
    document: Value,
    operations: Vec<Operation>,
}

struct Operation {
    method: String,
    path: String,
    body: Option<Value>,
    content_type: String,
}

#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    content_type: Option<String>,
    if_match: Option<String>,
    body: Option<Vec<u8>>,
}

impl Request {
    fn headers(&self) -> Vec<(&str, &str)> {
        let content_type = self.content_type.as_deref().map(|value| ("content-type", value));
        content_type.into_iter().chain(self.if_match.as_deref().map(|value| ("if-match", value))).collect()
    }
}

impl Api {
    fn read(server: &Server) -> Self {
        let answer = server.send("GET", "/openapi.json", &[], None);
        let document: Value = serde_json::from_str(&answer.body).expect("the OpenAPI document");
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                if !["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                    continue;
                }
                let content = operation["requestBody"]["content"].as_object().and_then(|content| content.iter().next());
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    body: content.map(|(_, media)| media["schema"].clone()),
                    content_type: content.map_or_else(String::new, |(name, _)| name.clone()),
                });
            }
        }
        Self { document, operations }
    }

    fn request(&self, operation: &Operation, random: &mut Random) -> Request {
        let mut path = String::new();
        for part in operation.path.split('/').skip(1) {
            path.push('/');
            if part.starts_with('{') {
                path.push_str(&percent_encoded(&text(random)));
            } else {
                path.push_str(part);
            }
        }
        if random.is_one_in(6) {
            path.push_str(&format!(
                "?limit={}&cursor={}",
                percent_encoded(&text(random)),
                percent_encoded(&text(random))
            ));
        }
        let has_body = ["POST", "PUT", "PATCH"].contains(&operation.method.as_str());
        Request {
            method: operation.method.clone(),
            path,
            content_type: (has_body && !random.is_one_in(25)).then(|| operation.content_type.clone()),
            if_match: random
                .is_one_in(2)
                .then(|| ["*", "\"1\"", "\"2\"", "1", "W/\"x\"", ""][random.index(6)].to_owned()),
            body: has_body.then(|| self.body(operation, random)),
        }
    }

    fn body(&self, operation: &Operation, random: &mut Random) -> Vec<u8> {
        let schema = operation.body.clone().unwrap_or(Value::Null);
        if operation.content_type.starts_with("text/") {
            return format!("1\n 2 \n\n1\n{}\n", text(random)).into_bytes();
        }
        let is_flag = operation.path.ends_with("/flags") || operation.path.ends_with("/flags/{key}");
        let value =
            if is_flag && !random.is_one_in(4) { nearly_a_flag(random) } else { self.value(&schema, random, 0) };
        let mut bytes = value.to_string().into_bytes();
        match random.index(14) {
            0 => bytes.truncate(random.index(bytes.len().max(1))),
            1 => bytes = vec![0xff, 0xfe, b'{', 0x80],
            2 => bytes = "[".repeat(5_000).into_bytes(),
            3 => bytes.clear(),
            4 => bytes.extend_from_slice(b"{}"),
            _ => {}
        }
        bytes
    }

    /// A value that fits the schema, but for one in ten somewhere inside.
    fn value(&self, schema: &Value, random: &mut Random, depth: usize) -> Value {
        if depth > 12 || random.is_one_in(12) {
            return junk(random);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.document.pointer(reference.trim_start_matches('#')).expect("a schema that exists");
            return self.value(target, random, depth + 1);
        }
        for choice in ["oneOf", "anyOf", "enum"] {
            if let Some(choices) = schema[choice].as_array().filter(|choices| !choices.is_empty()) {
                let chosen = &choices[random.index(choices.len())];
                return if choice == "enum" { chosen.clone() } else { self.value(chosen, random, depth + 1) };
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut whole = Map::new();
            for part in parts {
                whole.extend(self.value(part, random, depth + 1).as_object().cloned().unwrap_or_default());
            }
            return Value::Object(whole);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) if !kinds.is_empty() => kinds[random.index(kinds.len())].clone(),
            kind => kind.clone(),
        };
        match kind.as_str() {
            Some("object") => self.object(schema, random, depth),
            Some("array") => {
                Value::Array((0..random.index(4)).map(|_| self.value(&schema["items"], random, depth + 1)).collect())
            }
            Some("string") => json!(text(random)),
            Some("integer") => json!(random.below(200_000) as i64 - 5),
            Some("number") => json!(random.below(1_000) as f64 / 10.0),
            Some("boolean") => json!(random.is_one_in(2)),
            Some("null") => Value::Null,
            _ => junk(random),
        }
    }

    fn object(&self, schema: &Value, random: &mut Random, depth: usize) -> Value {
        let mut object = Map::new();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_wanted = required.contains(&name.as_str()) || random.is_one_in(2);
            if is_wanted && !random.is_one_in(30) {
                object.insert(name.clone(), self.value(property, random, depth + 1));
            }
        }
        if schema["additionalProperties"].is_object() {
            for _ in 0..random.index(3) {
                object.insert(text(random), self.value(&schema["additionalProperties"], random, depth + 1));
            }
        }
        Value::Object(object)
    }
}

/// A flag that can be stored, or one with a single value somewhere inside that is something else.
fn nearly_a_flag(random: &mut Random) -> Value {
    let mut flag = json!({
        "key": "beta", "type": "string", "variants": {"old": "the old way", "new": "the new way"},
        "default_variant": "old", "off_variant": "old", "enabled": true,
        "rules": [
            {"clauses": [{"attribute": "plan", "operator": "equals", "value": "gold"}], "serve": {"variant": "new"}},
            {"serve": {"rollout": {
                "algorithm": "murmur3_32", "seed": "s", "bucket_by": "targetingKey",
                "ranges": [{"variant": "new", "from": 0, "to": 10_000}, {"variant": "old", "from": 10_000, "to": 100_000}],
            }}},
        ],
    });
    if random.is_one_in(2) {
        flag["rules"].as_array_mut().expect("rules").pop();
    }
    if random.is_one_in(3) {
        return flag;
    }
    let mut at = &mut flag;
    loop {
        let len = at.as_object().map(Map::len).or_else(|| at.as_array().map(Vec::len)).unwrap_or(0);
        if len == 0 || random.is_one_in(4) {
            *at = junk(random);
            return flag;
        }
        let nth = random.index(len);
        at = match at {
            Value::Object(object) => object.values_mut().nth(nth).expect("a value"),
            other => &mut other[nth],
        };
    }
}

fn text(random: &mut Random) -> String {
    const TEXTS: [&str; 28] = [
        "a",
        "b",
        "on",
        "off",
        "old",
        "new",
        "beta",
        "beta",
        "beta",
        "gold-users",
        "billing-allocation",
        "1",
        "42",
        "boolean",
        "string",
        "2026-11-22T10:00:00Z",
        "admin",
        "evaluate",
        "",
        " ",
        "\u{0}",
        "\u{202e}rtl",
        "Ünïcödé",
        "../../x",
        "'; DROP TABLE x; --",
        "a\nb",
        "99999999999999999999",
        "%00",
    ];
    if random.is_one_in(40) { "x".repeat(10_000) } else { TEXTS[random.index(TEXTS.len())].to_owned() }
}

fn junk(random: &mut Random) -> Value {
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(0.1),
        json!(text(random)),
        json!([]),
        json!({}),
        json!([[[[null]]]]),
        json!({"$ref": "#/x", "key": "beta"}),
    ];
    values[random.index(values.len())].clone()
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[test]
fn a_refused_write_is_seen() {
    // What the test above rests on: a write that is taken is seen in the rows that it counts.
    each_database(|database: TestDatabase| {
        let server = Server::start(&database);
        let mut connection = database.connection();
        let before = written(&mut connection);
        let body = br#"{"name":"beta"}"#;
        let answer = server.send("POST", "/api/v1/cohorts", &[("content-type", "application/json")], Some(body));
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_ne!(before, written(&mut connection));
    });
}
