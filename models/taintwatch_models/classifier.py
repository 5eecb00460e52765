"""The seam between a pipeline and whatever runs the network: ONNX Runtime, Torch, or a fake in a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from taintwatch_models.records import Frame, Prediction

__all__ = ["Classifier", "ModelCard", "Rejected"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a loaded model; goes into logs, status messages and every alert."""

    name: str
    model_hash: str
    """SHA-256 (hex) of the user's model file, before preparation: what a calibration is bound to."""
    provider: str
    """What really runs it: `CPUExecutionProvider`, `CUDAExecutionProvider`, `TensorrtExecutionProvider`."""
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    """(height, width) in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Rejected:
    """A frame that gave no usable prediction, and why (one sentence): counted and skipped, never fatal."""

    frame: Frame
    reason: str


class Classifier(Protocol):
    """Anything that classifies a batch of frames in one inference call."""

    @property
    def card(self) -> ModelCard: ...

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        """Classify `frames` (at least one; of any sizes), in order, one result for each.

        Raises `InferenceError` where the whole batch failed.
        """
        ...
