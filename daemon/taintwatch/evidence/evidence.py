"""Everything that is kept, behind one object: the store for the publisher, the recorder for the pipeline's frames."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from taintwatch.alerts.bodies import Heartbeat, sealed_text
from taintwatch.alerts.replay_server import ReplayServer
from taintwatch.delivery.forwarder import DeliveryStats, Forwarder, Sink
from taintwatch.evidence.audit import AuditLog
from taintwatch.evidence.chain import Signer
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.recorder import ClipSettings, Recorder, RecorderStats
from taintwatch.evidence.removal import Limits
from taintwatch.evidence.retention import Holdings, RetentionJob
from taintwatch.evidence.score_history import ScoreHistory
from taintwatch.evidence.store import AlertStore
from taintwatch.records import Alert, AlertState
from taintwatch.review.dismissals import Dismissals
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.records import Frame, Verdict

__all__ = ["DAY_NS", "Evidence", "EvidenceSettings", "EvidenceStats"]

_log = logging.getLogger(__name__)

DAY_NS = 86_400_000_000_000
MEGABYTE = 1_000_000
TIDY_S = 60.0


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """What is kept, and for how long."""

    folder: Path
    images: bool = True
    """False: no picture and no clip is ever written."""
    clips: ClipSettings = field(default_factory=ClipSettings)
    keep_days: float = 30.0
    max_mb: float = 2000.0
    min_free_mb: float = 500.0
    power_safe: bool = False
    """Flush each alert to the disk before it is published, not within a second."""
    signing_key: Path | None = None
    """The daemon's Ed25519 key; None: `signing.key` in the folder, made where it is not there."""
    place: EvidenceFolder | None = None
    """The same folder, where its history or its pictures are elsewhere."""

    def limits(self) -> Limits:
        """Return the limits in nanoseconds and bytes."""
        return Limits(round(self.keep_days * DAY_NS), round(self.max_mb * MEGABYTE), round(self.min_free_mb * MEGABYTE))


@dataclass(frozen=True, slots=True)
class EvidenceStats:
    """Counts since the start."""

    saved: int
    """Alert records in the database."""
    store_failures: int
    waiting: int
    """Records that wait in memory for the database."""
    lost: int
    """Records that were published but never reached the database."""
    trouble: str | None
    """Why the database cannot be written now."""
    audit_failures: int
    """Entries of the audit log that could not be written."""
    removed: int
    """Alerts removed, wholly or their pictures, to stay within the limits."""
    recorder: RecorderStats | None
    """None where no images are kept."""
    holdings: Holdings | None = None
    """As of the last look, at most a minute ago; None before the first."""
    deliveries: tuple[DeliveryStats, ...] = ()
    """Of each broker."""


class Evidence:
    """The evidence of one daemon. A second one on the same folder is refused with `ConfigError`."""

    def __init__(
        self,
        settings: EvidenceSettings,
        *,
        free_bytes: Callable[[], int] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = settings.place or EvidenceFolder(settings.folder, power_safe=settings.power_safe)
        self.folder.prepare()
        self.dismissals = Dismissals(self.folder.dismissals)
        """What people dismissed; the page and the command line add to the same folder."""
        self._lock = self.folder.lock()
        try:
            self.signer = Signer.of(settings.signing_key or self.folder.root / "signing.key")
            self.audit = AuditLog.of(self.folder.root, settings.signing_key)
            """Who did what; anybody in the daemon may write to it."""
            self.store = AlertStore(self.folder.history, daemon=self.folder.daemon, signer=self.signer)
            self.store.open()
            self._forget_unfinished()
            self._replay: ReplayServer | None = None
            self._forwarders: list[Forwarder] = []
            self._clock = clock
            self._next_tidy = clock()
            self._tidy_failed = False
            self._retention = RetentionJob(
                self.folder, self.store, settings.limits(), busy=self._busy, free_bytes=free_bytes, wall_ns=wall_ns
            )
            clips = settings.clips if settings.images else ClipSettings(0, 0)
            self._images = settings.images
            self._scores = ScoreHistory()
            self._recorder = Recorder(self.folder, self._retention, clips, tick=self._look_after, clock=clock)
            self.audit.write("started", "daemon", pid=os.getpid())
        except BaseException:
            os.close(self._lock)
            raise

    def seal(self, site: str, camera: str, instance: str, heartbeat: Heartbeat) -> Heartbeat:
        """Return the heartbeat with the chain's head in it, signed: whoever has the public key knows it is ours."""
        head = self.store.head
        sealed = replace(heartbeat, records=head.id, head=head.hash)
        return replace(sealed, signature=self.signer.sign(sealed_text(site, camera, instance, sealed)))

    def serve(self, replay: ReplayServer) -> None:
        """Close this server of missed alerts when everything is closed."""
        self._replay = replay

    def forward(self, sink: Sink) -> None:
        """Send what is stored from now on to this broker too."""
        store = self.store
        forwarder = Forwarder(self.folder.history, store.daemon, sink, stored=lambda: store.head.id)
        self._forwarders.append(forwarder)
        forwarder.start()

    def offer(self, frame: Frame, alert: Alert | None, verdicts: Sequence[Verdict] = ()) -> None:
        """Give a frame of the pipeline, the alert that came of it, and what was said of it. Never blocks."""
        if self._images:
            self._recorder.offer(frame, alert)
        for document in self._scores.see(frame, verdicts, alert):
            self._recorder.keep(document)

    def interrupted(self) -> tuple[Alert, ...]:
        """Return how the alerts end that a killed daemon left open: as `interrupted`, else as they last were.

        They are to be published (and so stored) before anything else.
        """
        try:
            left = AlertReader(self.folder.history).left_open(self.folder.daemon)
        except TaintwatchError as error:
            _log.error("alerts that were left open are not known: %s", error)
            return ()
        return tuple(
            replace(message.body, state=AlertState.INTERRUPTED) for message in left if isinstance(message.body, Alert)
        )

    def stats(self) -> EvidenceStats:
        """Return the counts so far. Any thread may ask."""
        store = self.store
        return EvidenceStats(
            saved=store.saved,
            store_failures=store.failures,
            waiting=store.waiting,
            lost=store.lost,
            trouble=store.trouble,
            audit_failures=self.audit.failures,
            removed=self._retention.removed,
            recorder=self._recorder.stats() if self._images else None,
            holdings=self._retention.holdings,
            deliveries=tuple(forwarder.stats() for forwarder in self._forwarders),
        )

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, within about `timeout_s`, and let go of the folder. May be called again."""
        if self._lock < 0:
            return
        if self._replay is not None:
            self._replay.close()
        for document in self._scores.close():
            self._recorder.keep(document)
        if not self._recorder.close(timeout_s):
            _log.warning("not every picture or clip could be written within %.1f s", timeout_s)
        self.store.close()
        self.audit.write("stopped", "daemon", pid=os.getpid())
        os.close(self._lock)
        self._lock = -1

    def _busy(self) -> frozenset[str]:
        return self._recorder.busy()

    def _look_after(self) -> None:
        """In the recorder's thread, now and then: write what waits, and remove what is beyond the limits."""
        self.store.flush()
        if self._clock() < self._next_tidy:
            return
        self._next_tidy = self._clock() + TIDY_S
        try:
            self._retention.tidy()
            self._tidy_failed = False
        except (TaintwatchError, OSError) as error:
            if not self._tidy_failed:
                _log.error("old evidence cannot be removed: %s", error)
            self._tidy_failed = True

    def _forget_unfinished(self) -> None:
        try:
            self.folder.media.remove_unfinished()
        except OSError as error:
            _log.warning("unfinished files of %s cannot be removed: %s", self.folder.root, error)
