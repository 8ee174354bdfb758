"""Daemon threads for what happens off a caller's path. Started when there is work, a few at most, gone after a while without any."""

from __future__ import annotations

import collections
import concurrent.futures
import contextvars
import logging
import threading
from typing import Any, Callable, Deque, Tuple

log = logging.getLogger("changeover")
_IDLE_S = 30.0


class Workers:
    def __init__(self, name: str, count_max: int) -> None:
        self._name, self._count_max = name, count_max
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Deque[Tuple["concurrent.futures.Future[Any]", Callable[[], Any]]] = collections.deque()
        self._count = self._idle = 0
        self._is_closed = False

    def submit(self, work: Callable[[], Any]) -> "concurrent.futures.Future[Any]":
        """Done as soon as a thread is free."""
        future: "concurrent.futures.Future[Any]" = concurrent.futures.Future()
        context = contextvars.copy_context()
        with self._changed:
            if self._is_closed:
                future.cancel()
                return future
            self._waiting.append((future, lambda: context.run(work)))
            self._wake()
        return future

    def submit_now(self, work: Callable[[], Any]) -> "concurrent.futures.Future[Any] | None":
        """Done at once, or None if all threads have work: whoever waits for others of their kind cannot lock itself out."""
        with self._changed:
            if self._is_closed or len(self._waiting) >= self._idle + self._count_max - self._count:
                return None
        return self.submit(work)

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for future, _ in waiting:
            future.cancel()

    def _wake(self) -> None:
        if self._idle >= len(self._waiting):
            self._changed.notify()
        elif self._count < self._count_max:
            try:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            except RuntimeError:  # the program ends, or the system has no thread left
                if not self._count:
                    self._waiting.pop()
                    raise
            else:
                self._count += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: bool(self._waiting) or self._is_closed, _IDLE_S)
                self._idle -= 1
                if not self._waiting:
                    self._count -= 1
                    return
                future, work = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # whoever waits gets it
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, work
