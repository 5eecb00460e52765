"""What detectors make of the attacks: thresholds from one half of the benign pictures, rates on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.paper_thresholds import LABEL_COUNTS, choose_paper, paper_ranks
from taintwatch_calibration.rates import area_under_roc, operating_point, wilson_interval
from taintwatch_calibration.thresholds import scalar_outputs
from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["DETECTORS", "Scores", "choose_labels", "pool", "rates", "score", "success_rate"]

Scores = Mapping[str, NDArray[np.float64]]
"""For each detector its score of each picture, (pictures,)."""

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


def choose_labels(radar: RadarFile, pixels: NDArray[np.uint8], target_fpr: float) -> PaperCalibration:
    """Choose the paper's K (and dR) on benign pixels."""
    frames = BenignFrames(pixels, False, 0, "benign")
    counts = [count for count in LABEL_COUNTS if count <= radar.info.classes]
    ranks = paper_ranks(radar, frames, PaperCalibration(), counts, threads=1, progress=lambda what, done, total: None)
    return choose_paper(ranks, target_fpr, PaperCalibration()).chosen


def pool(scores: Sequence[Scores]) -> Scores:
    """Put the scores of several attacks together."""
    return {name: np.concatenate([s[name] for s in scores]) for name in scores[0]} if scores else {}


def rates(choosing: Scores, held_out: Scores, attacked: Scores, target_fpr: float) -> dict[str, Any]:
    """Return for each detector its rates at the threshold chosen on `choosing`, and its AUC; JSON-ready."""
    found = {}
    for name in (n for n in DETECTORS if n in choosing):
        benign = np.concatenate([choosing[name], held_out[name]])
        found[name] = {
            **asdict(operating_point(choosing[name], held_out[name], attacked[name], target_fpr)),
            "auc": area_under_roc(benign, attacked[name]),
        }
    return found


def success_rate(success: NDArray[np.bool_]) -> dict[str, Any]:
    """Return attempts and successes with their 95% interval; JSON-ready."""
    count, total = int(success.sum()), len(success)
    return {
        "attempts": total,
        "successes": count,
        "rate": count / total if total else None,
        "interval": wilson_interval(count, total),
    }
