//! The OpenFeature Remote Evaluation Protocol 0.3: what existing OpenFeature providers ask flags by.
//!
//! | file | owns |
//! |---|---|
//! | `request` | the key and the context that a client sends |
//! | `answer` | the answer to them, from a configuration |
//! | `prepared` | what is the same in every answer of one configuration |
//! | `etag` | when a bulk answer may be left out |
//! | `version` | what an answer is an answer of, and what a caller has been told of |
//! | `events` | telling clients that the configuration has changed |
//! | `cors` | what a browser asks and is told |
//!
//! This file owns the endpoints and what they need of the server around them: a [`Host`].

mod answer;
mod cors;
mod etag;
mod events;
mod prepared;
mod request;
mod version;

use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use actix_web::dev::HttpServiceFactory;
use actix_web::http::header::{ALLOW, ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use prometheus::IntCounter;
use tokio::sync::watch;

use super::events::Streams;
use super::limits::retry_after_seconds;
use crate::flags::{Asked, CohortIndex, Context, Evaluation, Failure, Snapshot, SnapshotFlag, World};
use crate::primitives::{ChangeName, Instant};

pub use answer::{Answer, Asking, failed, not_found, refused};
pub use events::offer;
pub use prepared::{Outcome, Prepared};
pub use version::{ConfigVersion, Told, query_value};

/// Larger bodies are refused. A context is a few hundred bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// How long an answer waits for the configuration to reach a version that the caller has been told of.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// The paths that evaluate flags, as they are written in routes.
pub const EVALUATE: &str = "/ofrep/v1/evaluate/flags";
pub const EVALUATE_ONE: &str = "/ofrep/v1/evaluate/flags/{key:.*}";

/// What the endpoints need of the server that they are part of.
pub trait Host: Send + Sync + 'static {
    /// The newest configuration.
    fn prepared(&self) -> Arc<Prepared>;

    /// The configuration's version, whenever it changes.
    fn versions(&self) -> watch::Receiver<i64>;

    /// The instant as of which flags are evaluated.
    fn now(&self) -> Instant;

    /// When the database was last heard of, if that is too long ago.
    fn stale_since(&self, _now: Instant) -> Option<Instant> {
        None
    }

    /// Whether the sender of a request may evaluate flags.
    fn authorize(&self, request: &HttpRequest) -> Result<(), Denied>;

    /// Answers for a flag that routes a change. Called on a thread that may block.
    fn route<'s>(
        &self,
        snapshot: &Snapshot,
        flag: &'s SnapshotFlag,
        change: &ChangeName,
        context: &Context,
    ) -> Evaluation<'s>;

    /// Where evaluations of a flag that exists are counted, by the variant.
    fn counter(&self, flag: &str, variant: &str) -> IntCounter;

    /// A flag was evaluated, or several: how long one took.
    fn took(&self, _took: Duration) {}

    /// The event streams, if any are offered.
    fn streams(&self) -> Option<&Arc<Streams>> {
        None
    }

    /// What a bulk answer says of event streams, to an authorized caller: see [`offer`].
    fn offer(&self, _request: &HttpRequest) -> Option<String> {
        None
    }

    /// The id of the token on whose behalf a request opens a stream.
    fn authorize_stream(&self, request: &HttpRequest) -> Result<String, Denied>;

    /// Whether a stream that was opened for this token may go on.
    fn is_stream_allowed(&self, token_id: &str) -> bool;
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// 401, 403, 429 or 503.
    pub status: StatusCode,
    pub details: String,
    /// Sent in whole seconds, at least one: no other form is understood by all clients.
    pub retry_after: Option<Duration>,
}

/// All endpoints. The host must be there as `web::Data<H>`.
pub fn routes<H: Host>() -> impl HttpServiceFactory {
    (
        web::resource(EVALUATE).to(evaluate::<H>),
        web::resource(EVALUATE_ONE).to(evaluate::<H>),
        web::resource(events::PATH).to(listen::<H>),
        web::resource("/ofrep/{rest:.*}").to(nothing_here),
    )
}

/// `POST /ofrep/v1/evaluate/flags/{key}`; without a key, or with nothing after its slash, all flags. Nobody gets to the body without
/// leave.
async fn evaluate<H: Host>(host: web::Data<H>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let mut response = match *request.method() {
        Method::POST => match host.authorize(&request) {
            Ok(()) => evaluate_body(host, &request, payload).await,
            Err(denied) => denied.into_response(),
        },
        Method::OPTIONS => cors::preflight("POST, OPTIONS"),
        _ => wrong_method(&request, "POST, OPTIONS"),
    };
    cors::allow(response.headers_mut());
    response
}

async fn evaluate_body<H: Host>(host: web::Data<H>, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
    // The raw path, so that a key is decoded exactly once.
    let Some(rest) = request.uri().path().strip_prefix(EVALUATE) else { return send(not_found(request.path())) };
    let key = rest.strip_prefix('/').filter(|key| !key.is_empty()).map(request::percent_decoded);
    let body = match payload.to_bytes_limited(BODY_BYTES_MAX).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return send(failed(key.as_deref(), &Failure::ParseError(error.to_string()))),
        Err(_) => {
            let what = format!("it is larger than {BODY_BYTES_MAX} bytes");
            return send(failed(key.as_deref(), &Failure::ParseError(what)));
        }
    };
    let context = match request::context(&body) {
        Ok(context) => context,
        Err(failure) => return send(failed(key.as_deref(), &failure)),
    };
    match key {
        Some(key) => evaluate_one(&host, &key, context).await,
        None => evaluate_all(&host, request, context).await,
    }
}

async fn evaluate_one<H: Host>(host: &web::Data<H>, key: &str, context: Context) -> HttpResponse {
    let (prepared, now) = (host.prepared(), host.now());
    let Some(at) = prepared.snapshot().position(key) else { return send(not_found(key)) };
    let counter = |flag: &str, variant: &str| host.counter(flag, variant);
    let asking =
        Asking { prepared: &prepared, now, stale_since: host.stale_since(now), offer: None, counter: &counter };
    let began = Clock::now();
    let outcome = if prepared.routed().binary_search(&at).is_ok() {
        match route(host, &prepared, vec![at], (context, now)).await {
            Ok((outcomes, _)) => outcomes.into_iter().next(),
            Err(response) => return response,
        }
    } else {
        Some(asking.evaluate(at, &context))
    };
    host.took(began.elapsed());
    outcome.map_or_else(|| send(not_found(key)), |outcome| send(asking.answer_one(at, &outcome)))
}

async fn evaluate_all<H: Host>(host: &web::Data<H>, request: &HttpRequest, context: Context) -> HttpResponse {
    let told = Told::from_query(request.query_string());
    let Some((prepared, now)) = caught_up(&***host, &told).await else { return behind() };
    let began = Clock::now();
    let (outcomes, context) = match prepared.routed() {
        [] => (Vec::new(), context),
        routed => match route(host, &prepared, routed.to_vec(), (context, now)).await {
            Ok(found) => found,
            Err(response) => return response,
        },
    };
    let offer = host.offer(request);
    let counter = |flag: &str, variant: &str| host.counter(flag, variant);
    let stale_since = host.stale_since(now);
    let asking = Asking { prepared: &prepared, now, stale_since, offer: offer.as_deref(), counter: &counter };
    // Several header lines are one list.
    let tags: Vec<&str> = request.headers().get_all(IF_NONE_MATCH).filter_map(|line| line.to_str().ok()).collect();
    let tags = Some(tags.join(",")).filter(|tags| !tags.is_empty() && told.allows_not_modified(prepared.snapshot()));
    let answer = asking.answer_all(&context, outcomes, tags.as_deref());
    if let (200, Ok(count @ 1..)) = (answer.status, u32::try_from(prepared.snapshot().flags().len())) {
        host.took(began.elapsed() / count);
    }
    send(answer)
}

/// The configuration, as soon as it is as new as the caller has been told; nothing if that takes too long.
async fn caught_up<H: Host>(host: &H, told: &Told) -> Option<(Arc<Prepared>, Instant)> {
    let deadline = tokio::time::Instant::now() + CATCH_UP_MAX;
    let mut versions = None;
    loop {
        let (prepared, now) = (host.prepared(), host.now());
        if !told.is_ahead_of(prepared.snapshot(), now) {
            return Some((prepared, now));
        }
        // Looks once more after it listens, so that nothing passes in between.
        let Some(versions) = versions.as_mut() else {
            versions = Some(host.versions());
            continue;
        };
        let wake_at = deadline.min(tokio::time::Instant::now() + until_scheduled(prepared.snapshot(), now));
        tokio::select! {
            changed = versions.changed() => changed.ok()?,
            () = tokio::time::sleep_until(wake_at) => {}
        }
        if tokio::time::Instant::now() >= deadline {
            return None;
        }
    }
}

/// How long until a rule begins to serve another variant: a day at most.
fn until_scheduled(snapshot: &Snapshot, now: Instant) -> Duration {
    let far = Duration::from_secs(24 * 60 * 60);
    snapshot.next_scheduled(now).map_or(far, |at| {
        let micros = at.as_micros().saturating_sub(now.as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0)).min(far)
    })
}

fn behind() -> HttpResponse {
    let details =
        "the configuration that flagConfigEtag or flagConfigLastModified names has not arrived here yet: ask again";
    let mut response = send(refused(503, None, details));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Evaluates flags that need routing, on a thread that may wait for a database.
async fn route<H: Host>(
    host: &web::Data<H>,
    prepared: &Arc<Prepared>,
    flags: Vec<usize>,
    (context, now): (Context, Instant),
) -> Result<(Vec<Outcome>, Context), HttpResponse> {
    let (host, prepared) = (host.clone(), Arc::clone(prepared));
    let routed = web::block(move || {
        let world = Surroundings { host: &**host, snapshot: prepared.snapshot() };
        let flags = flags.into_iter().filter_map(|at| prepared.snapshot().flags().get(at));
        let outcomes = flags.map(|flag| Outcome::of(world.evaluate(flag, &context, now))).collect();
        (outcomes, context)
    });
    routed.await.map_err(|error| {
        tracing::error!(%error, "a flag was not evaluated");
        send(refused(500, None, "the server's log says more"))
    })
}

/// What an evaluation of a flag asks: the snapshot's cohorts, and the host's routing.
struct Surroundings<'a, H> {
    host: &'a H,
    snapshot: &'a Snapshot,
}

impl<H: Host> Surroundings<'_, H> {
    fn evaluate<'s>(&'s self, flag: &'s SnapshotFlag, context: &Context, now: Instant) -> Evaluation<'s> {
        match flag.flag().change() {
            Some(change) => self.host.route(self.snapshot, flag, change, context),
            None => self.snapshot.evaluate_in(flag, Asked { context, now }, self),
        }
    }
}

impl<H: Host> World for Surroundings<'_, H> {
    fn is_member(&self, cohort: CohortIndex, id: &str) -> bool {
        self.snapshot.is_member(cohort, id)
    }

    fn routed<'s>(&self, flag: &'s SnapshotFlag, context: &Context) -> Option<Evaluation<'s>> {
        Some(self.host.route(self.snapshot, flag, flag.flag().change()?, context))
    }
}

/// `GET /ofrep/v1/events`
async fn listen<H: Host>(host: web::Data<H>, request: HttpRequest) -> HttpResponse {
    let mut response = match *request.method() {
        Method::GET => events::connect(host, &request),
        Method::OPTIONS => cors::preflight("GET, OPTIONS"),
        _ => wrong_method(&request, "GET, OPTIONS"),
    };
    cors::allow(response.headers_mut());
    response
}

/// Any other path: a key such as `..` leads here, and its client wants to hear that there is no such flag.
async fn nothing_here(request: HttpRequest) -> HttpResponse {
    let key = request.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let mut response = match *request.method() {
        Method::OPTIONS => cors::preflight("POST, OPTIONS"),
        _ => send(not_found(key)),
    };
    cors::allow(response.headers_mut());
    response
}

fn wrong_method(request: &HttpRequest, allow: &'static str) -> HttpResponse {
    let details = format!("{} is not one of {allow}", request.method().as_str().chars().take(40).collect::<String>());
    let mut response = send(refused(405, None, &details));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn send(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(etag) = answer.etag {
        response.insert_header((ETAG, etag));
    }
    if status == StatusCode::NOT_MODIFIED {
        response.finish()
    } else {
        response.content_type("application/json").body(answer.body)
    }
}

impl Denied {
    fn into_response(self) -> HttpResponse {
        let mut response = send(refused(self.status.as_u16(), None, &self.details));
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after_seconds(after).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
