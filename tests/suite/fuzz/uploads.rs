//! Uploads of cohort ids made of everything that files are made of by accident: huge lines, bytes that are not UTF-8, byte order marks, CRLF,
//! numbers, blanks, duplicates, quotes; whole, in pieces, and broken off in the middle. The receipt says exactly what was rejected, and
//! an upload that does not end leaves the old generation serving.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Random, Server, TestDatabase, each_database};

const UPLOADS: usize = 120;

/// An upload and what should become of it, told by whoever made it line by line.
#[derive(Debug, Default)]
struct Sample {
    bytes: Vec<u8>,
    line: u64,
    ids: BTreeSet<String>,
    read: u64,
    rejected: Vec<u64>,
}

impl Sample {
    fn lines(random: &mut Random) -> Self {
        let mut sample = Self { line: 1, ..Self::default() };
        if random.is_one_in(3) {
            sample.bytes.extend_from_slice("\u{feff}".as_bytes());
        }
        for _ in 0..random.below(60) + 1 {
            sample.add_line(random);
        }
        sample.add(b"last", Some("last"));
        sample
    }

    fn add_line(&mut self, random: &mut Random) {
        let number = random.below(50).to_string();
        match random.below(14) {
            0 => self.blank(b""),
            1 => self.blank(b" \t "),
            2 => self.add(&[b'x', 0xff, b'y'], None),
            3 => self.add(b"nul\0inside", None),
            4 => self.add(b"bell\x07", None),
            5 => self.add(&vec![b'a'; 257], None),
            6 => {
                let longest = "b".repeat(256);
                self.add(longest.as_bytes(), Some(&longest));
            }
            7 => {
                let length = 60_000 + random.below(400_000) as usize;
                self.add(&vec![b'z'; length], None);
            }
            8 => self.add(format!("  {number} \r").as_bytes(), Some(&number)),
            9 => self.add(format!("\u{feff}é{number}").as_bytes(), Some(&format!("é{number}"))),
            10 => self.add(format!("\"{number}\",x").as_bytes(), Some(&format!("\"{number}\",x"))),
            11 => self.add("cut \u{e9}".as_bytes().split_last().unwrap().1, None),
            _ => self.add(number.as_bytes(), Some(&number)),
        }
    }

    fn blank(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
        self.line += 1;
    }

    fn add(&mut self, bytes: &[u8], id: Option<&str>) {
        match id {
            Some(id) => {
                self.read += 1;
                self.ids.insert(id.to_owned());
            }
            None => self.rejected.push(self.line),
        }
        self.blank(bytes);
    }
}

#[test]
fn receipts_say_exactly_what_was_rejected() {
    each_database(|database| {
        let server = with_cohort(&database);
        let mut random = Random::new(11);
        for number in 0..UPLOADS {
            let sample = Sample::lines(&mut random);
            let answer = if random.is_one_in(2) {
                let headers = [("content-type", "text/plain")];
                let answer = server.send("PUT", "/api/v1/cohorts/c/ids", &headers, Some(&sample.bytes));
                assert_eq!(answer.status, 200, "{number}: {answer:?}");
                serde_json::from_str(&answer.body).unwrap()
            } else {
                in_pieces(&server, &sample.bytes, &mut random)
            };
            assert_receipt(&answer, &sample, number);
            assert_eq!(exported(&server), sample.ids, "{number}");
        }
    });
}

fn assert_receipt(receipt: &Value, sample: &Sample, number: usize) {
    assert_eq!(receipt["read"], sample.read, "{number}: {receipt}");
    assert_eq!(receipt["ids"], sample.ids.len(), "{number}: {receipt}");
    assert_eq!(receipt["duplicates"], sample.read - sample.ids.len() as u64, "{number}: {receipt}");
    assert_eq!(receipt["rejected"], sample.rejected.len(), "{number}: {receipt}");
    let lines: Vec<u64> =
        receipt["rejections"].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, sample.rejected, "{number}: {receipt}");
}

#[test]
fn an_upload_that_breaks_off_leaves_the_old_generation() {
    each_database(|database| {
        let server = with_cohort(&database);
        let headers = [("content-type", "text/plain")];
        let first = server.send("PUT", "/api/v1/cohorts/c/ids", &headers, Some(b"old\n"));
        assert_eq!(first.status, 200, "{first:?}");
        let before = server.send("GET", "/api/v1/cohorts/c", &[], None).body;
        let mut random = Random::new(5);
        for number in 0..40 {
            let body: String = (0..random.below(40_000) + 2).map(|id| format!("new{id}\n")).collect();
            let sent = random.index(body.len());
            let is_chunked = random.is_one_in(2);
            let length = if is_chunked {
                "transfer-encoding: chunked".into()
            } else {
                format!("content-length: {}", body.len())
            };
            let mut stream = begin(&server, &length);
            let part = &body.as_bytes()[..sent];
            if is_chunked {
                // The last chunk says that it is longer than it is, or the end is missing.
                let more = usize::from(random.is_one_in(2)) * 7;
                drop(write!(stream, "{:x}\r\n", part.len() + more));
                drop(stream.write_all(part));
            } else {
                drop(stream.write_all(part));
            }
            let how = random.below(3);
            match how {
                0 => drop(stream),
                1 => drop(stream.shutdown(Shutdown::Both)),
                _ => {
                    drop(stream.shutdown(Shutdown::Write));
                    let mut answer = String::new();
                    drop(stream.read_to_string(&mut answer));
                    assert!(!answer.starts_with("HTTP/1.1 2"), "{number}: {answer}");
                }
            }
            let now = server.send("GET", "/api/v1/cohorts/c", &[], None).body;
            assert_eq!(now, before, "{number}: {how}");
        }
        assert_eq!(exported(&server), BTreeSet::from([String::from("old")]));
        let taken = server.send("PUT", "/api/v1/cohorts/c/ids", &headers, Some(b"new\n"));
        assert_eq!(taken.status, 200, "and it takes uploads: {taken:?}");
    });
}

#[test]
fn a_killed_server_leaves_the_old_generation() {
    each_database(|database| {
        let server = with_cohort(&database);
        let token = server.admin_token();
        let headers = [("content-type", "text/plain")];
        assert_eq!(server.send("PUT", "/api/v1/cohorts/c/ids", &headers, Some(b"old\n")).status, 200);
        let mut stream = begin(&server, "transfer-encoding: chunked");
        let part: String = (0..100_000).map(|id| format!("new{id}\n")).collect();
        write!(stream, "{:x}\r\n{part}\r\n", part.len()).unwrap();
        drop(server);
        let server = Server::start(&database);
        let answer = server.send_as(&token, "GET", "/api/v1/cohorts/c/ids?format=lines", &[], None);
        assert_eq!(answer.body, "old\n");
    });
}

#[test]
fn a_cohort_that_goes_while_its_ids_come_stays_gone() {
    each_database(|database| {
        let server = with_cohort(&database);
        let mut stream = begin(&server, "transfer-encoding: chunked");
        write!(stream, "4\r\nnew\n\r\n").unwrap();
        assert_eq!(server.send("DELETE", "/api/v1/cohorts/c", &[], None).status, 204);
        write!(stream, "0\r\n\r\n").unwrap();
        let answer = read_answer(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(answer.contains("cohort_not_found"), "{answer}");
        assert_eq!(server.send("GET", "/api/v1/cohorts/c", &[], None).status, 404);
    });
}

#[test]
fn hundreds_of_thousands_are_replaced_and_read_back() {
    each_database(|database| {
        let server = with_cohort(&database);
        let headers = [("content-type", "application/x-ndjson")];
        let body: String = (0..200_000).rev().map(|id| format!("{}\n", id * 3)).collect();
        let answer = server.send("PUT", "/api/v1/cohorts/c/ids", &headers, Some(body.as_bytes()));
        let receipt: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&receipt["added"], &receipt["duplicates"]), (&200_000.into(), &0.into()));
        let found = exported(&server);
        assert_eq!(found.len(), 200_000);
        assert!((0..200_000).step_by(97).all(|id| found.contains(&(id * 3).to_string())));
    });
}

fn with_cohort(database: &TestDatabase) -> Server {
    let server = Server::start(database);
    let headers = [("content-type", "application/json")];
    let created = server.send("POST", "/api/v1/cohorts", &headers, Some(br#"{"name":"c"}"#));
    assert_eq!(created.status, 201, "{created:?}");
    server
}

fn exported(server: &Server) -> BTreeSet<String> {
    let answer = server.send("GET", "/api/v1/cohorts/c/ids?format=lines", &[], None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.lines().map(str::to_owned).collect()
}

/// Begins a replacement on a connection of its own.
fn begin(server: &Server, length: &str) -> TcpStream {
    let address = server.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(
        stream,
        "PUT /api/v1/cohorts/c/ids HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: text/plain\r\n{length}\r\n\r\n",
        server.admin_token()
    )
    .unwrap();
    stream
}

/// The whole upload in chunks of any size, as their borders fall.
fn in_pieces(server: &Server, bytes: &[u8], random: &mut Random) -> Value {
    let mut stream = begin(server, "transfer-encoding: chunked");
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((random.index(20_000) + 1).min(rest.len()));
        write!(stream, "{:x}\r\n", piece.len()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
        rest = after;
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let answer = read_answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// One answer with its body, by its Content-Length.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return text.into_owned();
            }
        }
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0, "closed before the answer ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
}
