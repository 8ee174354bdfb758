"""The last known answers on disk, so that a start without the server serves them. Contexts are written as hashes only."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

log = logging.getLogger("changeover")

FORMAT = 1
DAYS_MAX = 30
FILE_BYTES_MAX = 64 << 20
SOON_S, PAUSE_S = 1.0, 5.0
#: Identity, items by key, tag, age in seconds.
ToSave = Callable[[], List[Tuple[str, Dict[str, Any], Optional[str], float]]]


class State:
    def __init__(self, path: Optional[str], url: str) -> None:
        self._path, self._url = path, url
        self._contexts: Dict[str, Any] = {}
        self.stages: Dict[str, Dict[str, Any]] = {}
        self._locks()
        if path is not None:
            self._load(path)

    def _locks(self) -> None:
        self._lock, self._saving = threading.Lock(), threading.Lock()
        self._timer: Optional[threading.Timer] = None
        self._saved_at = float("-inf")
        self._is_closed = False

    def reset_after_fork(self) -> None:
        self._locks()

    def answers(self, ident: str) -> Optional[Tuple[Dict[str, Any], Optional[str], int]]:
        """The answers that were read for a context: items, tag, size."""
        if not self._contexts:
            return None
        found = self._contexts.get(_id(ident))
        if found is None:
            return None
        return found["flags"], found.get("etag"), found["size"]

    def stage(self, flag: str) -> Optional[str]:
        found = self.stages.get(flag)
        return found["stage"] if found else None

    def set_stage(self, flag: str, stage: str) -> bool:
        """True if it is another than before."""
        before = self.stages.get(flag)
        if before is not None and before["stage"] == stage:
            return False
        self.stages[flag] = {"stage": stage, "at": time.time()}
        return True

    def changed(self, to_save: ToSave) -> None:
        """Writes in a moment, on another thread."""
        if self._path is None or self._timer is not None:
            return
        with self._lock:
            if self._timer is not None or self._is_closed:
                return
            delay = max(SOON_S, self._saved_at + PAUSE_S - time.monotonic())
            self._timer = threading.Timer(delay, self._save_later, (to_save,))
            self._timer.daemon = True
            self._timer.name = "changeover-state"
            self._timer.start()

    def _save_later(self, to_save: ToSave) -> None:
        with self._lock:
            self._timer = None
        self._save(to_save)

    def save(self, to_save: ToSave) -> None:
        """Writes for the last time."""
        with self._lock:
            timer, self._timer, self._is_closed = self._timer, None, True
        if timer is not None:
            timer.cancel()
        self._save(to_save)

    def _save(self, to_save: ToSave) -> None:
        path = self._path
        if path is None:
            return
        with self._saving:
            self._saved_at = time.monotonic()
            try:
                _replace(path, self._pieces(to_save()))
            except (OSError, ValueError) as error:
                log.warning("the last known answers were not written to %s: %s", path, error)

    def _pieces(self, kept: List[Tuple[str, Dict[str, Any], Optional[str], float]]) -> List[str]:
        now = time.time()
        contexts = {ident: json.dumps({"at": found["at"], "etag": found.get("etag"), "flags": found["flags"]}) for ident, found in self._contexts.items()}
        for ident, items, etag, age in kept:
            name = _id(ident)
            contexts.pop(name, None)
            contexts[name] = json.dumps({"at": now - age, "etag": etag, "flags": items})
        # The newest ones, as far as there is room.
        room, pieces = FILE_BYTES_MAX - (1 << 20), []
        for name, text in reversed(list(contexts.items())):
            room -= len(text) + 80
            if room < 0:
                break
            pieces.append(f'"{name}":{text}')
        pieces.reverse()
        head = json.dumps({"format": FORMAT, "url": self._url, "saved_at": now, "stages": dict(self.stages)})
        return [head[:-1], ',"contexts":{', ",".join(pieces), "}}\n"]

    def _load(self, path: str) -> None:
        try:
            if os.stat(path).st_size > FILE_BYTES_MAX:
                raise ValueError("it is too large")
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
            self._take(document)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("the last known answers in %s are passed over: %s", path, error)
            self._contexts, self.stages = {}, {}

    def _take(self, document: Any) -> None:
        if document["format"] != FORMAT or document["url"] != self._url:
            raise ValueError("they are of another server or another format")
        oldest = time.time() - DAYS_MAX * 86_400
        for name, found in document["contexts"].items():
            if isinstance(found["flags"], dict) and float(found["at"]) > oldest:
                etag = found.get("etag")
                self._contexts[name] = {"at": found["at"], "flags": found["flags"], "etag": etag if isinstance(etag, str) and etag.isascii() and etag.isprintable() else None, "size": len(json.dumps(found["flags"]))}
        for flag, found in document["stages"].items():
            if isinstance(found["stage"], str) and float(found["at"]) > oldest:
                self.stages[flag] = {"stage": found["stage"], "at": found["at"]}


def _id(ident: str) -> str:
    return hashlib.sha256(ident.encode()).hexdigest()


def _replace(path: str, pieces: List[str]) -> None:
    """Writes a new file beside it and puts it in its place: whoever reads has the old one or the new one."""
    directory = os.path.dirname(os.path.abspath(path))
    handle, beside = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=directory)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
