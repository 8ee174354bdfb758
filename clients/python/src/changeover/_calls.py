"""Requests of the API: JSON in and out, typed errors, and another try where one may help."""

from __future__ import annotations

import json
import random
import time
from typing import Any, Callable, Dict, Optional

from ._http import Answer, Transport
from .errors import ChangeoverError, UnexpectedAnswer, error_of

ATTEMPTS = 4
PAUSE_S, PAUSE_S_MAX = 0.1, 5.0
RETRY_AFTER_S_MAX = 30.0


def jitter(base: float, attempt: int, most: float) -> float:
    """Any time up to `base` × 2ⁿ: clients that failed together do not come back together."""
    return random.uniform(0.0, min(most, base * 2.0 ** min(attempt, 30)))


class Calls:
    """Sends what may be sent twice."""

    def __init__(self, transport: Transport, sleep: Callable[[float], None] = time.sleep) -> None:
        self._transport, self._sleep = transport, sleep

    def json(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Optional[Dict[str, str]] = None,
        attempts: int = ATTEMPTS,
        timeout: Optional[float] = None,
    ) -> Any:
        """The answer's JSON; None for an answer without content. Raises `ChangeoverError`."""
        return parsed(self.answer(method, path, body, headers=headers, attempts=attempts, timeout=timeout))

    def answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Optional[Dict[str, str]] = None,
        attempts: int = ATTEMPTS,
        timeout: Optional[float] = None,
    ) -> Answer:
        """The answer to a body that is sent as JSON. Raises `ChangeoverError`."""
        sent = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        return self.send(method, path, sent, headers=headers, attempts=attempts, timeout=timeout)

    def send(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        *,
        headers: Optional[Dict[str, str]] = None,
        attempts: int = ATTEMPTS,
        timeout: Optional[float] = None,
    ) -> Answer:
        """A success, as it came. Raises `ChangeoverError`."""
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._transport.request(method, path, body, headers, timeout)
                if 200 <= answer.status < 300:
                    return answer
                raise error_of(answer.status, answer.headers, answer.body)
            except ChangeoverError as error:
                after = error.retry_after or 0.0
                if not error.is_retried or attempt >= attempts or after > RETRY_AFTER_S_MAX:
                    raise
            self._sleep(after + jitter(PAUSE_S, attempt, PAUSE_S_MAX))


def parsed(answer: Answer) -> Any:
    if answer.status == 204:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswer(f"the answer is not JSON: {error}", status=answer.status) from error
