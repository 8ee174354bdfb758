//! Flags against the real server: killed, restarted, slow; many threads; changes; the disk.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::support::{Directory, FakeServer, RealServer, Told, eventually};
use crate::{Client, Context, ErrorCode, Reason, Stage};

fn server() -> RealServer {
    let server = RealServer::start();
    server.create_flags();
    server
}

fn client(server: &RealServer) -> Client {
    Client::new(server.url(), &server.admin_token).unwrap()
}

fn connected(client: &Client) {
    eventually("a stream is open", || client.inner().flags.has_stream());
}

#[test]
fn a_change_is_seen_within_a_second() {
    let server = server();
    server.serve("news", "old");
    let client = client(&server);
    let contexts: Vec<Context> = (0..20).map(|number| Context::new(number.to_string())).collect();
    let seen = || contexts.iter().map(|context| client.string("news", "?", context)).collect::<HashSet<_>>();
    assert_eq!(seen(), HashSet::from(["old".to_owned()]));
    connected(&client);
    let heard = Arc::new(AtomicU32::new(0));
    let hears = Arc::clone(&heard);
    client.on_change(move || {
        hears.fetch_add(1, Ordering::Relaxed);
    });
    for value in ["new", "newer"] {
        server.serve("news", value);
        let until = Instant::now() + Duration::from_secs(1);
        while seen() != HashSet::from([value.to_owned()]) {
            assert!(Instant::now() < until, "the change is not seen after a second");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(heard.load(Ordering::Relaxed) >= 2);
    // Nobody needs to ask: what was used lately is renewed at once.
    server.serve("news", "newest");
    let kept = |context: &Context| client.inner().flags.find(context).unwrap().items["news"]["value"].clone();
    eventually("the renewal", || contexts.iter().all(|context| kept(context) == "newest"));
    let details = client.details("news", "?".to_owned(), &contexts[0]);
    assert_eq!((details.reason, details.error_code), (Reason::Static, None));
}

#[test]
fn an_idle_context_is_asked_anew_after_a_change() {
    let server = server();
    server.serve("idle", "old");
    let client = client(&server);
    assert_eq!(client.string("idle", "?", "1"), "old");
    connected(&client);
    let flags = &client.inner().flags;
    let idle = flags.find("1").unwrap().aged(65.0);
    flags.put("1", idle);
    let told = flags.changes_told();
    server.serve("idle", "new");
    eventually("the change is told", || flags.changes_told() > told);
    assert_eq!(client.string("idle", "?", "1"), "new");
}

#[test]
fn without_events_an_answer_is_renewed_when_it_is_old() {
    let server = server();
    server.serve("ageing", "old");
    let client = Client::builder()
        .url(server.url())
        .token(&server.admin_token)
        .events(false)
        .max_age(Duration::from_millis(200))
        .build()
        .unwrap();
    assert_eq!(client.string("ageing", "?", 1), "old");
    server.serve("ageing", "new");
    eventually("the new value", || client.string("ageing", "?", 1) == "new");
    assert_eq!(client.details_now("ageing", "?".to_owned(), 1).value, "new");
}

#[test]
fn ten_thousand_evaluations_from_fifty_threads() {
    let server = server();
    let client = client(&server);
    let ask =
        |number: u64| (0..200).filter(|n| client.boolean("conformance-boolean", false, (number + n) % 40)).count();
    let right: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50).map(|number| scope.spawn(move || ask(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((right, client.inner().flags.kept_count_and_bytes().0), (10_000, 40));
}

#[test]
fn threads_that_need_the_same_answer_make_one_request() {
    let fake = FakeServer::start(|_| {
        std::thread::sleep(Duration::from_millis(200));
        Told::json(&json!({"flags": [{"key": "f", "value": "v", "variant": "x", "reason": "STATIC"}]}))
    });
    let client = Client::builder().url(fake.url()).token("co_x").events(false).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert_eq!(client.string("f", "?", "1"), "v"));
        }
    });
    assert_eq!(fake.seen().len(), 1);
    assert_eq!(fake.seen()[0].header("authorization"), Some("Bearer co_x"));
}

#[test]
fn what_is_kept_is_bounded() {
    let server = server();
    let client = Client::builder().url(server.url()).token(&server.admin_token).contexts_max(10).build().unwrap();
    for number in 0..50 {
        assert!(client.boolean("conformance-boolean", false, number));
    }
    let (count, bytes, sum) = client.inner().flags.kept_count_and_bytes();
    assert_eq!((count, bytes), (10, sum));
}

#[test]
fn a_server_that_is_killed_and_restarted() {
    let server = RealServer::start();
    server.serve("f", "first");
    let client = client(&server);
    assert_eq!(client.string("f", "?", "1"), "first");
    connected(&client);
    server.kill();
    eventually("the stream's end", || !client.inner().flags.has_stream());
    assert_eq!(client.string("f", "?", "1"), "first");
    let details = client.details("f", "?".to_owned(), "somebody else");
    assert_eq!(
        (details.value.as_str(), details.reason, details.error_code),
        ("?", Reason::Error, Some(ErrorCode::ProviderNotReady))
    );
    let flags = &client.inner().flags;
    let old = flags.find("1").unwrap().aged(100.0);
    flags.put("1", old);
    let details = client.details("f", "?".to_owned(), "1");
    assert_eq!((details.value.as_str(), details.reason, details.error_code), ("first", Reason::Stale, None));
    server.start_again();
    server.serve("f", "second");
    eventually("the new value", || client.string("f", "?", "1") == "second");
    eventually("the new value for others", || client.string("f", "?", "somebody else") == "second");
}

#[test]
fn a_start_without_the_server_serves_what_is_on_disk() {
    let server = RealServer::start();
    server.serve("f", "first");
    let directory = Directory::new();
    let path = directory.file("state.json");
    let client = || Client::builder().url(server.url()).token(&server.admin_token).state_path(&path).build().unwrap();
    let context = Context::new("1").with("secret", "s3cret");
    let first = client();
    assert_eq!(first.string("f", "?", &context), "first");
    first.close();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!std::fs::read_to_string(&path).unwrap().contains("s3cret"));
    server.kill();
    let away = client();
    let details = away.details("f", "?".to_owned(), &context);
    assert_eq!((details.value.as_str(), details.reason, details.error_code), ("first", Reason::Stale, None));
    assert_eq!(away.string("f", "?", "2"), "?");
    drop(away);
    server.start_again();
    assert_eq!(client().details("f", "?".to_owned(), &context).reason, Reason::Static);
    let elsewhere = r#"{"format": 1, "url": "http://elsewhere", "contexts": {}, "stages": {}}"#;
    for broken in ["", "{", "[]", r#"{"format": 1}"#, elsewhere] {
        std::fs::write(&path, broken).unwrap();
        assert_eq!(client().string("f", "?", "1"), "first", "{broken}");
    }
}

#[test]
fn what_is_known_is_written_without_a_close() {
    let server = RealServer::start();
    server.serve("f", "first");
    let directory = Directory::new();
    let path = directory.file("state.json");
    let client = Client::builder().url(server.url()).token(&server.admin_token).state_path(&path).build().unwrap();
    assert_eq!(client.string("f", "?", "1"), "first");
    eventually("the file", || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("first")));
}

#[test]
fn a_server_that_hangs_costs_one_caller_one_timeout() {
    let fake = FakeServer::start(|_| Told::Silent);
    let client = Client::builder()
        .url(fake.url())
        .token("co_x")
        .timeout(Duration::from_millis(500))
        .events(false)
        .build()
        .unwrap();
    let began = Instant::now();
    let details = client.details("f", true, "1");
    assert_eq!((details.value, details.error_code), (true, Some(ErrorCode::ProviderNotReady)));
    assert!((400..5000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    let server = &client.inner().flags.server;
    server.set_until(f64::INFINITY);
    for number in 0..1000 {
        assert!(client.boolean("f", true, number));
    }
    assert_eq!(fake.seen().len(), 1);
    server.set_until(0.0);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let client = &client;
            scope.spawn(move || assert!(client.boolean("f", true, number)));
        }
    });
    assert_eq!(fake.seen().len(), 2);
}

/// A server for one connection after the other.
fn raw(
    connections: usize,
    answer: impl Fn(&mut std::net::TcpStream) -> std::io::Result<()> + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().take(connections).flatten() {
            drop(answer(&mut socket));
        }
    });
    url
}

#[test]
fn a_server_that_answers_drop_by_drop_is_given_up_in_time() {
    let url = raw(1, |socket| {
        for byte in [&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"[..], &b"X: y\r\n".repeat(100)].concat() {
            socket.write_all(&[byte])?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    let client =
        Client::builder().url(url).token("co_x").timeout(Duration::from_millis(500)).events(false).build().unwrap();
    let began = Instant::now();
    assert_eq!(client.details("f", true, "1").error_code, Some(ErrorCode::ProviderNotReady));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn half_an_answer_is_none() {
    for half in
        ["Content-Length: 100\r\n\r\n{\"flags\":[]}", "Transfer-Encoding: chunked\r\n\r\nc\r\n{\"flags\":[]}\r\n"]
    {
        let url = raw(2, move |socket| {
            let _ = socket.read(&mut [0; 65536])?;
            socket.write_all(format!("HTTP/1.1 200 OK\r\n{half}").as_bytes())
        });
        let client = Client::builder().url(url).token("co_x").events(false).build().unwrap();
        assert_eq!(client.details("f", true, "1").error_code, Some(ErrorCode::ProviderNotReady), "{half}");
    }
}

#[test]
fn answers_of_every_shape_are_read() {
    let body = r#"{"flags":[{"key":"f","value":true}]}"#;
    let (one, rest) = body.split_at(10);
    let shapes = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!("HTTP/1.0 200 OK\r\n\r\n{body}"),
        format!("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200\r\nConnection: close\r\n\r\n{body}"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na;x=y\r\n{one}\r\n{:X}\r\n{rest}\r\n0\r\nT: x\r\n\r\n",
            rest.len()
        ),
    ];
    for shape in shapes {
        let sent = shape.clone();
        let url = raw(1, move |socket| {
            let _ = socket.read(&mut [0; 65536])?;
            socket.write_all(sent.as_bytes())
        });
        let client = Client::builder().url(url).token("co_x").events(false).build().unwrap();
        assert!(client.boolean("f", false, "1"), "{shape}");
    }
}

#[test]
fn a_rate_limit_is_heeded() {
    let server = RealServer::start_with(&["--rate-limit-per-second", "5", "--rate-limit-burst", "40"], None, None);
    server.serve("f", "first");
    let client = Client::builder().url(server.url()).token(&server.admin_token).events(false).build().unwrap();
    let codes: Vec<_> = (0..60).map(|number| client.details("f", "?".to_owned(), number).error_code).collect();
    assert_eq!((codes[0], codes[59]), (None, Some(ErrorCode::ProviderNotReady)));
    eventually("the limit's end", || client.string("f", "?", "later") == "first");
}

#[test]
fn a_wrong_token_is_told_and_breaks_nothing() {
    let server = server();
    let client = Client::new(server.url(), "co_wrong").unwrap();
    let details = client.details("conformance-boolean", false, "1");
    assert_eq!((details.value, details.reason, details.error_code), (false, Reason::Error, Some(ErrorCode::General)));
    assert!(details.error_message.unwrap().contains("401"));
}

#[test]
fn contexts() {
    let server = server();
    let client = client(&server);
    for wrong in [json!([]), json!(1.5), json!(true)] {
        let details = client.details("conformance-boolean", false, &wrong);
        assert_eq!((details.value, details.error_code), (false, Some(ErrorCode::InvalidContext)), "{wrong}");
        assert!(!client.details_now("conformance-boolean", false, wrong).value);
    }
    let nested = json!({"targetingKey": "1", "n": {"b": [1, null]}});
    for context in [json!(null), json!({}), json!("1"), json!(1), json!("Zoë \u{1f600}\n"), nested] {
        assert!(client.boolean("conformance-boolean", false, context));
    }
    assert!(client.boolean("conformance-boolean", false, ()));
    let ordered: Context = [("b", json!(1)), ("a", json!({"y": 1, "x": [{"d": 1, "c": "\""}]}))].into_iter().collect();
    assert_eq!(&**ordered.identity().unwrap(), r#"{"a":{"x":[{"c":"\"","d":1}],"y":1},"b":1}"#);
    assert_eq!(Context::from("1"), Context::new("1"));
    assert_eq!(Context::from("a\"b\\\n"), json!({"targetingKey": "a\"b\\\n"}).into());
    assert_eq!(Context::from(1), json!({"targetingKey": 1}).into());
    assert_ne!(Context::from("1"), Context::from(1));
    assert_eq!(Context::new("1").with("plan", "pro"), Context::of(&json!({"plan": "pro", "targetingKey": "1"})));
}

#[test]
fn settings_that_make_no_sense_are_told_at_once() {
    let usual = || Client::builder().url("http://127.0.0.1:1").token("co_x");
    assert!(usual().build().is_ok());
    let wrong = [
        usual().url(""),
        usual().url("flags.example.com"),
        usual().url("ftp://x"),
        usual().token("a b"),
        usual().token("a\nb"),
    ];
    for wrong in wrong.into_iter().chain([usual().timeout(Duration::ZERO)]) {
        assert!(wrong.build().is_err());
    }
    #[cfg(not(feature = "tls"))]
    assert!(usual().url("https://x").build().unwrap_err().to_string().contains("`tls`"));
}

#[test]
fn after_close_the_kept_answers_serve() {
    let server = server();
    let client = client(&server);
    assert!(client.boolean("conformance-boolean", false, "1"));
    client.close();
    client.close();
    assert!(client.boolean("conformance-boolean", false, "1"));
    let _: bool = client.boolean("conformance-boolean", false, "2");
    assert_eq!(client.object("conformance-nothing", Map::new(), "1"), Map::new());
    assert_ne!(Value::Object(client.object("conformance-object", Map::new(), "1")), json!({}));
    assert_eq!("live".parse(), Ok(Stage::Live));
}
