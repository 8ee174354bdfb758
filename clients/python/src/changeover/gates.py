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
from .errors import ChangeoverError, GateHeld, GatePaused, LeaseLost, NotFound, UnexpectedAnswer

log = logging.getLogger("changeover")

Result = TypeVar("Result")
_NOT_NOW = (GateHeld, GatePaused, NotFound)


class Lease:
    """What `work` is given: whether it may go on."""

    def __init__(self, fencing_token: int, asked_at: float, seconds: float) -> None:
        #: Grows with every lease of the worker: whoever has a smaller one is late. Give it to what you write to, if it can compare.
        self.fencing_token = fencing_token
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._extend(asked_at, seconds)

    def _extend(self, asked_at: float, seconds: float) -> None:
        # Counted from before it was asked for, and a tenth less: never longer than the server counts.
        self._until = asked_at + seconds * 0.9
        self._renew_at = asked_at + seconds / 3

    @property
    def is_allowed(self) -> bool:
        """False for good as soon as the lease is lost, has run out, or the gate was told to stop."""
        if self._over.is_set():
            return False
        if time.monotonic() < self._until:
            return True
        self._over.set()
        return False

    def wait(self, seconds: float) -> bool:
        """A pause between two pieces of work that ends as soon as the lease does. Returns `is_allowed`."""
        until = time.monotonic() + seconds
        while self.is_allowed and time.monotonic() < until:
            self._over.wait(max(0.0, min(until, self._until) - time.monotonic()))
        return self.is_allowed

    def lose(self) -> None:
        """Ends it."""
        self._over.set()


class Gate:
    """Made by `Client.gate`. One object runs one worker; `holder` names this instance of it."""

    def __init__(self, calls: Calls, worker: str, holder: Optional[str] = None, seconds: Optional[int] = None) -> None:
        self.worker = worker
        self.holder = holder or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._seconds, self._calls = seconds, calls
        self._path = f"/api/v1/gates/{urllib.parse.quote(worker, safe='')}"
        self._stopped = threading.Event()
        self._lease: Optional[Lease] = None

    def state(self) -> Dict[str, Any]:
        """The gate as the server has it: `state` is `run`, `pause` or `waiting`. Raises `ChangeoverError`."""
        found = self._calls.json("GET", self._path)
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
        """A lease, or None after the pause that the refusal asks for."""
        asked_at = time.monotonic()
        try:
            token, seconds = self._ask(None)
            return Lease(token, asked_at, seconds)
        except ChangeoverError as error:
            log.debug("no lease of %s: %s", self.worker, error)
            if not isinstance(error, _NOT_NOW) and not error.is_retried:
                raise
            after = error.body.get("retry_after_ms")
            pause = after / 1000 if isinstance(after, (int, float)) and not isinstance(after, bool) else error.retry_after
            self._stopped.wait(random.uniform(1.0, 5.0) if pause is None else min(max(pause, 0.05), 60.0) + random.uniform(0.0, 0.25))
            return None

    def _ask(self, fencing_token: Optional[int]) -> Tuple[int, float]:
        body: Dict[str, Any] = {"holder": self.holder}
        if self._seconds is not None:
            body["seconds"] = self._seconds
        if fencing_token is not None:
            body["fencing_token"] = fencing_token
        answer = self._calls.json("POST", f"{self._path}/lease", body, attempts=1)
        try:
            return int(answer["fencing_token"]), float(answer["expires_in_ms"]) / 1000
        except (KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswer(f"the answer is no lease: {error!r}") from error

    def _beat(self, lease: Lease) -> None:
        while lease.is_allowed:
            if lease.wait(max(0.0, lease._renew_at - time.monotonic())):
                self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        asked_at = time.monotonic()
        try:
            token, seconds = self._ask(lease.fencing_token)
        except ChangeoverError as error:
            if isinstance(error, (GateHeld, GatePaused, LeaseLost)) or not error.is_retried:
                log.info("the lease of %s is lost: %s", self.worker, error)
                lease.lose()
            else:
                # Whether the server comes back in time the lease's own clock decides.
                lease.wait(random.uniform(0.1, 0.5))
            return
        if token != lease.fencing_token:
            lease.lose()
        else:
            lease._extend(asked_at, seconds)

    def _release(self, lease: Lease) -> None:
        lease.lose()
        try:
            body = {"holder": self.holder, "fencing_token": lease.fencing_token}
            self._calls.json("DELETE", f"{self._path}/lease", body, attempts=1)
        except ChangeoverError as error:
            log.debug("the lease of %s was not given back, it runs out: %s", self.worker, error)
