"""What flows from a camera to a verdict: `Frame -> Prediction -> Verdict`. Every record is immutable.

Records that hold arrays compare by identity (`eq=False`) and hold read-only arrays. From `Verdict` on there are only
scalars, strings, tuples and dicts of them, so that a verdict is JSON-ready (`dataclasses.asdict`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from taintwatch_models.objects.guard import Guarded

__all__ = [
    "Detector",
    "Frame",
    "Prediction",
    "RadarStatistics",
    "Region",
    "SecondLook",
    "Verdict",
    "WindowStatistics",
    "read_only",
]


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of `array` that cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture from one camera."""

    camera: str
    index: int
    """0-based count of the frames that this source has given since it was (first) opened."""
    image: NDArray[np.uint8]
    """(height, width, 3), uint8, OpenCV's channel order (blue, green, red), read-only."""
    captured_ns: int
    """`time.monotonic_ns()` when the frame was received: for ages and latencies."""
    wall_ns: int
    """`time.time_ns()` when the frame was received: for people."""
    media_s: float | None = None
    """Position in the file or stream, in seconds, where the source knows it."""
    subject: str | None = None
    """What in the camera's picture this one shows: a face, a tracked object, a named region. None: the whole of it."""


@dataclass(frozen=True, slots=True, eq=False)
class RadarStatistics:
    """What the TaintRadar passes found for one frame. Pixels here are those of the classifier's *input*.

    A variant that was not run has `None` in its fields.
    """

    saliency_concentration: float
    """Maximum over mean of the region map (>= 1; 0 where the map is zero everywhere)."""
    tight_mask: NDArray[np.bool_] | None = None
    """(input height, input width): the region that `tight` filled."""
    tight_label: int | None = None
    """Label on top after the tight fill: what the classifier may have seen without the attack."""
    tight_rank: int | None = None
    """New rank of the predicted label after the fill, 0-based (0: unchanged)."""
    tight_margin: float | None = None
    """Largest other logit minus the predicted label's logit, after the fill."""
    tight_swing: float | None = None
    """`tight_margin` minus the same before the fill."""
    paper_mask: NDArray[np.bool_] | None = None
    """(input height, input width): the intersection of the K suppressed labels' masks."""
    paper_label: int | None = None
    paper_rank: int | None = None
    gate: float | None = None
    """The gate's score, where there is a gate: larger deserves a check more."""
    checked: bool = True
    """False: the gate let the frame pass, nothing but `gate` is known of it (`saliency_concentration` is then 0)."""
    anomaly: float | None = None
    """Anomaly score of the layers' maps for the label (see `graph.anomaly`): 0: usual, 1: anomalous."""


class SecondLook(StrEnum):
    """What became of a frame's second look."""

    NOT_NEEDED = "not_needed"
    """The first found nothing that deserves one."""
    TAKEN = "taken"
    SHARED = "shared"
    """Taken a moment before, at another frame of the same event."""
    WAITING = "waiting"
    """Deserved, and not taken: there was no time left for it."""


@dataclass(frozen=True, slots=True)
class WindowStatistics:
    """What the combined detector's two looks found at the window on which the label rests."""

    box: tuple[int, int, int, int]
    """Top, left, height, width in pixels of the classifier's input."""
    score: float
    """How unusual the statistics are together (>= 0); larger is more suspicious."""
    second_look: SecondLook
    """What became of the second look: filling the window, and pasting it onto other pictures."""
    filled_label: int | None
    """The label once the window is filled; None: not filled."""
    values: Mapping[str, float]
    """The statistics by name; those of a second look that was not taken are missing."""
    surprises: Mapping[str, float]
    """How unusual each of them is: -ln of the share of benign frames that reach it."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the classifier said about one frame, with the statistics that detectors judge."""

    frame: Frame
    logits: NDArray[np.float32]
    """(classes,), float32, finite, read-only."""
    label: int
    label_name: str
    confidence: float
    """Softmax probability of `label`, in [0, 1]."""
    latency_ms: float
    """Inference time of the whole batch divided by its size."""
    radar: RadarStatistics | None = None
    window: WindowStatistics | None = None
    features: NDArray[np.float32] | None = None
    """(channels, h, w): the last convolutional maps, where a detector asked for them; read-only."""
    pixels: NDArray[np.uint8] | None = None
    """(input height, input width, 3), 0..255 in the model's channel order, where a detector asked for it; read-only."""
    guarded: Guarded | None = None
    """What a guarded object detector found, where that is the model."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region in *frame* pixels."""

    box: tuple[int, int, int, int]
    """(x, y, width, height) around all polygons."""
    polygons: tuple[tuple[tuple[int, int], ...], ...]
    """Outer contours as (x, y) corners, largest first, simplified to within a pixel of the classifier's input."""
    area_fraction: float
    """Share of the frame's area, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One detector's judgement of one frame."""

    camera: str
    frame_index: int
    detector: str
    suspicious: bool
    score: float
    """Larger is more suspicious; `suspicious` is `score > threshold`, unless a person dismissed it."""
    threshold: float
    label: int
    label_name: str
    recovered_label: int | None
    """The top label after the region is filled, where it differs from `label`."""
    recovered_name: str | None
    region: Region | None
    statistics: Mapping[str, float]
    """The detector's raw statistics by name, for people and for later calibration."""
    checked: bool = True
    """False: the gate let the frame pass unchecked, or its second look waits. That is no all-clear; `score` and
    `threshold` are the gate's, or the first look's."""
    subject: str | None = None
    """The frame's: what of the camera's picture was judged; None: the whole of it."""
    dismissal: str | None = None
    """The alert at which a person dismissed what this shows: then it is not suspicious, whatever its score."""

    @classmethod
    def of(
        cls, prediction: Prediction, detector: str, *, suspicious: bool, score: float, threshold: float,
        statistics: Mapping[str, float], recovered_label: int | None = None, recovered_name: str | None = None,
        region: Region | None = None, checked: bool = True,
    ) -> Verdict:  # fmt: skip
        """Return a detector's judgement of a prediction: of its frame, its subject and its label."""
        frame = prediction.frame
        return cls(
            camera=frame.camera, frame_index=frame.index, detector=detector, suspicious=suspicious, score=score,
            threshold=threshold, label=prediction.label, label_name=prediction.label_name,
            recovered_label=recovered_label, recovered_name=recovered_name, region=region, statistics=statistics,
            checked=checked, subject=frame.subject,
        )  # fmt: skip


class Detector(Protocol):
    """Anything with a name that judges a prediction."""

    @property
    def name(self) -> str: ...

    def __call__(self, prediction: Prediction) -> Verdict: ...
