"""Pictures held before a camera for two seconds each, through the real pipeline: which raise an alert, and when?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.pipeline import FrameSupply, Step, watch
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Classifier
from taintwatch_models.records import Detector, Frame, Prediction

__all__ = ["FPS", "SECONDS", "SOON", "Presentation", "Presented", "daemon_steps", "in_motion", "present"]

FPS, SECONDS = 10, 2.0
SOON = 10
"""Frames within which an alert is wanted."""
_CAMERA = "picture "
_SHAKE, _ZOOM, _NOISE = 0.02, 0.02, 4.0
"""Of the side, of the size, in grey levels."""


class Presentation:
    """One camera that sees one picture after the other, each as a new scene: what `watch` takes for cameras."""

    def __init__(self, pictures: NDArray[np.uint8], seed: int) -> None:
        """`pictures` (N, H, W, 3) RGB."""
        self._pictures, self._seed, self._shown = pictures, seed, 0

    @property
    def finished(self) -> bool:
        """Whether all were shown."""
        return self._shown >= len(self._pictures)

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        """Return the frames of the next picture, as a camera of its own: votes of two pictures do not mix."""
        index = self._shown
        self._shown += 1
        frames = in_motion(self._pictures[index], np.random.default_rng([self._seed, index]))
        step = round(1e9 / FPS)
        return [
            Frame(f"{_CAMERA}{index}", number, frame, captured_ns=number * step, wall_ns=number * step)
            for number, frame in enumerate(frames)
        ]


def in_motion(picture: NDArray[np.uint8], rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Return two seconds of a picture (H, W, 3) RGB as a held camera sees it, in OpenCV's channel order."""
    height, width = picture.shape[:2]
    count = round(FPS * SECONDS)
    drift = np.cumsum(rng.normal(0, _SHAKE / 3, (count, 2)), axis=0).clip(-3 * _SHAKE, 3 * _SHAKE)
    zoom = 1 + np.cumsum(rng.normal(0, _ZOOM / 3, count)).clip(-3 * _ZOOM, 3 * _ZOOM)
    light = 1 + np.cumsum(rng.normal(0, 0.01, count)).clip(-0.1, 0.1)
    frames = []
    for (dy, dx), scale, gain in zip(drift, zoom, light, strict=True):
        move = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 0.7)), float(scale))
        move[:, 2] += dx * width, dy * height
        seen = cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
        noisy = seen * gain + rng.normal(0, _NOISE, seen.shape)
        frame = np.ascontiguousarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[:, :, ::-1])
        frame.setflags(write=False)
        frames.append(frame)
    return frames


@dataclass(frozen=True, slots=True)
class Presented:
    """What became of one picture that was held up."""

    suspicious: int
    """Frames."""
    alert_after: int | None
    """The frame that raised the alert, counted from 1; None: no alert."""
    labels: tuple[int, ...]
    """The model's label of each frame."""

    def keeps(self, label: int) -> bool:
        """Whether half of the first ten frames and more have this label."""
        early = self.labels[:SOON]
        return 2 * early.count(label) >= len(early)


def daemon_steps(supply: FrameSupply, classifier: Classifier, detectors: Sequence[Detector]) -> Iterator[Step]:
    """Yield the steps of a supply's frames. Pipeline, vote and alerts are the daemon's own, with its defaults."""
    batches = watch(
        supply, classifier, detectors, Voter(), AlertTracker(), max_batch=16, wait_s=0.0, stopping=lambda: False
    )
    return chain.from_iterable(batches)


def present(
    pictures: NDArray[np.uint8], classifier: Classifier, detectors: Sequence[Detector], seed: int = 0
) -> list[Presented]:
    """Hold up each picture for two seconds; return what became of it, by `daemon_steps`."""
    suspicious, alerts = [0] * len(pictures), dict[int, int]()
    labels: list[list[int]] = [[] for _ in pictures]
    for step in daemon_steps(Presentation(pictures, seed), classifier, detectors):
        index = int(step.frame.camera.removeprefix(_CAMERA))
        suspicious[index] += any(verdict.suspicious for verdict in step.verdicts)
        if isinstance(step.outcome, Prediction):
            labels[index].append(step.outcome.label)
        if step.alert is not None:
            alerts.setdefault(index, step.frame.index + 1)
    return [
        Presented(count, alerts.get(index), tuple(found))
        for index, (count, found) in enumerate(zip(suspicious, labels, strict=True))
    ]
