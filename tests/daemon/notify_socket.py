"""A real notification socket, as a service manager has one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

__all__ = ["NotifySocket"]

PATIENCE_S = 30.0  # only so that a silent daemon fails a test instead of the whole run


class NotifySocket:
    """Receives what is sent; a context manager."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def next(self, timeout_s: float = PATIENCE_S) -> dict[str, str] | None:
        """Return the next message's assignments; None where none comes in time."""
        self._socket.settimeout(max(0.001, timeout_s))
        try:
            text = self._socket.recv(65_536).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def until(self, holds: Callable[[dict[str, str]], bool], timeout_s: float = PATIENCE_S) -> list[dict[str, str]]:
        """Return the messages up to the first for which `holds` is true. Fails where none comes in time."""
        deadline = time.monotonic() + timeout_s
        seen: list[dict[str, str]] = []
        while True:
            message = self.next(deadline - time.monotonic())
            assert message is not None, f"only {seen} came"
            seen.append(message)
            if holds(message):
                return seen

    def waiting(self) -> list[dict[str, str]]:
        """Return what is there already."""
        seen = []
        while (message := self.next(0.0)) is not None:
            seen.append(message)
        return seen
