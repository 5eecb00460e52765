"""Small stand-ins for the seams: a classifier, a detector and a supply of frames that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.errors import InferenceError
from taintwatch_models.records import Frame, Prediction, Region, Verdict, read_only

__all__ = ["FakeClassifier", "FakeDetector", "FakeSupply", "a_frame", "a_prediction", "a_verdict"]

CARD = ModelCard("fake", "0" * 64, "CPUExecutionProvider", ("stop", "toaster"), (8, 8))
PERIOD_NS = 40_000_000  # 25 frames a second


def a_frame(index: int = 0, camera: str = "door", brightness: int = 0) -> Frame:
    """A small grey frame, the `index`-th at 25 frames a second."""
    image = np.full((16, 24, 3), brightness, dtype=np.uint8)
    at_ns = 1_000_000_000 + index * PERIOD_NS
    return Frame(camera, index, read_only(image), at_ns, 1_700_000_000_000_000_000 + at_ns, index * 0.04)


def a_prediction(frame: Frame, label: int = 0) -> Prediction:
    """A confident prediction of `label` for `frame`."""
    logits = np.array([4.0, 0.0] if label == 0 else [0.0, 4.0], dtype=np.float32)
    return Prediction(frame, read_only(logits), label, CARD.labels[label], 0.98, 1.0)


def a_verdict(prediction: Prediction, suspicious: bool, detector: str = "tight") -> Verdict:
    """A verdict with a score well on one side of its threshold."""
    region = Region((2, 2, 8, 8), (((2, 2), (10, 2), (10, 10), (2, 10)),), 0.17) if suspicious else None
    return Verdict(
        camera=prediction.frame.camera,
        frame_index=prediction.frame.index,
        detector=detector,
        suspicious=suspicious,
        score=2.0 if suspicious else -2.0,
        threshold=0.5,
        label=prediction.label,
        label_name=prediction.label_name,
        recovered_label=0 if suspicious and prediction.label else None,
        recovered_name="stop" if suspicious and prediction.label else None,
        region=region,
        statistics={"margin": 2.0 if suspicious else -2.0},
        subject=prediction.frame.subject,
    )


class FakeClassifier:
    """Says `toaster` of bright frames and `stop` of dark ones; refuses or fails on the frame numbers it is given."""

    def __init__(self, rejects: Iterable[int] = (), fails_on: Iterable[int] = ()) -> None:
        self._rejects = frozenset(rejects)
        self._fails_on = frozenset(fails_on)
        self.batches: list[int] = []

    @property
    def card(self) -> ModelCard:
        return CARD

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        self.batches.append(len(frames))
        if any(frame.index in self._fails_on for frame in frames):
            raise InferenceError("the model gave NaN for the whole batch")
        return [
            Rejected(frame, "NaN logits")
            if frame.index in self._rejects
            else a_prediction(frame, int(frame.image[0, 0, 0] > 127))
            for frame in frames
        ]


class FakeDetector:
    """Suspects every frame whose label is `toaster`, or whatever it is told to."""

    def __init__(self, name: str = "tight", suspects: Callable[[Prediction], bool] | None = None) -> None:
        self._name = name
        self._suspects = suspects or (lambda prediction: prediction.label == 1)

    @property
    def name(self) -> str:
        return self._name

    def __call__(self, prediction: Prediction) -> Verdict:
        return a_verdict(prediction, self._suspects(prediction), self._name)


class FakeSupply:
    """Hands out prepared batches, then is finished."""

    def __init__(self, batches: Iterable[Sequence[Frame]]) -> None:
        self._batches = [list(batch) for batch in batches]

    @property
    def finished(self) -> bool:
        return not self._batches

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        return self._batches.pop(0)[:max_batch] if self._batches else []
