//! The console in one process, on both databases, as a browser uses it: with a jar of cookies, and with forms taken from its pages.

mod assignments;
mod audit;
pub mod changes;
mod cohorts;
mod edge;
mod flag_words;
mod flags;
mod guard;
mod live;
pub mod reports;
mod sessions;
mod settings;
mod token_pages;
mod worker_gates;
mod works;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::cookie::Cookie;
use actix_web::http::Method;
use actix_web::test::TestRequest;
use actix_web::{App, test, web};
use changeover::console;
use changeover::http::limits::Limits;
use changeover::http::{AppState, Metrics, configure};
use changeover::jobs::{Leases, Runner, Surroundings, kinds};
use changeover::store::tokens::{self, Role};
use changeover::store::{Memory, Origin, Store};

use crate::support::TestDatabase;

const HOST: &str = "changeover.test";
pub const FILE: &str = include_str!("../../../examples/video-hosting/change.toml");

/// A server with its console, and a token for each role.
pub struct Console {
    state: AppState,
    tokens: Vec<(Role, String)>,
    _runner: Runner,
}

/// What a browser got.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub set_cookies: Vec<String>,
    pub html: String,
}

impl Page {
    pub fn location(&self) -> &str {
        self.headers.get("location").map_or("", String::as_str)
    }

    /// The value of the first hidden field of this name.
    pub fn hidden(&self, name: &str) -> String {
        let begin = format!("name=\"{name}\" value=\"");
        let after = self.html.split_once(&begin).unwrap_or_else(|| panic!("no field {name} in {}", self.html)).1;
        after.split_once('"').unwrap().0.to_owned()
    }

    pub fn has(&self, text: &str) -> bool {
        self.html.contains(text)
    }
}

impl Console {
    pub fn new(database: &TestDatabase) -> Self {
        Self::limited(database, Limits::default())
    }

    pub fn limited(database: &TestDatabase, limits: Limits) -> Self {
        let store = Store::open(database.database()).unwrap();
        let origin = Origin { actor: "test", reason: "" };
        let tokens = Role::ALL.map(|role| {
            (role, store.write(|conn| tokens::create(conn, role.as_str(), role, None, origin)).unwrap().text)
        });
        let leases = Leases::start(store.clone(), Leases::TTL).unwrap();
        let surroundings =
            Surroundings { store: store.clone(), app: database.database(), reports: database.database() };
        let runner = Runner::start(leases, surroundings, kinds()).unwrap();
        let memory = Arc::new(Memory::load(store).unwrap());
        let state = AppState::new(memory, database.database(), Metrics::new(Arc::default()).unwrap()).limited(limits);
        Self { state, tokens: tokens.to_vec(), _runner: runner }
    }

    pub fn token(&self, role: Role) -> &str {
        &self.tokens.iter().find(|(found, _)| *found == role).unwrap().1
    }

    pub fn store(&self) -> &Store {
        self.state.store()
    }

    /// Has the server read what was written past it.
    pub fn refresh(&self) {
        self.state.memory().refresh().unwrap();
    }

    /// Sends one request.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
        self.send_bytes(method, path, headers, body.as_bytes())
    }

    pub fn send_bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Page {
        actix_web::rt::System::new().block_on(async {
            let app = App::new().app_data(web::Data::new(self.state.clone())).configure(configure);
            let app = test::init_service(app.configure(console::configure)).await;
            let mut request = TestRequest::with_uri(path).method(Method::from_bytes(method.as_bytes()).unwrap());
            request = request.peer_addr("127.0.0.1:9".parse().unwrap()).insert_header(("Host", HOST));
            for (name, value) in headers {
                request = request.append_header((*name, *value));
            }
            let answer = test::call_service(&app, request.set_payload(body.to_owned()).to_request()).await;
            let headers = answer.headers().iter();
            let headers = headers.filter(|(name, _)| *name != "set-cookie");
            let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            let set_cookies = answer.headers().get_all("set-cookie").map(|v| v.to_str().unwrap().to_owned()).collect();
            let status = answer.status().as_u16();
            let html = String::from_utf8(test::read_body(answer).await.to_vec()).unwrap();
            Page { status, headers, set_cookies, html }
        })
    }

    /// Sends JSON to the API as an admin.
    pub fn api(&self, method: &str, path: &str, body: &str) -> Page {
        let bearer = format!("Bearer {}", self.token(Role::Admin));
        self.send(method, path, &[("Authorization", &bearer), ("Content-Type", "application/json")], body)
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser { console: self, jar: RefCell::default() }
    }

    /// A browser whose user has signed in.
    pub fn signed_in(&self, role: Role) -> Browser<'_> {
        let browser = self.browser();
        let answer = browser.sign_in(self.token(role), "");
        assert_eq!((answer.status, answer.location()), (303, "/console/changes"), "{}", answer.html);
        browser
    }
}

/// Keeps cookies and says where a form comes from.
pub struct Browser<'c> {
    pub console: &'c Console,
    pub jar: RefCell<BTreeMap<String, String>>,
}

impl Browser<'_> {
    pub fn get(&self, path: &str) -> Page {
        self.sent("GET", path, &[], "")
    }

    /// Sends a form from a page of the console.
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_from(path, fields, &[("Origin", "http://changeover.test")])
    }

    pub fn post_from(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Page {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let headers = [headers, &[("Content-Type", "application/x-www-form-urlencoded")]].concat();
        self.sent("POST", path, &headers, &body.join("&"))
    }

    pub fn sign_in(&self, token: &str, to: &str) -> Page {
        let form = self.get("/console/sign-in");
        self.post("/console/sign-in", &[("csrf", &form.hidden("csrf")), ("to", to), ("token", token)])
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.jar.borrow().get(name).cloned()
    }

    /// What this session's forms carry.
    pub fn csrf(&self) -> String {
        self.get("/console/changes").hidden("csrf")
    }

    fn sent(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let jar: Vec<String> = self.jar.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let jar = jar.join("; ");
        let mut headers = headers.to_vec();
        if !jar.is_empty() {
            headers.push(("Cookie", &jar));
        }
        let page = self.console.send(method, path, &headers, body);
        for set in &page.set_cookies {
            let cookie = Cookie::parse(set.clone()).unwrap();
            if cookie.value().is_empty() {
                self.jar.borrow_mut().remove(cookie.name());
            } else {
                self.jar.borrow_mut().insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
        page
    }
}

/// A value as a form carries it.
pub fn encoded(text: &str) -> String {
    let of =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(of).collect()
}
