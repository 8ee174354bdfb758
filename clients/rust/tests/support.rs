//! A server that answers as it is told, the real one with what these tests need of it, and where things are.
#![allow(dead_code, reason = "the measuring program needs less of it than the tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const PATIENCE: Duration = Duration::from_secs(30);
static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub fn corpus(name: &str) -> Value {
    let path = root().join("tests/corpus/v1").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory that goes with it.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("changeover-rust-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One request, and status and body of its answer; each on a connection of its own.
pub fn http(address: &str, method: &str, path: &str, token: &str, content_type: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
    );
    let rest = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    socket.write_all([head, rest].concat().as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default().parse().unwrap();
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    (status, body)
}

fn unchunked(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&after[..size]);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// `changeover serve`, on SQLite unless a database is named.
pub struct RealServer {
    directory: Directory,
    database: String,
    more: Vec<String>,
    process: Mutex<Child>,
    pub address: String,
    pub admin_token: String,
}

impl RealServer {
    pub fn start() -> Self {
        Self::start_with(&[], None, None)
    }

    /// With the example of a video host, its change at the stage `live`.
    pub fn start_with_change() -> Self {
        let server = Self::start_with(&[], None, Some("live"));
        let sides = json!({"old": "old", "new": "new"});
        let flag = json!({"key": "billing-allocation", "type": "string", "variants": sides, "default_variant": "old",
            "off_variant": "old", "rules": []});
        server.request("POST", "/api/v1/flags", &flag);
        server
    }

    pub fn start_with(more: &[&str], database: Option<String>, stage: Option<&str>) -> Self {
        let directory = Directory::new();
        let database = database.unwrap_or_else(|| format!("sqlite:{}", directory.file("service.db").display()));
        if let Some(stage) = stage {
            install(&directory.0, &database, stage);
        }
        let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
        let (process, address, token) = serve(&directory.0, &database, "127.0.0.1:0", &more, true);
        Self { directory, database, more, process: Mutex::new(process), address, admin_token: token }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As a power cut would.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// On the same port.
    pub fn start_again(&self) {
        *self.process.lock().unwrap() = serve(&self.directory.0, &self.database, &self.address, &self.more, false).0;
    }

    /// Status and parsed body of whatever comes.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = http(&self.address, method, path, &self.admin_token, "application/json", &body);
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    pub fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub fn token(&self, role: &str) -> String {
        let made =
            self.request("POST", "/api/v1/tokens", &json!({"name": format!("a {role} of a test"), "role": role}));
        made["secret"].as_str().unwrap().to_owned()
    }

    /// The flags and cohorts of a file of the corpus.
    pub fn load(&self, document: &Value) {
        for cohort in document["cohorts"].as_array().unwrap() {
            let name = cohort["name"].as_str().unwrap();
            self.request("POST", "/api/v1/cohorts", &json!({"name": name}));
            let ids: String =
                cohort["ids"].as_array().unwrap().iter().map(|id| format!("{}\n", id.as_str().unwrap())).collect();
            if !ids.is_empty() {
                let path = format!("/api/v1/cohorts/{name}/ids");
                let (status, text) = http(&self.address, "PUT", &path, &self.admin_token, "text/plain", &ids);
                assert!((200..300).contains(&status), "{path}: {status} {text}");
            }
        }
        for flag in document["flags"].as_array().unwrap() {
            self.request("POST", "/api/v1/flags", flag);
        }
    }

    /// The flags that `changeover conformance` prints.
    pub fn create_flags(&self) {
        let printed = changeover(&self.directory.0, &self.database)
            .args(["conformance", "--print-flags", "json"])
            .output()
            .unwrap();
        for flag in serde_json::from_slice::<Vec<Value>>(&printed.stdout).unwrap() {
            self.request("POST", "/api/v1/flags", &flag);
        }
    }

    /// Makes a text flag serve a value to everybody; what came of it.
    pub fn try_serve(&self, key: &str, value: &str) -> u16 {
        let flag = json!({"key": key, "type": "string", "variants": {"v": value}, "default_variant": "v", "off_variant": "v", "rules": []});
        if self.ask("GET", &format!("/api/v1/flags/{key}"), &Value::Null).0 == 200 {
            self.ask("PUT", &format!("/api/v1/flags/{key}"), &flag).0
        } else {
            self.ask("POST", "/api/v1/flags", &flag).0
        }
    }

    pub fn serve(&self, key: &str, value: &str) {
        let status = self.try_serve(key, value);
        assert!((200..300).contains(&status), "{key}: {status}");
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn changeover(directory: &Path, database: &str) -> Command {
    let binary =
        std::env::var("CHANGEOVER_BINARY").expect("CHANGEOVER_BINARY names the server; clients/rust/test sets it");
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CHANGEOVER_")) {
        command.env_remove(name);
    }
    command.env("CHANGEOVER_DATABASE_URL", database).current_dir(directory).stdin(Stdio::null());
    command
}

fn install(directory: &Path, database: &str, last: &str) {
    let run = |arguments: &[&str]| {
        let done = changeover(directory, database).args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run(&["demo", "load", "--charges", "200"]);
    run(&["change", "install", root().join("examples/video-hosting/change.toml").to_str().unwrap()]);
    for stage in ["dualwrite", "shadow", "live"] {
        run(&["change", "stage", "billing-allocation", stage, "--force", "--reason", "a test"]);
        if stage == "dualwrite" {
            run(&["backfill", "billing-allocation"]);
        }
        if stage == last {
            return;
        }
    }
}

/// Starts a server, reads its address and the token that only the first start prints, and waits until it is ready.
fn serve(directory: &Path, database: &str, address: &str, more: &[String], is_first: bool) -> (Child, String, String) {
    let mut command = changeover(directory, database);
    command.args(["serve", "--listen", address]).args(more).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let (mut address, mut token) = (String::new(), String::new());
    while address.is_empty() || (is_first && token.is_empty()) {
        let line = lines.next().expect("the server says where it is").unwrap();
        if let Some((_, after)) = line.split_once("http://127.0.0.1:") {
            let port: String = after.chars().take_while(char::is_ascii_digit).collect();
            address = format!("127.0.0.1:{port}");
        }
        if let Some(found) = line.split_whitespace().find(|word| word.starts_with("co_") && word.len() > 60) {
            token = found.to_owned();
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    eventually("the server is ready", || http(&address, "GET", "/readyz", "", "", "").0 == 200);
    (process, address, token)
}

/// What a server that is told what to do does.
#[derive(Clone)]
pub enum Told {
    Answer(u16, Vec<(String, String)>, String),
    Closed,
    Silent,
}

impl Told {
    pub fn json(body: &Value) -> Self {
        Self::Answer(200, vec![("Content-Type".into(), "application/json".into())], body.to_string())
    }

    /// Status, headers and body of a case of the corpus.
    pub fn case(case: &Value) -> Self {
        let headers = case["headers"].as_object().into_iter().flatten();
        let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
        Self::Answer(status, headers, case["body"].as_str().unwrap_or_default().to_owned())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

type Teller = dyn Fn(&Seen) -> Told + Send + Sync;

/// Answers with what a function says. Requests are noted.
pub struct FakeServer {
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    is_closed: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    released: Arc<(Mutex<bool>, Condvar)>,
}

impl FakeServer {
    pub fn start(teller: impl Fn(&Seen) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
            is_closed: Arc::default(),
            open: Arc::default(),
            released: Arc::default(),
        };
        let (seen, is_closed) = (Arc::clone(&fake.seen), Arc::clone(&fake.is_closed));
        let (open, released) = (Arc::clone(&fake.open), Arc::clone(&fake.released));
        let teller: Arc<Teller> = Arc::new(teller);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                if is_closed.load(Ordering::Acquire) {
                    return;
                }
                open.lock().unwrap().push(socket.try_clone().unwrap());
                let (seen, teller, released) = (Arc::clone(&seen), Arc::clone(&teller), Arc::clone(&released));
                std::thread::spawn(move || {
                    drop(converse(&socket, &seen, &*teller, &released));
                    let _ = socket.shutdown(Shutdown::Both);
                });
            }
        });
        fake
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        *self.released.0.lock().unwrap() = true;
        self.released.1.notify_all();
        let _ = TcpStream::connect(&self.address);
        for socket in self.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.close();
    }
}

fn converse(
    socket: &TcpStream,
    seen: &Mutex<Vec<Seen>>,
    teller: &Teller,
    released: &(Mutex<bool>, Condvar),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let one = Seen { method, path, headers, body: String::from_utf8(body).unwrap() };
        let told = if one.path.starts_with("/ofrep/v1/events") {
            Told::Answer(503, Vec::new(), String::new())
        } else {
            seen.lock().unwrap().push(one.clone());
            teller(&one)
        };
        match told {
            Told::Closed => return Ok(()),
            Told::Silent => {
                let is_released = released.0.lock().unwrap();
                drop(released.1.wait_timeout_while(is_released, PATIENCE, |is_released| !*is_released));
                return Ok(());
            }
            Told::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                (&*socket).write_all(text.as_bytes())?;
            }
        }
    }
}

/// Passes bytes to an address; can be cut off, and can swallow an answer: `loses` says so for each connection.
pub struct Proxy {
    pub address: String,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn start(target: &str, loses: impl Fn() -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = Self { address, is_cut: Arc::default(), open: Arc::default() };
        let (is_cut, open, target) = (Arc::clone(&proxy.is_cut), Arc::clone(&proxy.open), target.to_owned());
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), false) = (near, is_cut.load(Ordering::Acquire)) else { continue };
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let clone = |socket: &TcpStream| socket.try_clone().unwrap();
                open.lock().unwrap().extend([clone(&near), clone(&far)]);
                let (near2, far2, is_lost) = (clone(&near), clone(&far), loses());
                std::thread::spawn(move || pass(near, far, false));
                std::thread::spawn(move || pass(far2, near2, is_lost));
            }
        });
        proxy
    }

    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        for socket in self.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::Release);
    }
}

fn pass(mut source: TcpStream, mut sink: TcpStream, is_lost: bool) {
    let mut room = [0; 16 << 10];
    while let Ok(found) = source.read(&mut room) {
        if found == 0 || is_lost || sink.write_all(&room[..found]).is_err() {
            break;
        }
    }
    for socket in [source, sink] {
        let _ = socket.shutdown(Shutdown::Both);
    }
}
