"""The page beside a service: starts it where it is asked for, and keeps it told. Imports the server only then."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from taintwatch.pipeline import Step
from taintwatch.runtime import Runtime

if TYPE_CHECKING:
    from taintwatch.status import Reporter
    from taintwatch.web.live import LiveState
    from taintwatch.web.server import WebServer
    from taintwatch.web.stream import AudienceStats

__all__ = ["Page"]


class Page:
    """Where no address is given, nothing is started, imported or held."""

    def __init__(self, runtime: Runtime) -> None:
        self._wanted = runtime.config.web.bind is not None
        self._runtime = runtime
        self._live: LiveState | None = None
        self._server: WebServer | None = None
        self.address: tuple[str, int] | None = None
        """Host and port that it is bound to."""

    def start(self, stack: ExitStack) -> None:
        """Serve until `stack` is closed. Raises `ConfigError`."""
        if not self._wanted:
            return
        # Imported here: a run without a page needs none of it.
        from taintwatch.web.live import LiveState
        from taintwatch.web.server import WebServer

        self._live = LiveState()
        self._server = stack.enter_context(
            WebServer(lambda: self._runtime.config, lambda: self._runtime.detection, self._live)
        )
        self.address = self._server.address

    def reporters(self) -> tuple[Reporter, ...]:
        """Return the reporter that keeps the page told, where there is one."""
        return () if self._live is None else (self._live,)

    def stats(self) -> AudienceStats | None:
        """Return how many look, and what they cost; None where nothing is served. Any thread may ask."""
        return None if self._server is None else self._server.stats()

    def observe(self, step: Step) -> None:
        """Show one step."""
        if self._live is not None:
            self._live.observe(step)
