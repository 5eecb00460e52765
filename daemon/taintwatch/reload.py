"""SIGHUP: read the configuration again, load what changed aside, and hand it over only when all of it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from taintwatch.config.digest import config_hash
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadline
from taintwatch.detection_stack import ConfigurationChange
from taintwatch.evidence.audit import AuditLog
from taintwatch.logs import redact
from taintwatch.recovery import LOAD_LIMIT_S
from taintwatch.service_manager import Notifier
from taintwatch_models.errors import ConfigError, TaintwatchError

__all__ = ["Reloader", "refuse_what_takes_a_restart"]

_log = logging.getLogger(__name__)

SWAPPABLE: dict[str, frozenset[str] | None] = {
    "camera": None,
    "detect": None,
    "gate": None,
    "gpu": None,
    "learn": None,
    "limits": frozenset({"inference_s", "max_batch", "stop_s"}),
    "model": None,
    "publish": frozenset({"status_s", "update_s"}),
    "vote": None,
}
"""Tables that a reload may change, and which of their keys (None: all)."""


def refuse_what_takes_a_restart(old: Config, new: Config) -> None:
    """Raise `ConfigError` that names the settings that differ and cannot be changed in a running daemon."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    names = [name for table in after for name in _fixed_changes(table, before[table], after[table])]
    if names:
        plural = "takes" if len(names) == 1 else "take"
        raise ConfigError(f"{', '.join(names)} changed, which {plural} a restart")


def _fixed_changes(table: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    keys = SWAPPABLE.get(table, frozenset())
    if keys is None:
        return []
    if not isinstance(after, dict):
        return [table]
    return [f"{table}.{key}" for key in after if key not in keys and before[key] != after[key]]


class Reloader:
    """Turns requests to reload into changes of the runtime. Used by the service's thread.

    However often it is asked while it loads, it loads once more afterwards. What cannot be used is told in the log and
    to the service manager, and changes nothing.
    """

    def __init__(
        self,
        current: Callable[[], Config],
        read: Callable[[], Config],
        prepare: Callable[[Config, Config], ConfigurationChange],
        notifier: Notifier,
        *,
        audit: AuditLog | None = None,
        requested: threading.Event | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        """`current` gives the configuration in use, `read` reads it anew; `prepare` loads what differs between them.

        `read` and `prepare` may raise `TaintwatchError`, and `prepare` may take long: they run in a thread of their
        own. `requested` asks for a reload: a signal handler may set it. `audit` is told what came of each.
        """
        self.refused: str | None = None
        """Why the last reload changed nothing; None where it was taken over, or nothing was asked."""
        self._current = current
        self._read = read
        self._prepare = prepare
        self._notifier = notifier
        self._audit = audit or AuditLog(None)
        self._deadline = deadline or Deadline("reload")
        self._requested = requested or threading.Event()
        self._thread: threading.Thread | None = None
        self._result: ConfigurationChange | str | None = None

    def poll(self) -> ConfigurationChange | None:
        """Start what was asked for; return a change once it is ready. Call `done` once it is applied."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            return self._take()
        if self._thread is None and self._requested.is_set():
            self._requested.clear()
            self._notifier.reloading()
            self._thread = threading.Thread(target=self._load, args=(self._current(),), name="reload", daemon=True)
            self._thread.start()
        return None

    def done(self) -> None:
        """Say that the change was applied."""
        _log.info("reloaded")
        self._audit.write("reload", "daemon", config_hash=config_hash(self._current()))
        self._notifier.ready("reloaded")

    def _take(self) -> ConfigurationChange | None:
        result, self._result = self._result, None
        if isinstance(result, ConfigurationChange):
            self.refused = None
            return result
        self.refused = result or "reading it failed unexpectedly"
        _log.error("the new configuration is not used, the old one stays: %s", self.refused)
        self._audit.write("reload_refused", "daemon", reason=redact(self.refused))
        self._notifier.ready(f"reload refused: {self.refused}")
        return None

    def _load(self, old: Config) -> None:
        self._deadline.arm(LOAD_LIMIT_S)
        try:
            new = self._read()
            refuse_what_takes_a_restart(old, new)
            self._result = self._prepare(old, new)
        except TaintwatchError as error:
            self._result = str(error)
        finally:
            self._deadline.disarm()
