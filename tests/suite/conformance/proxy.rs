//! A server in front of ours that spoils its answers in one way: the smallest HTTP server that will do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// A request on its way to the server behind.
#[derive(Debug, Clone)]
pub struct Question {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// The answer on its way back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Question {
    pub fn is_bulk(&self) -> bool {
        self.path.split('?').next() == Some("/ofrep/v1/evaluate/flags")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(found, _)| found != name);
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(found, _)| found != name);
    }
}

/// What is done to every answer; it may ask the server behind again, with another question.
pub type Spoil = dyn Fn(&Question, &dyn Fn(&Question) -> Reply) -> Reply + Send + Sync;

/// Starts a spoiling server in front of the one at `behind`; it ends with the test's process. Returns its URL.
pub fn start(behind: &str, spoil: Box<Spoil>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (behind, spoil) = (behind.to_owned(), Arc::new(spoil));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (behind, spoil) = (behind.clone(), Arc::clone(&spoil));
            thread::spawn(move || drop(serve(stream, &behind, &**spoil)));
        }
    });
    url
}

fn serve(stream: TcpStream, behind: &str, spoil: &Spoil) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some(question) = read(&mut reader)? else { return Ok(()) };
    let reply = spoil(&question, &|question| ask(behind, question));
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {} Spoilt\r\n", reply.status)?;
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "connection: close\r\ncontent-length: {}\r\n\r\n{}", reply.body.len(), reply.body)?;
    stream.flush()
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Question>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let question = Question { method, path, headers, body: String::new() };
    let length = question.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Question { body: String::from_utf8(body).unwrap(), ..question }))
}

/// Asks the server behind. Of an event stream only the beginning is passed on: a greeting, as the checks want it.
fn ask(behind: &str, question: &Question) -> Reply {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let uri = format!("{behind}{}", question.path);
    let mut request = ureq::http::Request::builder().method(question.method.as_str()).uri(uri);
    for (name, value) in &question.headers {
        if !["host", "content-length", "connection", "accept-encoding"].contains(&name.as_str()) {
            request = request.header(name, value);
        }
    }
    let mut answer = match question.header("content-length") {
        Some(_) => agent.run(request.body(question.body.clone()).unwrap()).unwrap(),
        None => agent.run(request.body(()).unwrap()).unwrap(),
    };
    let left_out = ["connection", "content-length", "transfer-encoding"];
    let headers = answer.headers().iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let (headers, status): (Vec<_>, u16) = (headers.collect(), answer.status().as_u16());
    let is_stream =
        headers.iter().any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream"));
    let body = if is_stream { greeting(answer.body_mut()) } else { answer.body_mut().read_to_string().unwrap() };
    Reply { status, headers, body }
}

/// What a stream says up to the end of its first event.
fn greeting(body: &mut ureq::Body) -> String {
    let mut lines = String::new();
    let mut has_data = false;
    for line in BufReader::new(body.as_reader()).lines() {
        let Ok(line) = line else { break };
        has_data |= line.starts_with("data:");
        lines.push_str(&line);
        lines.push('\n');
        if has_data && line.is_empty() {
            break;
        }
    }
    lines
}
