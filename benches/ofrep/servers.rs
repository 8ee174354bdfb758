//! The servers, each a process of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use changeover::database::{Database, DatabaseUrl};
use changeover::primitives::{CohortName, FlagKey};
use changeover::store::{Origin, Store, cohorts, flags};
use serde_json::{Value, json};

use super::{BODY, KEY};

/// A running server and the request that is sent to it.
pub struct Server {
    process: Child,
    pub name: String,
    pub address: String,
    pub request: Vec<u8>,
    _directory: Option<tempfile::TempDir>,
}

impl Server {
    /// `changeover serve` on an SQLite file with so many flags. Each has a cohort of 10,000 ids, a clause and a rollout.
    pub fn changeover(count: usize, pinned: Option<usize>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("service.db").display());
        fill(&url, count);
        let mut command = command(env!("CARGO_BIN_EXE_changeover"), pinned);
        command.args(["serve", "--listen", "127.0.0.1:0", "--no-sentinel"]).env("CHANGEOVER_DATABASE_URL", url);
        let (process, found) = start(command, &["http://127.0.0.1:", "shown only this once: "]);
        let ids: String = (0..10_000).map(|number| format!("tester-{number}\n")).collect();
        let upload = ureq::put(format!("http://127.0.0.1:{}/api/v1/cohorts/testers/ids", found[0]));
        let upload =
            upload.header("authorization", format!("Bearer {}", found[1])).header("content-type", "text/plain");
        upload.send(&ids).expect("the API takes it");
        let request = post(&format!("/ofrep/v1/evaluate/flags/{KEY}"), &found[1]);
        let name = format!("changeover serve, {count} flags");
        Self { process, name, address: format!("127.0.0.1:{}", found[0]), request, _directory: Some(directory) }
    }

    /// The same server asked for all flags at once.
    pub fn ask_for_all(&mut self) {
        let head = String::from_utf8_lossy(&self.request).replacen(&format!("/flags/{KEY} "), "/flags ", 1);
        self.request = head.into_bytes();
    }

    /// This program again, as a handler that parses and looks up, and no more.
    pub fn bare(pinned: Option<usize>) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut command = command(own.to_str().unwrap(), pinned);
        command.arg("--bare");
        let (process, found) = start(command, &["http://127.0.0.1:"]);
        let request = post(&format!("/flags/{KEY}"), "any");
        let address = format!("127.0.0.1:{}", found[0]);
        Self { process, name: String::from("bare handler"), address, request, _directory: None }
    }

    /// Unleash Edge in offline mode with so many toggles, each with the same clause and two variants, asked for what a frontend asks.
    pub fn edge(program: &Path, count: usize, pinned: Option<usize>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("toggles.json");
        std::fs::write(&file, toggles(count).to_string()).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = command(program.to_str().unwrap(), pinned);
        command.args(["-p", &port, "-i", "127.0.0.1", "offline", "-w", "1", "-c", "*:development.client"]);
        command.args(["-f", "*:development.frontend", "-b"]).arg(file);
        let (process, _) = start(command, &["listening on: 127.0.0.1:"]);
        let request = "GET /api/frontend?userId=user-4711&plan=pro&country=NZ HTTP/1.1\r\nHost: localhost\r\n\
                       Authorization: *:development.frontend\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
        let (name, address) = (format!("Unleash Edge, {count} toggles"), format!("127.0.0.1:{port}"));
        Self { process, name, address, request: request.as_bytes().to_vec(), _directory: Some(directory) }
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
    let answer = json!({"key": KEY, "value": "new", "variant": "new", "reason": "SPLIT",
                        "metadata": {"flagVersion": 3, "configVersion": 3, "rule": 1, "bucket": 12_345}});
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

fn fill(url: &str, count: usize) {
    let url: DatabaseUrl = url.parse().unwrap();
    let store = Store::open(Database::new(url, 2, Duration::from_secs(10)).unwrap()).unwrap();
    let origin = Origin { actor: "bench", reason: "" };
    store
        .write(|connection| {
            let name = CohortName::new("testers").unwrap();
            cohorts::create(connection, &name, "", origin)?;
            for number in 0..count {
                let key = if number == 0 { KEY.to_owned() } else { format!("flag-{number}") };
                flags::create(connection, &FlagKey::new(&key).unwrap(), &flag(&key).to_string(), origin)?;
            }
            Ok(())
        })
        .unwrap();
}

fn flag(key: &str) -> Value {
    let ranges =
        json!([{"variant": "new", "from": 0, "to": 50_000}, {"variant": "old", "from": 50_000, "to": 100_000}]);
    let paying = json!([{"attribute": "account.plan", "operator": "in", "values": ["pro", "team"]}]);
    json!({"key": key, "type": "string", "variants": {"old": "old", "new": "new"}, "default_variant": "old",
           "off_variant": "old", "rules": [
               {"cohort": "testers", "serve": {"variant": "new"}},
               {"clauses": paying, "serve": {"rollout": {"ranges": ranges}}}]})
}

fn toggles(count: usize) -> Value {
    let variant = |name: &str| {
        json!({"name": name, "weight": 500, "weightType": "variable", "stickiness": "userId",
                                       "payload": {"type": "string", "value": name}})
    };
    let features = (0..count).map(|number| {
        let name = format!("flag-{number}");
        let paying = json!([{"contextName": "plan", "operator": "IN", "values": ["pro", "team"]}]);
        let strategy = json!({"name": "flexibleRollout", "constraints": paying,
                              "parameters": {"rollout": "100", "stickiness": "userId", "groupId": name}});
        json!({"name": name, "type": "release", "enabled": true, "project": "default", "stale": false,
               "strategies": [strategy], "variants": [variant("old"), variant("new")]})
    });
    json!({"version": 2, "features": features.collect::<Vec<_>>()})
}

fn post(path: &str, token: &str) -> Vec<u8> {
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
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
