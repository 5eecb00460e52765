"""TaintRadar and CMAG as one detector, whose target false-positive rate is that of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import CombinationCalibration
from taintwatch_models.cmag.detector import CmagDetector
from taintwatch_models.records import Detector, Prediction, Verdict

__all__ = ["RULES", "JointDetector", "joint_score"]

RULES: Mapping[str, Callable[[float, float], float]] = {
    "either": max,
    "both": min,
    "score": lambda tight, cmag: tight + cmag,
}
"""How two normalised scores become one: either is enough, both are needed, or they add up."""


def joint_score(settings: CombinationCalibration, tight: float, cmag: float) -> float:
    """Return the joint score: each is put on its benign scale first, (score - centre) / spread."""
    return RULES[settings.rule](
        (tight - settings.tight_centre) / settings.tight_spread,
        (cmag - settings.cmag_centre) / settings.cmag_spread,
    )


class JointDetector:
    """Judges by `tight` and `cmag` together; the region and the recovered label are those of `tight`."""

    name = "joint"

    def __init__(self, tight: Detector, cmag: CmagDetector, settings: CombinationCalibration) -> None:
        self._tight, self._cmag, self._settings = tight, cmag, settings

    def __call__(self, prediction: Prediction) -> Verdict:
        """Raises what the two raise."""
        first, second = self._tight(prediction), self._cmag(prediction)
        score = joint_score(self._settings, first.score, second.score)
        suspicious = score > self._settings.threshold
        statistics = {"tight": first.score, "cmag": second.score}
        statistics |= {f"tight_{name}": value for name, value in first.statistics.items()}
        statistics |= {f"cmag_{name}": value for name, value in second.statistics.items()}
        return replace(
            first,
            detector=self.name,
            suspicious=suspicious,
            score=score,
            threshold=self._settings.threshold,
            region=first.region if suspicious else None,
            statistics=statistics,
        )

    def reconstruct(self, prediction: Prediction) -> NDArray[np.uint8]:
        """Return what the classifier believes it sees, as `CmagDetector.reconstruct` does."""
        return self._cmag.reconstruct(prediction)
