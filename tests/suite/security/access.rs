//! Every path of the API and of the console, without a token and with each role. Both lists are the program's own, so a path that is new is
//! asked like all others: what is not named here as an exception takes `viewer` to be read and `admin` for everything else.

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::ask;
use crate::console::{Browser, Console};
use crate::support::{Server, each_database};

/// What anybody may ask.
const OPEN: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"];

/// Where another role is enough than the method says.
const ROLES: &[(&str, &str, Role)] = &[
    ("post", "/api/v1/flags/{key}/preview", Role::Viewer),
    ("post", "/api/v1/flags/{key}/explain", Role::Viewer),
    ("post", "/api/v1/changes/{name}/assignments/query", Role::Evaluate),
    ("post", "/api/v1/changes/{name}/observations", Role::Evaluate),
    ("post", "/api/v1/flags/{key}/observations", Role::Evaluate),
    ("post", "/api/v1/changes/{name}/writes", Role::Write),
    ("get", "/api/v1/changes/{name}/writes", Role::Write),
    ("post", "/api/v1/gates/{worker}/lease", Role::Evaluate),
    ("post", "/api/v1/gates/{worker}/lease/heartbeat", Role::Evaluate),
    ("post", "/api/v1/gates/{worker}/lease/release", Role::Evaluate),
    ("get", "/api/v1/gates/{worker}", Role::Evaluate),
    ("get", "/edge/{change}", Role::Evaluate),
    ("post", "/ofrep/v1/evaluate/flags", Role::Evaluate),
    ("post", "/ofrep/v1/evaluate/flags/{key}", Role::Evaluate),
];

/// `/api/v1/cohorts/{name}` with something that is a name, a number or a period.
pub fn filled(path: &str) -> String {
    let values = [
        ("{generation}", "1"),
        ("{version}", "1"),
        ("{rule}", "0"),
        ("{kind}", "verify"),
        ("{period}", "2026-11"),
        ("{file}", "charges.csv"),
    ];
    let path = values.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    path.split('/').map(|part| if part.starts_with('{') { "nobody" } else { part }).collect::<Vec<_>>().join("/")
}

fn needed(method: &str, path: &str) -> Role {
    let found = ROLES.iter().find(|(found, at, _)| *found == method && *at == path);
    found.map_or(if method == "get" { Role::Viewer } else { Role::Admin }, |(_, _, role)| *role)
}

/// Every method and path of the server's own description, and OFREP's, which its own specification describes.
fn operations(server: &Server) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&server.send("GET", "/openapi.json", &[], None).body).unwrap();
    let mut all: Vec<(String, String)> = ROLES
        .iter()
        .filter(|(_, path, _)| path.starts_with("/ofrep"))
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    for (path, methods) in document["paths"].as_object().unwrap() {
        all.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    assert!(all.len() > 120, "{all:?}");
    all
}

#[test]
fn no_path_is_open_and_no_role_exceeds_itself() {
    each_database(|database| {
        let server = Server::start_with(&database, |command| command.args(["--auth-failures-per-second", "0"]));
        let tokens = Role::ALL.map(|role| {
            let body = json!({ "name": role.as_str(), "role": role }).to_string();
            let headers = [("content-type", "application/json")];
            let made = server.send("POST", "/api/v1/tokens", &headers, Some(body.as_bytes()));
            let made: Value = serde_json::from_str(&made.body).unwrap();
            (role, made["secret"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned())
        });
        let mut wrong = Vec::new();
        for (method, path) in operations(&server) {
            let (verb, at) = (method.to_uppercase(), filled(&path));
            let body = if method == "get" || method == "delete" { "" } else { "{}" };
            let is_open = OPEN.contains(&path.as_str());
            for token in [None, Some("nothing.of-ours")] {
                let status = ask(&server, &verb, &at, token, body).unwrap_or(0);
                if (status == 401) == is_open {
                    wrong.push(format!("{verb} {path} with {token:?}: {status}"));
                }
            }
            let needed = needed(&method, &path);
            for (role, token) in &tokens {
                let status = ask(&server, &verb, &at, Some(token), body).unwrap_or(0);
                let may = is_open || role.covers(needed);
                if (status == 403) == may || status == 401 || status == 500 {
                    wrong.push(format!(
                        "{verb} {path} as {role}, which {}: {status}",
                        if may { "may" } else { "may not" }
                    ));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
    });
}

/// Every path of the console, with whether it takes a form.
fn pages() -> Vec<(String, bool)> {
    let routes = include_str!("../../../src/console/routes.rs");
    let lines = routes.lines().filter_map(|line| line.trim().strip_prefix(".service(path(\""));
    let pages = lines.map(|line| {
        let path = line.split_once('"').unwrap().0;
        (filled(&format!("/console{path}")), line.contains(".post("))
    });
    let pages: Vec<(String, bool)> = pages.collect();
    assert!(pages.len() > 40, "{pages:?}");
    pages
}

#[test]
fn no_page_is_open_and_no_role_exceeds_itself_in_the_console() {
    each_database(|database| {
        let console = Console::new(&database);
        let (viewer, admin) = (console.signed_in(Role::Viewer), console.signed_in(Role::Admin));
        let sent = |browser: &Browser<'_>, path: &str| {
            let csrf = browser.csrf();
            browser.post(path, &[("csrf", &csrf), ("reason", "because"), ("seen", "1")]).status
        };
        for (path, takes_a_form) in pages() {
            let is_for_all =
                ["/console/sign-in", "/console/sign-out"].contains(&path.as_str()) || path.contains("/assets/");
            if is_for_all {
                continue;
            }
            let nobody = console.browser();
            let shown = nobody.get(&path);
            // What only sends on to another page shows nothing: that page asks who one is.
            let home = ["/console", "/console/", "/console/all-gates/pause", "/console/all-gates/resume"];
            let goes_up = shown.location().starts_with("/console/") && path.starts_with(shown.location());
            let goes_on = home.contains(&path.as_str()) || goes_up;
            let is_kept = shown.location().starts_with("/console/sign-in") || goes_on;
            assert!(shown.status == 303 && is_kept, "{path}: {} {}", shown.status, shown.location());
            if takes_a_form {
                let answer = nobody.post(&path, &[("csrf", "x")]);
                assert_eq!((answer.status, answer.location()), (303, "/console/sign-in"), "{path}");
                // A form with a file has another shape, so this one is not read at all.
                let refused = if path.ends_with("/upload") { 400 } else { 403 };
                assert_eq!(sent(&viewer, &path), refused, "{path}");
                assert_ne!(sent(&admin, &path), 403, "{path}");
            }
            let (seen, all) = (viewer.get(&path).status, admin.get(&path).status);
            assert!(seen < 500 && all < 500 && ![401, 403].contains(&all), "{path}: {seen} {all}");
        }
        for role in [Role::Evaluate, Role::Write] {
            let browser = console.browser();
            let refused = browser.sign_in(console.token(role), "");
            assert!(refused.status == 422 && browser.cookie("changeover_session").is_none(), "{role}");
        }
    });
}
