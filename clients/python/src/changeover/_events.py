"""Listens to what the server tells of changes, on one thread, and comes back when the stream breaks."""

from __future__ import annotations

import json
import logging
import threading
from typing import Callable, Optional

from ._calls import jitter
from ._http import Stream, Transport
from .errors import ChangeoverError, seconds_of

log = logging.getLogger("changeover")

PATH = "/ofrep/v1/events"
SILENCE_S_MAX = 45.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 30.0


class Events:
    """Calls `told` with the tag of each change, and `connected` with whether a stream is open."""

    def __init__(self, transport: Transport, told: Callable[[Optional[str]], None], connected: Callable[[bool], None]) -> None:
        self._transport, self._told, self._connected = transport, told, connected
        self._last_id: Optional[str] = None
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._stream: Optional[Stream] = None
        self._retry_s, self._failures = 1.0, 0

    def start(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="changeover-events", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.break_off()

    def _run(self) -> None:
        while not self._closed.is_set():
            after = 0.0
            try:
                after = self._listen()
            except ChangeoverError as error:
                log.debug("no stream of events: %s", error)
            except Exception:
                log.warning("the stream of events broke", exc_info=True)
            self._connected(False)
            pause = max(PAUSE_S_MIN, jitter(self._retry_s, self._failures, PAUSE_S_MAX), after)
            self._failures += 1
            self._closed.wait(pause)

    def _listen(self) -> float:
        """Until the stream ends; how long to wait at least then."""
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        stream = self._transport.stream(PATH, headers, SILENCE_S_MAX)
        self._stream = stream
        try:
            if stream.status != 200:
                return min(seconds_of(stream.headers.get("retry-after")) or 0.0, 300.0)
            if not self._closed.is_set():
                self._connected(True)
                self._read(stream)
            return 0.0
        finally:
            self._stream = None
            stream.close()

    def _read(self, stream: Stream) -> None:
        ident, data = None, []  # type: Optional[str], list[str]
        for line in stream.lines():
            if self._closed.is_set():
                return
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if not line:
                if data:
                    self._event(ident, "\n".join(data))
                ident, data = None, []
            elif name == "data" and len(data) < 100:
                data.append(value)
            elif name == "id" and "\0" not in value:
                ident = value
            elif name == "retry" and value.isascii() and value.isdigit():
                self._retry_s = min(int(value[:9]) / 1000, PAUSE_S_MAX)

    def _event(self, ident: Optional[str], data: str) -> None:
        self._failures = 0
        if ident is not None:
            self._last_id = ident
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return
        if isinstance(event, dict) and event.get("type") == "refetchEvaluation":
            etag = event.get("etag")
            self._told(etag if isinstance(etag, str) else None)
