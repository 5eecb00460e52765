"""What a service is made of, how long it may take, and what is exchanged while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.outbox import Identity
from taintwatch.alerts.publisher import Publisher
from taintwatch.cameras import Camera, CameraSet
from taintwatch.evidence.evidence import Evidence
from taintwatch.pipeline import Step, watch
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Classifier
from taintwatch_models.loading import LoadedModel
from taintwatch_models.records import Detector

__all__ = ["ConfigurationChange", "DetectionStack", "RunLimits", "Runtime"]


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
    watch: Callable[..., Iterator[tuple[Step, ...]]] = watch
    """What turns batches of frames into steps: `taintwatch.pipeline.watch`, or one with its arguments."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a service drives, ready made."""

    cameras: CameraSet
    detection: DetectionStack
    publisher: Publisher | None
    identity: Identity | None = None
    """What the publisher was made with."""
    evidence: Evidence | None = None
    """Where alerts are kept."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits and intervals of a run."""

    max_batch: int = 4
    max_frames: int | None = None
    status_s: float = 5.0
    stop_s: float = 2.0
    inference_s: float = 30.0
    """One batch that takes longer hangs."""
    config_hash: str = ""


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """What a new configuration changes in a service that runs. Everything in it is loaded and checked."""

    plan: RunLimits
    removed: tuple[str, ...] = ()
    added: tuple[Camera, ...] = ()
    """A camera that changed is in both."""
    detection: DetectionStack | None = None
    identity: Identity | None = None
    """None where nothing is published."""
