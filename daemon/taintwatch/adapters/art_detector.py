"""Taintwatch as an `EvasionDetector` of the Adversarial Robustness Toolbox (extra `torch`, or `pip install` ART)."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.defences.detector.evasion import EvasionDetector
from numpy.typing import NDArray

from taintwatch.adapters.arrays import pictures_of_batch
from taintwatch.detector import Detector

__all__ = ["ArtDetector"]


class ArtDetector(EvasionDetector):  # type: ignore[misc]  # ART ships no types
    """What ART calls an evasion detector: `fit` learns what is benign, `detect` says what is adversarial."""

    defence_params = ("channels_first", "clip_values")

    def __init__(
        self, detector: Detector, *, channels_first: bool = True, clip_values: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        """`channels_first`: (batch, 3, height, width), RGB. `clip_values`: what is black and what is full."""
        super().__init__()
        self.detector, self.channels_first, self.clip_values = detector, channels_first, clip_values

    def fit(self, x: NDArray[Any], y: NDArray[Any] | None = None, batch_size: int = 128, nb_epochs: int = 1,
            **kwargs: Any) -> None:  # fmt: skip
        """Learn from benign pictures, at least 100; `y`, `batch_size` and `nb_epochs` have no meaning here.

        Raises `CalibrationError` for too few.
        """
        self.detector.learn(self._pictures(x))

    def detect(self, x: NDArray[Any], batch_size: int = 128, **kwargs: Any) -> tuple[dict[str, Any], NDArray[np.bool_]]:
        """Return a report (`scores`, `thresholds`, `labels`, `verdicts`) and whether each picture is suspicious."""
        verdicts = self.detector.check(self._pictures(x))
        report = {
            "scores": np.array([verdict.score for verdict in verdicts]),
            "thresholds": np.array([verdict.threshold for verdict in verdicts]),
            "labels": np.array([verdict.label for verdict in verdicts]),
            "verdicts": verdicts,
        }
        return report, np.array([verdict.suspicious for verdict in verdicts], dtype=np.bool_)

    def _pictures(self, x: NDArray[Any]) -> list[NDArray[np.uint8]]:
        return pictures_of_batch(x, channels_first=self.channels_first, bounds=self.clip_values)
