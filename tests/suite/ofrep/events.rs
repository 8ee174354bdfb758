//! Event streams on the real server: who may open one, what is sent on it, and how it ends.

use std::process::Command;
use std::time::{Duration, Instant as Clock};

use changeover::primitives::Instant;
use changeover::store::Store;
use changeover::store::stream_tokens::WINDOW_MICROS;
use changeover::store::tokens::{Keyring, token_id};
use serde_json::{Value, json};

use crate::support::{EventSource, Server, TestDatabase, each_database};

const QUICK: [&str; 2] = ["--event-heartbeat-seconds", "1"];

fn start(database: &TestDatabase, arguments: &[&str]) -> Server {
    Server::start_with(database, |command| command.args(QUICK).args(arguments))
}

fn send(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let answer = server.send_as(token, method, path, &headers, Some(body.to_string().as_bytes()));
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

/// Makes a flag, which changes the configuration, and returns the version.
fn change(server: &Server, token: &str, key: &str, rules: Value) -> i64 {
    let flag = json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "default_variant": "off",
                      "off_variant": "off", "rules": rules});
    let (status, made) = send(server, token, "POST", "/api/v1/flags", &flag);
    assert_eq!(status, 201, "{made}");
    made["version"].as_i64().unwrap()
}

/// A token that evaluates, and its id.
fn evaluator(server: &Server) -> String {
    let asked = json!({"name": "browser", "role": "evaluate"});
    let (_, made) = send(server, &server.admin_token(), "POST", "/api/v1/tokens", &asked);
    made["secret"].as_str().unwrap().to_owned()
}

/// Where the bulk answer says that a stream can be opened.
fn offered(server: &Server, token: &str) -> String {
    let (_, all) = send(server, token, "POST", "/ofrep/v1/evaluate/flags", &json!({}));
    let offer = &all["eventStreams"][0];
    assert_eq!((&offer["type"], &offer["inactivityDelaySec"]), (&json!("sse"), &json!(120)), "{all}");
    offer["endpoint"]["requestUri"].as_str().unwrap().to_owned()
}

fn version_in(id: &str) -> i64 {
    id.split('.').next().unwrap().parse().unwrap()
}

#[test]
fn a_client_is_told_of_the_present_at_once_and_of_each_change() {
    each_database(|database| {
        let server = start(&database, &[]);
        let token = evaluator(&server);
        let first = change(&server, &server.admin_token(), "one", json!([]));
        let path = offered(&server, &token);
        let source = EventSource::open(server.url(), &path, &[("Origin", "https://shop.example")]).unwrap();
        for header in [
            "content-type: text/event-stream",
            "cache-control: no-store",
            "x-accel-buffering: no",
            "access-control-allow-origin: *",
        ] {
            assert!(source.head.contains(header), "{header}\n{}", source.head);
        }
        assert!(source.frame().unwrap().starts_with("retry: "));
        let (id, data) = source.event().unwrap();
        assert_eq!((version_in(&id), &data["type"], &data["etag"]), (first, &json!("refetchEvaluation"), &json!(id)));
        assert!(data["lastModified"].is_i64());

        let second = change(&server, &server.admin_token(), "two", json!([]));
        let (id, _) = source.event().unwrap();
        assert_eq!(version_in(&id), second);
        let bulk = format!("/ofrep/v1/evaluate/flags?flagConfigEtag={id}");
        let (status, all) = send(&server, &token, "POST", &bulk, &json!({}));
        assert_eq!((status, &all["metadata"]["configVersion"]), (200, &json!(second)));
    });
}

#[test]
fn who_is_up_to_date_hears_nothing_but_heartbeats_also_from_another_server() {
    each_database(|database| {
        let server = start(&database, &[]);
        let (admin, token) = (server.admin_token(), evaluator(&server));
        change(&server, &admin, "one", json!([]));
        let path = offered(&server, &token);
        let (id, _) = EventSource::open(server.url(), &path, &[]).unwrap().event().unwrap();
        let other = start(&database, &[]);
        drop(server);
        for (path, headers) in
            [(path.clone(), vec![("Last-Event-ID", id.as_str())]), (format!("{path}&lastEventId={id}"), vec![])]
        {
            let source = EventSource::open(other.url(), &path, &headers).unwrap();
            assert!(source.frame().unwrap().starts_with("retry: "));
            assert_eq!(source.frame().as_deref(), Some(":"));
        }
        let source = EventSource::open(other.url(), &path, &[("Last-Event-ID", &id)]).unwrap();
        let second = change(&other, &admin, "two", json!([]));
        assert_eq!(version_in(&source.event().unwrap().0), second);
    });
}

#[test]
fn an_instant_of_a_schedule_is_a_change() {
    each_database(|database| {
        let server = start(&database, &[]);
        let (admin, token) = (server.admin_token(), evaluator(&server));
        let at = Instant::from_micros(now_micros() + 4_000_000);
        let rules = json!([{"serve": {"schedule": [{"from": at, "variant": "on"}]}}]);
        let version = change(&server, &admin, "later", rules);
        let source = EventSource::open(server.url(), &offered(&server, &token), &[]).unwrap();
        let (id, data) = source.event().unwrap();
        assert!(id.starts_with(&format!("{version}.0-")), "{id}");
        let (id, _) = source.event().unwrap();
        assert!(id.starts_with(&format!("{version}.1-")), "{id} after {data}");
        let bulk = format!("/ofrep/v1/evaluate/flags?flagConfigEtag={id}");
        assert_eq!(send(&server, &token, "POST", &bulk, &json!({})).1["flags"][0]["value"], json!(true));
    });
}

fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

#[test]
fn a_stream_ends_with_its_token() {
    each_database(|database| {
        let server = start(&database, &[]);
        let (admin, token) = (server.admin_token(), evaluator(&server));
        let path = offered(&server, &token);
        let source = EventSource::open(server.url(), &path, &[]).unwrap();
        let id = token_id(&token).unwrap();
        send(&server, &admin, "DELETE", &format!("/api/v1/tokens/{id}"), &json!({}));
        source.wait_for_end();
        let refused = EventSource::open(server.url(), &path, &[]).err().unwrap();
        assert!(refused.starts_with("http/1.1 401"), "{refused}");
    });
}

#[test]
fn a_token_for_a_stream_is_short_lived_and_opens_nothing_else() {
    each_database(|database| {
        let server = start(&database, &[]);
        let token = evaluator(&server);
        let keyring = Store::open(database.database()).unwrap().read(Keyring::load).unwrap();
        let signed = |ago: i64| {
            let at = Instant::from_micros(now_micros() - ago);
            format!("/ofrep/v1/events?token={}", keyring.sign_stream(token_id(&token).unwrap(), at).unwrap())
        };
        let status = |path: &str| match EventSource::open(server.url(), path, &[]) {
            Ok(source) => source.head.split(' ').nth(1).unwrap().to_owned(),
            Err(head) => {
                assert!(head.contains("access-control-allow-origin: *"), "{head}");
                head.split(' ').nth(1).unwrap().to_owned()
            }
        };
        let forged = signed(0).replace("token=", "token=0");
        let tampered = format!("{}0", signed(0).trim_end_matches(|c: char| c.is_ascii_hexdigit()));
        for (path, expected) in [
            (signed(0), "200"),
            (signed(WINDOW_MICROS), "200"),
            (signed(3 * WINDOW_MICROS), "401"),
            (signed(-3 * WINDOW_MICROS), "401"),
            (forged, "401"),
            (tampered, "401"),
            (String::from("/ofrep/v1/events?token="), "401"),
            (String::from("/ofrep/v1/events"), "401"),
        ] {
            assert_eq!(status(&path), expected, "{path}");
        }
        let (_, stream_token) =
            offered(&server, &token).split_once("token=").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        for path in ["/ofrep/v1/evaluate/flags", "/api/v1/flags"] {
            assert_eq!(send(&server, &stream_token, "POST", path, &json!({})).0, 401);
        }
        let header = [("Authorization", format!("Bearer {token}"))];
        let header = [(header[0].0, header[0].1.as_str())];
        assert!(EventSource::open(server.url(), "/ofrep/v1/events", &header).is_ok(), "a client that can send headers");
    });
}

#[test]
fn more_streams_than_may_be_are_told_to_come_back() {
    each_database(|database| {
        let server = start(&database, &["--event-streams-max", "2", "--event-streams-per-token", "1"]);
        let (one, other) = (evaluator(&server), evaluator(&server));
        let (of_one, of_other) = (offered(&server, &one), offered(&server, &other));
        let open = |path: &str| EventSource::open(server.url(), path, &[]);
        let first = open(&of_one).unwrap();
        let refused = |path: &str| {
            let head = open(path).err().expect("there is no room");
            assert!(head.starts_with("http/1.1 503"), "{head}");
            let seconds = head.split_once("retry-after: ").unwrap().1.split("\r\n").next().unwrap();
            assert!((5..=15).contains(&seconds.parse::<u64>().unwrap()), "{head}");
            assert!(head.contains("access-control-expose-headers: etag, retry-after"), "{head}");
        };
        refused(&of_one);
        let second = open(&of_other).unwrap();
        refused(&offered(&server, &server.admin_token()));
        drop((first, second));
        let deadline = Clock::now() + Duration::from_secs(30);
        while open(&of_one).is_err() {
            assert!(Clock::now() < deadline, "a place stays taken");
        }
    });
}

#[test]
fn no_streams_are_offered_if_there_are_to_be_none() {
    let server = start(&TestDatabase::sqlite(), &["--event-streams-max", "0"]);
    let (_, all) = send(&server, &server.admin_token(), "POST", "/ofrep/v1/evaluate/flags", &json!({}));
    assert_eq!(all["eventStreams"], Value::Null);
}

#[test]
fn behind_a_proxy_streams_are_offered_where_clients_reach_them() {
    let database = TestDatabase::sqlite();
    let server = start(&database, &["--public-url", "https://flags.example/co/"]);
    let admin = server.admin_token();
    let (_, all) = send(&server, &admin, "POST", "/ofrep/v1/evaluate/flags", &json!({}));
    let url = all["eventStreams"][0]["url"].as_str().unwrap();
    assert!(url.starts_with("https://flags.example/co/ofrep/v1/events?token="), "{url}");
    drop(server);
    for (arguments, expected) in
        [(vec!["--behind-proxy"], "/co/ofrep/v1/events?token="), (vec![], "/ofrep/v1/events?token=")]
    {
        let server = start(&database, &arguments);
        let headers = [("x-forwarded-prefix", "/co/")];
        let all = server.send_as(&admin, "POST", "/ofrep/v1/evaluate/flags", &headers, Some(b"{}"));
        let all: Value = serde_json::from_str(&all.body).unwrap();
        let uri = all["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap();
        assert!(uri.starts_with(expected), "{uri}");
    }
}

#[test]
fn an_open_stream_does_not_hold_up_a_stop() {
    each_database(|database| {
        let mut server = start(&database, &[]);
        let source = EventSource::open(server.url(), &offered(&server, &server.admin_token()), &[]).unwrap();
        source.event().unwrap();
        let sent = Command::new("kill").arg(server.process_id().to_string()).status().unwrap();
        assert!(sent.success());
        source.wait_for_end();
        assert_eq!(server.wait(), Some(0), "{}", server.output());
    });
}

#[test]
fn no_log_has_a_streams_token() {
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, |command| command.env("CHANGEOVER_LOG", "trace").args(QUICK));
    let token = evaluator(&server);
    let path = offered(&server, &token);
    let secret = path.rsplit('.').next().unwrap().to_owned();
    let source = EventSource::open(server.url(), &path, &[]).unwrap();
    source.event().unwrap();
    change(&server, &server.admin_token(), "one", json!([]));
    source.event().unwrap();
    drop(EventSource::open(server.url(), &format!("{path}0"), &[]));
    let metrics = server.send("GET", "/metrics", &[], None).body;
    assert!(metrics.contains("changeover_event_streams 1"), "{metrics}");
    let output = server.output();
    assert!(output.lines().count() > 20, "trace says much: {output}");
    for secret in [secret.as_str(), &token] {
        assert!(!output.contains(secret) && !metrics.contains(secret), "{output}");
    }
}
