"""The audit log: who logged in, what people said of alerts, which keys and configurations changed. Lines, never edited.

`audit.jsonl` in the evidence folder; each line carries the hash of the one before, and is signed by the daemon's key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from taintwatch.evidence.chain import GENESIS, Signer
from taintwatch.printable import printable
from taintwatch_models.errors import ConfigError, TaintwatchError, UsageError
from taintwatch_models.signatures import check_signature
from taintwatch_models.storage import parse_json

__all__ = ["Action", "AuditLog", "AuditReport", "entry_line", "read_audit"]

_log = logging.getLogger(__name__)

Action = Literal[
    "started", "stopped", "reload", "reload_refused",
    "login", "login_failed",
    "acknowledged", "acknowledgement_undone", "note", "dismissed", "dismissal_undone", "judged", "snoozed",
    "client_allowed", "client_revoked", "learnt", "refit_asked", "refit_withdrawn",
]  # fmt: skip
LARGEST = 5_000_000  # bytes; then the file is renamed to audit.jsonl.1, in place of the last one of that name
LONGEST_LINE = 64_000  # bytes
LONGEST_TEXT = 4000  # characters of a value
FAILURES_AN_HOUR = 100  # failed log-ins that are written; of more, how many there were
HOUR_S = 3600.0
LATEST_NS = 9_223_372_036_854_775_807


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The report on an audit log. JSON-ready."""

    entries: tuple[dict[str, Any], ...]
    """Oldest first: `at_ns` (`time.time_ns()`), `action`, `who`, and what belongs to the action."""
    findings: tuple[str, ...]
    """What was changed or removed, one sentence each; empty where the chain holds."""


class AuditLog:
    """Appends to the log. Any thread and process of the daemon may write; what cannot be written is logged and counted.

    Nobody waits for the disk: a power cut may take the last entries.
    """

    def __init__(
        self,
        path: Path | None,
        signing_key: Path | None = None,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`path` None: entries only go to the ordinary log. `signing_key`: read at the first entry."""
        self.failures = 0
        """Entries that could not be written."""
        self._path = path
        self._signing_key = signing_key
        self._signer: Signer | None = None
        self._wall_ns = wall_ns
        self._clock = clock
        self._lock = threading.Lock()
        self._window = 0.0
        self._in_window = self._left_out = 0

    @classmethod
    def of(cls, folder: Path | None, signing_key: Path | None = None) -> AuditLog:
        """Return the log in an evidence folder; None: there is none, and only the ordinary log tells."""
        if folder is None:
            return cls(None)
        return cls(folder / "audit.jsonl", signing_key or folder / "signing.key")

    def write(self, action: Action, who: str, **facts: str | int | bool | None) -> None:
        """Append one entry. Never raises.

        `who`: "page ADDRESS" for a visitor, "daemon" for itself. `facts`: what belongs to the action, like `event_id`.
        """
        with self._lock:
            if action == "login_failed" and not self._may_tell_failure():
                return
            if self._left_out:
                facts, self._left_out = {**facts, "failed_log_ins_left_out": self._left_out}, 0
            _log.info("audit: %s by %s", action, who)
            entry: dict[str, Any] = {"at_ns": self._wall_ns(), "action": action, "who": who}
            entry |= {key: value[:LONGEST_TEXT] if isinstance(value, str) else value for key, value in facts.items()}
            if self._path is not None:
                self._append(self._path, entry)

    def _may_tell_failure(self) -> bool:
        """Count a failed log-in; a crowd of them must not push everything else out of the log."""
        now = self._clock()
        if now - self._window > HOUR_S or self._in_window == 0:
            self._window, self._in_window = now, 0
        self._in_window += 1
        if self._in_window > FAILURES_AN_HOUR:
            self._left_out += 1
            return False
        return True

    def _append(self, path: Path, entry: dict[str, Any]) -> None:
        try:
            if self._signer is None and self._signing_key is not None:
                self._signer = Signer.of(self._signing_key)
            with _locked(path) as descriptor:
                size = os.fstat(descriptor).st_size
                entry["previous"] = _last_hash(path, descriptor, size)
                entry["signature"] = "" if self._signer is None else self._signer.sign(_signed_text(entry))
                os.write(descriptor, json.dumps(entry).encode() + b"\n")
        except (OSError, ConfigError) as error:
            self.failures += 1
            _log.error("the audit log %s cannot be written (%d entries so far): %s", path, self.failures, error)


def read_audit(path: Path, public: str | None) -> AuditReport:
    """Read an audit log and walk its chain. Raises `TaintwatchError` where it cannot be read.

    `public`: the daemon's public key (base64); None: signatures are not looked at. The log before it (`.1`), where it
    is there, is read first.
    """
    if not path.is_file():
        raise UsageError(f"There is no {path}: nothing was written yet, or this is no evidence folder.")
    entries: list[dict[str, Any]] = []
    findings: list[str] = []
    older = _older(path)
    previous = None if older.is_file() else GENESIS  # what came before the older one was let go
    for file in (older, path):
        for number, line in _lines(file):
            where, entry = f"Line {number} of {file.name}", _parsed(line)
            if entry is None:
                findings.append(f"{where} is no entry: it was changed, or a power cut took its end.")
            else:
                if previous is not None and entry.get("previous") != previous:
                    findings.append(f"{where} does not follow the one before: one of them was changed or removed.")
                if public is not None and not check_signature(public, _signed_text(entry), str(entry.get("signature"))):
                    findings.append(f"{where} was not signed by the daemon's key.")
                entries.append({key: value for key, value in entry.items() if key not in ("previous", "signature")})
            previous = _hash(line)
    return AuditReport(tuple(entries), tuple(findings))


def entry_line(entry: dict[str, Any]) -> str:
    """Return an entry as one line for people: the local time, who, what, and the rest."""
    at = datetime.fromtimestamp(int(entry["at_ns"]) / 1e9).astimezone()
    rest = [f"{key}={value}" for key, value in entry.items() if key not in ("at_ns", "action", "who")]
    return printable("  ".join([f"{at:%Y-%m-%d %H:%M:%S}", str(entry["who"]), str(entry["action"]), *rest]))


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Give the file for reading and appending, to one writer at a time."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_still_there(path, descriptor):  # another renamed it meanwhile
                continue
            if os.fstat(descriptor).st_size <= LARGEST:
                yield descriptor
                return
            path.replace(_older(path))
        finally:
            os.close(descriptor)


def _is_still_there(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _last_hash(path: Path, descriptor: int, size: int) -> str:
    """Return the hash of the last line; what a power cut left of one is ended first."""
    if size == 0:
        return _hash_at_end(_older(path).read_bytes()) if _older(path).is_file() else GENESIS
    tail = os.pread(descriptor, LONGEST_LINE, max(0, size - LONGEST_LINE))
    if not tail.endswith(b"\n"):
        os.write(descriptor, b"\n")
    return _hash_at_end(tail)


def _hash_at_end(content: bytes) -> str:
    return _hash(content.removesuffix(b"\n").rpartition(b"\n")[2])


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.is_file():
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TaintwatchError(f"{path} cannot be read: {error.strerror}.") from error
    yield from enumerate(content.splitlines(), 1)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    whole = isinstance(entry, dict) and {"action", "who"} <= set(entry) and isinstance(entry.get("at_ns"), int)
    return entry if whole and 0 <= entry["at_ns"] < LATEST_NS else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _signed_text(entry: dict[str, Any]) -> str:
    return "audit|" + json.dumps({key: value for key, value in entry.items() if key != "signature"}, sort_keys=True)
