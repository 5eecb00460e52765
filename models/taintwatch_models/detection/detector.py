"""The default detector: a verdict, and the reason for it, from what the two looks found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.reference import FREE, LABEL, SECOND, Reference
from taintwatch_models.errors import ConfigError
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Prediction, SecondLook, Verdict, WindowStatistics
from taintwatch_models.regions import region_of

__all__ = ["COMBINED", "CombinedDetector", "explain", "window_statistics"]

COMBINED = "combined"


def window_statistics(outputs: Mapping[str, NDArray[Any]], index: int) -> WindowStatistics | None:
    """Take one row of `CombinedRadar`'s outputs; None where they hold nothing of it."""
    if "combined_score" not in outputs:
        return None
    raw = {name: outputs.get(f"combined_{name}") for name in (*FREE, LABEL, *SECOND)}
    values = {name: float(value[index]) for name, value in raw.items() if value is not None}
    surprises = {name: float(outputs[key][index]) for name in values if (key := f"combined_{name}_surprise") in outputs}
    filled = int(outputs["combined_label"][index])
    top, left, height, width = (int(part) for part in outputs["combined_box"][index])
    return WindowStatistics(
        box=(top, left, height, width),
        score=float(outputs["combined_score"][index]),
        second_look=_second_look(outputs, index),
        filled_label=None if filled < 0 else filled,
        values={name: value for name, value in values.items() if not math.isnan(value)},
        surprises={name: value for name, value in surprises.items() if not math.isnan(value)},
    )


def _second_look(outputs: Mapping[str, NDArray[Any]], index: int) -> SecondLook:
    if not outputs["combined_deserving"][index]:
        return SecondLook.NOT_NEEDED
    if not outputs["combined_looked"][index]:
        return SecondLook.WAITING
    shared = outputs.get("combined_shared")
    return SecondLook.SHARED if shared is not None and shared[index] else SecondLook.TAKEN


class CombinedDetector:
    """Suspicious where the suspect window is more anomalous, necessary and sufficient than benign ones.

    The score combines the statistics' benign tail probabilities (`reference.combine`); the threshold is the reference's
    for a target false-positive rate.
    """

    name = COMBINED

    def __init__(
        self, reference: Reference, target_fpr: float, labels: Sequence[str], preprocessing: Preprocessing
    ) -> None:
        """Raises `ConfigError` where the reference has no threshold for that rate."""
        points = {point.target_fpr: point for point in reference.points}
        if target_fpr not in points:
            known = ", ".join(f"{rate:g}" for rate in points)
            raise ConfigError(f"the reference has no threshold for a target FPR of {target_fpr:g}; it has {known}")
        self.point = points[target_fpr]
        self._labels, self._preprocessing = labels, preprocessing

    def __call__(self, prediction: Prediction) -> Verdict:
        window = prediction.window
        if window is None:
            raise ConfigError("the detector 'combined' is on, but the classifier was loaded without its reference")
        frame, label = prediction.frame, window.filled_label
        suspicious = window.score > self.point.threshold
        recovered = label if label is not None and label != prediction.label else None
        region = None
        if suspicious:
            top, left, height, width = window.box
            mask = np.zeros(self._preprocessing.size, np.bool_)
            mask[top : top + height, left : left + width] = True
            size = frame.image.shape[:2]
            region = region_of(mask, self._preprocessing.place(size[0], size[1]), (size[0], size[1]))
        return Verdict.of(
            prediction,
            self.name,
            suspicious=suspicious,
            score=window.score,
            threshold=self.point.threshold,
            recovered_label=recovered,
            recovered_name=None if recovered is None else self._labels[recovered],
            region=region,
            checked=suspicious or window.second_look is not SecondLook.WAITING,
            statistics={**window.values, **{f"{name}_surprise": value for name, value in window.surprises.items()}},
        )


def explain(verdict: Verdict) -> str:
    """Say in a few words why a verdict of the combined detector is what it is; empty for other detectors.

    Each share is that of benign frames that are at least as unusual in this respect.
    """
    found = verdict.statistics
    parts = [f"{words} {_one_in(found[key])}" for key, words in _WORDS.items() if key in found]
    if not parts:
        return ""
    after = "the label stays once the window is filled"
    if verdict.recovered_name is not None:
        after = f"filled, the window gives '{verdict.recovered_name}' instead of '{verdict.label_name}'"
    elif "necessity" not in found:
        after = "it was not looked at again" if verdict.checked else "the second look has to wait"
    return f"{'; '.join(parts)}; {after}"


_WORDS = {
    "anomaly_surprise": "as anomalous, with as much saliency, as in",
    "early_anomaly_surprise": "texture as anomalous as in",
    "feature_anomaly_surprise": "features as anomalous as in",
    "appearance_surprise": "looks as much like an optimised pattern as",
    "closeup_surprise": "from near by as much as",
    "label_mahalanobis_surprise": "as unlike its label as",
    "necessity_surprise": "as necessary as in",
    "sufficiency_surprise": "as sufficient elsewhere as in",
}


def _one_in(surprise: float) -> str:
    share = math.exp(min(surprise, 14.0))
    return "most benign frames" if share < 3 else f"1 of {round(share):,} benign frames"
