"""The HTTP server: the page, and metrics and health for monitoring; one application, two addresses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from taintwatch.config.sections import Config
from taintwatch.detection_stack import DetectionStack
from taintwatch.evidence.audit import AuditLog
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.learner import Learner
from taintwatch.secret_files import read_token
from taintwatch.web.address import parse_address
from taintwatch.web.app import MONITORING, Context, Monitored, application_of
from taintwatch.web.authentication import AuthenticationMiddleware, BearerMiddleware, Sessions
from taintwatch.web.camera_list import CameraList
from taintwatch.web.description import Description
from taintwatch.web.http import HttpServer, Listener
from taintwatch.web.live import LiveState
from taintwatch.web.previews import Previews
from taintwatch.web.repository import AlertRepository
from taintwatch.web.stream import Audience, AudienceStats
from taintwatch.web.trials import Trials

__all__ = ["WebServer"]

_log = logging.getLogger(__name__)

SPARE = 64  # connections beside those of viewers
PROBES = 32  # connections of those who read metrics


class WebServer:
    """Serves what the configuration asks for. A context manager: it listens from the first moment on."""

    def __init__(
        self,
        config: Callable[[], Config],
        detection: Callable[[], DetectionStack],
        live: LiveState,
        monitored: Monitored | None = None,
        *,
        audit: AuditLog | None = None,
        learner: Callable[[], Learner | None] = lambda: None,
        stuck_s: float | None = None,
    ) -> None:
        """`config`, `detection`: those in use when asked. `monitored` None: no metrics. Raises `ConfigError`.

        `audit`: what people do is written to it; None: to the ordinary log. `learner`: what learns cameras, if any.
        """
        audit = audit or AuditLog(None)
        web, metrics = config().web, config().metrics
        self._worker = ThreadPoolExecutor(1, "web-pictures")
        previews = Previews(live.newest, detection, web.width)
        extra = {} if stuck_s is None else {"stuck_s": stuck_s}
        self._audience = Audience(
            live, previews, self._worker, fps=web.fps, most=web.viewers, stopping=self._is_stopping, **extra
        )
        sessions = Sessions(_token("web", web.token_file), audit=audit)
        kept = EvidenceFolder.of_section(config().evidence, config().site) if config().publish.enabled else None
        self._repository = AlertRepository(live, kept, audit, config().evidence.acknowledged_h)
        context = Context(
            self._repository,
            Description(config, detection, live),
            Trials(None if web.trials is None else Path(web.trials)),
            self._audience,
            sessions,
            web,
            audit,
            CameraList(live, kept, config().site),
            learner,
        )
        application = application_of(context, monitored)
        listeners = []
        if web.bind is not None:
            names = frozenset({parse_address("web.bind", web.bind).host.lower(), *(each.lower() for each in web.hosts)})
            guarded = AuthenticationMiddleware(application, sessions, names)
            listeners.append(
                Listener(
                    "web", web.bind, guarded, sessions.needed, web.viewers + SPARE, web.certificate, web.private_key
                )
            )
        if monitored is not None:
            token = _token("metrics", metrics.token_file)
            bearer = BearerMiddleware(application, token, MONITORING)
            listeners.append(Listener("metrics", metrics.bind, bearer, token is not None, PROBES))
        self._server = HttpServer(listeners)
        if web.bind is not None:
            scheme = "http" if web.certificate is None else "https"
            _log.info("the page is served on %s://%s", scheme, web.bind)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the page is really bound to."""
        return self._server.address("web")

    @property
    def metrics_address(self) -> tuple[str, int]:
        """The same of the metrics."""
        return self._server.address("metrics")

    def stats(self) -> AudienceStats:
        """Return how many look, and what they cost. Any thread may ask."""
        return self._audience.stats()

    def close(self) -> None:
        """Let every viewer go and stop, within about three seconds. May be called again."""
        self._server.close()
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._repository.close()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_stopping(self) -> bool:
        return self._server.stopping


def _token(section: str, file: str | None) -> str | None:
    return None if file is None else read_token(Path(file), f"{section}.token_file")
