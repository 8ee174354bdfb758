//! A real `changeover serve` on a free port, ready before the test goes on, killed when it is dropped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::command::changeover;
use super::database::TestDatabase;

/// A running server. Its lines of stdout and stderr are kept for messages and for what a start prints once.
pub struct Server {
    process: Child,
    url: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server on the service's database, which is the application's as well.
    pub fn start(service: &TestDatabase) -> Self {
        Self::start_with(service, |command| command)
    }

    /// Starts a server whose application has a database of its own.
    pub fn start_with_app(service: &TestDatabase, app: &TestDatabase) -> Self {
        Self::start_with(service, |command| {
            command.env("CHANGEOVER_APP_DATABASE_URL", app.url());
            command
        })
    }

    /// Starts a server with more arguments or variables: `changeover serve --bind 127.0.0.1:0 …`. It is ready when a line of
    /// its output has named its address (`http://127.0.0.1:PORT`) and `/readyz` answers 200.
    pub fn start_with(service: &TestDatabase, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = changeover().service(service).args(["serve", "--bind", "127.0.0.1:0"]).into_command();
        prepare(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the server starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, addresses) = channel();
        follow(process.stdout.take().expect("stdout is piped"), Arc::clone(&lines), sender.clone());
        follow(process.stderr.take().expect("stderr is piped"), Arc::clone(&lines), sender);
        let mut server = Self { process, url: String::new(), lines };
        server.url = server.wait_until_ready(&addresses);
        server
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a path, which begins with a slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Everything that the server has printed so far, in the order in which it was read.
    pub fn output(&self) -> String {
        self.lines.lock().expect("no reader panicked").join("\n")
    }

    /// The admin token that a server prints when it starts on an empty database.
    pub fn admin_token(&self) -> String {
        let output = self.output();
        let after = output.split_once("shown only this once: ").unwrap_or_else(|| panic!("no admin token\n{output}")).1;
        after.split_whitespace().next().expect("a token").to_owned()
    }

    /// Sends a request with the admin token. Whatever the status, there is an answer; no answer at all panics.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        self.send_as(&self.admin_token(), method, path, headers, body)
    }

    /// Sends a request with another token.
    pub fn send_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(self.at(path));
        request = request.header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent = agent(Duration::from_secs(60));
        let answer = match body {
            Some(body) => agent.run(request.body(body).expect("a request")),
            None => agent.run(request.body(()).expect("a request")),
        };
        let mut answer =
            answer.unwrap_or_else(|error| panic!("{method} {path} was not answered: {error}\n{}", self.output()));
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let headers = answer.headers().iter();
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        Answer {
            headers: headers.collect(),
            status: answer.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: answer.body_mut().read_to_string().expect("a body of text"),
        }
    }

    /// Waits for the process to end by itself: its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.process.wait().expect("the process can be waited for").code()
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    fn wait_until_ready(&self, addresses: &Receiver<String>) -> String {
        let limit = Duration::from_secs(60);
        let Ok(url) = addresses.recv_timeout(limit) else {
            panic!("the server named no address\n{}", self.output());
        };
        let agent = agent(Duration::from_secs(5));
        let started = Instant::now();
        loop {
            match agent.get(format!("{url}/readyz")).call() {
                Ok(answer) if answer.status() == 200 => return url,
                answer if started.elapsed() > limit => {
                    panic!("the server never got ready: {answer:?}\n{}", self.output())
                }
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// A port of 127.0.0.1 that nobody listens on now: for a server that cannot be told to choose one itself.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A header's value; names are in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn agent(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(limit)).http_status_as_error(false).build().into()
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Keeps every line, and sends the first address that one names.
fn follow(from: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>, addresses: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let address = address_in(&line);
            if let Ok(mut lines) = lines.lock() {
                lines.push(line);
            }
            if let Some(address) = address {
                drop(addresses.send(address));
            }
        }
    });
}

fn address_in(line: &str) -> Option<String> {
    let (_, after) = line.split_once("http://127.0.0.1:")?;
    let port: String = after.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty() && port != "0").then(|| format!("http://127.0.0.1:{port}"))
}
