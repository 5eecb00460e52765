"""What a photograph of the target label does that nobody optimised: a measure of what hiding is worth.

A photograph of a dog before a camera that is to see a car may well make it say `dog`. A detector that leaves posters
alone must let that pass. So an attacker of one scene who reaches no more than this has gained nothing by optimising.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.networks import Network
from benchmarks.detection.scorers import RATES, Scorer

__all__ = ["photographs_of_target"]

_PHOTOGRAPHS, _LEAST = 8, 4
_SIDE = 0.35
"""As adaptive patches have it."""

Pictures = NDArray[np.uint8]


def photographs_of_target(
    network: Network, scorer: Scorer, thresholds: Mapping[float, float], scenes: int = 40
) -> list[dict[str, Any]]:
    """Paste up to eight photographs that the network calls the target onto each scene, at one place.

    A scene counts as fooled where one of them gives the target, and as unseen where one does below the threshold.
    Returns one record as of an attacker, `"optimised": False`; none where there are fewer than four photographs.
    """
    target = network.targets[0]
    known = np.concatenate([network.site, network.held_out])
    photographs = known[network.labels_of(known) == target][:_PHOTOGRAPHS]
    if len(photographs) < _LEAST:
        return []
    test = network.test[:scenes]
    shown = np.concatenate([_pasted(test, photograph) for photograph in photographs])
    fooled = (network.labels_of(shown) == target).reshape(len(photographs), len(test))
    scores = scorer.score(shown).reshape(len(photographs), len(test))
    record: dict[str, Any] = {"attacker": f"a photograph, the best of {len(photographs)}", "size": _SIDE}
    for rate in RATES:
        unseen = (fooled & (scores <= thresholds[rate])).any(axis=0)
        record[f"{rate:g}"] = {
            "attempts": len(test), "fools": float(fooled.any(axis=0).mean()), "unseen": float(unseen.mean())
        }  # fmt: skip
    return [{**record, "optimised": False}]


def _pasted(test: Pictures, photograph: Pictures, seed: int = 0) -> Pictures:
    """Paste a photograph at a place of each picture's own, the same for every photograph."""
    size = test.shape[1]
    side = round(_SIDE * size)
    small = cv2.resize(photograph, (side, side), interpolation=cv2.INTER_AREA)
    shown = test.copy()
    for picture, (top, left) in zip(
        shown, np.random.default_rng(seed).integers(0, size - side + 1, (len(test), 2)), strict=True
    ):
        picture[top : top + side, left : left + side] = small
    return shown
