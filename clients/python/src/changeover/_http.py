"""Requests over HTTP/1.1 with a deadline for the whole of each, on connections that are kept open. No retries: those are `_calls`'s."""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .errors import NoAnswer, TimedOut

VERSION = "0.1.0"
ANSWER_BYTES_MAX = 64 << 20
_IDLE_MAX = 16
_IDLE_S_MAX = 30.0
_GONE = (ConnectionError, http.client.BadStatusLine)


class Answer(NamedTuple):
    status: int
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes


class _Reader(io.RawIOBase):
    """Reads a socket, each time with what is left until the connection's deadline."""

    def __init__(self, connection: "_Connection", sock: socket.socket) -> None:
        self._connection, self._sock = connection, sock
        self._raw: Any = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._sock.settimeout(self._connection.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """What `http.client` needs of a socket."""

    def __init__(self, connection: "_Connection", sock: socket.socket) -> None:
        self._connection, self.sock = connection, sock

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(self._connection.left())
        self.sock.sendall(data)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._connection, self.sock), 65536)

    def close(self) -> None:
        self.sock.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, tls: Optional[ssl.SSLContext]) -> None:
        super().__init__(host, port)
        self.deadline = 0.0
        self.idle_since = 0.0
        self._tls = tls

    def left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("the request's time is over")
        return left

    def connect(self) -> None:
        failure: Optional[OSError] = None
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self.left())
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    sock.settimeout(self.left())
                    sock = self._tls.wrap_socket(sock, server_hostname=self.host)
            except OSError as error:
                sock.close()
                failure = error
            else:
                self.sock = _TimedSocket(self, sock)
                return
        raise failure or OSError(f"{self.host} has no address")

    def is_usable(self) -> bool:
        """Whether the server has left it open, as far as can be seen."""
        if not isinstance(self.sock, _TimedSocket) or time.monotonic() - self.idle_since > _IDLE_S_MAX:
            return False
        try:
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(self.sock.sock, select.POLLIN)
                return not poll.poll(0)
            return not select.select([self.sock.sock], [], [], 0)[0]
        except (OSError, ValueError):
            return False

    def break_off(self) -> None:
        """Wakes a thread that reads from it."""
        timed = self.sock
        if isinstance(timed, _TimedSocket):
            try:
                timed.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Transport:
    """Sends requests to one server. Any number of threads may use it."""

    def __init__(self, url: str, token: str, timeout: float, tls: Optional[ssl.SSLContext] = None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url is the server's address, such as https://flags.example.com, not {url!r}")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("token is not a token of Changeover: it has blanks or letters that no token has")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._host, self._prefix = parts.hostname, parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._headers = {"User-Agent": f"changeover-python/{VERSION}", "Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._lock, self._idle = threading.Lock(), []  # type: Tuple[threading.Lock, List[_Connection]]

    def reset_after_fork(self) -> None:
        # The sockets belong to the parent too: they are let go, not shut down.
        self._lock, self._idle = threading.Lock(), []

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        headers: Optional[Dict[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Answer:
        """One request and its whole answer.

        Raises `TimedOut` or `NoAnswer`. A request that a kept connection did not take is sent once more on a new one: everything that this
        package sends may be sent twice.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, deadline, (method, path, body, headers))
            except _GONE:
                pass
            except (OSError, http.client.HTTPException) as error:
                raise self._failure(error) from error
        try:
            return self._exchange(_Connection(self._host, self._port, self._tls), deadline, (method, path, body, headers))
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error

    def _exchange(self, connection: _Connection, deadline: float, request: Tuple[str, str, Optional[bytes], Optional[Dict[str, str]]]) -> Answer:
        method, path, body, headers = request
        connection.deadline = deadline
        try:
            connection.request(method, self._prefix + path, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
            data = _whole(response)
            if response.length:
                raise http.client.IncompleteRead(data, response.length)
            answer = Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, data)
        except BaseException:
            connection.close()
            raise
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            self._give_back(connection)
        return answer

    def stream(self, path: str, headers: Dict[str, str], silence_max: float) -> "Stream":
        """A GET whose answer is read line by line, as long as no silence is longer than `silence_max`."""
        connection = _Connection(self._host, self._port, self._tls)
        connection.deadline = time.monotonic() + self.timeout
        try:
            connection.request("GET", self._prefix + path, None, {**self._headers, **headers})
            return Stream(connection, connection.getresponse(), silence_max)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._failure(error) from error

    def _take(self) -> Optional[_Connection]:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()

    def _give_back(self, connection: _Connection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            if len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _failure(self, error: Exception) -> NoAnswer:
        if isinstance(error, socket.timeout):
            return TimedOut(f"{self.url} gave no answer in {self.timeout:g} s: is it overloaded, or is something in between?")
        return NoAnswer(f"{self.url} gave no answer: {error or type(error).__name__}")


def _whole(response: http.client.HTTPResponse) -> bytes:
    # In pieces: Python 3.9 makes room for as many bytes as are asked for.
    pieces, size = [], 0
    while piece := response.read(65536):
        pieces.append(piece)
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            raise http.client.HTTPException(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
    return b"".join(pieces)


class Stream:
    """An answer that goes on."""

    def __init__(self, connection: _Connection, response: http.client.HTTPResponse, silence_max: float) -> None:
        self._connection, self._response, self._silence_max = connection, response, silence_max
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def lines(self) -> Iterator[str]:
        """Its lines, without their ends, until it ends, breaks or is closed."""
        try:
            while True:
                self._connection.deadline = time.monotonic() + self._silence_max
                line = self._response.readline(65536)
                if not line:
                    return
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return

    def break_off(self) -> None:
        self._connection.break_off()

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def environment(name: str, given: Optional[str]) -> str:
    return given if given is not None else os.environ.get(name, "")
