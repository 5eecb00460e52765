"""Real footage, evenly thinned, as the classifier sees it: learnt on its first half, measured on its second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.presentations import daemon_steps
from taintwatch_models.classifier import Classifier
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Detector, Frame

__all__ = ["Clip", "alerts_of", "read_clips"]

_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov"}


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Thinned frames of a video."""

    frames: NDArray[np.uint8]
    """(n, H, W, 3), in the model's channel order, in time."""
    period_s: float
    """Between two of them."""

    @property
    def half(self) -> int:
        """How many frames are learnt from."""
        return len(self.frames) // 2


def read_clips(data: Path, preprocessing: Preprocessing, each: int) -> dict[str, Clip]:
    """Return about twice `each` frames of every clip below DATA/videos and DATA/footage.

    Clips with fewer than 200 usable frames are left out: a detector needs more to learn from.
    """
    found = {}
    for path in sorted(
        p for folder in ("videos", "footage") for p in (data / folder).glob("*") if p.suffix in _SUFFIXES
    ):
        frames, period_s = _frames(path, preprocessing, 2 * each)
        if len(frames) >= 260:
            found[path.stem] = Clip(np.stack(frames), period_s)
    return found


def alerts_of(clip: Clip, classifier: Classifier, detectors: Sequence[Detector], *, bgr: bool) -> int:
    """Return how many alerts the second half raises, by the daemon's own vote with its default settings.

    `bgr`: whether the clip's frames are in OpenCV's channel order.
    """
    later = clip.frames[clip.half :]
    supply = _Replay(later if bgr else later[..., ::-1], clip.period_s)
    steps = daemon_steps(supply, classifier, detectors)
    return len({step.alert.event_id for step in steps if step.alert is not None})


class _Replay:
    """One camera that gives frames at their own times: what `watch` takes for cameras."""

    def __init__(self, frames: NDArray[np.uint8], period_s: float) -> None:
        self._frames, self._period_ns, self._shown = np.ascontiguousarray(frames), round(1e9 * period_s), 0
        self._frames.setflags(write=False)

    @property
    def finished(self) -> bool:
        return self._shown >= len(self._frames)

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        rows = range(self._shown, min(self._shown + max_batch, len(self._frames)))
        self._shown = rows.stop
        times = [row * self._period_ns for row in rows]
        return [
            Frame("footage", row, self._frames[row], captured_ns=time, wall_ns=time)
            for row, time in zip(rows, times, strict=True)
        ]


def _frames(path: Path, preprocessing: Preprocessing, most: int) -> tuple[list[NDArray[np.uint8]], float]:
    stream = cv2.VideoCapture(str(path))
    step = max(1, int(stream.get(cv2.CAP_PROP_FRAME_COUNT)) // most)
    period_s = step / (stream.get(cv2.CAP_PROP_FPS) or 25.0)
    frames, index = [], 0
    while True:
        there, frame = stream.read()
        if not there:
            break
        if index % step == 0:
            frames.append(preprocessing.pixels(np.asarray(frame, np.uint8)))
        index += 1
    stream.release()
    return frames, period_s
