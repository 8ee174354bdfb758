//! Secrets stay where they belong: no line of a log at its most talkative, no page, no error and no address shows one.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::dial;
use crate::support::{Server, changeover, each_database};

/// One request of a browser, with everything that came back.
fn browse(server: &Server, method: &str, path: &str, cookies: &str, form: &str) -> String {
    let mut stream = dial(server);
    let (url, host) = (server.url(), server.url().trim_start_matches("http://"));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {url}\r\nCookie: {cookies}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let after = text.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {text}")).1;
    after.split_once(end).unwrap().0
}

/// Signs in and returns the session's secret and the forms' token of the page behind it.
fn sign_in(server: &Server, token: &str) -> (String, String) {
    let form = browse(server, "GET", "/console/sign-in", "", "");
    let visitor = between(&form, "changeover_visitor=", ";").to_owned();
    let csrf = between(&form, "name=\"csrf\" value=\"", "\"");
    let fields = format!("csrf={csrf}&to=&token={token}");
    let answer = browse(server, "POST", "/console/sign-in", &format!("changeover_visitor={visitor}"), &fields);
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    (between(&answer, "changeover_session=", ";").to_owned(), visitor)
}

#[test]
fn nothing_secret_is_logged_shown_or_put_into_an_address() {
    each_database(|database| {
        let server = Server::start_with(&database, |command| command.env("CHANGEOVER_LOG", "trace"));
        let admin = server.admin_token();
        let headers = [("content-type", "application/json")];
        let send = |method: &str, path: &str, body: &str| server.send(method, path, &headers, Some(body.as_bytes()));
        let made = send("POST", "/api/v1/tokens", &json!({ "name": "other", "role": "viewer" }).to_string());
        let made: Value = serde_json::from_str(&made.body).unwrap();
        let (other, other_id) = (made["secret"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap());
        let wrong = format!("{}x", &other[..other.len() - 1]);
        let mut answers = vec![
            server.send_as(&wrong, "GET", "/api/v1/flags", &[], None).body,
            server.send_as(&admin, "GET", "/api/v1/flags", &[("X-API-Key", &other)], None).body,
            send("POST", "/api/v1/tokens", &format!("{{\"name\": \"x\", \"role\": \"{other}\"}}")).status.to_string(),
            send("GET", "/api/v1/tokens", "").body,
            send("GET", &format!("/api/v1/tokens/{other_id}"), "").body,
            send("GET", "/api/v1/audit", "").body,
            send("GET", "/metrics", "").body,
        ];
        let offered: Value =
            serde_json::from_str(&send("POST", "/ofrep/v1/evaluate/flags", r#"{"context": {}}"#).body).unwrap();
        let stream = offered["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap_or_default().to_owned();
        let stream_token = stream.split_once("token=").map(|(_, token)| token.to_owned()).unwrap_or_default();
        assert!(stream_token.len() > 20, "{offered}");
        assert_eq!(super::ask(&server, "GET", &stream, None, ""), Some(200));
        assert!(super::ask(&server, "GET", &format!("{stream}x"), None, "").is_some_and(|status| status >= 400));

        let (session, visitor) = sign_in(&server, &admin);
        let cookies = format!("changeover_session={session}");
        for path in [
            "/console/changes",
            "/console/tokens",
            "/console/audit",
            "/console/settings",
            "/console/cohorts",
            "/console/none",
        ] {
            answers.push(browse(&server, "GET", path, &cookies, ""));
        }
        // A token that is typed where it does not belong is not said back.
        let form = browse(&server, "GET", "/console/sign-in", "", "");
        let fields = format!("csrf={}&to=&token={wrong}", between(&form, "name=\"csrf\" value=\"", "\""));
        let own = format!("changeover_visitor={}", between(&form, "changeover_visitor=", ";"));
        let refused = browse(&server, "POST", "/console/sign-in", &own, &fields);
        assert!(refused.contains("not one of ours"), "{refused}");
        answers.push(refused);
        let csrf = between(&answers[7], "name=\"csrf\" value=\"", "\"").to_owned();
        let out = browse(&server, "POST", "/console/sign-out", &cookies, &format!("csrf={csrf}"));
        assert!(out.starts_with("HTTP/1.1 303"), "{out}");

        // The first start shows the first token, once and on purpose.
        let log = server.output();
        let log: Vec<&str> = log.lines().filter(|line| !line.contains("shown only this once")).collect();
        assert!(log.len() > 50, "it is at its most talkative: {log:?}");
        let secrets = [
            ("admin's token", &admin),
            ("another token", &other),
            ("a wrong token", &wrong),
            ("a session", &session),
            ("a visitor", &visitor),
            ("a form's token", &csrf),
            ("a stream's token", &stream_token),
        ];
        for (what, secret) in secrets {
            for line in &log {
                assert!(!line.contains(secret.as_str()), "{what} is in the log: {line}");
            }
            for answer in &answers {
                let is_its_own = what == "a form's token";
                assert!(is_its_own || !answer.contains(secret.as_str()), "{what} is shown: {answer}");
            }
        }
        let is_logged = |text: &str| log.iter().any(|line| line.contains(text));
        assert!(!is_logged("Authorization: Bearer") && !is_logged("authorization: Bearer"));
    });
}

#[test]
fn a_databases_password_is_never_said() {
    let password = "s3cret-of-the-database";
    let url = format!("postgres://app:{password}@127.0.0.1:1/app?password={password}");
    for arguments in
        [vec!["serve", "--bind", "127.0.0.1:0"], vec!["flag", "list"], vec!["audit", "list"], vec!["migrate"]]
    {
        let run = changeover().env("CHANGEOVER_DATABASE_URL", &url).env("CHANGEOVER_APP_DATABASE_URL", &url);
        let run = run.env("CHANGEOVER_LOG", "trace").args(&arguments).run();
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(!said.contains(password), "{arguments:?}: {said}");
    }
    each_database(|database| {
        // A server that has its password in its setting, shows its settings, and does not show that.
        let server = Server::start_with(&database, |command| command.env("CHANGEOVER_LOG", "debug"));
        let (session, _) = sign_in(&server, &server.admin_token());
        let page = browse(&server, "GET", "/console/settings", &format!("changeover_session={session}"), "");
        let password = database.url().split_once("://").and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':'));
        if let Some((_, password)) = password {
            assert!(!page.contains(password) && !server.output().contains(password), "{page}");
        }
        assert!(page.contains("CHANGEOVER_DATABASE_URL"), "{page}");
    });
}
