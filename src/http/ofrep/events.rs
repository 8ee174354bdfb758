//! Server-sent events: a client is told to ask again when the configuration changes. An event carries no values, so one that is lost or
//! doubled does no harm; a stream sends the newest one only, so a slow client never has more than one waiting.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use tokio::sync::mpsc;
use tokio::time::{Instant as Clock, sleep_until, timeout};

use super::version::{ConfigVersion, query_value};
use super::{Denied, Host, until_scheduled};
use crate::http::events::{NoSeat, Seat, part_of};

/// A client that does not take what it is sent for so long is given up.
const SEND_MAX: Duration = Duration::from_secs(30);

/// When a client whose stream has broken comes back: at a random time between this and twice this, since all break at once when a
/// server stops.
const RETRY: Duration = Duration::from_secs(1);

/// Where streams are opened.
pub const PATH: &str = "/ofrep/v1/events";

/// How long a page may be out of sight before its stream is closed.
const INACTIVITY_SECONDS: u32 = 120;

/// The `eventStreams` of a bulk answer, as JSON: where the bearer of a token opens a stream. Behind a proxy that adds a path of its
/// own `prefix` is that path.
pub fn offer(public_url: Option<&str>, prefix: &str, stream_token: &str) -> String {
    let place = match public_url {
        Some(url) => format!(r#""url":"{url}{PATH}?token={stream_token}""#),
        // Against the origin that the client's other requests go to, whatever proxies and names are in between.
        None => format!(r#""endpoint":{{"requestUri":"{prefix}{PATH}?token={stream_token}"}}"#),
    };
    format!(r#"[{{"type":"sse",{place},"inactivityDelaySec":{INACTIVITY_SECONDS}}}]"#)
}

/// `GET /ofrep/v1/events?token=…`
pub fn connect<H: Host>(host: web::Data<H>, request: &HttpRequest) -> HttpResponse {
    let token_id = match host.authorize_stream(request) {
        Ok(token_id) => token_id,
        Err(denied) => return denied.into_response(),
    };
    let seat = match host.streams().ok_or(NoSeat::Full).and_then(|streams| streams.enter(&token_id)) {
        Ok(seat) => seat,
        Err(error) => return unavailable(error).into_response(),
    };
    let (sender, receiver) = mpsc::channel(1);
    let told = last_event_id(request).unwrap_or_default();
    rt::spawn(Stream { host, seat, sender, told }.run());
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(Frames(receiver))
}

fn unavailable(error: NoSeat) -> Denied {
    let retry_after = Some(RETRY * 5 + part_of(RETRY * 10));
    Denied { status: StatusCode::SERVICE_UNAVAILABLE, details: error.to_string(), retry_after }
}

/// The last event that the client has had: as a browser says it, or as those that cannot send headers do.
fn last_event_id(request: &HttpRequest) -> Option<String> {
    if let Some(header) = request.headers().get("Last-Event-ID") {
        return header.to_str().ok().map(|id| id.trim().to_owned());
    }
    query_value(request.query_string(), "lastEventId").map(std::borrow::Cow::into_owned)
}

/// An open stream.
struct Stream<H> {
    host: web::Data<H>,
    seat: Seat,
    sender: mpsc::Sender<web::Bytes>,
    /// The id of the last event that the client has had.
    told: String,
}

impl<H: Host> Stream<H> {
    /// Until the client leaves, its token is withdrawn, the stream has lasted long enough, or the server stops.
    async fn run(mut self) {
        let mut closing = self.seat.closing();
        tokio::select! {
            biased;
            _ = closing.wait_for(|is_closing| *is_closing) => {}
            () = self.feed() => {}
        }
    }

    async fn feed(&mut self) {
        let mut versions = self.host.versions();
        let ends_at = Clock::now() + self.seat.lifetime();
        let heartbeat = self.seat.streams.settings.heartbeat;
        let mut beat_at = Clock::now() + heartbeat;
        let retry = RETRY + part_of(RETRY);
        if !self.send(format!("retry: {}\n\n", retry.as_millis())).await {
            return;
        }
        // The first event is sent at once, unless the client is up to date.
        let mut due = (self.current().id != self.told).then(Clock::now);
        loop {
            let wake_at = due.unwrap_or(beat_at).min(beat_at).min(ends_at).min(self.next_scheduled());
            tokio::select! {
                () = self.sender.closed() => return,
                changed = versions.changed(), if due.is_none() => if changed.is_err() { return },
                () = sleep_until(wake_at) => {}
            }
            let now = Clock::now();
            if now >= ends_at || !self.host.is_stream_allowed(&self.seat.token_id) {
                return;
            }
            let current = self.current();
            if current.id == self.told {
                due = None;
            } else if due.is_none() {
                due = Some(now + self.seat.delay());
            }
            let frame = match due {
                Some(due) if due <= now => current.frame(),
                _ if beat_at <= now => String::from(":\n\n"),
                _ => continue,
            };
            if !self.send(frame).await {
                return;
            }
            if due.is_some_and(|due| due <= now) {
                self.seat.count_sent();
                (self.told, due) = (current.id, None);
            }
            beat_at = Clock::now() + heartbeat;
        }
    }

    fn current(&self) -> Event {
        let prepared = self.host.prepared();
        let snapshot = prepared.snapshot();
        let version = ConfigVersion::of(snapshot, self.host.now());
        Event { id: version.to_string(), modified_s: snapshot.changed_at().as_micros().div_euclid(1_000_000) }
    }

    /// When a rule of the configuration begins to serve another variant.
    fn next_scheduled(&self) -> Clock {
        Clock::now() + until_scheduled(self.host.prepared().snapshot(), self.host.now())
    }

    /// False if the client is gone, or does not take it.
    async fn send(&self, frame: String) -> bool {
        matches!(timeout(SEND_MAX, self.sender.send(web::Bytes::from(frame))).await, Ok(Ok(())))
    }
}

/// The configuration has changed.
struct Event {
    id: String,
    modified_s: i64,
}

impl Event {
    fn frame(&self) -> String {
        let Self { id, modified_s } = self;
        format!(
            "id: {id}\nevent: message\ndata: {{\"type\":\"refetchEvaluation\",\"etag\":\"{id}\",\"lastModified\":{modified_s}}}\n\n"
        )
    }
}

/// The stream as a body.
struct Frames(mpsc::Receiver<web::Bytes>);

impl MessageBody for Frames {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<web::Bytes, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}
