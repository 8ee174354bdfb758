//! The OpenFeature Remote Evaluation Protocol 0.3: what existing OpenFeature providers ask flags by.
//!
//! | file | owns |
//! |---|---|
//! | `request` | the key and the context that a client sends |
//! | `answer` | the answer to them, from a snapshot |
//! | `etag` | when a bulk answer may be left out |
//! | `cors` | what a browser asks and is told |
//!
//! This file owns the two endpoints and what they need of the server around them: a [`Host`].

mod answer;
mod cors;
mod etag;
mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, ETAG, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpRequest, HttpResponse, web};

use crate::flags::{Asked, CohortIndex, Context, Evaluation, Failure, Snapshot, SnapshotFlag, World};
use crate::primitives::ChangeName;

pub use answer::{Answer, Evaluator, bulk, failed, refused, single};
pub use etag::{Told, of_version};

/// Larger bodies are refused. A context is a few hundred bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// How long an answer waits for the snapshot to reach a version that the caller has been told of.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// How often it looks meanwhile.
const CATCH_UP_STEP: Duration = Duration::from_millis(20);

/// What the endpoints need of the server that they are part of.
pub trait Host: Send + Sync + 'static {
    /// The newest configuration.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The instant as of which flags are evaluated.
    fn now(&self) -> crate::primitives::Instant;

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

    /// Counts an evaluation of a flag that exists, and how long it took.
    fn count(&self, _flag: &SnapshotFlag, _evaluation: &Evaluation<'_>, _took: Duration) {}
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// 401, 403 or 429.
    pub status: StatusCode,
    pub details: String,
    /// Sent in whole seconds, at least one: no other form is understood by all clients.
    pub retry_after: Option<Duration>,
}

/// Both endpoints. The host must be there as `web::Data<H>`.
pub fn routes<H: Host>() -> impl HttpServiceFactory {
    let post_only = || HttpResponse::MethodNotAllowed().insert_header((ALLOW, "POST, OPTIONS")).finish();
    web::scope("/ofrep/v1/evaluate")
        .wrap(from_fn(admit::<H>))
        .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
        .service(
            web::resource("/flags")
                .post(evaluate_all::<H>)
                .default_service(web::to(move || async move { post_only() })),
        )
        .service(
            web::resource("/flags/{key:.*}")
                .post(evaluate_one_or_all::<H>)
                .default_service(web::to(move || async move { post_only() })),
        )
}

/// Answers preflights, lets nobody in without leave, and tells browsers that they may read the answer. Runs before the body
/// is read.
async fn admit<H: Host>(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if cors::is_preflight(&request) {
        return Ok(request.into_response(cors::preflight()));
    }
    let denied = request.app_data::<web::Data<H>>().map(|host| host.authorize(request.request()));
    let mut response = match denied {
        Some(Ok(())) => next.call(request).await?.map_into_boxed_body(),
        Some(Err(denied)) => request.into_response(denied.into_response()),
        None => request.into_response(send(refused(500, None, "the server was built without its state"))),
    };
    cors::allow(response.headers_mut());
    Ok(response)
}

/// `POST /ofrep/v1/evaluate/flags/{key}`; without a key it is the other endpoint, with a slash at its end.
async fn evaluate_one_or_all<H: Host>(
    host: web::Data<H>,
    request: HttpRequest,
    body: Result<web::Bytes, Error>,
) -> HttpResponse {
    // The raw path, so that a key is decoded exactly once.
    let path = request.uri().path();
    let key = path.split_once("/evaluate/flags/").map_or("", |(_, key)| key);
    if key.is_empty() {
        return evaluate_all(host, request, body).await;
    }
    let key = request::percent_decoded(key);
    let body = match body {
        Ok(body) => body,
        Err(error) => return send(failed(Some(&key), &unreadable(&error))),
    };
    let snapshot = host.snapshot();
    if snapshot.find_flag(&key).is_some_and(SnapshotFlag::needs_routing) {
        let key = key.into_owned();
        return send_blocking(move || single(&snapshot, &key, &body, &Asking(&**host))).await;
    }
    send(single(&snapshot, &key, &body, &Asking(&**host)))
}

/// `POST /ofrep/v1/evaluate/flags`.
async fn evaluate_all<H: Host>(
    host: web::Data<H>,
    request: HttpRequest,
    body: Result<web::Bytes, Error>,
) -> HttpResponse {
    let body = match body {
        Ok(body) => body,
        Err(error) => return send(failed(None, &unreadable(&error))),
    };
    let told = Told::from_query(request.query_string());
    let Some(snapshot) = caught_up(&**host, &told).await else {
        let details =
            "the configuration that flagConfigEtag or flagConfigLastModified names has not arrived here yet: ask again";
        let mut response = send(refused(503, None, details));
        response.headers_mut().insert(RETRY_AFTER, actix_web::http::header::HeaderValue::from_static("1"));
        return response;
    };
    // Several header lines are one list.
    let tags: Vec<&str> = request.headers().get_all(IF_NONE_MATCH).filter_map(|line| line.to_str().ok()).collect();
    let tags = Some(tags.join(",")).filter(|tags| !tags.is_empty() && told.allows_not_modified());
    if snapshot.flags().iter().any(SnapshotFlag::needs_routing) {
        return send_blocking(move || bulk(&snapshot, &body, tags.as_deref(), &Asking(&**host))).await;
    }
    send(bulk(&snapshot, &body, tags.as_deref(), &Asking(&**host)))
}

/// The snapshot, as soon as it is as new as the caller has been told; nothing if that takes too long.
async fn caught_up<H: Host>(host: &H, told: &Told) -> Option<Arc<Snapshot>> {
    let mut waited = Duration::ZERO;
    loop {
        let snapshot = host.snapshot();
        if !told.is_ahead_of(&snapshot) {
            return Some(snapshot);
        }
        if waited >= CATCH_UP_MAX {
            return None;
        }
        tokio::time::sleep(CATCH_UP_STEP).await;
        waited += CATCH_UP_STEP;
    }
}

/// Evaluates on behalf of a host.
struct Asking<'h, H>(&'h H);

/// What an evaluation of a flag asks: the snapshot's cohorts, and the host's routing.
struct Surroundings<'a, H> {
    host: &'a H,
    snapshot: &'a Snapshot,
}

impl<H: Host> World for Surroundings<'_, H> {
    fn is_member(&self, cohort: CohortIndex, id: &str) -> bool {
        self.snapshot.is_member(cohort, id)
    }

    fn routed<'s>(&self, flag: &'s SnapshotFlag, context: &Context) -> Option<Evaluation<'s>> {
        Some(self.host.route(self.snapshot, flag, flag.flag().change()?, context))
    }
}

impl<H: Host> Evaluator for Asking<'_, H> {
    fn now(&self) -> crate::primitives::Instant {
        self.0.now()
    }

    fn evaluate<'s>(&self, snapshot: &'s Snapshot, flag: &'s SnapshotFlag, context: &Context) -> Evaluation<'s> {
        let began = Instant::now();
        let evaluation = match flag.flag().change() {
            None => {
                let world = Surroundings { host: self.0, snapshot };
                snapshot.evaluate_in(flag, Asked { context, now: self.0.now() }, &world)
            }
            Some(change) => self.0.route(snapshot, flag, change, context),
        };
        self.0.count(flag, &evaluation, began.elapsed());
        evaluation
    }
}

async fn send_blocking(answer: impl FnOnce() -> Answer + Send + 'static) -> HttpResponse {
    match web::block(answer).await {
        Ok(answer) => send(answer),
        Err(error) => send(refused(500, None, &error.to_string())),
    }
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

fn unreadable(error: &Error) -> Failure {
    let is_too_large = error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE;
    let what = if is_too_large { format!("it is larger than {BODY_BYTES_MAX} bytes") } else { error.to_string() };
    Failure::ParseError(what)
}

impl Denied {
    fn into_response(self) -> HttpResponse {
        let mut response = send(refused(self.status.as_u16(), None, &self.details));
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, after.as_secs().max(1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, actix_web::http::header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
