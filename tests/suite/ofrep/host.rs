//! A server that has nothing but the two endpoints, over a snapshot that the test swaps as it likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpServer, web};
use arc_swap::ArcSwap;
use changeover::flags::{
    Cohort, Context, Evaluation, Failure, Flag, Served, Snapshot, SnapshotFlag, VersionedFlag, Why,
};
use changeover::http::events::{StreamSettings, Streams};
use changeover::http::ofrep::{Denied, Host, Prepared, routes};
use changeover::primitives::{ChangeName, CohortName, Instant};
use prometheus::IntCounter;
use serde_json::Value;
use tokio::sync::watch;

/// The token that the server takes.
pub const TOKEN: &str = "secret";

/// What the handlers see.
pub struct TestHost {
    prepared: ArcSwap<Prepared>,
    versions: watch::Sender<i64>,
    now: AtomicI64,
    stale_since: AtomicI64,
    evaluations: IntCounter,
    streams: Arc<Streams>,
    /// What `eventStreams` says; nothing if it is empty.
    pub offer: ArcSwap<String>,
}

impl TestHost {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            versions: watch::Sender::new(snapshot.version()),
            prepared: ArcSwap::from_pointee(Prepared::new(Arc::new(snapshot))),
            now: AtomicI64::new(0),
            stale_since: AtomicI64::new(0),
            evaluations: IntCounter::new("evaluations", "all of them").unwrap(),
            streams: Arc::new(Streams::new(StreamSettings::default())),
            offer: ArcSwap::default(),
        }
    }

    pub fn set_now(&self, micros: i64) {
        self.now.store(micros, Ordering::Relaxed);
    }

    /// With 0 the answers are fresh.
    pub fn set_stale_since(&self, micros: i64) {
        self.stale_since.store(micros, Ordering::Relaxed);
    }
}

impl Host for TestHost {
    fn prepared(&self) -> Arc<Prepared> {
        self.prepared.load_full()
    }

    fn versions(&self) -> watch::Receiver<i64> {
        self.versions.subscribe()
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.now.load(Ordering::Relaxed))
    }

    fn stale_since(&self, _now: Instant) -> Option<Instant> {
        let micros = self.stale_since.load(Ordering::Relaxed);
        (micros > 0).then(|| Instant::from_micros(micros))
    }

    fn counter(&self, _flag: &str, _variant: &str) -> IntCounter {
        self.evaluations.clone()
    }

    fn streams(&self) -> Option<&Arc<Streams>> {
        Some(&self.streams)
    }

    fn offer(&self, _request: &HttpRequest) -> Option<String> {
        Some(self.offer.load().to_string()).filter(|offer| !offer.is_empty())
    }

    fn authorize_stream(&self, request: &HttpRequest) -> Result<String, Denied> {
        self.authorize(request).map(|()| String::from("test"))
    }

    fn is_stream_allowed(&self, _token_id: &str) -> bool {
        true
    }

    fn authorize(&self, request: &HttpRequest) -> Result<(), Denied> {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let token =
            header("authorization").and_then(|value| value.strip_prefix("Bearer ")).or_else(|| header("x-api-key"));
        match token {
            Some(TOKEN) => Ok(()),
            Some("busy") => Err(Denied {
                status: StatusCode::TOO_MANY_REQUESTS,
                details: String::from("slow down"),
                retry_after: Some(std::time::Duration::from_millis(10)),
            }),
            Some(_) | None => {
                let details = String::from("send a token");
                Err(Denied { status: StatusCode::UNAUTHORIZED, details, retry_after: None })
            }
        }
    }

    /// Users whose key is even are on the new side.
    fn route<'s>(
        &self,
        _snapshot: &Snapshot,
        flag: &'s SnapshotFlag,
        _change: &ChangeName,
        context: &Context,
    ) -> Evaluation<'s> {
        match context.targeting_key().and_then(|key| key.parse::<u64>().ok()) {
            Some(user) => {
                let variant = flag.flag().find_variant(if user % 2 == 0 { "new" } else { "old" }).unwrap();
                Evaluation::Served(Served { flag, variant, why: Why::Assigned })
            }
            None => Evaluation::Failed(Failure::General(String::from("no such user"))),
        }
    }
}

/// A running server; stopped when it is dropped.
pub struct TestServer {
    pub host: web::Data<TestHost>,
    url: String,
    handle: ServerHandle,
}

/// What came back: a body that is not JSON is `null`.
pub struct Reply {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestServer {
    pub fn start(snapshot: Snapshot) -> Self {
        let host = web::Data::new(TestHost::new(snapshot));
        let (sender, receiver) = channel();
        let data = host.clone();
        thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).service(routes::<TestHost>());
                let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
                let address = server.addrs()[0];
                let server = server.run();
                sender.send((format!("http://{address}"), server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (url, handle) = receiver.recv().unwrap();
        Self { host, url, handle }
    }

    pub fn swap(&self, snapshot: Snapshot) {
        let version = snapshot.version();
        self.host.prepared.store(Arc::new(Prepared::new(Arc::new(snapshot))));
        self.host.versions.send_replace(version);
    }

    /// How many flags have been evaluated since this was last asked.
    pub fn evaluations(&self) -> u64 {
        let count = self.host.evaluations.get();
        self.host.evaluations.reset();
        count
    }

    /// Sends a request with the token.
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send("POST", path, &[("authorization", &format!("Bearer {TOKEN}"))], body.as_ref())
    }

    /// Sends a bulk request with the token and a tag.
    pub fn bulk(&self, query: &str, tag: &str, body: &Value) -> Reply {
        let headers = [("x-api-key", TOKEN), ("if-none-match", tag)];
        self.send("POST", &format!("/ofrep/v1/evaluate/flags{query}"), &headers, body.to_string().as_bytes())
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let config = ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
        let agent: ureq::Agent = config.build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status: response.status().as_u16(), headers: response.headers().clone(), text, json }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

/// A snapshot of flags as JSON, all of the snapshot's version, changed at as many seconds after 1970.
pub fn snapshot(version: i64, flags: &[Value], cohorts: &[(&str, &[&str])]) -> Snapshot {
    let flags = flags.iter().map(|flag| VersionedFlag { flag: Flag::parse(&flag.to_string()).unwrap(), version });
    let cohorts = cohorts
        .iter()
        .map(|(name, ids)| Arc::new(Cohort::new(CohortName::new(name).unwrap(), version, ids.iter().collect())));
    Snapshot::build(version, Instant::from_micros(version * 1_000_000), flags.collect(), cohorts.collect())
}
