//! One connection: bytes out and in with a deadline for the whole, and an answer of HTTP/1.1 as it is on the wire.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Instant;

use crate::http::{Answer, Tls};
use crate::sync::left;
use crate::url::Address;

const HEAD_BYTES_MAX: usize = 64 << 10;
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection, with what was read of it and not yet used.
pub(crate) struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    at: usize,
    pub(crate) idle_since: Instant,
}

enum Stream {
    Plain(Timed),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Timed>>),
}

/// A socket, each of whose steps has what is left until the deadline.
struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.deadline).ok_or_else(over)?))?;
        self.socket.read(room)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.deadline).ok_or_else(over)?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// How the end of a body is known.
pub(crate) enum Body {
    Length(u64),
    Chunked,
    UntilClosed,
}

/// Status and headers.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) is_kept_open: bool,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

impl Wire {
    pub(crate) fn connect(address: &Address, tls: Option<&Tls>, deadline: Instant) -> io::Result<Self> {
        let mut failure = None;
        for place in (address.host.as_str(), address.port).to_socket_addrs()? {
            let left = left(deadline).ok_or_else(over)?;
            match TcpStream::connect_timeout(&place, left) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    let (buffer, now) = (Vec::new(), Instant::now());
                    let stream = Stream::new(Timed { socket, deadline }, address, tls)?;
                    return Ok(Self { stream, buffer, at: 0, idle_since: now });
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("the host has no address")))
    }

    fn timed(&mut self) -> &mut Timed {
        match &mut self.stream {
            Stream::Plain(timed) => timed,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => &mut stream.sock,
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(timed) => &timed.socket,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => &stream.sock.socket,
        }
    }

    /// Until when everything has to be done.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.timed().deadline = deadline;
    }

    /// Another handle, with which a thread that reads can be woken.
    pub(crate) fn handle(&self) -> io::Result<TcpStream> {
        self.socket().try_clone()
    }

    /// Whether the server has left it open and silent, as far as can be seen.
    pub(crate) fn is_usable(&self) -> bool {
        let socket = self.socket();
        if self.at < self.buffer.len() || socket.set_nonblocking(true).is_err() {
            return false;
        }
        let silent = matches!(socket.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        socket.set_nonblocking(false).is_ok() && silent
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(timed) => timed.write_all(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Reads more; false at the connection's end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let mut room = [0; 16 << 10];
        loop {
            let found = match &mut self.stream {
                Stream::Plain(timed) => timed.read(&mut room),
                #[cfg(feature = "tls")]
                Stream::Tls(stream) => stream.read(&mut room),
            };
            match found {
                Ok(found) => {
                    self.buffer.extend_from_slice(room.get(..found).unwrap_or_default());
                    return Ok(found > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// A line without its end; none at the connection's end.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            let unread = self.unread();
            if let Some(end) = unread.iter().skip(seen).position(|byte| *byte == b'\n') {
                let line = unread.get(..seen + end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.at += seen + end + 1;
                return Ok(Some(line));
            }
            seen = unread.len();
            if seen > HEAD_BYTES_MAX {
                return Err(broken("a line of the answer is too long"));
            }
            if !self.fill()? {
                return if seen == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Status and headers of the final answer.
    pub(crate) fn head(&mut self) -> io::Result<Head> {
        loop {
            let head = self.any_head()?;
            // Interim answers may come first; 101 is none of them.
            if !matches!(head.status, 100 | 102..=199) {
                return Ok(head);
            }
        }
    }

    fn any_head(&mut self) -> io::Result<Head> {
        // The end before any byte is a connection that the server had closed.
        let first = self.line()?.ok_or(ErrorKind::ConnectionAborted)?;
        let first = String::from_utf8_lossy(&first).into_owned();
        let version = first.strip_prefix("HTTP/1.").ok_or_else(|| broken("the answer is not HTTP/1.1"))?;
        let status: u16 = version
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| broken("the answer has no status"))?;
        let (mut headers, mut size) = (Vec::new(), 0);
        loop {
            let line = self.line()?.ok_or(ErrorKind::UnexpectedEof)?;
            size += line.len();
            if size > HEAD_BYTES_MAX {
                return Err(broken("the answer's headers are too long"));
            }
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = String::from_utf8_lossy(&line).split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let is_chunked =
            header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        let body = match header("content-length") {
            _ if matches!(status, 101 | 204 | 304) => Body::Length(0),
            _ if is_chunked => Body::Chunked,
            Some(length) => Body::Length(length.parse().map_err(|_| broken("the answer's length is no number"))?),
            None => Body::UntilClosed,
        };
        let is_closed = header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"));
        let is_kept_open =
            version.starts_with("1 ") && !is_closed && !matches!(body, Body::UntilClosed) && status != 101;
        Ok(Head { status, headers, body, is_kept_open })
    }

    /// The whole answer to what was sent.
    pub(crate) fn answer(&mut self) -> io::Result<(Answer, bool)> {
        let head = self.head()?;
        let mut body = Vec::new();
        match head.body {
            Body::Length(length) => self.take(length, &mut body)?,
            Body::Chunked => while self.chunk(&mut body)? {},
            Body::UntilClosed => loop {
                body.extend_from_slice(self.unread());
                self.at = self.buffer.len();
                if body.len() > ANSWER_BYTES_MAX {
                    return Err(broken("the answer is too large"));
                }
                if !self.fill()? {
                    break;
                }
            },
        }
        Ok((Answer { status: head.status, headers: head.headers, body }, head.is_kept_open))
    }

    fn take(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length.saturating_add(body.len()) > ANSWER_BYTES_MAX {
            return Err(broken("the answer is too large"));
        }
        let mut missing = length;
        while missing > 0 {
            let unread = self.unread();
            if unread.is_empty() {
                if !self.fill()? {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let found = unread.get(..missing.min(unread.len())).unwrap_or_default();
            body.extend_from_slice(found);
            missing -= found.len();
            self.at += found.len();
        }
        Ok(())
    }

    /// The next piece of a body in chunks; false after the last one.
    pub(crate) fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = self.line()?.ok_or(ErrorKind::UnexpectedEof)?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| broken("a chunk has no size"))?;
        if size == 0 {
            while !self.line()?.ok_or(ErrorKind::UnexpectedEof)?.is_empty() {}
            return Ok(false);
        }
        self.take(size, body)?;
        match self.line()? {
            Some(end) if end.is_empty() => Ok(true),
            _ => Err(broken("a chunk does not end where it should")),
        }
    }

    /// What came of a body that goes on until the connection is closed; false at its end.
    pub(crate) fn some(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        if self.unread().is_empty() && !self.fill()? {
            return Ok(false);
        }
        body.extend_from_slice(self.unread());
        self.at = self.buffer.len();
        Ok(true)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }
}

impl Stream {
    #[cfg(feature = "tls")]
    fn new(socket: Timed, address: &Address, tls: Option<&Tls>) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::Plain(socket)) };
        let name = rustls::pki_types::ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let connection = rustls::ClientConnection::new(std::sync::Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(rustls::StreamOwned::new(connection, socket))))
    }

    #[cfg(not(feature = "tls"))]
    fn new(socket: Timed, _: &Address, _: Option<&Tls>) -> io::Result<Self> {
        Ok(Self::Plain(socket))
    }
}

fn over() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "the request's time is over")
}
