"""Evaluations: the answers of the contexts asked for lately are kept, served from memory and renewed off the caller's path."""

from __future__ import annotations

import collections
import json
import logging
import random
import threading
import time
import urllib.parse
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import _state
from ._calls import jitter
from ._http import Answer, Transport
from ._workers import Workers
from .details import TYPES, Context, Details, NoContext, details_of, failed, identity, items_of
from .errors import ChangeoverError, seconds_of

log = logging.getLogger("changeover")

BULK = "/ofrep/v1/evaluate/flags"
BYTES_MAX = 32 << 20
RECENT_S = 60.0
RENEWALS_AT_ONCE = 4
PAUSE_S, PAUSE_S_MAX = 0.25, 30.0
AGE_MAX_WITHOUT_EVENTS_S = 10.0
Asked = Tuple[str, Any, str]


class Kept:
    """A context's answers."""

    __slots__ = ("items", "error", "etag", "at", "size", "used", "is_due", "is_renewing", "is_from_disk")

    def __init__(self, items: Dict[str, Any], etag: Optional[str], at: float, size: int) -> None:
        self.items, self.etag, self.at, self.size = items, etag, at, size
        #: What every flag is answered: the context is wrong.
        self.error: Optional[Tuple[str, str]] = None
        self.used = at
        #: A change was told of since.
        self.is_due = False
        self.is_renewing = False
        self.is_from_disk = False


class Server:
    """Whether the server may be asked: after a failure one caller tries again after a pause; the others do not wait."""

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self.failures, self._until, self._is_tried = 0, 0.0, False
        self.failure = ("PROVIDER_NOT_READY", "the server has not been asked yet")

    def may_be_asked(self) -> bool:
        if not self.failures:
            return True
        with self._lock:
            if self._is_tried or time.monotonic() < self._until:
                return not self.failures
            self._is_tried = True
            return True

    def answered(self) -> None:
        if self.failures:
            with self._lock:
                self.failures, self._is_tried = 0, False

    def failed(self, failure: Tuple[str, str], retry_after: Optional[float]) -> None:
        with self._lock:
            pause = jitter(PAUSE_S, self.failures, PAUSE_S_MAX) if retry_after is None else min(retry_after, 300.0) + random.uniform(0.0, PAUSE_S)
            self.failures, self._is_tried, self.failure = self.failures + 1, False, failure
            self._until = time.monotonic() + pause

    def given_up(self) -> None:
        """The one who tries was interrupted."""
        with self._lock:
            self._is_tried = False


class Flags:
    def __init__(self, transport: Transport, max_age: float, contexts_max: int, state_path: Optional[str]) -> None:
        self._transport, self._max_age, self._contexts_max = transport, max_age, max(1, contexts_max)
        self.server = Server()
        self.workers = Workers("changeover-renewals", RENEWALS_AT_ONCE)
        self._kept: "collections.OrderedDict[str, Kept]" = collections.OrderedDict()
        self._bytes = 0
        self.has_events = False
        self.on_first_answer: Callable[[], None] = lambda: None
        self._generation, self._told = 0, None  # type: Tuple[int, Optional[str]]
        self.state = _state.State(state_path, transport.url)
        self._locks()

    def _locks(self) -> None:
        self._lock = threading.Lock()
        self._asking: Dict[str, threading.Event] = {}

    def reset_after_fork(self) -> None:
        self._locks()
        self.server.reset_after_fork()
        self.workers.reset_after_fork()
        self.state.reset_after_fork()
        self.has_events = False
        for kept in self._kept.values():
            kept.is_renewing, kept.is_due = False, True

    # ── what callers ask ────────────────────────────────────────────────────────────────────────────────────────────

    def details(self, asked: Asked, context: Context, cached: bool = True) -> Details:
        """Never raises an `Exception`."""
        try:
            if asked[2] not in TYPES:
                return failed(asked[1], "GENERAL", f"a value is one of {', '.join(TYPES)}, not {asked[2]!r}")
            ident = identity(context)
            if not cached:
                return self._one(asked, ident)
            return self.known(asked, ident) or self._first(asked, ident)
        except NoContext as error:
            return failed(asked[1], "INVALID_CONTEXT", str(error))
        except Exception as error:  # an evaluation never breaks its caller
            log.warning("a flag was not evaluated", exc_info=True)
            return failed(asked[1], "GENERAL", f"{type(error).__name__}: {error}")

    def every(self, context: Context) -> Dict[str, Details]:
        """The answers of all flags, by key; none if there are none to be had. Never raises an `Exception`."""
        try:
            ident = identity(context)
            # Asking for any flag has all of them asked for, or renewed.
            self.known(("", None, "boolean"), ident) or self._first(("", None, "boolean"), ident)
            kept = self._kept.get(ident) or self._from_disk(ident)
            if kept is None or kept.error is not None:
                return {}
            age = time.monotonic() - kept.at
            return {key: self._served((key, None, "any"), kept, age) for key in sorted(kept.items)}
        except NoContext:
            return {}
        except Exception:  # an evaluation never breaks its caller
            log.warning("flags were not evaluated", exc_info=True)
            return {}

    def known(self, asked: Asked, ident: str) -> Optional[Details]:
        """The answer, if nobody needs to wait for it."""
        kept = self._kept.get(ident)
        if kept is None:
            return None
        now = time.monotonic()
        age = now - kept.at
        if kept.is_due or age > self._age_max():
            if age > 10 * self._max_age or (kept.is_due and now - kept.used > RECENT_S):
                return None
            if not kept.is_renewing:
                self._renew(ident, kept)
        if now - kept.used > 1.0:
            self._use(ident, kept, now)
        return self._served(asked, kept, age)

    def _age_max(self) -> float:
        return self._max_age if self.has_events else min(self._max_age, AGE_MAX_WITHOUT_EVENTS_S)

    def _served(self, asked: Asked, kept: Kept, age: float) -> Details:
        if kept.error is not None:
            return failed(asked[1], *kept.error)
        details = details_of(kept.items.get(asked[0]), asked)
        if self.server.failures and (kept.is_from_disk or age > self._max_age) and details.error_code is None:
            return details._replace(reason="STALE")
        return details

    def _first(self, asked: Asked, ident: str) -> Details:
        kept = self._asked(ident)
        if kept is not None:
            return self._served(asked, kept, time.monotonic() - kept.at)
        return self._last_known(asked, ident)

    def _last_known(self, asked: Asked, ident: str) -> Details:
        kept = self._kept.get(ident) or self._from_disk(ident)
        if kept is None:
            return failed(asked[1], *self.server.failure)
        return self._served(asked, kept, float("inf"))

    def _one(self, asked: Asked, ident: str) -> Details:
        if not self.server.may_be_asked():
            return self._last_known(asked, ident)
        answer, failure = self._post(f"{BULK}/{urllib.parse.quote(asked[0], safe='')}", ident, {})
        item = _parsed(answer) if answer is not None else None
        if answer is not None and isinstance(item, dict):
            if answer.status == 200 or (answer.status in (400, 404, 500) and item.get("errorCode")):
                self._answered()
                return details_of(item, asked)
            if answer.status == 404:
                self._answered()
                return details_of(None, asked)
        self._failed(answer, failure)
        return self._last_known(asked, ident)

    # ── asking the server ───────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, ident: str) -> Optional[Kept]:
        """The newest answers, asked for now; None if they cannot be had. Whoever needs the same ones waits for the first one's."""
        with self._lock:
            done = self._asking.get(ident)
            is_first = done is None
            if done is None:
                done = self._asking[ident] = threading.Event()
        if not is_first:
            done.wait(self._transport.timeout + 1.0)
            kept = self._kept.get(ident)
            return kept if kept is not None and not kept.is_from_disk and time.monotonic() - kept.at < self._max_age else None
        try:
            kept = self._fetch(ident, is_used=True)
            if kept is not None and kept.is_due:
                self._renew(ident, kept)
            return kept
        finally:
            with self._lock:
                self._asking.pop(ident, None)
            done.set()

    def _renew(self, ident: str, kept: Kept) -> None:
        if self.server.failures and not self.server.may_be_asked():
            return
        self.server.given_up()
        kept.is_renewing = True

        def renew() -> None:
            try:
                for _ in range(5):  # once more if another change was told of meanwhile
                    renewed = self._fetch(ident, is_used=False)
                    if renewed is None or not renewed.is_due:
                        return
            finally:
                kept.is_renewing = False

        try:
            self.workers.submit(renew)
        except RuntimeError:
            kept.is_renewing = False

    def _fetch(self, ident: str, is_used: bool) -> Optional[Kept]:
        if not self.server.may_be_asked():
            return None
        try:
            generation, told = self._generation, self._told
            kept = self._kept.get(ident) or self._from_disk(ident)
            path = BULK if told is None else f"{BULK}?flagConfigEtag={urllib.parse.quote(told, safe='')}"
            headers = {"If-None-Match": kept.etag} if kept is not None and kept.etag else {}
            answer, failure = self._post(path, ident, headers)
            renewed = self._read(answer, kept)
            if renewed is None:
                self._failed(answer, failure)
                return None
            renewed.is_due = self._generation != generation
            self._keep(ident, renewed, is_used)
            self._answered()
            return renewed
        except BaseException:
            self.server.given_up()
            raise

    def _read(self, answer: Optional[Answer], kept: Optional[Kept]) -> Optional[Kept]:
        """The answers that an answer of the server has, or None if it has none."""
        now = time.monotonic()
        if answer is None:
            return None
        if answer.status == 304 and kept is not None:
            same = Kept(kept.items, kept.etag, now, kept.size)
            same.error = kept.error
            return same
        parsed = _parsed(answer)
        if answer.status == 200:
            items = items_of(parsed)
            if items is not None:
                return Kept(items, answer.headers.get("etag"), now, len(answer.body))
        if answer.status in (400, 404) and isinstance(parsed, dict) and parsed.get("errorCode"):
            wrong = Kept({}, None, now, len(answer.body))
            wrong.error = (str(parsed["errorCode"]), str(parsed.get("errorDetails") or parsed["errorCode"]))
            return wrong
        return None

    def _post(self, path: str, ident: str, headers: Dict[str, str]) -> Tuple[Optional[Answer], Optional[ChangeoverError]]:
        body = f'{{"context":{ident}}}'.encode()
        try:
            return self._transport.request("POST", path, body, {"Content-Type": "application/json", **headers}), None
        except ChangeoverError as error:
            return None, error

    def _answered(self) -> None:
        self.server.answered()
        self.on_first_answer()

    def _failed(self, answer: Optional[Answer], failure: Optional[ChangeoverError]) -> None:
        if answer is None:
            self.server.failed(("PROVIDER_NOT_READY", str(failure)), None)
            return
        code = "GENERAL" if answer.status in (401, 403) else "PROVIDER_NOT_READY"
        parsed = _parsed(answer)
        why = parsed.get("errorDetails") or parsed.get("detail") if isinstance(parsed, dict) else None
        message = f"the server answers {answer.status}{f': {why}' if why else ''}"
        self.server.failed((code, message), seconds_of(answer.headers.get("retry-after")))

    # ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────

    def _use(self, ident: str, kept: Kept, now: float) -> None:
        kept.used = now
        with self._lock:
            if ident in self._kept:
                self._kept.move_to_end(ident)

    def _keep(self, ident: str, kept: Kept, is_used: bool) -> None:
        with self._lock:
            before = self._kept.get(ident)
            self._bytes += kept.size - (before.size if before else 0)
            self._kept[ident] = kept
            if is_used:
                self._kept.move_to_end(ident)
            elif before is not None:
                kept.used = before.used
            while len(self._kept) > 1 and (len(self._kept) > self._contexts_max or self._bytes > BYTES_MAX):
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.size
        if kept.error is None:
            self.state.changed(self._to_save)

    def _from_disk(self, ident: str) -> Optional[Kept]:
        found = self.state.answers(ident)
        if found is None:
            return None
        items, etag, size = found
        kept = Kept(items, etag, float("-inf"), size)
        kept.is_from_disk = True
        return kept

    def _to_save(self) -> List[Tuple[str, Dict[str, Any], Optional[str], float]]:
        """The kept answers, the least recently used first, with their age."""
        now = time.monotonic()
        with self._lock:
            return [(ident, kept.items, kept.etag, now - kept.at) for ident, kept in self._kept.items() if kept.error is None]

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def told(self, etag: Optional[str]) -> None:
        """The server says that its configuration has changed."""
        now = time.monotonic()
        with self._lock:
            self._generation += 1
            self._told = etag
            recent = []
            for ident, kept in self._kept.items():
                kept.is_due = True
                if now - kept.used <= RECENT_S:
                    recent.append((kept.used, ident, kept))
        recent.sort(key=lambda one: -one[0])
        for _, ident, kept in recent:
            if not kept.is_renewing:
                self._renew(ident, kept)

    def close(self) -> None:
        self.workers.close()
        self.state.save(self._to_save)


def _parsed(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
