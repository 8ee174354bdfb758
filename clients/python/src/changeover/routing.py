"""On which side a user is, many users at once, and who pays a charge."""

from __future__ import annotations

import collections
import enum
import itertools
import json
import logging
import threading
import time
import urllib.parse
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from ._calls import ATTEMPTS, Calls
from .errors import ChangeoverError, Invalid, NoAnswer, UnexpectedAnswer
from .flags import Server

log = logging.getLogger("changeover")

SIDES_MAX = 10_000
LAST_KNOWN_S_MAX = 3600.0
BATCH_LINES = 500
UserId = Union[str, int]


class Side(str, enum.Enum):
    OLD = "old"
    NEW = "new"

    def __str__(self) -> str:
        return self.value


class SideAnswer(NamedTuple):
    user: str
    #: None if there is an error.
    side: Optional[Side]
    group: Optional[str]
    because: Optional[str]
    error: Optional[ChangeoverError]

    def get(self) -> Side:
        if self.side is None:
            raise self.error or UnexpectedAnswer("the answer names no side")
        return self.side


class Part(NamedTuple):
    payer: Optional[str]
    #: A text with every digit that the database has.
    amount: str


class Allocation(NamedTuple):
    charge_id: str
    period: Optional[str]
    currency: Optional[str]
    side: Side
    group_id: Optional[str]
    parts: List[Part]


class _Raise(enum.Enum):
    RAISE = 0


RAISE = _Raise.RAISE


class Routing:
    def __init__(self, calls: Calls, server: Server, max_age: float, timeout: float) -> None:
        self._calls, self._server, self._max_age, self._timeout = calls, server, max_age, timeout
        self._kept: "collections.OrderedDict[Tuple[str, str, Optional[str], bool], Tuple[Side, float]]" = collections.OrderedDict()
        self._lock, self._warned_at = threading.Lock(), float("-inf")

    def reset_after_fork(self) -> None:
        self._lock = threading.Lock()

    def known(self, change: str, user: UserId, period: Optional[str] = None, record: bool = True) -> Optional[Side]:
        """The kept side, if it is young enough."""
        kept = self._kept.get((change, str(user), period, record))
        return kept[0] if kept is not None and time.monotonic() - kept[1] <= self._max_age else None

    def side_of(
        self,
        change: str,
        user: UserId,
        period: Optional[str] = None,
        default: Union[Side, str, _Raise] = RAISE,
        record: bool = True,
    ) -> Side:
        known = self.known(change, user, period, record)
        if known is not None:
            return known
        key = (change, str(user), period, record)
        try:
            side = self._ask(key, 1 if default is not RAISE else ATTEMPTS)
        except ChangeoverError as error:
            kept = self._kept.get(key)
            if kept is not None and error.is_retried and time.monotonic() - kept[1] <= LAST_KNOWN_S_MAX:
                return kept[0]
            if isinstance(default, _Raise):
                raise
            if time.monotonic() - self._warned_at > 60.0:
                self._warned_at = time.monotonic()
                log.warning("a side of %s is not known, the default is taken: %s", change, error)
            return Side(default)
        with self._lock:
            self._kept[key] = (side, time.monotonic())
            self._kept.move_to_end(key)
            if len(self._kept) > SIDES_MAX:
                self._kept.popitem(last=False)
        return side

    def _ask(self, key: Tuple[str, str, Optional[str], bool], attempts: int) -> Side:
        change, user, period, record = key
        if attempts > 1:
            return self._batch(change, [user], period, record, attempts)[0].get()
        # On a request's path: as with evaluations, a server that hangs costs one caller its time, not each of them.
        if not self._server.may_be_asked():
            raise NoAnswer(self._server.failure[1])
        try:
            answer = self._batch(change, [user], period, record, 1)[0]
        except ChangeoverError as error:
            if error.is_retried:
                self._server.failed(("PROVIDER_NOT_READY", str(error)), error.retry_after)
            else:
                self._server.answered()
            raise
        except BaseException:
            self._server.given_up()
            raise
        self._server.answered()
        return answer.get()

    def sides_of(self, change: str, users: Iterable[UserId], period: Optional[str] = None, record: bool = True) -> Iterator[SideAnswer]:
        rest = iter(users)
        while True:
            batch = [str(user) for user in itertools.islice(rest, BATCH_LINES)]
            if not batch:
                return
            yield from self._batch(change, batch, period, record, ATTEMPTS)

    def _batch(self, change: str, users: List[str], period: Optional[str], record: bool, attempts: int) -> List[SideAnswer]:
        query = urllib.parse.urlencode({**({"period": period} if period is not None else {}), **({} if record else {"record": "false"})})
        path = f"/api/v1/changes/{urllib.parse.quote(change, safe='')}/assignments/query{'?' if query else ''}{query}"
        body = b"".join(json.dumps({"user": user}).encode() + b"\n" for user in users)
        timeout = None if len(users) == 1 else 5 * self._timeout
        answer = self._calls.send("POST", path, body, headers={"Content-Type": "application/x-ndjson"}, attempts=attempts, timeout=timeout)
        lines: Dict[int, Any] = {}
        for text in answer.body.splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                raise UnexpectedAnswer("a line of the answer is not JSON", status=answer.status) from None
            if isinstance(line, dict) and isinstance(line.get("line"), int):
                lines[line["line"]] = line
        return [_answer(user, lines.get(number)) for number, user in enumerate(users, 1)]

    def allocation_of(self, change: str, charge: UserId) -> Allocation:
        path = f"/api/v1/changes/{urllib.parse.quote(change, safe='')}/charges/{urllib.parse.quote(str(charge), safe='')}/explain"
        answer = self._calls.json("GET", path)
        try:
            return _allocation(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnexpectedAnswer(f"the answer is no charge's story: {error!r}") from error


def _answer(user: str, line: Optional[Dict[str, Any]]) -> SideAnswer:
    if line is None:
        return SideAnswer(user, None, None, None, NoAnswer("the answers broke off"))
    if "error" in line:
        detail = str(line["error"])
        return SideAnswer(user, None, None, None, Invalid(detail, status=200, detail=detail))
    if line.get("side") not in ("old", "new"):
        return SideAnswer(user, None, None, None, UnexpectedAnswer(f"{line.get('side')!r} is no side", status=200))
    return SideAnswer(user, Side(line["side"]), line.get("group"), line.get("because"), None)


def _allocation(answer: Any) -> Allocation:
    queries = {query["query"]: query["rows"] for query in answer["queries"]}
    rows = queries["effective"] if "effective" in queries else queries["old"]
    charge = answer["facts"].get("charge") or {}
    side = Side(rows[0].get("side", "old")) if rows else Side.OLD
    group = rows[0].get("group_id") if rows else None
    parts = [Part(row["payer"], str(row["amount"])) for row in rows]
    return Allocation(answer["charge_id"], charge.get("period"), charge.get("currency"), side, group, parts)
