"""Previews for viewers: each frame is encoded at most once, and only when somebody asks for it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from taintwatch.detection_stack import DetectionStack
from taintwatch.evidence.media import encode_jpeg, shrink
from taintwatch.pipeline import Step
from taintwatch.web.live import finite
from taintwatch_models.classifier import Rejected
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Prediction
from taintwatch_models.regions import region_of

__all__ = ["Preview", "Previews", "Reconstructor"]

QUALITY = 75
TOP = 3  # labels shown


@runtime_checkable
class Reconstructor(Protocol):
    """A detector that shows what the classifier believes it sees: `cmag`, or `joint`, which has it in it."""

    def reconstruct(self, prediction: Prediction) -> NDArray[np.uint8]:
        """Return a picture, blue-green-red."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """One frame as viewers get it."""

    step: Step
    told: dict[str, Any]
    """JSON-ready: what is drawn over it and said beside it."""
    jpeg: bytes


class Previews:
    """The newest picture of each camera. Made by one worker thread; what is made already may be asked for by others."""

    def __init__(
        self, newest: Callable[[str], Step | None], detection: Callable[[], DetectionStack], width: int
    ) -> None:
        """`width`: of a picture at most, in pixels."""
        self._newest = newest
        self._detection = detection
        self._width = width
        self._made: dict[str, Preview] = {}
        self._rebuilt: dict[str, tuple[Step, str | None]] = {}
        self.encoded = 0
        """Previews encoded so far."""

    def made(self, camera: str, step: Step, reconstruction: bool) -> tuple[Preview, str | None] | None:
        """Return the picture of this step, and its reconstruction where that is wanted, if they are made already."""
        picture, rebuilt = self._made.get(camera), self._rebuilt.get(camera)
        if picture is None or picture.step is not step:
            return None
        if not reconstruction:
            return picture, None
        return (picture, rebuilt[1]) if rebuilt is not None and rebuilt[0] is step else None

    def forget_others(self, names: frozenset[str]) -> None:
        """Let go of the pictures of cameras that were taken away."""
        for known in (self._made, self._rebuilt):
            for name in set(known) - names:
                known.pop(name, None)

    def of(self, camera: str) -> Preview | None:
        """Return the picture of a camera's newest frame: the one made before, where it is still the newest.

        Raises `PictureError`.
        """
        step, made = self._newest(camera), self._made.get(camera)
        if step is None:
            return None
        if made is None or made.step is not step:
            jpeg = encode_jpeg(shrink(step.frame.image, self._width), QUALITY)
            made = self._made[camera] = Preview(step, _description(step, self._detection()), jpeg)
            self.encoded += 1
        return made

    def reconstruction(self, picture: Preview) -> str | None:
        """Return what CMAG believes the classifier sees, as base64 JPEG; None where it is not at work."""
        camera = picture.step.frame.camera
        known = self._rebuilt.get(camera)
        if known is None or known[0] is not picture.step:
            known = self._rebuilt[camera] = (picture.step, _rebuild(picture.step, self._detection()))
        return known[1]


def _rebuild(step: Step, detection: DetectionStack) -> str | None:
    detector = next((each for each in detection.detectors if isinstance(each, Reconstructor)), None)
    if detector is None or not isinstance(step.outcome, Prediction) or step.outcome.features is None:
        return None
    return base64.b64encode(encode_jpeg(detector.reconstruct(step.outcome), QUALITY)).decode("ascii")


def _description(step: Step, detection: DetectionStack) -> dict[str, Any]:
    """Return what the page draws and says; coordinates in frame pixels."""
    frame, outcome = step.frame, step.outcome
    told: dict[str, Any] = {
        "frame": frame.index,
        "wall_ms": frame.wall_ns // 1_000_000,
        "width": frame.image.shape[1],
        "height": frame.image.shape[0],
    }
    if isinstance(outcome, Rejected):
        return told | {"rejected": outcome.reason}
    if outcome is None:
        return told
    suspicious = any(verdict.suspicious for verdict in step.verdicts)
    radar, model = outcome.radar, detection.model
    told |= {
        "latency_ms": round(outcome.latency_ms, 1),
        "top": _top(outcome, detection.classifier.card.labels),
        "suspicious": suspicious,
        "dismissed": any(verdict.dismissal is not None for verdict in step.verdicts),
        "critical": [],
        "intersection": [],
        "after": None,
    }
    if model is None:
        return told
    told["seen"] = _seen(model.preprocessing, step)
    told["critical"] = _polygons(_critical(outcome, model.preprocessing), model.preprocessing, step)
    told["intersection"] = _polygons(None if radar is None else radar.paper_mask, model.preprocessing, step)
    told["after"] = _after(outcome, detection.classifier.card.labels)
    return told


def _seen(preprocessing: Preprocessing, step: Step) -> list[list[tuple[int, int]]]:
    """Return the part of a picture that the classifier sees; nothing where that is all of it."""
    if step.subject_frame is None or (preprocessing.resize != "crop" and step.subject_frame.transform is None):
        return []
    return _polygons(np.ones(preprocessing.size, np.bool_), preprocessing, step)


def _critical(outcome: Prediction, preprocessing: Preprocessing) -> NDArray[np.bool_] | None:
    """Return the region that the label rests on, of the input: `tight`'s mask, or the window of `combined`."""
    if outcome.window is None:
        return None if outcome.radar is None else outcome.radar.tight_mask
    top, left, height, width = outcome.window.box
    mask = np.zeros(preprocessing.size, np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


def _top(prediction: Prediction, labels: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the first labels with their softmax probabilities."""
    logits = prediction.logits.astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-shares)[:TOP]
    return [(labels[index] if index < len(labels) else str(index), round(float(shares[index]), 4)) for index in order]


def _after(prediction: Prediction, labels: tuple[str, ...]) -> dict[str, Any] | None:
    """Return what the classifier says once the region is filled."""
    radar, window = prediction.radar, prediction.window
    if window is not None and window.filled_label is not None:
        filled = window.filled_label
        name = labels[filled] if filled < len(labels) else str(filled)
        return {"label": name, "changed": filled != prediction.label, "rank": None, "margin": None}
    if radar is None:
        return None
    tight = radar.tight_label is not None
    label = radar.tight_label if tight else radar.paper_label
    if label is None:
        return None
    return {
        "label": labels[label] if label < len(labels) else str(label),
        "changed": label != prediction.label,
        "rank": radar.tight_rank if tight else radar.paper_rank,
        "margin": finite(None if radar.tight_margin is None else round(float(radar.tight_margin), 2)),
    }


def _polygons(mask: NDArray[np.bool_] | None, preprocessing: Preprocessing, step: Step) -> list[list[tuple[int, int]]]:
    """Return a mask of the input as polygons in frame pixels."""
    if mask is None or step.subject_frame is None:
        return []
    height, width = step.subject_frame.frame.image.shape[:2]
    region = step.subject_frame.to_whole(region_of(mask, preprocessing.place(height, width), (height, width)))
    return [] if region is None else [[(int(x), int(y)) for x, y in polygon] for polygon in region.polygons]
