//! `/console/events`: tells an open page that what it shows has changed, as server-sent events. An event carries nothing: the page asks for
//! itself anew, in the reader's own right. It ends with the session, and keeps no session alive.

use std::io;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::rt;
use actix_web::web::{Bytes, Data, Query};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant as Clock, sleep, timeout};

use super::session::{Member, Signed};
use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::events::{NoSeat, Seat};
use crate::http::problem::{Code, Problem};
use crate::http::streamed::Streamed;
use crate::primitives::ChangeName;
use crate::store::jobs::{self, JobKind};
use crate::store::worker_gates::{self, StoredGate};
use crate::store::{StoreError, sessions, sha256};

/// How often it is looked whether anything has changed.
const LOOK: Duration = Duration::from_secs(1);
/// A page is renewed this often at least.
const AGED_MICROS: i64 = 30 * 1_000_000;
/// And where it tells how many seconds are left.
const COUNTED_MICROS: i64 = 5 * 1_000_000;
/// A comment is sent after so long a silence, and the session is looked at.
const BEAT: Duration = Duration::from_secs(15);
/// A browser that does not take what it is sent for so long is given up.
const SEND_MAX: Duration = Duration::from_secs(30);

/// What a page is about: `job/ID`, `change/NAME`, `gates` or `configuration` (flags and cohorts).
#[derive(Debug, Deserialize)]
pub struct Topic {
    about: String,
}

#[derive(Debug, Clone)]
enum About {
    Job(String),
    Change(ChangeName),
    /// Of background workers.
    Gates,
    /// Flags and cohorts.
    Configuration,
}

impl About {
    fn parse(text: &str) -> Result<Self, Problem> {
        let detail = "Say what the page is about: job/ID, change/NAME, gates or configuration.";
        let unknown = || Problem::new(Code::InvalidValue, detail);
        match text {
            "gates" => return Ok(Self::Gates),
            "configuration" => return Ok(Self::Configuration),
            _ => {}
        }
        match text.split_once('/').ok_or_else(unknown)? {
            ("job", id) if id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Ok(Self::Job(id.to_owned()))
            }
            ("change", name) => Ok(Self::Change(name.parse().map_err(|_| unknown())?)),
            _ => Err(unknown()),
        }
    }

    /// Another text when a page about it would look otherwise. Of a change it is what this server has read for its metrics, so that open
    /// pages ask the application's database nothing.
    fn mark(&self, state: &AppState) -> Result<String, Problem> {
        match self {
            Self::Job(id) => {
                let job = state.store().read(|connection| jobs::get(connection, id))?;
                Ok(json!([job.state, job.progress, job.cancel_requested, job.error]).to_string())
            }
            Self::Change(name) => {
                let overview = state.overview();
                let health = overview.health.changes.iter().find(|change| change.change == *name);
                let sides = overview.sides.iter().find(|sides| sides.change == *name);
                let report = overview.reports.iter().find(|report| report.change == *name);
                let jobs = state.store().read(|connection| {
                    let found = JobKind::ALL.into_iter().map(|kind| jobs::find_unfinished(connection, kind, name));
                    found.collect::<Result<Vec<_>, StoreError>>()
                })?;
                let jobs: Vec<_> = jobs.into_iter().flatten().map(|job| (job.id, job.state, job.progress)).collect();
                Ok(json!([health, sides, report, jobs, turn(state, AGED_MICROS)]).to_string())
            }
            Self::Gates => {
                let all = state.store().read(worker_gates::list)?;
                // A worker whose turn comes runs without anybody writing anything, and a lease ends by itself.
                let states: Vec<_> = all.found.iter().map(|one| one.gate.state_at(all.now)).collect();
                let is_held = |one: &StoredGate| one.lease.as_ref().is_some_and(|lease| lease.is_held_at(all.now));
                let counts_down = states.iter().any(|gate| gate.until().is_some()) || all.found.iter().any(is_held);
                let turn = turn(state, if counts_down { COUNTED_MICROS } else { AGED_MICROS });
                Ok(format!("{:?} {states:?} {turn}", all.found))
            }
            Self::Configuration => Ok(json!([state.snapshot().version(), turn(state, AGED_MICROS)]).to_string()),
        }
    }
}

/// Another number after each so long: charts get a value, and every `minutes ago` grows old, without anything else changing.
fn turn(state: &AppState, micros: i64) -> i64 {
    state.now().as_micros().div_euclid(micros)
}

/// Opens the stream.
pub async fn events(
    member: Member<Viewer>,
    state: Data<AppState>,
    topic: Query<Topic>,
) -> Result<HttpResponse, Problem> {
    let about = About::parse(&topic.about)?;
    let seat = state.streams().enter(&member.signed.token.id).map_err(no_seat)?;
    let (sender, pieces) = channel(1);
    rt::spawn(Stream { state, about, seat, signed: member.signed, sender }.run());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(Streamed::new(pieces)))
}

fn no_seat(error: NoSeat) -> Problem {
    Problem::new(Code::Busy, format!("The page is not renewed by itself: {error}."))
}

struct Stream {
    state: Data<AppState>,
    about: About,
    seat: Seat,
    signed: Signed,
    sender: Sender<io::Result<Bytes>>,
}

impl Stream {
    /// Until the browser leaves, the session ends, the stream has lasted long enough, or the server stops.
    async fn run(self) {
        let mut closing = self.seat.closing();
        tokio::select! {
            biased;
            _ = closing.wait_for(|is_closing| *is_closing) => {}
            () = self.sender.closed() => {}
            () = self.feed() => {}
        }
    }

    async fn feed(&self) {
        let ends_at = Clock::now() + self.seat.lifetime();
        let mut beat_at = Clock::now() + BEAT;
        // The first event is sent at once: the page may be older than the stream.
        let mut told = String::new();
        while Clock::now() < ends_at {
            let about = self.about.clone();
            // While the database is away nothing can be told; the stream goes on.
            let mark = self.state.blocking(move |state| about.mark(state)).await.map(|mark| sha256(&mark));
            let frame = match mark {
                Ok(mark) if mark != told => {
                    told = mark;
                    Some("event: changed\ndata:\n\n")
                }
                _ if Clock::now() >= beat_at => Some(":\n\n"),
                _ => None,
            };
            if let Some(frame) = frame {
                if !self.is_signed_in().await || !self.send(frame).await {
                    return;
                }
                beat_at = Clock::now() + BEAT;
            }
            sleep(LOOK).await;
        }
    }

    /// The session as it is now, without noting that it was used: an open page is nobody.
    async fn is_signed_in(&self) -> bool {
        let secret = self.signed.secret.clone();
        let session = self.state.blocking(move |state| {
            let now = state.now();
            Ok(state.store().read(|connection| sessions::find(connection, &secret, now))?)
        });
        let is_valid = self.state.memory().keyring().check_id(&self.signed.token.id, self.state.now()).is_ok();
        match session.await {
            Ok(session) => is_valid && session.is_some(),
            Err(_) => is_valid,
        }
    }

    async fn send(&self, frame: &'static str) -> bool {
        let sent = timeout(SEND_MAX, self.sender.send(Ok(Bytes::from_static(frame.as_bytes())))).await;
        matches!(sent, Ok(Ok(())))
    }
}
