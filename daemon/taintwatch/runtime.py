"""What runs now, and its only owner: a reload changes it here, and everybody else asks here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taintwatch.alerts.outbox import Identity
from taintwatch.alerts.publisher import Publisher
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.config.sections import Config
from taintwatch.detection_stack import ConfigurationChange, DetectionStack
from taintwatch.evidence.evidence import Evidence
from taintwatch.learner import Learner

__all__ = ["Runtime"]


class Runtime:
    """The configuration in use and what was made of it.

    `apply` and `identify` are called by the service's thread; any thread may read, and sees either the old or the new.
    """

    def __init__(
        self,
        config: Config,
        cameras: CameraSet,
        detection: DetectionStack,
        publisher: Publisher | None = None,
        identity: Identity | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        """`identity`: what the publisher was made with; `evidence`: where alerts are kept."""
        self.cameras = cameras
        self.publisher = publisher
        self.evidence = evidence
        self.learner: Learner | None = None
        """What learns cameras that are not armed yet; None: nothing is learnt."""
        self._config = config
        self._detection = detection
        self._identity = self._published = identity

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._config

    @property
    def detection(self) -> DetectionStack:
        """What turns frames into alerts now."""
        return self._detection

    @property
    def identity(self) -> Identity | None:
        """What messages say of this daemon while its model runs as it did at the start; None: nothing is published."""
        return self._identity

    @property
    def endpoint(self) -> str | None:
        """Where alerts are published."""
        return None if self.publisher is None else self.publisher.endpoint

    def camera_statuses(self) -> tuple[CameraStatus, ...]:
        """Return where each camera stands, and how far it is learnt."""
        statuses = self.cameras.statuses()
        if self.learner is None:
            return statuses
        found = self.learner.states()
        return tuple(
            status if status.camera not in found else replace(
                status, arming=found[status.camera].state.value, learnt_share=round(found[status.camera].share, 3)
            )
            for status in statuses
        )  # fmt: skip

    @property
    def notice(self) -> str | None:
        """What somebody should see to, though all runs; None: nothing."""
        return None if self.learner is None else self.learner.refits.notice

    def identify(self) -> None:
        """Let every message say what really runs the model now: it may have failed, and been replaced."""
        if self.publisher is None or self._identity is None:
            return
        degraded = self._detection.degraded() is not None
        unarmed = frozenset[str]() if self.learner is None else self.learner.unarmed
        provider = self._detection.classifier.card.provider
        identity = replace(self._identity, provider=provider, degraded=degraded, unarmed=unarmed)
        if identity != self._published:
            self._published = identity
            self.publisher.identify(identity)

    def apply(self, change: ConfigurationChange) -> Sequence[Camera]:
        """Take a new configuration into use, and return the cameras that it removed.

        The alerts of the removed cameras, and all of them where the detection stack is exchanged, were ended before.
        """
        if change.detection is not None:
            self._detection.release()
            self._detection = change.detection
        self._config, self._identity = change.config, change.identity
        self.identify()
        removed = self.cameras.change(change.removed, change.added)
        if self.publisher is not None:
            self.publisher.expect_cameras([camera.name for camera in change.added])
        return removed
