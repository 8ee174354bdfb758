"""WSGI and ASGI middleware: the side of a request's user is in the request's environment and in a header of the answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, Iterable, List, MutableMapping, Optional, Union

from .routing import Side, UserId

if TYPE_CHECKING:
    from .aio import AsyncClient
    from .client import Client

log = logging.getLogger("changeover")

KEY = "changeover.side"
HEADER = "X-Changeover-Side"


class WsgiMiddleware:
    """`environ["changeover.side"]` is `"old"` or `"new"`; nobody and failures are `"old"`."""

    def __init__(self, app: Callable[..., Iterable[bytes]], client: "Client", change: str, user: Callable[[Dict[str, Any]], Optional[UserId]]) -> None:
        self._app, self._client, self._change, self._user = app, client, change, user

    def __call__(self, environ: Dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        side = self._side(environ)
        environ[KEY] = side

        def start(status: str, headers: List[Any], *more: Any) -> Any:
            return start_response(status, [*headers, (HEADER, side)], *more)

        return self._app(environ, start)

    def _side(self, environ: Dict[str, Any]) -> str:
        try:
            user = self._user(environ)
            return "old" if user is None else self._client.side_of(self._change, user, default=Side.OLD).value
        except Exception:
            log.warning("a request's side is not known: old", exc_info=True)
            return "old"


Scope = MutableMapping[str, Any]


class AsgiMiddleware:
    """The same for ASGI: `scope["changeover.side"]`. `user` may be a coroutine function."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        client: "AsyncClient",
        change: str,
        user: Callable[[Scope], Union[Optional[UserId], Awaitable[Optional[UserId]]]],
    ) -> None:
        self._app, self._client, self._change, self._user = app, client, change, user

    async def __call__(self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Awaitable[None]]) -> None:
        if scope.get("type") not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        side = await self._side(scope)
        scope[KEY] = side

        async def send_with_side(message: MutableMapping[str, Any]) -> None:
            if message.get("type") in ("http.response.start", "websocket.accept"):
                message = {**message, "headers": [*message.get("headers", ()), (HEADER.lower().encode(), side.encode())]}
            await send(message)

        await self._app(scope, receive, send_with_side)

    async def _side(self, scope: Scope) -> str:
        try:
            user: Any = self._user(scope)
            if hasattr(user, "__await__"):
                user = await user
            return "old" if user is None else (await self._client.side_of(self._change, user, default=Side.OLD)).value
        except Exception:
            log.warning("a request's side is not known: old", exc_info=True)
            return "old"
