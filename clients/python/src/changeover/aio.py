"""The client for event loops. What is kept is answered at once; whatever asks the server does so on a thread and never blocks the loop."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, TypeVar, Union

from .client import Client, Seconds
from .details import Context, Details
from .gates import Lease
from .migrator import AsyncMigrator
from .routing import BATCH_LINES, RAISE, Allocation, Side, SideAnswer, UserId, _Raise
from .writes import Operation, WriteResult

Result = TypeVar("Result")


class AsyncClient:
    """The same as `Client`, with coroutines. Takes its arguments, or a client that is there already: `AsyncClient(client=…)`."""

    def __init__(self, *args: Any, client: Optional[Client] = None, **settings: Any) -> None:
        self.sync = client if client is not None else Client(*args, **settings)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.sync.close)

    async def boolean(self, key: str, default: bool, context: Context = None) -> bool:
        value: bool = (await self.sync._details_async((key, default, "boolean"), context)).value
        return value

    async def string(self, key: str, default: str, context: Context = None) -> str:
        value: str = (await self.sync._details_async((key, default, "string"), context)).value
        return value

    async def integer(self, key: str, default: int, context: Context = None) -> int:
        value: int = (await self.sync._details_async((key, default, "integer"), context)).value
        return value

    async def float(self, key: str, default: float, context: Context = None) -> float:
        value: float = (await self.sync._details_async((key, default, "float"), context)).value
        return value

    async def object(self, key: str, default: Mapping[str, Any], context: Context = None) -> Mapping[str, Any]:
        value: Mapping[str, Any] = (await self.sync._details_async((key, default, "object"), context)).value
        return value

    async def details(self, kind: str, key: str, default: Any, context: Context = None, *, cached: bool = True) -> Details:
        return await self.sync._details_async((key, default, kind), context, cached)

    async def all_details(self, context: Context = None) -> Dict[str, Details]:
        return await self._off_loop(lambda: self.sync.all_details(context))

    def on_change(self, listener: Callable[[], None]) -> None:
        self.sync.on_change(listener)

    def migrator(
        self,
        flag_key: str,
        old_read: Optional[Callable[..., Any]] = None,
        new_read: Optional[Callable[..., Any]] = None,
        old_write: Optional[Callable[..., Any]] = None,
        new_write: Optional[Callable[..., Any]] = None,
        **settings: Any,
    ) -> AsyncMigrator:
        """As `Client.migrator`; the functions may be coroutine functions."""
        return AsyncMigrator(self.sync, flag_key, old_read, new_read, old_write, new_write, **settings)

    async def side_of(
        self, change: str, user: UserId, period: Optional[str] = None, *, default: Union[Side, str, _Raise] = RAISE, record: bool = True
    ) -> Side:
        known = self.sync._routing.known(change, user, period, record)
        if known is not None:
            return known
        return await self._off_loop(lambda: self.sync.side_of(change, user, period, default=default, record=record))

    async def sides_of(
        self, change: str, users: Iterable[UserId], period: Optional[str] = None, *, record: bool = True
    ) -> AsyncIterator[SideAnswer]:
        batch: List[UserId] = []
        for user in users:
            batch.append(user)
            if len(batch) == BATCH_LINES:
                for answer in await self._sides(change, batch, period, record):
                    yield answer
                batch = []
        for answer in await self._sides(change, batch, period, record):
            yield answer

    async def _sides(self, change: str, users: List[UserId], period: Optional[str], record: bool) -> List[SideAnswer]:
        return await self._off_loop(lambda: list(self.sync.sides_of(change, users, period, record=record)))

    async def allocation_of(self, change: str, charge: UserId) -> Allocation:
        return await self._off_loop(lambda: self.sync.allocation_of(change, charge))

    async def write(
        self, change: str, operations: Sequence[Operation], *, dry_run: bool = False, idempotency_key: Optional[str] = None
    ) -> WriteResult:
        """As `Client.writes(change).run(…)`."""
        return await self._off_loop(lambda: self.sync.writes(change).run(operations, dry_run=dry_run, idempotency_key=idempotency_key))

    async def run_gated(self, worker: str, work: Callable[[Lease], Any], holder: Optional[str] = None) -> Any:
        """As `Client.gate(worker).run(work)`, with a coroutine function. Cancelling it gives the lease back."""
        gate = self.sync.gate(worker, holder)
        try:
            return await gate.run_async(work)
        finally:
            gate.stop()

    def stats(self) -> Dict[str, int]:
        return self.sync.stats()

    async def flush(self, timeout: Optional[Seconds] = None) -> bool:
        return await self._off_loop(lambda: self.sync.flush(timeout))

    async def _off_loop(self, work: Callable[[], Result]) -> Result:
        result: Result = await asyncio.wrap_future(self.sync._async_workers.submit(work))
        return result
