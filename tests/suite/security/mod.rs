//! What people who wish us ill try: paths without a token or with too small a role, stored texts that want to be script, bodies and heads
//! without end, slow clients, and secrets in places where they do not belong.

mod access;
mod floods;
mod secrets;
mod stored_texts;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::Server;

/// A connection on which a test says what it likes. It waits for an answer for a minute.
fn dial(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// The status of the answer that comes next; nothing if the connection ends without one.
fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8_lossy(&head).split(' ').nth(1)?.parse().ok()
}

/// Sends one request and reads no more than the status of its answer, which may never end.
fn ask(server: &Server, method: &str, path: &str, token: Option<&str>, body: &str) -> Option<u16> {
    let mut stream = dial(server);
    // At the edge a token is shown in a header of its own, since the other one is the visitor's.
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\nX-Changeover-Token: {token}\r\n"));
    let token = token.unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{token}{kind}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    status(&mut stream)
}
