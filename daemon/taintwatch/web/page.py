"""Page and monitoring beside a service: started where they are asked for, and kept up to date."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from taintwatch.pipeline import Step
from taintwatch.runtime import Runtime

if TYPE_CHECKING:
    from taintwatch.monitoring import Monitoring
    from taintwatch.status import Reporter
    from taintwatch.web.live import LiveState
    from taintwatch.web.server import WebServer
    from taintwatch.web.stream import AudienceStats

__all__ = ["Page"]


class Page:
    """Where no address is given, nothing is started, imported or held."""

    def __init__(self, runtime: Runtime, monitoring: Monitoring | None) -> None:
        self._wanted = runtime.config.web.bind is not None
        self._runtime = runtime
        self._monitoring = monitoring
        self._live: LiveState | None = None
        self._server: WebServer | None = None
        self.address: tuple[str, int] | None = None
        """Host and port that the page is bound to."""

    def start(self, stack: ExitStack) -> None:
        """Serve until `stack` is closed. Raises `ConfigError`."""
        if not self._wanted and self._monitoring is None:
            return
        # Imported here: a run without a page and metrics needs none of it.
        from taintwatch.web.live import LiveState
        from taintwatch.web.server import WebServer

        live, runtime = LiveState(), self._runtime
        audit = None if runtime.evidence is None else runtime.evidence.audit
        server = stack.enter_context(
            WebServer(
                lambda: runtime.config,
                lambda: runtime.detection,
                live,
                self._monitoring,
                audit=audit,
                learner=lambda: runtime.learner,
            )
        )
        if self._wanted:
            self._live, self._server, self.address = live, server, server.address
        if self._monitoring is not None:
            self._monitoring.audience = self.stats

    def reporters(self) -> tuple[Reporter, ...]:
        """Return the reporters that keep page and metrics up to date, where there are any."""
        counted = () if self._monitoring is None else (self._monitoring.instruments,)
        return counted if self._live is None else (*counted, self._live)

    def stats(self) -> AudienceStats | None:
        """Return how many look, and what they cost; None where no page is served. Any thread may ask."""
        return None if self._server is None else self._server.stats()

    def observe(self, step: Step) -> None:
        """Show and count one step."""
        if self._monitoring is not None:
            self._monitoring.instruments.see(step)
        if self._live is not None:
            self._live.observe(step)
