"""What an evaluation is told, and what comes out of it. No I/O."""

from __future__ import annotations

import copy
import json
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple, Union

#: An object with `targetingKey` and attributes, or a text or number that stands for one with that key alone.
Context = Union[Mapping[str, Any], str, int, None]

CODES = frozenset(("FLAG_NOT_FOUND", "PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "TYPE_MISMATCH", "PROVIDER_NOT_READY", "GENERAL"))
TYPES = ("boolean", "string", "integer", "float", "object")

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class Details(NamedTuple):
    """A value and how it came about."""

    value: Any
    #: The variant that was served; None if it is the default that the caller gave.
    variant: Optional[str] = None
    #: STATIC, DEFAULT, TARGETING_MATCH, SPLIT or DISABLED, as the server says; STALE: last known, and the server cannot be asked; ERROR.
    reason: str = "UNKNOWN"
    #: What went wrong, in OpenFeature's words; None if nothing did.
    error_code: Optional[str] = None
    error_message: Optional[str] = None
    metadata: Mapping[str, Any] = {}


class NoContext(ValueError):
    """It is no context."""


def identity(context: Context) -> str:
    """The context as JSON, the same for equal contexts. Raises `NoContext`."""
    if context is None:
        return "{}"
    if isinstance(context, (str, int)) and not isinstance(context, bool):
        return '{"targetingKey":' + _encode(context) + "}"
    if not isinstance(context, Mapping):
        raise NoContext(f"a context is a mapping, a text or a number, not {type(context).__name__}")
    try:
        return _encode(context if type(context) is dict else dict(context))
    except (TypeError, ValueError, RecursionError) as error:
        raise NoContext(f"the context is not JSON: {error}") from error


def failed(default: Any, code: str, message: str) -> Details:
    return Details(default, None, "ERROR", code if code in CODES else "GENERAL", message)


def details_of(item: Any, asked: Tuple[str, Any, str]) -> Details:
    """What an item of an OFREP answer says to a caller who asked for (key, default, type); `item` is None if there is none."""
    key, default, kind = asked
    if not isinstance(item, dict):
        return failed(default, "FLAG_NOT_FOUND", f"there is no flag {key!r}")
    code = item.get("errorCode")
    if code is not None:
        return failed(default, str(code), str(item.get("errorDetails") or code))
    reason, variant, metadata = item.get("reason"), item.get("variant"), item.get("metadata")
    reason = reason if isinstance(reason, str) else "UNKNOWN"
    variant = variant if isinstance(variant, str) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    if "value" not in item:
        return Details(default, variant, reason, None, None, metadata)
    value, fits = _converted(item["value"], kind)
    if not fits:
        return failed(default, "TYPE_MISMATCH", f"flag {key!r} has the value {item['value']!r:.80}, which is no {kind}")
    return Details(value, variant, reason, None, None, metadata)


def _converted(value: Any, kind: str) -> Tuple[Any, bool]:
    if kind == "any":
        return copy.deepcopy(value), True
    if kind == "boolean":
        return value, isinstance(value, bool)
    if kind == "string":
        return value, isinstance(value, str)
    if kind == "object":
        # A copy: what a caller does with it must not change what others get.
        return (copy.deepcopy(value), True) if isinstance(value, dict) else (None, False)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, False
    if kind == "integer":
        return (int(value), True) if isinstance(value, int) or value.is_integer() else (None, False)
    try:
        return float(value), True
    except OverflowError:
        return None, False


def items_of(answer: Any) -> Optional[Dict[str, Any]]:
    """An answer for all flags by key; None if it is none."""
    flags = answer.get("flags") if isinstance(answer, dict) else None
    if not isinstance(flags, list):
        return None
    return {item["key"]: item for item in flags if isinstance(item, dict) and isinstance(item.get("key"), str)}
