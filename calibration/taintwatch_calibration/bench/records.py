"""From scores to figures: one cell for each model, attack, detector and target rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.bench.making import Attacked
from taintwatch_calibration.bench.plans import AttackPlan
from taintwatch_calibration.rates import area_under_roc, operating_point, wilson_interval

__all__ = ["cells_of", "localisation"]

Scores = Mapping[str, NDArray[np.float64]]


def cells_of(
    model: str,
    plan: AttackPlan,
    attacked: Attacked,
    benign: tuple[Scores, Scores],
    scores: Scores,
    target_fpr: Sequence[float],
    milliseconds: Mapping[str, float],
    found: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return one record for each detector and target rate.

    `benign`: scores of the calibration part, on which thresholds are chosen, and of the held-out part. A detector that
    was run on fewer pictures than there are has fewer scores: `n` says how many. `evasion_rate` is the share of all
    attempts that fool the classifier unseen: what an adaptive attacker wins. `found` goes to the default's cells.
    """
    share = attacked.successes / attacked.attempts if attacked.attempts else 0.0
    head = {
        "model": model, "attack": plan.name, "attack_family": plan.family, "size": plan.size,
        "targeted": plan.pattern.target is not None or plan.way == "trigger",
        "attempts": attacked.attempts, "successes": attacked.successes, "success_rate": share,
    }  # fmt: skip
    cells = []
    for detector, values in scores.items():
        own, held = benign[0][detector], benign[1][detector]
        area = area_under_roc(np.concatenate([own, held]), values) if len(values) else None
        for rate in target_fpr:
            at = operating_point(own, held, values, rate)
            tpr = at.tpr if len(values) else None
            cells.append(
                {
                    **head, "detector": detector, "target_fpr": rate, "fpr": at.fpr, "fpr_interval": at.fpr_interval,
                    "benign": at.benign, "tpr": tpr, "tpr_interval": at.tpr_interval if len(values) else None,
                    "n": len(values), "auc": area, "evasion_rate": None if tpr is None else share * (1 - tpr),
                    "ms_per_frame": milliseconds.get(detector), **(found if detector == "default" else {}),
                }
            )  # fmt: skip
    return cells


def localisation(attacked: Attacked, label: NDArray[np.int64], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how well the filled region lies on the attack, and how often the right label is on top after the fill.

    `iou`: median over the attacks of intersection over union; `inside`: median share of the region that lies on the
    attack; `recovered` with its interval. `mask` (N, height, width) and `label` (N,) are the detector's.
    """
    if not len(mask):
        return {"iou": None, "inside": None, "recovered": None, "recovered_interval": None}
    both = (mask & attacked.covered).sum((1, 2))
    either = (mask | attacked.covered).sum((1, 2))
    right = int((label == attacked.truth).sum())
    return {
        "iou": float(np.median(both / np.maximum(either, 1))),
        "inside": float(np.median(both / np.maximum(mask.sum((1, 2)), 1))),
        "recovered": right / len(mask),
        "recovered_interval": wilson_interval(right, len(mask)),
    }
