"""Writes over HTTP, for code that does not reach the application's database: both models in one transaction, once."""

from __future__ import annotations

import urllib.parse
import uuid
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ._calls import Calls, parsed
from ._http import Answer
from .errors import UnexpectedAnswer

Row = Mapping[str, Any]
Operation = Dict[str, Any]


def insert(table: str, *rows: Row) -> Operation:
    """Inserts rows; columns that are left out get their defaults."""
    return {"insert": table, **_rows(rows)}


def upsert(table: str, *rows: Row, by: Optional[Sequence[str]] = None) -> Operation:
    """Inserts rows, or updates those with the same key."""
    return {"upsert": table, **_rows(rows), **({"by": list(by)} if by is not None else {})}


def update(table: str, where: Row, set: Row, only_if: Optional[Row] = None) -> Operation:
    """Updates one row, if its columns hold what `only_if` says (`PreconditionFailed` otherwise)."""
    return {"update": table, "where": dict(where), "set": dict(set), **({"if": dict(only_if)} if only_if is not None else {})}


def delete(table: str, where: Row, only_if: Optional[Row] = None) -> Operation:
    """Deletes one row."""
    return {"delete": table, "where": dict(where), **({"if": dict(only_if)} if only_if is not None else {})}


def minted(operation: int, column: str, row: int = 0) -> Dict[str, Any]:
    """As a value: what an earlier operation of the same request stored in a column, such as a minted id. Counted from 0."""
    return {"operation": operation, "row": row, "column": column}


def _rows(rows: Sequence[Row]) -> Dict[str, Any]:
    return {"row": dict(rows[0])} if len(rows) == 1 else {"rows": [dict(row) for row in rows]}


class WriteResult(NamedTuple):
    #: Each operation's rows as they were stored.
    operations: List[Dict[str, Any]]
    #: For each block that the rows drive or feed: the keys whose target rows changed.
    translated: List[Dict[str, Any]]
    #: Keys whose translation failed and that wait for the worker.
    pending: List[Dict[str, Any]]
    #: It had been done before, under the same idempotency key; this is the answer of then.
    is_replayed: bool
    idempotency_key: str


class Writes:
    """Writes on the tables of a change. Made by `Client.writes`."""

    def __init__(self, calls: Calls, change: str, timeout: float) -> None:
        self._calls, self._timeout = calls, timeout
        self._path = f"/api/v1/changes/{urllib.parse.quote(change, safe='')}/writes"

    def run(self, operations: Sequence[Operation], *, dry_run: bool = False, idempotency_key: Optional[str] = None) -> WriteResult:
        """Does all operations, in order, or none.

        However often it is sent, it is done once: an idempotency key is made unless one is given. Raises `ChangeoverError`; after
        `NoAnswer` or `Unavailable` it is unknown whether it was done: run it again with the same key, within 24 hours.
        """
        key = idempotency_key or str(uuid.uuid4())
        body = {"operations": list(operations), **({"dry_run": True} if dry_run else {})}
        answer = self._calls.answer("POST", self._path, body, headers={"Idempotency-Key": key})
        return _result(answer, key)

    def schema(self) -> Dict[str, Any]:
        """The tables that may be written now, their keys, and each row as a JSON Schema."""
        answer = self._calls.json("GET", self._path)
        if not isinstance(answer, dict):
            raise UnexpectedAnswer("the answer is no object")
        return answer


def _result(answer: Answer, key: str) -> WriteResult:
    body = parsed(answer)
    if not isinstance(body, dict):
        raise UnexpectedAnswer("the answer is no object", status=answer.status)
    replayed = answer.headers.get("idempotency-replayed") == "true"
    return WriteResult(_list(body, "operations"), _list(body, "translated"), _list(body, "pending"), replayed, key)


def _list(body: Dict[str, Any], name: str) -> List[Dict[str, Any]]:
    found = body.get(name)
    return found if isinstance(found, list) else []
