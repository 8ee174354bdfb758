//! The server as a process: first token, a taken port, a graceful stop, and a change that another process makes.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Server, TestDatabase, changeover, each_database};

#[test]
fn the_first_start_prints_one_admin_token_and_it_works() {
    each_database(|database| {
        let server = Server::start(&database);
        let output = server.output();
        let token = output.split_whitespace().find(|word| word.starts_with("co_")).unwrap().to_owned();
        assert_eq!(get(&server, "/api/v1/tokens", &token)["items"][0]["name"], "first admin");
        drop(server);
        let server = Server::start(&database);
        assert!(!server.output().contains("co_"), "only the first start prints one:\n{}", server.output());
        assert_eq!(get(&server, "/readyz", "")["status"], "ready");
    });
}

#[test]
fn what_another_process_writes_arrives() {
    each_database(|database| {
        let server = Server::start(&database);
        let flag = r#"{"key":"a","type":"boolean","variants":{"on":true,"off":false},"default_variant":"on","off_variant":"off"}"#;
        changeover().service(&database).args(["flag", "create", "-"]).input(flag).run().expect_code(0);
        let started = Instant::now();
        while get(&server, "/readyz", "")["version"] != 1 {
            assert!(started.elapsed() < Duration::from_secs(30), "it never arrived");
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_taken_port_is_said_so() {
    let database = TestDatabase::sqlite();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = changeover().service(&database).args(["serve", "--bind", &address]).run().expect_code(2);
    assert!(run.stderr.contains(&format!("{address} is taken by another program")), "{run}");
}

#[test]
fn sigterm_and_sigint_stop_it_with_exit_code_0() {
    for signal in ["TERM", "INT"] {
        let database = TestDatabase::sqlite();
        let command = changeover().service(&database).args(["serve", "--bind", "127.0.0.1:0"]).into_command();
        let mut child =
            { command }.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut lines = std::io::BufRead::lines(stdout).map_while(Result::ok);
        let line = lines.find(|line| line.contains("serves http://")).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        // An answer means that the signals are watched.
        ureq::get(format!("{url}/readyz")).call().unwrap();
        let id = child.id().to_string();
        assert!(Command::new("kill").args([format!("-{signal}"), id]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

fn get(server: &Server, path: &str, token: &str) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.get(server.at(path)).header("X-API-Key", token).call().unwrap();
    response.body_mut().read_json().unwrap()
}
