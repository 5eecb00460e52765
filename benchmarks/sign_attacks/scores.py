"""What detectors make of the attacks: thresholds from one half of the benign pictures, rates on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.bench.records import Benign, Scores, rates_of
from taintwatch_calibration.thresholds import scalar_outputs
from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["DETECTORS", "pool", "rates", "score", "success_rate"]

DETECTORS = ("tight", "tight: margin", "tight: swing", "tight: rank", "tight: anomaly", "paper")


def score(
    radar: RadarFile,
    pixels: NDArray[np.uint8],
    tight: TightCalibration,
    paper: PaperCalibration | None,
    anomaly: NDArray[np.float64] | None = None,
) -> Scores:
    """Return every detector's scores of (N, H, W, 3) pixels; without `paper`, only those of `tight`.

    `anomaly` (N,) takes the place of the graph's: for pictures that its reference was fitted on.
    """
    variants = ("tight",) if paper is None else ("tight", "paper")
    run = OnnxRadar(
        radar, variants, Calibration(tight=tight, paper=paper or PaperCalibration()), session=SessionSettings(threads=1)
    )
    found = {name: np.asarray(values, np.float64) for name, values in scalar_outputs(run, pixels).items()}
    if anomaly is not None:
        found[ANOMALY] = anomaly
    scores = {
        "tight": tight_scores_of(found, tight),
        "tight: margin": found["tight_margin"],
        "tight: swing": found["tight_swing"],
        "tight: rank": found["tight_rank"],
        "saliency_concentration": found["saliency_concentration"],
    }
    if ANOMALY in found:
        scores["tight: anomaly"] = found[ANOMALY]
    if paper is not None:
        scores["paper"] = found["paper_rank"]
    return scores


def pool(scores: Sequence[Scores]) -> Scores:
    """Put the scores of several attacks together."""
    return {name: np.concatenate([s[name] for s in scores]) for name in scores[0]} if scores else {}


def rates(benign: Benign, attacked: Scores, target_fpr: float) -> dict[str, Any]:
    """Return for each detector its rates at the threshold of the first benign scores, and its AUC; JSON-ready."""
    wanted = {name: attacked[name] for name in DETECTORS if name in attacked}
    found = rates_of(benign, wanted, (target_fpr,))
    return {name: {**each["at"][f"{target_fpr:g}"], "auc": each["auc"]} for name, each in found.items()}


def success_rate(success: NDArray[np.bool_]) -> dict[str, Any]:
    """Return attempts and successes with their 95% interval; JSON-ready."""
    count, total = int(success.sum()), len(success)
    return {
        "attempts": total,
        "successes": count,
        "rate": count / total if total else None,
        "interval": wilson_interval(count, total),
    }
