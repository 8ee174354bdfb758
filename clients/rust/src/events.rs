//! Listens to what the server tells of changes, on one thread, and comes back when the stream breaks.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::clock;
use crate::error::Error;
use crate::http::{Stream, Transport};
use crate::random::{duration, jitter};
use crate::sync::{Signal, lock};
use crate::warn::told;
use crate::workers::spawn;

const PATH: &str = "/ofrep/v1/events";
const SILENCE_MAX: Duration = Duration::from_secs(45);
const PAUSE_S_MIN: f64 = 0.1;
const PAUSE_S_MAX: f64 = 30.0;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
const DATA_BYTES_MAX: usize = 1 << 20;

/// Who hears of what is told.
pub(crate) trait Listener: Send + Sync + 'static {
    /// There was a change, with this tag.
    fn told(&self, etag: Option<String>);
    /// Whether a stream is open.
    fn connected(&self, is_connected: bool);
}

pub(crate) struct Events {
    transport: Arc<Transport>,
    listener: Arc<dyn Listener>,
    is_started: AtomicBool,
    closed: Signal,
    /// The stream's socket, to wake its reader.
    socket: Mutex<Option<TcpStream>>,
}

/// What a reader remembers from one stream to the next.
struct Memory {
    last_id: Option<String>,
    retry_s: f64,
    failures: u32,
}

impl Events {
    pub(crate) fn new(transport: Arc<Transport>, listener: Arc<dyn Listener>) -> Arc<Self> {
        let (closed, socket) = (Signal::default(), Mutex::default());
        Arc::new(Self { transport, listener, is_started: AtomicBool::new(false), closed, socket })
    }

    pub(crate) fn start(self: &Arc<Self>) {
        if self.is_started.load(Ordering::Relaxed) || self.is_started.swap(true, Ordering::AcqRel) {
            return;
        }
        let events = Arc::clone(self);
        if !spawn("changeover-events", move || events.run()) {
            self.is_started.store(false, Ordering::Release);
        }
    }

    pub(crate) fn close(&self) {
        self.closed.set();
        if let Some(socket) = lock(&self.socket).take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn run(&self) {
        let mut memory = Memory { last_id: None, retry_s: 1.0, failures: 0 };
        while !self.closed.is_set() {
            let after = self.listen(&mut memory).unwrap_or_else(|error| {
                told!("no stream of events: {error}");
                Duration::ZERO
            });
            self.listener.connected(false);
            let pause = jitter(memory.retry_s, memory.failures, PAUSE_S_MAX).max(PAUSE_S_MIN);
            memory.failures = memory.failures.saturating_add(1);
            self.closed.wait(duration(pause).max(after));
        }
    }

    /// Until the stream ends; how long to wait at least then.
    fn listen(&self, memory: &mut Memory) -> Result<Duration, Error> {
        let last_id = memory.last_id.clone();
        let mut headers = vec![("Accept", "text/event-stream")];
        headers.extend(last_id.as_deref().map(|id| ("Last-Event-ID", id)));
        let mut stream = self.transport.stream(PATH, &headers, SILENCE_MAX)?;
        if stream.answer.status != 200 {
            let after = stream.answer.header("retry-after").and_then(clock::retry_after);
            return Ok(after.unwrap_or_default().min(RETRY_AFTER_MAX));
        }
        *lock(&self.socket) = stream.handle();
        if !self.closed.is_set() {
            self.listener.connected(true);
            self.read(&mut stream, memory);
        }
        lock(&self.socket).take();
        Ok(Duration::ZERO)
    }

    fn read(&self, stream: &mut Stream, memory: &mut Memory) {
        let (mut id, mut data) = (None, String::new());
        while let Some(line) = stream.line() {
            if self.closed.is_set() {
                return;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" if line.is_empty() => {
                    if !data.is_empty() {
                        self.event(id.take(), &data, memory);
                    }
                    (id, data) = (None, String::new());
                }
                "data" if data.len() + value.len() < DATA_BYTES_MAX => {
                    data.push_str(value);
                    data.push('\n');
                }
                "id" if !value.contains('\0') => id = Some(value.to_owned()),
                "retry" => {
                    if let Ok(milliseconds) = value.parse::<u32>() {
                        memory.retry_s = (f64::from(milliseconds) / 1000.0).min(PAUSE_S_MAX);
                    }
                }
                _ => {}
            }
        }
    }

    fn event(&self, id: Option<String>, data: &str, memory: &mut Memory) {
        memory.failures = 0;
        memory.last_id = id.or(memory.last_id.take());
        let Ok(event) = serde_json::from_str::<Value>(data) else { return };
        if event.get("type").and_then(Value::as_str) == Some("refetchEvaluation") {
            self.listener.told(event.get("etag").and_then(Value::as_str).map(str::to_owned));
        }
    }
}
