//! The API in one process, on both databases: stories, roles, and what malformed requests must never do.

mod assignments;
mod changes;
mod cohorts;
mod flags;
mod jobs;
mod malformed;
mod metrics;
mod reference;
mod story;
mod worker_gates;
mod writes;

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use actix_web::{App, test, web};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::http::{AppState, Metrics, configure};
use changeover::jobs::{Leases, Runner, Surroundings, kinds};
use changeover::store::tokens::{self, Role};
use changeover::store::{Memory, Origin, Store};
use serde_json::Value;

use crate::support::TestDatabase;

/// The paths of the service on a test's database, with a token for each role.
pub struct Api {
    state: AppState,
    tokens: Vec<(Role, String)>,
    _runner: Option<Runner>,
}

/// A request that is to be sent.
pub struct Call<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub token: Option<&'a str>,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub kind: String,
    pub etag: Option<String>,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Api {
    /// With jobs, as a server does them.
    pub fn new(database: &TestDatabase) -> Self {
        let api = Self::without_jobs(database);
        let leases = Leases::start(api.state.store().clone(), Leases::TTL).unwrap();
        let surroundings =
            Surroundings { store: api.state.store().clone(), app: database.database(), reports: database.database() };
        Self { _runner: Some(Runner::start(leases, surroundings, kinds()).unwrap()), ..api }
    }

    /// A server whose jobs stay queued.
    pub fn without_jobs(database: &TestDatabase) -> Self {
        let store = Store::open(database.database()).unwrap();
        let origin = Origin { actor: "test", reason: "" };
        let tokens = Role::ALL.map(|role| {
            (role, store.write(|conn| tokens::create(conn, role.as_str(), role, None, origin)).unwrap().text)
        });
        let memory = Arc::new(Memory::load(store).unwrap());
        let state = AppState::new(memory, database.database(), Metrics::new(Arc::default()).unwrap());
        Self { state, tokens: tokens.to_vec(), _runner: None }
    }

    pub fn token(&self, role: Role) -> &str {
        &self.tokens.iter().find(|(found, _)| *found == role).unwrap().1
    }

    /// Sends requests one after the other to one app.
    pub fn send_all(&self, calls: &[Call<'_>]) -> Vec<Reply> {
        actix_web::rt::System::new().block_on(async {
            let app = App::new().app_data(web::Data::new(self.state.clone())).configure(configure);
            let app = test::init_service(app).await;
            let mut replies = Vec::new();
            for call in calls {
                let Some(request) = request(call) else { continue };
                let reply = match test::try_call_service(&app, request.to_request()).await {
                    Ok(response) => reply(response).await,
                    Err(error) => {
                        let status = error.as_response_error().status_code();
                        Reply { status, kind: String::new(), etag: None, location: None, body: Vec::new() }
                    }
                };
                replies.push(reply);
            }
            replies
        })
    }

    /// Sends JSON as an admin.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers = [("Content-Type", "application/json")];
        self.send(&Call {
            method,
            path,
            token: Some(self.token(Role::Admin)),
            headers: &headers,
            body: body.as_bytes(),
        })
    }

    pub fn send(&self, call: &Call<'_>) -> Reply {
        self.send_all(std::slice::from_ref(call)).remove(0)
    }
}

impl Clone for Call<'_> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// Nothing for what no HTTP client could send.
fn request(call: &Call<'_>) -> Option<TestRequest> {
    let uri: actix_web::http::Uri = call.path.parse().ok()?;
    let method = Method::from_bytes(call.method.as_bytes()).ok()?;
    let mut request = TestRequest::default().method(method).uri(&uri.to_string()).set_payload(call.body.to_vec());
    if let Some(token) = call.token {
        request = request.insert_header(("Authorization", format!("Bearer {token}")));
    }
    for (name, value) in call.headers {
        request = request.insert_header((*name, *value));
    }
    Some(request)
}

async fn reply<B: MessageBody>(response: ServiceResponse<B>) -> Reply {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, kind, etag) = (response.status(), header("content-type").unwrap_or_default(), header("etag"));
    let location = header("location");
    let body = actix_web::body::to_bytes(response.into_body()).await.map_err(|_| "body").unwrap().to_vec();
    Reply { status, kind, etag, location, body }
}

/// Every row of every table of the service, as text.
pub fn dump(connection: &mut DatabaseConnection) -> String {
    let sql = match connection.dialect() {
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'svc!_%' ESCAPE '!' ORDER BY name"
        }
        Dialect::Postgres => {
            "SELECT tablename AS name FROM pg_tables WHERE tablename LIKE 'svc!_%' ESCAPE '!' ORDER BY name"
        }
    };
    let names = connection.query(sql, &[]).unwrap();
    let mut text = String::new();
    for name in names.iter().map(|row| row.text("name").unwrap()) {
        let mut rows: Vec<String> = connection
            .query(&format!("SELECT * FROM {name}"), &[])
            .unwrap()
            .iter()
            .map(|row| format!("{row:?}"))
            .collect();
        rows.sort();
        text.push_str(&format!("{name}\n{}\n", rows.join("\n")));
    }
    text
}
