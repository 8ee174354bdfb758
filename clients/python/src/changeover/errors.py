"""What a request of the API may raise: one class for each kind of failure, whatever the code. Evaluations raise none of them."""

from __future__ import annotations

import email.utils
import json
import time
from typing import Any, Dict, List, Mapping, Optional, Type


class ChangeoverError(Exception):
    """What every error of this package is.

    `status` is the answer's (None: there was none), `code` the problem's stable code, `detail` its sentence, `faults` the places of a
    write that is not valid, `retry_after` the seconds after which the server says to come again.
    """

    kind = "error"

    def __init__(
        self,
        message: str,
        *,
        status: Optional[int] = None,
        code: Optional[str] = None,
        detail: Optional[str] = None,
        faults: Optional[List[Dict[str, Any]]] = None,
        retry_after: Optional[float] = None,
        body: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.detail = status, code, detail
        self.faults: List[Dict[str, Any]] = faults or []
        self.retry_after = retry_after
        self.body: Dict[str, Any] = body or {}

    @property
    def is_retried(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in (408, 425, 429, 500, 502, 503, 504) or self.code == "idempotency_key_in_flight"


class Unauthenticated(ChangeoverError):
    """The token is missing, unknown, expired or revoked."""

    kind = "unauthenticated"


class Forbidden(ChangeoverError):
    """The token's role does not allow it."""

    kind = "forbidden"


class NotFound(ChangeoverError):
    """There is no such thing."""

    kind = "not_found"


class PreconditionFailed(ChangeoverError):
    """It is not any more what it was when it was seen."""

    kind = "precondition_failed"


class Conflict(ChangeoverError):
    """The state of things does not allow it now."""

    kind = "conflict"


class GateHeld(Conflict):
    """Another holder has the worker's lease."""

    kind = "gate_held"


class GatePaused(Conflict):
    """The worker is paused."""

    kind = "gate_paused"


class LeaseLost(Conflict):
    """The lease has run out, and perhaps somebody else has one by now."""

    kind = "lease_lost"


class RateLimited(ChangeoverError):
    """Too many requests."""

    kind = "rate_limited"


class Invalid(ChangeoverError):
    """The request itself is wrong."""

    kind = "invalid"


class Unavailable(ChangeoverError):
    """The server, or what it needs, cannot answer now."""

    kind = "unavailable"


class ServerFailed(ChangeoverError):
    """The server failed."""

    kind = "server"


class UnexpectedAnswer(ChangeoverError):
    """An answer that the API does not give: a proxy's page perhaps, or a redirect."""

    kind = "unexpected"


class NoAnswer(ChangeoverError):
    """The server gave no whole answer."""

    kind = "connection"

    @property
    def is_retried(self) -> bool:
        return True


class TimedOut(NoAnswer):
    """The server gave no whole answer in time."""

    kind = "timeout"


_BY_CODE: Dict[str, Type[ChangeoverError]] = {
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "own_proposal": Forbidden,
    "not_found": NotFound,
    "stale": PreconditionFailed,
    "row_differs": PreconditionFailed,
    "gate_held": GateHeld,
    "lease_held": GateHeld,
    "gate_paused": GatePaused,
    "lease_lost": LeaseLost,
    "rate_limited": RateLimited,
    "busy": Unavailable,
    "database_unavailable": Unavailable,
    "version_not_reached": Unavailable,
}
_BY_STATUS: Dict[int, Type[ChangeoverError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: PreconditionFailed,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ChangeoverError:
    """The error that an answer which is no success stands for."""
    problem = _object(body)
    code, detail, faults = problem.get("code"), problem.get("detail"), problem.get("faults")
    code = code if isinstance(code, str) else None
    detail = detail if isinstance(detail, str) else None
    kind = _class_of(status, code)
    what = f"{status} {code}" if code else str(status)
    return kind(
        f"{what}: {detail}" if detail else f"{what}: the answer does not say why",
        status=status,
        code=code,
        detail=detail,
        faults=[fault for fault in faults if isinstance(fault, dict)] if isinstance(faults, list) else None,
        retry_after=seconds_of(headers.get("retry-after")),
        body=problem,
    )


def _class_of(status: int, code: Optional[str]) -> Type[ChangeoverError]:
    if code is not None:
        if code in _BY_CODE:
            return _BY_CODE[code]
        if code.endswith("_not_found"):
            return NotFound
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 400:
        return UnexpectedAnswer
    return Invalid if status < 500 else ServerFailed


def _object(body: bytes) -> Dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def seconds_of(retry_after: Optional[str]) -> Optional[float]:
    """What `Retry-After` says, in seconds from now: a number or a date; None if it says nothing that can be understood."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    return max(0.0, when.timestamp() - time.time())
