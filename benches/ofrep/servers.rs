//! The two servers, each a process of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use super::{BODY, KEY};

/// A running server and the request that is sent to it.
pub struct Server {
    process: Child,
    pub address: String,
    pub request: Vec<u8>,
    _directory: Option<tempfile::TempDir>,
}

impl Server {
    /// `changeover serve` on an SQLite file, with a flag that has a cohort of 10,000 ids and a rollout.
    pub fn changeover(pinned: Option<usize>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_changeover"), pinned);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.env("CHANGEOVER_DATABASE_URL", format!("sqlite:{}", directory.path().join("service.db").display()));
        let (process, found) = start(command, &["http://127.0.0.1:", "shown only this once: "]);
        let (address, token) = (found[0].clone(), found[1].clone());
        let send = |method, path: &str, kind: &str, body: &str| {
            let request =
                ureq::http::Request::builder().method(method).uri(format!("http://127.0.0.1:{address}{path}"));
            let request = request.header("authorization", format!("Bearer {token}")).header("content-type", kind);
            ureq::run(request.body(body).unwrap()).expect("the API takes it")
        };
        send("POST", "/api/v1/cohorts", "application/json", r#"{"name":"testers"}"#);
        let ids: String = (0..10_000).map(|number| format!("tester-{number}\n")).collect();
        send("PUT", "/api/v1/cohorts/testers/ids", "text/plain", &ids);
        send("POST", "/api/v1/flags", "application/json", &flag().to_string());
        let request = request(&format!("/ofrep/v1/evaluate/flags/{KEY}"), &token);
        Self { process, address: format!("127.0.0.1:{address}"), request, _directory: Some(directory) }
    }

    /// This program again, as a handler that parses and looks up, and no more.
    pub fn bare(pinned: Option<usize>) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut command = command(own.to_str().unwrap(), pinned);
        command.arg("--bare");
        let (process, found) = start(command, &["http://127.0.0.1:"]);
        let request = request(&format!("/flags/{KEY}"), "any");
        Self { process, address: format!("127.0.0.1:{}", found[0]), request, _directory: None }
    }

    /// The CPU time that the process has used so far, in clock ticks of 10 ms.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|tick| tick.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The bare server: the same framework, the same parser, the same size of answer.
pub fn be_bare() {
    let answer =
        json!({"key": KEY, "value": "new", "reason": "SPLIT", "variant": "new", "metadata": {"flagVersion": 3}});
    let answers: HashMap<String, String> = HashMap::from([(KEY.to_owned(), answer.to_string())]);
    let answers = web::Data::new(answers);
    async fn handle(
        answers: web::Data<HashMap<String, String>>,
        key: web::Path<String>,
        body: web::Json<Value>,
    ) -> HttpResponse {
        match (body.get("context"), answers.get(&*key)) {
            (Some(_), Some(answer)) => HttpResponse::Ok().content_type("application/json").body(answer.clone()),
            _ => HttpResponse::NotFound().finish(),
        }
    }
    actix_web::rt::System::new().block_on(async move {
        let app = move || App::new().app_data(answers.clone()).route("/flags/{key}", web::post().to(handle));
        let server = HttpServer::new(app).bind(("127.0.0.1", 0)).unwrap();
        println!("http://{}", server.addrs()[0]);
        server.run().await.unwrap();
    });
}

fn flag() -> Value {
    let ranges =
        json!([{"variant": "new", "from": 0, "to": 10_000}, {"variant": "old", "from": 10_000, "to": 100_000}]);
    let paying = json!([{"attribute": "account.plan", "operator": "in", "values": ["pro", "team"]}]);
    json!({"key": KEY, "type": "string", "variants": {"old": "old", "new": "new"}, "default_variant": "old",
           "off_variant": "old", "rules": [
               {"cohort": "testers", "serve": {"variant": "new"}},
               {"clauses": paying, "serve": {"rollout": {"ranges": ranges}}}]})
}

fn request(path: &str, token: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n\
         User-Agent: bench\r\nAccept: */*\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    [head.as_bytes(), BODY.as_bytes()].concat()
}

/// The program, kept to all cores but the last where the load is pinned to that one.
fn command(program: &str, pinned: Option<usize>) -> Command {
    match pinned {
        Some(last) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &format!("0-{}", last - 1), program]);
            command
        }
        None => Command::new(program),
    }
}

/// Starts a server, and waits for the words that follow each of `marks` in what it prints.
fn start(mut command: Command, marks: &[&str]) -> (Child, Vec<String>) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("RUST_LOG", "warn");
    let mut process = command.spawn().expect("the server starts");
    let (sender, lines) = std::sync::mpsc::channel();
    let outputs: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(process.stdout.take().unwrap()), Box::new(process.stderr.take().unwrap())];
    for output in outputs {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
    }
    let mut found: Vec<Option<String>> = vec![None; marks.len()];
    let deadline = Instant::now() + Duration::from_secs(60);
    while found.iter().any(Option::is_none) {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).expect("the server names its address");
        for (mark, found) in marks.iter().zip(&mut found) {
            if let Some((_, after)) = line.split_once(mark) {
                let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                found.get_or_insert_with(|| after.chars().take_while(is_part).collect());
            }
        }
    }
    (process, found.into_iter().flatten().collect())
}
