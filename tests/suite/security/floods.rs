//! Bodies and heads without end, and clients that take all the time in the world: each is refused or cut off, and all others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use changeover::store::tokens::Role;
use serde_json::Value;

use super::access::filled;
use super::{ask, dial, status};
use crate::console::Console;
use crate::support::{Server, TestDatabase, each_database};

/// What answers while it reads, line by line, and so holds little of a body however long it is.
const READ_BY_LINES: &str = "/api/v1/changes/{name}/assignments/query";

fn server(database: &TestDatabase) -> Server {
    Server::start_with(database, |command| command.args(["--slow-client-seconds", "1"]))
}

fn is_served(server: &Server) -> bool {
    ask(server, "GET", "/healthz", None, "") == Some(200)
}

/// The most memory that the server has had, in bytes.
fn memory_max(server: &Server) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = told.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

#[test]
fn a_body_that_says_it_is_huge_is_413_wherever_one_is_read() {
    each_database(|database| {
        let server = Server::start(&database);
        let token = server.admin_token();
        let document: Value = serde_json::from_str(&server.send("GET", "/openapi.json", &[], None).body).unwrap();
        let mut wrong = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let Some(kinds) = operation["requestBody"]["content"].as_object() else { continue };
                if path == READ_BY_LINES {
                    continue;
                }
                let (verb, at) = (method.to_uppercase(), filled(path));
                let kind = kinds.keys().next().unwrap();
                let mut stream = dial(&server);
                let head = format!(
                    "{verb} {at} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: 3000000000\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                let status = status(&mut stream).unwrap_or(0);
                if status != 413 {
                    wrong.push(format!("{verb} {path}: {status}"));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
    });
}

#[test]
fn a_body_that_does_not_say_how_long_it_is_takes_little_memory() {
    each_database(|database| {
        let server = Server::start(&database);
        let token = server.admin_token();
        let before = memory_max(&server);
        let paths = [
            "/api/v1/flags",
            "/api/v1/flags/x/preview",
            "/api/v1/changes/x/verify",
            "/api/v1/imports",
            "/ofrep/v1/evaluate/flags",
        ];
        for path in paths {
            let mut stream = dial(&server);
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let piece = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
            // It stops reading long before this has gone out.
            let sent = (0..300).take_while(|_| stream.write_all(&piece).is_ok()).count();
            let status = status(&mut stream);
            assert!(sent < 300 || status.is_some_and(|status| status >= 400), "{path}: {sent} MiB, {status:?}");
        }
        let grown = memory_max(&server) - before;
        assert!(grown < 400 << 20, "{} MiB more", grown >> 20);
        assert!(is_served(&server));
    });
}

#[test]
fn forms_of_the_console_have_a_limit_as_well() {
    each_database(|database| {
        let console = Console::new(&database);
        let admin = console.signed_in(Role::Admin);
        let (csrf, large) = (admin.csrf(), "x".repeat(2 << 20));
        for path in ["/console/cohorts", "/console/tokens", "/console/sign-out"] {
            let page = admin.post(path, &[("csrf", &csrf), ("name", &large)]);
            assert!(page.status == 413 && page.has("holds too much"), "{path}: {}", page.status);
        }
        let visitor = console.browser();
        let csrf = visitor.get("/console/sign-in").hidden("csrf");
        assert_eq!(visitor.post("/console/sign-in", &[("csrf", &csrf), ("token", &large)]).status, 413);
    });
}

#[test]
fn a_flood_of_headers_is_refused_and_the_next_request_is_served() {
    each_database(|database| {
        let server = Server::start(&database);
        let many: String = (0..20_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let heads = [
            ("many headers", format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n")),
            ("a long header", format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(4 << 20))),
            ("a long name", format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}: x\r\n\r\n", "x".repeat(4 << 20))),
            ("a long path", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(4 << 20))),
            (
                "a long cookie",
                format!("GET /console HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "a=b; ".repeat(1 << 20)),
            ),
            ("no HTTP", "\0\u{1}".repeat(1 << 20)),
        ];
        for (what, head) in heads {
            let mut stream = dial(&server);
            // The server may close before all has gone out.
            drop(stream.write_all(head.as_bytes()));
            let status = status(&mut stream);
            assert!([None, Some(400), Some(414), Some(431)].contains(&status), "{what}: {status:?}");
            assert!(is_served(&server), "{what}");
        }
    });
}

/// Sends a byte now and then until the server answers or hangs up: the status, if it gave one.
fn drip(stream: &mut TcpStream) -> Option<u16> {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) => break,
            Err(error) if [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut].contains(&error.kind()) => {
                if stream.write_all(b"x").is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
        if head.ends_with(b"\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&head).split(' ').nth(1)?.parse().ok()
}

#[test]
fn slow_clients_are_cut_off_and_stop_nobody() {
    each_database(|database| {
        let server = server(&database);
        let token = server.admin_token();
        let heads: Vec<TcpStream> = (0..200)
            .map(|_| {
                let mut stream = dial(&server);
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
                stream
            })
            .collect();
        assert!(is_served(&server), "while they hold their connections");
        for mut stream in heads {
            let status = drip(&mut stream);
            assert!([None, Some(408)].contains(&status), "{status:?}");
        }
        let bodies = [
            ("POST", "/api/v1/flags", "application/json"),
            ("POST", "/api/v1/flags/x/preview", "application/json"),
            ("POST", "/api/v1/changes/x/verify", "application/json"),
            ("POST", "/ofrep/v1/evaluate/flags", "application/json"),
            ("PUT", "/api/v1/cohorts/c/ids", "text/plain"),
            ("POST", "/console/sign-in", "application/x-www-form-urlencoded"),
            ("GET", "/healthz", "text/plain"),
        ];
        assert_eq!(ask(&server, "POST", "/api/v1/cohorts", Some(&token), r#"{"name": "c"}"#), Some(201));
        for (method, path, kind) in bodies {
            let mut stream = dial(&server);
            let origin = server.url();
            let host = origin.trim_start_matches("http://");
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: 100000\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let status = drip(&mut stream);
            let is_fine = if path == "/healthz" {
                status == Some(200)
            } else {
                status.is_none_or(|status| (400..500).contains(&status))
            };
            assert!(is_fine, "{method} {path}: {status:?}");
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let ended = stream.read_to_end(&mut Vec::new());
            let is_cut = !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(is_cut, "{method} {path}: the connection is kept for a body that does not come");
        }
        assert!(is_served(&server));
    });
}
