"""What every peer is: a detector that gives pictures a score; and the classifier that they all ask."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame, InferenceError, UsageError
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["Classifier", "Factory", "Peer", "Recoverer", "checked_benign", "fitting_classifier", "softmax"]

_BATCH = 16


class Peer(Protocol):
    """One detector of the literature, ready to score pictures of one model."""

    @property
    def name(self) -> str: ...

    @property
    def forwards(self) -> int:
        """Forwards of the classifier for one frame, in the worst case."""
        ...

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3) in the model's channel order: (N,), larger is more suspicious."""
        ...


@runtime_checkable
class Recoverer(Protocol):
    """What a peer is too where its paper answers with a label in place of an alarm."""

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels that it recovers of pictures (N, height, width, 3), (N,)."""
        ...


class Factory(Protocol):
    """Makes a peer for one model; `benign` are attack-free pictures on which it may fit what it needs."""

    def __call__(self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0) -> Peer: ...


class Classifier:
    """The classifier alone, on the product's runtime: pixels to logits."""

    def __init__(self, radar: RadarFile, *, threads: int = 1) -> None:
        """Raises `DeviceError`, `ModelError`."""
        self.preprocessing = radar.info.preprocessing
        # Peers smooth and rebuild pictures: what they ask about is no longer whole 8-bit pixels.
        self._radar = OnnxRadar(radar, (), session=SessionSettings(threads=threads, pixels=False))

    def check(self, pixels: NDArray[Any]) -> None:
        """Raise `BadFrame` where pictures are not (N, height, width, 3) of the model's size."""
        height, width = self.preprocessing.size
        if pixels.ndim != 4 or pixels.shape[1:] != (height, width, 3):
            raise BadFrame(
                f"pictures of shape {pixels.shape} cannot be scored: this model takes (N, {height}, {width}, 3); lay "
                "them onto its input first"
            )

    def inputs(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Turn pixels (N, height, width, 3), 0..255, into inputs (N, 3, height, width). Raises `BadFrame`."""
        self.check(pixels)
        return self.preprocessing.normalise(pixels)

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of inputs (N, 3, height, width). Raises `InferenceError`."""
        parts = [self._radar(inputs[start : start + _BATCH])["logits"] for start in range(0, len(inputs), _BATCH)]
        found = np.concatenate(parts).astype(np.float64) if parts else np.empty((0, self._radar.info.classes))
        if not np.isfinite(found).all():
            raise InferenceError("the model's logits are not finite for some pictures: check the model")
        return found

    def probabilities(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the softmax (N, classes) of pixels (N, height, width, 3), 0..255, whole or not."""
        return softmax(self.logits(self.inputs(pixels)))

    def mean_colour(self) -> NDArray[np.float32]:
        """Return the fill of masks as input values, (3, 1, 1)."""
        return self.preprocessing.colour_input(self.preprocessing.mean_colour)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax over the last axis."""
    powers: NDArray[np.float64] = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def checked_benign(name: str, benign: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    """Return `benign` where there are enough to fit the peer `name`. Raises `UsageError`."""
    if len(benign) < least:
        raise UsageError(
            f"the peer '{name}' fits itself on at least {least} benign pictures, there are {len(benign)}; give it more"
        )
    return benign


def fitting_classifier(
    name: str, radar: RadarFile, benign: NDArray[np.uint8], *, least: int, threads: int
) -> Classifier:
    """Return what the peer `name` asks, for benign pictures that fit it. Raises `UsageError`: too few, `BadFrame`."""
    classifier = Classifier(radar, threads=threads)
    classifier.check(checked_benign(name, benign, least))
    return classifier
