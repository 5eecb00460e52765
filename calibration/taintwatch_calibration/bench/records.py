"""From scores to figures: one cell for each model, attack, detector and target rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.bench.attacks import Attacked
from taintwatch_calibration.bench.plans import AttackPlan
from taintwatch_calibration.rates import area_under_roc, operating_point

__all__ = ["Benign", "Scores", "cells_of", "localisation", "rates_of"]

Scores = Mapping[str, NDArray[np.float64]]
"""Each detector's score of each picture, (N,); larger is more suspicious."""
Benign = tuple[Scores, Scores]
"""Of the pictures that thresholds are chosen on, and of those held out."""


def rates_of(benign: Benign, attacked: Scores, target_fpr: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Return each detector's rates on attacked pictures: `at` each target rate, and the ROC `auc`. JSON-ready.

    The threshold comes from the first benign scores alone, the false-positive rate from the second.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, scores in attacked.items():
        choosing, held_out = benign[0][name], benign[1][name]
        at = {f"{rate:g}": asdict(operating_point(choosing, held_out, scores, rate)) for rate in target_fpr}
        area = area_under_roc(np.concatenate([choosing, held_out]), scores) if len(scores) else None
        found[name] = {"auc": area, "at": at}
    return found


def cells_of(
    model: str,
    plan: AttackPlan,
    attacked: Attacked,
    benign: Benign,
    scores: Scores,
    target_fpr: Sequence[float],
    milliseconds: Mapping[str, float],
    found: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return one record for each detector and target rate.

    `evasion_rate` is the share of all attempts that fool the classifier unseen: what an adaptive attacker wins. `found`
    goes to the default's cells.
    """
    share = attacked.successes / attacked.attempts if attacked.attempts else 0.0
    head = {
        "model": model, "attack": plan.name, "attack_family": plan.family, "size": plan.size,
        "targeted": plan.pattern.target is not None,
        "attempts": attacked.attempts, "successes": attacked.successes, "success_rate": share,
    }  # fmt: skip
    cells = []
    for detector, rates in rates_of(benign, scores, target_fpr).items():
        judged = len(scores[detector])
        for at in rates["at"].values():
            tpr = at["tpr"] if judged else None
            cells.append(
                {
                    **head, "detector": detector, "target_fpr": at["target_fpr"], "fpr": at["fpr"],
                    "fpr_interval": at["fpr_interval"], "benign": at["benign"], "tpr": tpr,
                    "tpr_interval": at["tpr_interval"] if judged else None, "n": judged, "auc": rates["auc"],
                    "evasion_rate": None if tpr is None else share * (1 - tpr),
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
