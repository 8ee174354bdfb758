"""Reads and writes of two implementations under a change's stage, for what the database's translation cannot reach.

The side that counts decides what the caller gets; the other side can never break the caller.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import enum
import inspect
import json
import logging
import threading
import time
import urllib.parse
import uuid
from typing import TYPE_CHECKING, Any, Callable, Dict, Generic, List, Optional, Sequence, Tuple, TypeVar, Union

from .details import Context, identity

if TYPE_CHECKING:
    from .client import Client

log = logging.getLogger("changeover")

Read = TypeVar("Read")
Write = TypeVar("Write")
VALUE_BYTES_MAX = 32 << 10


class Stage(str, enum.Enum):
    OFF = "off"
    DUALWRITE = "dualwrite"
    SHADOW = "shadow"
    LIVE = "live"
    RAMPDOWN = "rampdown"
    COMPLETE = "complete"

    def __str__(self) -> str:
        return self.value


#: The sides that a read calls, first the one whose result counts.
READS: Dict[Stage, Tuple[str, ...]] = {
    Stage.OFF: ("old",),
    Stage.DUALWRITE: ("old",),
    Stage.SHADOW: ("old", "new"),
    Stage.LIVE: ("new", "old"),
    Stage.RAMPDOWN: ("new",),
    Stage.COMPLETE: ("new",),
}
#: The sides that a write calls, in this order.
WRITES: Dict[Stage, Tuple[str, ...]] = {
    Stage.OFF: ("old",),
    Stage.DUALWRITE: ("old", "new"),
    Stage.SHADOW: ("old", "new"),
    Stage.LIVE: ("new", "old"),
    Stage.RAMPDOWN: ("new", "old"),
    Stage.COMPLETE: ("new",),
}
_STAGES = {stage.value: stage for stage in Stage}
ORDERS = ("serial", "concurrent", "random")


class Outcome:
    """What calling one side came to."""

    __slots__ = ("value", "error", "duration_us")

    def __init__(self, value: Any, error: Optional[Exception], duration_us: int) -> None:
        self.value, self.error, self.duration_us = value, error, duration_us

    def get(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


def outcome_of(call: Callable[[], Any]) -> Outcome:
    began = time.perf_counter_ns()
    try:
        value, error = call(), None  # type: Any, Optional[Exception]
    except Exception as raised:
        value, error = None, raised
    return Outcome(value, error, (time.perf_counter_ns() - began) // 1000)


async def outcome_of_async(call: Callable[[], Any]) -> Outcome:
    began = time.perf_counter_ns()
    try:
        value, error = call(), None  # type: Any, Optional[Exception]
        if inspect.isawaitable(value):
            value = await value
    except Exception as raised:
        value, error = None, raised
    return Outcome(value, error, (time.perf_counter_ns() - began) // 1000)


class Stages:
    """The last known stages, for when a flag cannot be evaluated."""

    def __init__(self, contexts_max: int) -> None:
        self._contexts_max = contexts_max
        self._known: "collections.OrderedDict[Tuple[str, str], Stage]" = collections.OrderedDict()
        self._lock = threading.Lock()

    def reset_after_fork(self) -> None:
        self._lock = threading.Lock()

    def remember(self, flag: str, ident: str, stage: Stage) -> None:
        if self._known.get((flag, ident)) is stage:
            return
        with self._lock:
            self._known[flag, ident] = stage
            self._known.move_to_end((flag, ident))
            if len(self._known) > self._contexts_max:
                self._known.popitem(last=False)

    def find(self, flag: str, ident: str) -> Optional[Stage]:
        return self._known.get((flag, ident))


class _Migrator(Generic[Read, Write]):
    """What both kinds of migrators share: the stage, and what is observed."""

    def __init__(
        self,
        client: "Client",
        flag_key: str,
        old_read: Optional[Callable[..., Read]] = None,
        new_read: Optional[Callable[..., Read]] = None,
        old_write: Optional[Callable[..., Write]] = None,
        new_write: Optional[Callable[..., Write]] = None,
        *,
        change: Optional[str] = None,
        name: Optional[str] = None,
        compare: Optional[Callable[[Any, Any], bool]] = None,
        ignore: Union[Callable[[Any, Any], bool], Sequence[Callable[[Any, Any], bool]]] = (),
        order: str = "serial",
        sample: float = 1.0,
        values: bool = True,
        default_stage: Union[Stage, str] = Stage.OFF,
    ) -> None:
        if order not in ORDERS:
            raise ValueError(f"order is one of {', '.join(ORDERS)}, not {order!r}")
        if not 0 <= sample <= 1:
            raise ValueError(f"sample is a share of the calls, from 0 to 1, not {sample!r}")
        if (old_read is None) != (new_read is None) or (old_write is None) != (new_write is None):
            raise ValueError("give both functions of an operation, or neither")
        self._client, self._flag_key, self._order, self._sample, self._values = client, flag_key, order, sample, values
        self._functions: Dict[str, Dict[str, Optional[Callable[..., Any]]]] = {
            "read": {"old": old_read, "new": new_read},
            "write": {"old": old_write, "new": new_write},
        }
        self._compare = compare
        self._ignore: Tuple[Callable[[Any, Any], bool], ...] = (ignore,) if callable(ignore) else tuple(ignore)
        self._default_stage = Stage(default_stage)
        self._name = (name or flag_key)[:120]
        subject = f"changes/{urllib.parse.quote(change, safe='')}" if change else f"flags/{urllib.parse.quote(flag_key, safe='')}"
        self._path = f"/api/v1/{subject}/observations"

    def _stage_of(self, value: Any, error_code: Optional[str], context: Context) -> Stage:
        client = self._client
        stage = _STAGES.get(value) if error_code is None and isinstance(value, str) else None
        try:
            ident = identity(context)
        except ValueError:
            ident = ""
        if stage is not None:
            client._stages.remember(self._flag_key, ident, stage)
            if client._flags.state.set_stage(self._flag_key, stage.value):
                client._flags.state.changed(client._flags._to_save)
            return stage
        last = client._stages.find(self._flag_key, ident)
        return last or _STAGES.get(client._flags.state.stage(self._flag_key) or "", self._default_stage)

    def _call(self, side: str, operation: str, arguments: Tuple[Tuple[Any, ...], Dict[str, Any]]) -> Callable[[], Any]:
        function = self._functions[operation][side]
        if function is None:
            raise TypeError(f"the migrator of {self._flag_key!r} was given no {side}_{operation}")
        args, kwargs = arguments
        return lambda: function(*args, **kwargs)

    def _plan(self, stage: Stage) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
        """The sides that a read calls, first the one that counts; and the same in the order of the calls."""
        sides = READS[stage]
        if len(sides) == 2:
            if not self._client._random() < self._sample:
                return sides[:1], sides[:1]
            if self._order == "random":
                return sides, ("old", "new") if self._client._random() < 0.5 else ("new", "old")
        return sides, sides

    # ── what is observed ────────────────────────────────────────────────────────────────────────────────────────────

    def _observe_read(self, outcomes: Dict[str, Outcome]) -> None:
        try:
            sent = self._compared(outcomes["old"], outcomes["new"])
            self._post("read", outcomes, sent, self._sample)
        except Exception:  # an observation never breaks a caller
            log.warning("a read was not observed", exc_info=True)

    def _compared(self, old: Outcome, new: Outcome) -> Dict[str, Any]:
        """Values and `matches`, as far as they are sent."""
        values = {side: one.value for side, one in (("old", old), ("new", new)) if one.error is None and self._values and _is_sendable(one.value)}
        if old.error is not None or new.error is not None:
            return values
        if len(values) == 2 and self._compare is None and not self._ignore:
            return values
        matches = self._is_match(old.value, new.value)
        if not matches and any(self._is_ignored(ignore, old.value, new.value) for ignore in self._ignore):
            self._client._observations.count("ignored")
            return {"matches": True}
        if not matches:
            self._client._observations.count("mismatches")
        return {**(values if len(values) == 2 else {}), "matches": matches}

    def _is_match(self, old: Any, new: Any) -> bool:
        try:
            return bool(self._compare(old, new) if self._compare is not None else old == new)
        except Exception:
            log.warning("the comparison of %r failed", self._name, exc_info=True)
            return False

    def _is_ignored(self, ignore: Callable[[Any, Any], bool], old: Any, new: Any) -> bool:
        try:
            return bool(ignore(old, new))
        except Exception:
            log.warning("an ignore of %r failed", self._name, exc_info=True)
            return False

    def _observe_write(self, outcomes: Dict[str, Outcome], second: Outcome) -> None:
        try:
            has_failed = second.error is not None
            if has_failed:
                log.warning("a write of %r reached one side only: %r", self._name, second.error)
            if has_failed or self._client._random() < self._sample:
                self._post("write", outcomes, {}, 1.0 if has_failed else self._sample)
        except Exception:
            log.warning("a write was not observed", exc_info=True)

    def _post(self, operation: str, outcomes: Dict[str, Outcome], sent: Dict[str, Any], rate: float) -> None:
        observation: Dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "operation": f"{self._name}:{operation}",
            "at": datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
        }
        if rate != 1:
            observation["sample_rate"] = rate
        for side in ("old", "new"):
            one: Dict[str, Any] = {"duration_us": outcomes[side].duration_us}
            error = outcomes[side].error
            if error is not None:
                one["error"] = type(error).__name__
            if side in sent:
                one["value"] = sent[side]
            observation[side] = one
        if "matches" in sent:
            observation["matches"] = sent["matches"]
        self._client._observations.add(self._path, observation)


class Migrator(_Migrator[Read, Write]):
    """Made by `Client.migrator`."""

    def stage(self, context: Context = None) -> Stage:
        """Under which stage a call for this context would be now."""
        details = self._client._flags.details((self._flag_key, "", "string"), context)
        return self._stage_of(details.value, details.error_code, context)

    def read(self, context: Context, *args: Any, **kwargs: Any) -> Read:
        """Calls one side or both, and returns or raises what the side that counts does."""
        stage = self.stage(context)
        arguments = (args, kwargs)
        sides, order = self._plan(stage)
        if len(sides) == 1:
            return self._call(sides[0], "read", arguments)()  # type: ignore[no-any-return]
        calls = {side: self._call(side, "read", arguments) for side in order}
        if self._order == "concurrent":
            outcomes = self._at_once(sides, calls)
        else:
            outcomes = {side: outcome_of(calls[side]) for side in order}
        self._observe_read(outcomes)
        return outcomes[sides[0]].get()  # type: ignore[no-any-return]

    def _at_once(self, sides: Tuple[str, ...], calls: Dict[str, Callable[[], Any]]) -> Dict[str, Outcome]:
        first, other = sides
        try:
            future = self._client._side_workers.submit_now(lambda: outcome_of(calls[other]))
        except RuntimeError:
            future = None
        outcome = outcome_of(calls[first])
        return {first: outcome, other: future.result() if future is not None else outcome_of(calls[other])}

    def write(self, context: Context, *args: Any, **kwargs: Any) -> Write:
        """Writes to the side that counts, then to the other one where the stage has both; returns or raises what the first one does."""
        sides = WRITES[self.stage(context)]
        calls = [self._call(side, "write", (args, kwargs)) for side in sides]
        if len(sides) == 1:
            return calls[0]()  # type: ignore[no-any-return]
        first = outcome_of(calls[0])
        result = first.get()
        second = outcome_of(calls[1])
        self._observe_write({sides[0]: first, sides[1]: second}, second)
        return result  # type: ignore[no-any-return]


class AsyncMigrator(_Migrator[Any, Any]):
    """Made by `AsyncClient.migrator`. Its functions may be coroutine functions or plain ones."""

    async def stage(self, context: Context = None) -> Stage:
        details = await self._client._details_async((self._flag_key, "", "string"), context)
        return self._stage_of(details.value, details.error_code, context)

    async def read(self, context: Context, *args: Any, **kwargs: Any) -> Any:
        stage = await self.stage(context)
        sides, order = self._plan(stage)
        calls = {side: self._call(side, "read", (args, kwargs)) for side in order}
        if len(sides) == 1:
            value = calls[sides[0]]()
            return await value if inspect.isawaitable(value) else value
        if self._order == "concurrent":
            both = await asyncio.gather(*(outcome_of_async(calls[side]) for side in order))
            outcomes = dict(zip(order, both))
        else:
            outcomes = {side: await outcome_of_async(calls[side]) for side in order}
        self._observe_read(outcomes)
        return outcomes[sides[0]].get()

    async def write(self, context: Context, *args: Any, **kwargs: Any) -> Any:
        sides = WRITES[await self.stage(context)]
        calls = [self._call(side, "write", (args, kwargs)) for side in sides]
        first = await outcome_of_async(calls[0])
        result = first.get()
        if len(sides) == 2:
            second = await outcome_of_async(calls[1])
            self._observe_write({sides[0]: first, sides[1]: second}, second)
        return result


def _is_sendable(value: Any) -> bool:
    """Whether it is plain JSON of a size that the server takes."""
    if value is None or value is True or value is False:
        return True
    try:
        return len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) <= VALUE_BYTES_MAX
    except (TypeError, ValueError, RecursionError):
        return False
