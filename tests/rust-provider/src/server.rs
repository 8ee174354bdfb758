//! A real `changeover serve` on an SQLite file of its own, with the flags that `changeover conformance` prints.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;

static SERVERS: AtomicU32 = AtomicU32::new(0);

pub struct Server {
    directory: PathBuf,
    more: Vec<String>,
    process: Child,
    address: String,
    token: String,
    flags: HashMap<String, String>,
}

impl Server {
    pub async fn start(more: &[&str]) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("changeover-rust-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
        let (process, address, token) = serve(&directory, "127.0.0.1:0", &more, true);
        let mut server = Self { directory, more, process, address, token, flags: HashMap::new() };
        let printed = changeover(&server.directory).args(["conformance", "--print-flags", "json"]).output().unwrap();
        for flag in serde_json::from_slice::<Vec<serde_json::Value>>(&printed.stdout).unwrap() {
            server.send(Method::POST, "/api/v1/flags", flag.to_string()).await;
            server.flags.insert(flag["key"].as_str().unwrap().to_owned(), flag.to_string());
        }
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// A flag of the set, as JSON.
    pub fn flag(&self, key: &str) -> String {
        self.flags[key].clone()
    }

    /// Replaces a flag of the set.
    pub async fn replace(&self, key: &str, flag: String) {
        self.send(Method::PUT, &format!("/api/v1/flags/{key}"), flag).await;
    }

    async fn send(&self, method: Method, path: &str, body: String) {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.url()));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    pub fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// On the same port.
    pub fn serve_again(&mut self) {
        self.process = serve(&self.directory, &self.address, &self.more, false).0;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn changeover(directory: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::var("CHANGEOVER_BINARY").unwrap());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CHANGEOVER_")) {
        command.env_remove(name);
    }
    command.env("CHANGEOVER_DATABASE_URL", format!("sqlite:{}/service.db", directory.display()));
    command
}

/// Starts a server and reads its address, and the token that only the first start prints.
fn serve(directory: &std::path::Path, address: &str, more: &[String], is_first: bool) -> (Child, String, String) {
    let mut command = changeover(directory);
    command.args(["serve", "--bind", address]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let (mut address, mut token) = (String::new(), String::new());
    while address.is_empty() || (is_first && token.is_empty()) {
        let line = lines.next().expect("the server says where it is").unwrap();
        if let Some((_, after)) = line.split_once("http://") {
            address = after.split([' ', '/']).next().unwrap().to_owned();
        }
        if let Some((_, after)) = line.split_once("only this once: ") {
            token = after.trim().to_owned();
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    (process, address, token)
}
