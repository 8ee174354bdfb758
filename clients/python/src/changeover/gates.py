"""A worker that runs only while it may: it asks its gate for a lease, keeps it by a heartbeat, and stops in time when it is lost."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import socket
import threading
import time
import urllib.parse
import uuid
from typing import Any, Callable, Dict, Optional, Tuple, TypeVar

from ._calls import Calls
from .errors import ChangeoverError, Conflict, NotFound, UnexpectedAnswer

log = logging.getLogger("changeover")

Result = TypeVar("Result")
_NOT_NOW = (Conflict, NotFound)


class Lease:
    """What `work` is given: whether it may go on."""

    def __init__(self, fencing_token: Optional[int], asked_at: float, seconds: float, next_s: float) -> None:
        #: Grows with every lease of the worker: whoever has a smaller one is late. Give it to what you write to, if it can compare.
        #: None for a worker of which any number may run.
        self.fencing_token = fencing_token
        self._over = threading.Event()
        self._extend(asked_at, seconds, next_s)

    def _extend(self, asked_at: float, seconds: float, next_s: float) -> None:
        # Counted from before it was asked for, and a tenth less: it never lasts longer here than at the server.
        self._until = asked_at + seconds * 0.9
        self._next_at = asked_at + max(0.1, next_s)

    @property
    def is_allowed(self) -> bool:
        """False for good as soon as the worker is paused, the lease is lost or has run out, or the gate was told to stop."""
        if self._over.is_set():
            return False
        if time.monotonic() < self._until:
            return True
        self._over.set()
        return False

    def wait(self, seconds: float) -> bool:
        """A pause between two pieces of work that ends as soon as the lease does. Returns `is_allowed`."""
        until = time.monotonic() + seconds
        while self.is_allowed:
            left = min(until, self._until) - time.monotonic()
            if time.monotonic() >= until:
                break
            self._over.wait(max(0.001, min(left, 60.0)))
        return self.is_allowed

    def lose(self) -> None:
        """Ends it."""
        self._over.set()


class Gate:
    """Made by `Client.gate`. One object runs one worker; `holder` names this instance of it."""

    def __init__(self, calls: Calls, worker: str, holder: Optional[str] = None) -> None:
        self.worker = worker
        self.holder = holder or f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._calls = calls
        self._path = f"/api/v1/gates/{urllib.parse.quote(worker, safe='')}"
        self._stopped = threading.Event()
        self._lease: Optional[Lease] = None

    def state(self) -> Dict[str, Any]:
        """The gate as the server has it: `answer` is `run` or `pause`. Raises `ChangeoverError`."""
        found = self._calls.json("GET", self._path, attempts=1)
        if not isinstance(found, dict):
            raise UnexpectedAnswer("the answer is no gate")
        return found

    def stop(self) -> None:
        """Ends `run`: the work is told that it may not go on, and no new lease is asked for."""
        self._stopped.set()
        lease = self._lease
        if lease is not None:
            lease.lose()

    def run(self, work: Callable[[Lease], Result]) -> Optional[Result]:
        """Waits for the lease, calls `work` with it, and gives it back.

        If the lease ends before `work` does, another one is waited for and `work` is called again. Returns what `work` returned, or None
        if it was stopped. What `work` raises is the caller's.
        """
        while not self._stopped.is_set():
            lease = self._acquire()
            if lease is None:
                continue
            self._lease = lease
            if self._stopped.is_set():
                lease.lose()
            heart = threading.Thread(target=self._beat, args=(lease,), name="changeover-lease", daemon=True)
            heart.start()
            try:
                result = work(lease)
                if lease.is_allowed:
                    return result
            finally:
                self._lease = None
                self._release(lease)
        return None

    async def run_async(self, work: Callable[[Lease], Any]) -> Any:
        """The same on an event loop: `work` is a coroutine function."""
        loop = asyncio.get_running_loop()
        while not self._stopped.is_set():
            lease = await loop.run_in_executor(None, self._acquire)
            if lease is None:
                continue
            self._lease = lease
            if self._stopped.is_set():
                lease.lose()
            heart = threading.Thread(target=self._beat, args=(lease,), name="changeover-lease", daemon=True)
            heart.start()
            try:
                result = work(lease)
                if inspect.isawaitable(result):
                    result = await result
                if lease.is_allowed:
                    return result
            finally:
                self._lease = None
                await asyncio.shield(loop.run_in_executor(None, self._release, lease))
        return None

    def _acquire(self) -> Optional[Lease]:
        """Leave to run, or None after the pause that is asked for."""
        try:
            found = self.state()
            if found.get("answer") == "run":
                if found.get("single_instance") is not True:
                    return Lease(None, time.monotonic(), float("inf"), _seconds(found, "ask_again_seconds", 10.0))
                lease = self._leased()
                if not self._stopped.is_set():
                    return lease
                self._release(lease)
                return None
            self._pause(_seconds(found, "ask_again_seconds", None))
        except ChangeoverError as error:
            log.debug("%s may not run: %s", self.worker, error)
            if not isinstance(error, _NOT_NOW) and not error.is_retried:
                raise
            self._pause(error.retry_after)
        return None

    def _pause(self, seconds: Optional[float]) -> None:
        self._stopped.wait(random.uniform(1.0, 5.0) if seconds is None else min(seconds, 60.0) + random.uniform(0.0, 0.25))

    def _leased(self) -> Lease:
        asked_at = time.monotonic()
        answer = self._calls.json("POST", f"{self._path}/lease", {"holder": self.holder}, attempts=1)
        token, seconds, next_s = _lease_of(answer)
        return Lease(token, asked_at, seconds, next_s)

    def _beat(self, lease: Lease) -> None:
        while lease.is_allowed:
            if lease.wait(max(0.0, lease._next_at - time.monotonic())):
                try:
                    self._renew(lease)
                except ChangeoverError as error:
                    if not error.is_retried:
                        log.info("%s may not go on: %s", self.worker, error)
                        lease.lose()
                        return
                    # Whether the server comes back in time the lease's own clock decides.
                    lease.wait(random.uniform(0.1, 0.5))

    def _renew(self, lease: Lease) -> None:
        asked_at = time.monotonic()
        if lease.fencing_token is None:
            found = self.state()
            if found.get("answer") != "run" or found.get("single_instance") is True:
                lease.lose()
            lease._extend(asked_at, float("inf"), _seconds(found, "ask_again_seconds", 10.0) or 10.0)
            return
        answer = self._calls.json("POST", f"{self._path}/lease/heartbeat", self._claim(lease), attempts=1)
        token, seconds, next_s = _lease_of(answer)
        if token != lease.fencing_token:
            lease.lose()
        else:
            lease._extend(asked_at, seconds, next_s)

    def _release(self, lease: Lease) -> None:
        lease.lose()
        if lease.fencing_token is None:
            return
        try:
            self._calls.json("POST", f"{self._path}/lease/release", self._claim(lease), attempts=1)
        except ChangeoverError as error:
            log.debug("the lease of %s was not given back, it runs out: %s", self.worker, error)

    def _claim(self, lease: Lease) -> Dict[str, Any]:
        return {"holder": self.holder, "fencing_token": lease.fencing_token}


def _lease_of(answer: Any) -> Tuple[int, float, float]:
    """Fencing token, seconds that it lasts, seconds until the next heartbeat."""
    try:
        return int(answer["fencing_token"]), float(answer["lease_seconds"]), float(answer["heartbeat_after_seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"the answer is no lease: {error!r}") from error


def _seconds(found: Dict[str, Any], name: str, default: Optional[float]) -> Any:
    value = found.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else default
