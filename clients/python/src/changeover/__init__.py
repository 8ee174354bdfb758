"""Changeover's client: flags, migrators, routing, writes and worker gates. See the README, and docs/clients.md of the project."""

from . import errors
from ._http import VERSION as __version__
from .aio import AsyncClient
from .bucket import bucket
from .client import Client
from .details import Context, Details
from .errors import ChangeoverError
from .gates import Gate, Lease
from .middleware import AsgiMiddleware, WsgiMiddleware
from .migrator import AsyncMigrator, Migrator, Stage
from .routing import Allocation, Part, Side, SideAnswer
from .writes import Writes, WriteResult, delete, insert, minted, update, upsert

__all__ = [
    "Allocation",
    "AsgiMiddleware",
    "AsyncClient",
    "AsyncMigrator",
    "ChangeoverError",
    "Client",
    "Context",
    "Details",
    "Gate",
    "Lease",
    "Migrator",
    "Part",
    "Side",
    "SideAnswer",
    "Stage",
    "WriteResult",
    "Writes",
    "WsgiMiddleware",
    "__version__",
    "bucket",
    "delete",
    "errors",
    "insert",
    "minted",
    "update",
    "upsert",
]
