"""What turns frames into alerts, and what a new configuration changes in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.outbox import Identity
from taintwatch.cameras.camera import Camera
from taintwatch.config.sections import Config
from taintwatch.subjects.expander import Expander, WholeFrame
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Classifier
from taintwatch_models.loading import LoadedModel
from taintwatch_models.records import Detector

__all__ = ["ConfigurationChange", "DetectionStack"]


def _never() -> str | None:
    return None


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class DetectionStack:
    """What turns frames into alerts."""

    classifier: Classifier
    detectors: tuple[Detector, ...]
    voter: Voter
    tracker: AlertTracker
    degraded: Callable[[], str | None] = _never
    """Why the classifier does not run as it should, as one sentence; None while it does."""
    release: Callable[[], None] = _nothing
    """Called once these are not used any more."""
    model: LoadedModel | None = None
    """What the classifier and the detectors came from: how frames are laid onto its input, how it was calibrated."""
    expander: Expander = field(default_factory=WholeFrame)
    """What in each frame is judged by itself."""


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """What a new configuration changes in a service that runs. Everything in it is loaded and checked."""

    config: Config
    removed: tuple[str, ...] = ()
    added: tuple[Camera, ...] = ()
    """A camera that changed is in both."""
    detection: DetectionStack | None = None
    """None: the one in use stays."""
    identity: Identity | None = None
    """None where nothing is published."""
