"""Observations on their way to the server: in batches, off the caller's path, bounded, with a count of what was dropped."""

from __future__ import annotations

import collections
import json
import logging
import threading
import time
from typing import Any, Deque, Dict, List, Optional, Tuple

from ._calls import Calls, jitter, parsed
from .errors import ChangeoverError

log = logging.getLogger("changeover")

BATCH_MAX, BATCH_BYTES_MAX = 500, 900 << 10
WAITING_BYTES_MAX = 32 << 20
GATHER_S = 1.0
PAUSE_S, PAUSE_S_MAX = 0.25, 30.0


class Observations:
    def __init__(self, calls: Calls, waiting_max: int, timeout: float) -> None:
        self._calls, self._waiting_max, self._timeout = calls, waiting_max, timeout
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Deque[Tuple[str, bytes]] = collections.deque()
        self._bytes = self._under_way = 0
        self._thread: Optional[threading.Thread] = None
        self._is_closed = self._is_flushed = False
        self.counts = {"sent": 0, "dropped": 0, "refused": 0, "mismatches": 0, "ignored": 0}

    def count(self, what: str, by: int = 1) -> None:
        with self._changed:
            self.counts[what] += by

    def stats(self) -> Dict[str, int]:
        with self._changed:
            return {**self.counts, "pending": len(self._waiting) + self._under_way}

    def add(self, path: str, observation: Dict[str, Any]) -> None:
        text = json.dumps(observation, allow_nan=False).encode()
        with self._changed:
            if self._is_closed or len(self._waiting) + self._under_way >= self._waiting_max or self._bytes + len(text) > WAITING_BYTES_MAX:
                self.counts["dropped"] += 1
                return
            self._waiting.append((path, text))
            self._bytes += len(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="changeover-observations", daemon=True)
                self._thread.start()
            elif len(self._waiting) in (1, BATCH_MAX):
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Sends what waits, now; false if something is left after the time."""
        with self._changed:
            self._is_flushed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._under_way, timeout)

    def close(self, timeout: float) -> None:
        with self._changed:
            has_some = bool(self._waiting) or bool(self._under_way)
        if has_some:
            self.flush(timeout)
        with self._changed:
            self._is_closed = True
            self.counts["dropped"] += len(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        failures = 0
        while True:
            batch = self._next()
            if batch is None:
                return
            path, texts = batch
            after = self._send(path, texts)
            if after is None:
                failures = 0
                continue
            with self._changed:
                pause = max(after, jitter(PAUSE_S, failures, PAUSE_S_MAX))
                failures += 1
                self._is_flushed = False
                self._changed.wait_for(lambda: self._is_closed or self._is_flushed, pause)

    def _next(self) -> Optional[Tuple[str, List[bytes]]]:
        """The next batch of one place, as soon as it is full or its first one has waited long enough."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._is_closed)
            until = time.monotonic() + GATHER_S
            while not self._is_closed and not self._is_flushed and len(self._waiting) < BATCH_MAX:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if not self._waiting:
                if self._is_closed:
                    return None
                self._is_flushed = False
                return "", []
            path, texts, size, later = self._waiting[0][0], [], 0, collections.deque()  # type: str, List[bytes], int, Deque[Tuple[str, bytes]]
            while self._waiting and len(texts) < BATCH_MAX:
                one = self._waiting.popleft()
                if one[0] == path and size + len(one[1]) <= BATCH_BYTES_MAX:
                    texts.append(one[1])
                    size += len(one[1])
                else:
                    later.append(one)
                    if size + len(one[1]) > BATCH_BYTES_MAX:
                        break
            self._waiting.extendleft(reversed(later))
            self._under_way = len(texts)
            return path, texts

    def _send(self, path: str, texts: List[bytes]) -> Optional[float]:
        """None if the batch is done with, otherwise how long to wait at least before it is sent again."""
        if not texts:
            return None
        refused, after = 0, None  # type: int, Optional[float]
        try:
            headers = {"Content-Type": "application/x-ndjson"}
            answer = parsed(self._calls.send("POST", path, b"\n".join(texts), headers=headers, attempts=1, timeout=5 * self._timeout))
            lines = answer.get("refused") if isinstance(answer, dict) else None
            if isinstance(lines, list) and lines:
                refused = len(lines)
                log.warning("%d of %d observations were refused: %s", refused, len(texts), lines[0])
        except ChangeoverError as error:
            if error.is_retried and not self._is_closed:
                after = error.retry_after or 0.0
            else:
                refused = len(texts)
                log.warning("%d observations were refused: %s", refused, error)
        with self._changed:
            self._under_way = 0
            if after is None:
                self._bytes -= sum(map(len, texts))
                self.counts["refused"] += refused
                self.counts["sent"] += len(texts) - refused
            else:
                self._waiting.extendleft((path, text) for text in reversed(texts))
            self._changed.notify_all()
        return after
