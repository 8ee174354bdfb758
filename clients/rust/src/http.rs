//! Requests over HTTP/1.1 with a deadline for the whole of each, on connections that are kept open. No retries: those are `calls`'s.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::sync::lock;
use crate::url::{Address, ConfigError};
use crate::wire::{Body, Wire, is_timeout};

const IDLE_COUNT_MAX: usize = 16;
const IDLE_MAX: Duration = Duration::from_secs(30);

/// What TLS is configured with.
#[cfg(feature = "tls")]
pub(crate) type Tls = std::sync::Arc<rustls::ClientConfig>;
/// There is none.
#[cfg(not(feature = "tls"))]
pub(crate) type Tls = std::convert::Infallible;

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) timeout: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, body: &[], headers: &[], timeout: None }
    }

    pub(crate) fn post(path: &'a str, body: &'a [u8]) -> Self {
        Self { method: "POST", path, body, headers: &[("Content-Type", "application/json")], timeout: None }
    }
}

/// Sends requests to one server. Any number of threads may use it.
pub(crate) struct Transport {
    address: Address,
    pub(crate) timeout: Duration,
    tls: Option<Tls>,
    /// Headers that every request has.
    common: String,
    idle: Mutex<Vec<Wire>>,
}

impl Transport {
    pub(crate) fn new(url: &str, token: &str, timeout: Duration, tls: Option<Tls>) -> Result<Self, ConfigError> {
        let address = Address::parse(url)?;
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError(
                "token is not a token of Changeover: it has blanks or letters that no token has".into(),
            ));
        }
        if timeout.is_zero() {
            return Err(ConfigError("timeout is more than nothing".into()));
        }
        let tls = if address.is_tls { Some(usual_tls(tls)?) } else { None };
        let mut common = format!(
            "Host: {}\r\nUser-Agent: changeover-rust/{}\r\nAccept-Encoding: identity\r\n",
            address.authority(),
            env!("CARGO_PKG_VERSION")
        );
        if !token.is_empty() {
            common.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        Ok(Self { address, timeout, tls, common, idle: Mutex::default() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.address.url
    }

    /// Lets go of the connections that nobody uses.
    pub(crate) fn close(&self) {
        drop(std::mem::take(&mut *lock(&self.idle)));
    }

    /// One request and its whole answer.
    ///
    /// A request that a kept connection did not take is sent once more on a new one: everything that this crate sends may be sent twice.
    pub(crate) fn request(&self, request: &Request<'_>) -> Result<Answer, Error> {
        let timeout = request.timeout.unwrap_or(self.timeout);
        let deadline = Instant::now() + timeout;
        let failure = |error| self.failure(&error, timeout);
        let bytes = self.bytes(request);
        if let Some(kept) = self.take() {
            match self.exchange(kept, deadline, &bytes) {
                Err(error) if is_gone(&error) => {}
                done => return done.map_err(failure),
            }
        }
        let wire = Wire::connect(&self.address, self.tls.as_ref(), deadline).map_err(failure)?;
        self.exchange(wire, deadline, &bytes).map_err(failure)
    }

    fn exchange(&self, mut wire: Wire, deadline: Instant, bytes: &[u8]) -> io::Result<Answer> {
        wire.set_deadline(deadline);
        wire.send(bytes)?;
        let (answer, is_kept_open) = wire.answer()?;
        if is_kept_open {
            wire.idle_since = Instant::now();
            let mut idle = lock(&self.idle);
            if idle.len() < IDLE_COUNT_MAX {
                idle.push(wire);
            }
        }
        Ok(answer)
    }

    fn bytes(&self, request: &Request<'_>) -> Vec<u8> {
        let mut head =
            format!("{} {}{} HTTP/1.1\r\n{}", request.method, self.address.prefix, request.path, self.common);
        for (name, value) in request.headers {
            // Nothing that comes from outside may begin a header of its own.
            let is_line = |c: char| !c.is_control();
            head.extend([*name, ": "]);
            head.extend(value.chars().filter(|c| is_line(*c)));
            head.push_str("\r\n");
        }
        if request.method != "GET" {
            head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), request.body].concat()
    }

    /// An answer that goes on.
    pub(crate) fn stream(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        silence_max: Duration,
    ) -> Result<Stream, Error> {
        let failure = |error| self.failure(&error, self.timeout);
        let deadline = Instant::now() + self.timeout;
        let mut wire = Wire::connect(&self.address, self.tls.as_ref(), deadline).map_err(failure)?;
        wire.send(&self.bytes(&Request { headers, ..Request::get(path) })).map_err(failure)?;
        let head = wire.head().map_err(failure)?;
        let (status, headers) = (head.status, head.headers);
        Ok(Stream {
            answer: Answer { status, headers, body: Vec::new() },
            wire,
            body: head.body,
            silence_max,
            unread: Vec::new(),
        })
    }

    fn take(&self) -> Option<Wire> {
        loop {
            let wire = lock(&self.idle).pop()?;
            if wire.idle_since.elapsed() < IDLE_MAX && wire.is_usable() {
                return Some(wire);
            }
        }
    }

    fn failure(&self, error: &io::Error, timeout: Duration) -> Error {
        let url = &self.address.url;
        if is_timeout(error) {
            let why = "is it overloaded, or is something in between?";
            return Error::new(Kind::Timeout, format!("{url} gave no answer in {timeout:?}: {why}"));
        }
        Error::new(Kind::Connection, format!("{url} gave no answer: {error}"))
    }
}

/// The server had closed the connection before it read the request.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe)
}

#[cfg(not(feature = "tls"))]
fn usual_tls(_: Option<Tls>) -> Result<Tls, ConfigError> {
    Err(ConfigError("url begins with https://, which needs the feature `tls` of changeover-client".into()))
}

/// What is given, or the certificates that the system trusts.
#[cfg(feature = "tls")]
fn usual_tls(given: Option<Tls>) -> Result<Tls, ConfigError> {
    if let Some(tls) = given {
        return Ok(tls);
    }
    let mut roots = rustls::RootCertStore::empty();
    let (found, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if found == 0 {
        return Err(ConfigError("the system trusts no certificates: install them, or set SSL_CERT_FILE".into()));
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError(format!("TLS cannot be had: {error}")))?;
    Ok(std::sync::Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// An answer that goes on, line by line, as long as no silence is longer than it may be.
pub(crate) struct Stream {
    /// Its head.
    pub(crate) answer: Answer,
    wire: Wire,
    body: Body,
    silence_max: Duration,
    unread: Vec<u8>,
}

impl Stream {
    /// With which a thread that reads it can be woken.
    pub(crate) fn handle(&self) -> Option<TcpStream> {
        self.wire.handle().ok()
    }

    /// The next line without its end; none when it ends, breaks or is silent for too long.
    pub(crate) fn line(&mut self) -> Option<String> {
        const LINE_BYTES_MAX: usize = 1 << 20;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            self.wire.set_deadline(Instant::now() + self.silence_max);
            let goes_on = match self.body {
                Body::Chunked => self.wire.chunk(&mut self.unread),
                Body::UntilClosed => self.wire.some(&mut self.unread),
                Body::Length(_) => Ok(false),
            };
            if !goes_on.unwrap_or(false) || self.unread.len() > LINE_BYTES_MAX {
                return None;
            }
        }
    }
}
