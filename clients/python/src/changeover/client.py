"""One object for one server: flags, migrators, routing, writes and gates."""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import ssl
import weakref
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Union

from ._calls import Calls
from ._events import Events
from ._http import Transport, environment
from ._observations import Observations
from ._workers import Workers
from .details import Context, Details, identity
from .flags import Asked, Flags
from .gates import Gate
from .migrator import Migrator, Read, Stages, Write
from .routing import RAISE, Allocation, Routing, Side, SideAnswer, UserId, _Raise
from .writes import Writes

#: A class that has a method `float` cannot name the type.
Seconds = float
_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


class Client:
    """Any number of threads may use one. It is made without waiting for the server; `close()` ends it.

    `url` and `token` are by default those of `CHANGEOVER_URL` and `CHANGEOVER_TOKEN`. `timeout` is for a whole request. With
    `state_path` the last known answers are kept there, and a start without the server serves them.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        token: Optional[str] = None,
        *,
        timeout: float = 2.0,
        state_path: "Union[str, os.PathLike[str], None]" = None,
        events: bool = True,
        max_age: float = 60.0,
        contexts_max: int = 1000,
        observations_max: int = 10_000,
        side_max_age: float = 10.0,
        tls: Optional[ssl.SSLContext] = None,
    ) -> None:
        if timeout <= 0:
            raise ValueError("timeout is in seconds, more than 0")
        transport = Transport(environment("CHANGEOVER_URL", url), environment("CHANGEOVER_TOKEN", token), timeout, tls)
        self._transport, self._timeout, self._random = transport, timeout, random.random
        self._calls = Calls(transport)
        self._flags = Flags(transport, max_age, contexts_max, os.fspath(state_path) if state_path is not None else None)
        self._stages = Stages(max(1, contexts_max))
        self._observations = Observations(Calls(transport), observations_max, timeout)
        self._routing = Routing(self._calls, self._flags.server, side_max_age, timeout)
        self._side_workers = Workers("changeover-sides", 64)
        self._async_workers = Workers("changeover-async", 16)
        self._listeners: list[Callable[[], None]] = []
        self._events: Optional[Events] = Events(transport, self._told, self._connected) if events else None
        if self._events is not None:
            self._flags.on_first_answer = self._events.start
        self._is_closed = False
        _clients.add(self)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Sends the observations that wait (for at most `timeout`), writes the last known answers, and ends what runs in the background."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._events is not None:
            self._events.close()
        self._observations.close(self._timeout)
        self._flags.close()
        self._side_workers.close()
        self._async_workers.close()
        self._transport.close()

    # ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def boolean(self, key: str, default: bool, context: Context = None) -> bool:
        value: bool = self._flags.details((key, default, "boolean"), context).value
        return value

    def string(self, key: str, default: str, context: Context = None) -> str:
        value: str = self._flags.details((key, default, "string"), context).value
        return value

    def integer(self, key: str, default: int, context: Context = None) -> int:
        value: int = self._flags.details((key, default, "integer"), context).value
        return value

    def float(self, key: str, default: float, context: Context = None) -> float:
        value: float = self._flags.details((key, default, "float"), context).value
        return value

    def object(self, key: str, default: Mapping[str, Any], context: Context = None) -> Mapping[str, Any]:
        value: Mapping[str, Any] = self._flags.details((key, default, "object"), context).value
        return value

    def details(self, kind: str, key: str, default: Any, context: Context = None, *, cached: bool = True) -> Details:
        """A value and how it came about. `kind` is boolean, string, integer, float or object; `cached=False` asks the server now."""
        return self._flags.details((key, default, kind), context, cached)

    def all_details(self, context: Context = None) -> Dict[str, Details]:
        """What every flag says of a context, by key, as it is kept for single questions; empty if the server has never answered for it."""
        return self._flags.every(context)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener`, on another thread, whenever the server tells of a change."""
        self._listeners.append(listener)

    # ── the change ──────────────────────────────────────────────────────────────────────────────────────────────────

    def migrator(
        self,
        flag_key: str,
        old_read: Optional[Callable[..., Read]] = None,
        new_read: Optional[Callable[..., Read]] = None,
        old_write: Optional[Callable[..., Write]] = None,
        new_write: Optional[Callable[..., Write]] = None,
        **settings: Any,
    ) -> Migrator[Read, Write]:
        """Reads and writes under the stage that the flag serves.

        `change`: send observations to that change rather than to the flag · `name`: of the operation, default: the flag's key ·
        `compare(old, new)` · `ignore(old, new)`, or several · `order`: serial, concurrent or random · `sample`: the share of reads that call
        both sides · `values=False`: send no values · `default_stage`.
        """
        return Migrator(self, flag_key, old_read, new_read, old_write, new_write, **settings)

    def side_of(
        self, change: str, user: UserId, period: Optional[str] = None, *, default: Union[Side, str, _Raise] = RAISE, record: bool = True
    ) -> Side:
        """The side of a user's group in a period, the running one if none is named; kept for `side_max_age`.

        With a `default` the server is asked once and nothing is raised; without one, tried again and raised. `record=False` asks without
        recording a first question's answer.
        """
        return self._routing.side_of(change, user, period, default, record)

    def sides_of(self, change: str, users: Iterable[UserId], period: Optional[str] = None, *, record: bool = True) -> Iterator[SideAnswer]:
        """The same for many, in order, while they are read. An error of one is in its answer and does not end the others."""
        return self._routing.sides_of(change, users, period, record)

    def allocation_of(self, change: str, charge: UserId) -> Allocation:
        """Who pays a charge by the model that is in force for it. Needs the role `viewer`."""
        return self._routing.allocation_of(change, charge)

    def writes(self, change: str) -> Writes:
        """Writes on the tables of a change. Needs the role `write`."""
        return Writes(self._calls, change, self._timeout)

    def gate(self, worker: str, holder: Optional[str] = None) -> Gate:
        """A worker that runs only while it may."""
        return Gate(self._calls, worker, holder)

    def stats(self) -> Dict[str, int]:
        """Observations: sent, dropped, refused, pending; mismatches and ignored ones that were found here."""
        return self._observations.stats()

    def flush(self, timeout: Optional[Seconds] = None) -> bool:
        """Sends the observations that wait, now; false if some are left after the time."""
        return self._observations.flush(self._timeout if timeout is None else timeout)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _told(self, etag: Optional[str]) -> None:
        self._flags.told(etag)
        for listener in list(self._listeners):
            listener()

    def _connected(self, is_connected: bool) -> None:
        self._flags.has_events = is_connected

    async def _details_async(self, asked: Asked, context: Context, cached: bool = True) -> Details:
        if cached:
            try:
                known = self._flags.known(asked, identity(context))
                if known is not None:
                    return known
            except Exception:  # told as below
                pass
        future = self._async_workers.submit(lambda: self._flags.details(asked, context, cached))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancelled() or not self._is_closed:
                raise
            return self._flags.details(asked, context)

    def _reset_after_fork(self) -> None:
        self._transport.reset_after_fork()
        self._flags.reset_after_fork()
        self._stages.reset_after_fork()
        self._observations.reset_after_fork()
        self._routing.reset_after_fork()
        self._side_workers.reset_after_fork()
        self._async_workers.reset_after_fork()
        if self._events is not None:
            self._events.reset_after_fork()


def _after_fork() -> None:
    for client in list(_clients):
        client._reset_after_fork()


def _at_exit() -> None:
    for client in list(_clients):
        client.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
