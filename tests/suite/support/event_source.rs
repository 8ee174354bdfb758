//! A client of server-sent events that shows all that it is sent: comments too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Long enough for anything that comes at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open stream; closed when it is dropped.
pub struct EventSource {
    pub head: String,
    stream: TcpStream,
    frames: Receiver<String>,
}

impl EventSource {
    /// Connects. Anything but 200 is an error: the answer's head.
    pub fn open(url: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let address = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).expect("the request is sent");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a line") > 0, "no answer\n{head}");
        }
        let head = head.to_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(head);
        }
        let (sender, frames) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            while let Some(chunk) = read_chunk(&mut reader) {
                text.push_str(&chunk);
                while let Some((frame, rest)) = text.split_once("\n\n") {
                    let (frame, rest) = (frame.to_owned(), rest.to_owned());
                    if sender.send(frame).is_err() {
                        return;
                    }
                    text = rest;
                }
            }
        });
        Ok(Self { head, stream, frames })
    }

    /// The next frame, whatever it is; nothing if the stream ends.
    pub fn frame(&self) -> Option<String> {
        match self.frames.recv_timeout(PATIENCE) {
            Ok(frame) => Some(frame),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was sent"),
        }
    }

    /// The next event's id and data; comments and `retry` are passed over. Nothing if the stream ends.
    pub fn event(&self) -> Option<(String, serde_json::Value)> {
        loop {
            let frame = self.frame()?;
            let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                assert_eq!(field("event: ").as_deref(), Some("message"));
                return Some((id, serde_json::from_str(&data).expect("JSON")));
            }
        }
    }

    /// Waits until the server has ended the stream.
    pub fn wait_for_end(&self) {
        while self.frame().is_some() {}
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

fn read_chunk(reader: &mut impl BufRead) -> Option<String> {
    let mut size = String::new();
    reader.read_line(&mut size).ok().filter(|read| *read > 0)?;
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(size);
    String::from_utf8(chunk).ok()
}
