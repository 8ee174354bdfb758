//! A server whose database is away: flags go on, and the rest says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::support::{Directory, Proxy, RealServer, eventually};
use crate::{Client, Operation, Side};

/// A PostgreSQL of its own.
struct Postgres {
    directory: Directory,
    programs: PathBuf,
    port: u16,
}

fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin")).filter(|path| path.join("initdb").exists()).collect();
    found.sort();
    found.pop().unwrap_or_default()
}

impl Postgres {
    fn start() -> Self {
        let directory = Directory::new();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let postgres = Self { directory, programs: programs(), port };
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(&postgres.directory.0).status().unwrap().success());
        }
        let data = postgres.directory.file("data");
        postgres.run("initdb", &["-D", data.to_str().unwrap(), "-U", "postgres", "-A", "trust", "-N"]);
        let place = postgres.directory.0.display();
        let options =
            format!("-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -c unix_socket_directories={place}");
        let log = postgres.directory.file("log");
        postgres
            .run("pg_ctl", &["-D", data.to_str().unwrap(), "-l", log.to_str().unwrap(), "-w", "-o", &options, "start"]);
        postgres
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let path = self.programs.join(program);
        let mut command = if is_root() {
            // PostgreSQL refuses to be root.
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", path.to_str().unwrap()]);
            command
        } else {
            Command::new(path)
        };
        command
            .args(arguments)
            .current_dir(&self.directory.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{program} {arguments:?}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.directory.file("data");
        self.run("pg_ctl", &["-D", data.to_str().unwrap(), "-m", "immediate", "stop"]);
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

#[test]
fn flags_go_on_without_the_database_and_the_rest_says_so() {
    if !Path::new("/usr/lib/postgresql").exists() && Command::new("initdb").arg("--version").output().is_err() {
        println!("PostgreSQL is not here: NOT TESTED");
        return;
    }
    let postgres = Postgres::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", postgres.port), || false);
    let server = RealServer::start_with(&[], Some(format!("postgres://postgres@{}/postgres", proxy.address)), None);
    server.serve("f", "v");
    let client = Client::new(server.url(), &server.admin_token).unwrap();
    assert_eq!(client.string("f", "?", "1"), "v");
    proxy.cut();
    let details = client.details_now("f", "?".to_owned(), "another");
    assert_eq!((details.value.as_str(), details.error_code), ("v", None));
    assert_eq!(client.string("f", "?", "one more"), "v");
    let mut hasty = Client::builder()
        .url(server.url())
        .token(&server.admin_token)
        .timeout(Duration::from_millis(500))
        .events(false);
    hasty.sleep = Arc::new(|_| {});
    let hasty = hasty.build().unwrap();
    let error =
        hasty.writes("billing-allocation").run(&[Operation::insert("users", json!({"name": "A"}))]).unwrap_err();
    assert!(error.is_retried(), "{error}");
    assert_eq!(hasty.sides("billing-allocation").of_or(7, Side::Old), Side::Old);
    proxy.mend();
    eventually("the database is back", || server.try_serve("f", "w") < 300);
    eventually("the new value", || client.string("f", "?", "1") == "w");
    drop(client);
    drop(server);
}
