"""Thresholds from benign frames and a target false-positive rate: no attack is needed to calibrate."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.benign import BenignFrames, batches_of, split_in_blocks
from taintwatch_calibration.paper_thresholds import LABEL_COUNTS, PaperSurface, choose_paper, paper_ranks
from taintwatch_calibration.rates import threshold_for
from taintwatch_models.calibration_file import Calibration, HeldOut, PaperCalibration, TightCalibration
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.errors import CalibrationError
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = [
    "ANOMALY_SHARE",
    "Progress",
    "calibrate",
    "held_out",
    "scalar_outputs",
    "tight_outputs",
    "tight_scores",
    "weigh_anomaly",
]

ANOMALY_SHARE = 3.0
"""How many benign spreads of the rest one of the anomaly counts. 2 to 5 did about equally on patches; attackers who
know it do best against a share of 10, or where only the larger of both counts."""

Progress = Callable[[str, int, int], None]
"""What is being done, how many frames of it are done, of how many."""


def held_out(scores: NDArray[np.float64], threshold: float) -> HeldOut:
    """Count false alarms on frames that the threshold was not chosen on."""
    alarms, frames = int((scores > threshold).sum()), len(scores)
    low, high = wilson_interval(alarms, frames)
    return HeldOut(frames, alarms, alarms / frames if frames else 0.0, low, high)


def tight_scores(
    radar: RadarFile,
    frames: BenignFrames,
    settings: TightCalibration,
    *,
    anomaly: NDArray[np.float64] | None = None,
    threads: int = 0,
    progress: Progress,
) -> NDArray[np.float64]:
    """Return `tight`'s score of each frame, (frames,).

    `anomaly` (frames,) takes the place of the graph's: for frames that its reference was fitted on.
    """
    return tight_scores_of(tight_outputs(radar, frames, settings, anomaly, threads, progress), settings)


def tight_outputs(
    radar: RadarFile,
    frames: BenignFrames,
    settings: TightCalibration,
    anomaly: NDArray[np.float64] | None,
    threads: int,
    progress: Progress,
) -> dict[str, NDArray[Any]]:
    """Return the scalar outputs that `tight` judges by, each (frames,)."""
    run = OnnxRadar(radar, ("tight",), Calibration(tight=settings), session=SessionSettings(threads=threads))
    outputs = scalar_outputs(run, frames.pixels, lambda done: progress("tight", done, len(frames.pixels)))
    return outputs if anomaly is None else {**outputs, ANOMALY: anomaly}


def scalar_outputs(
    run: OnnxRadar, pixels: NDArray[np.uint8], progress: Callable[[int], None] = lambda done: None
) -> dict[str, NDArray[Any]]:
    """Return what a radar says of each of (N, H, W, 3) pixels in one number, each (N,)."""
    found: dict[str, list[NDArray[Any]]] = {}
    for start, inputs in batches_of(pixels, run.info.preprocessing):
        for name, values in run(inputs).items():
            if values.ndim == 1:
                found.setdefault(name, []).append(values)
        progress(start + len(inputs))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def weigh_anomaly(
    outputs: Mapping[str, NDArray[Any]], settings: TightCalibration, share: float = ANOMALY_SHARE
) -> TightCalibration:
    """Weigh the anomaly, where the graph gives it: it counts `share` times as much as the rest.

    One benign spread of it then moves the score by so many benign spreads (98% quantile less median) of the rest.
    """
    if ANOMALY not in outputs:
        return replace(settings, anomaly_weight=0.0)
    scores = tight_scores_of(outputs, replace(settings, anomaly_weight=0.0))
    spread = max(float(np.quantile(scores, 0.98) - np.median(scores)), 1e-3)  # all alike: any weight, but not none
    return replace(settings, anomaly_weight=share * spread)


def calibrate(
    radar: RadarFile,
    frames: BenignFrames,
    *,
    target_fpr: float,
    tight: TightCalibration | None = None,
    paper: PaperCalibration | None = None,
    variants: Sequence[str] = ("tight", "paper"),
    anomaly: NDArray[np.float64] | None = None,
    anomaly_share: float = ANOMALY_SHARE,
    seed: int = 0,
    threads: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> tuple[Calibration, PaperSurface | None]:
    """Choose the thresholds on one half of the frames and measure the false-positive rate on the other.

    `anomaly` (frames,) stands for the graph's where its reference was fitted on these frames (`Fitted.scores`);
    `anomaly_share`: see `weigh_anomaly`.
    `target_fpr` is the target rate per frame, in (0, 0.5]. Raises `CalibrationError` where there are too few frames
    for that rate: one false alarm must be countable in each half.
    """
    if not 0 < target_fpr <= 0.5:
        raise CalibrationError(f"the target false-positive rate must be above 0 and at most 0.5, not {target_fpr}")
    needed = int(np.ceil(2 / target_fpr))
    if len(frames.pixels) < needed:
        raise CalibrationError(
            f"{frames.description}: {len(frames.pixels)} benign frames are too few for a false-positive rate of "
            f"{target_fpr:.1%}; give at least {needed}, or accept a higher rate with --fpr"
        )
    choose, check = split_in_blocks(frames, seed)
    calibration = Calibration(
        model_hash=radar.info.source_sha256,
        model_name=radar.info.name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        target_fpr=target_fpr,
        benign=frames.description,
        benign_frames=len(frames.pixels),
        tight=tight or TightCalibration(),
        paper=paper or PaperCalibration(),
    )
    curve = None
    if "tight" in variants:
        outputs = tight_outputs(radar, frames, calibration.tight, anomaly, threads, progress)
        chosen_on = {name: values[choose] for name, values in outputs.items()}
        settings = weigh_anomaly(chosen_on, calibration.tight, anomaly_share)
        scores = tight_scores_of(outputs, settings)
        threshold = threshold_for(scores[choose], target_fpr)
        measured = replace(settings, threshold=threshold, held_out=held_out(scores[check], threshold))
        calibration = replace(calibration, tight=measured)
    if "paper" in variants:
        counts = sorted({min(count, radar.info.classes) for count in LABEL_COUNTS})
        ranks = paper_ranks(radar, frames, calibration.paper, counts, threads=threads, progress=progress)
        curve = choose_paper({count: rank[choose] for count, rank in ranks.items()}, target_fpr, calibration.paper)
        chosen = curve.chosen
        rates = held_out(ranks[chosen.labels][check].astype(np.float64), float(chosen.rank_change))
        calibration = replace(calibration, paper=replace(chosen, held_out=rates))
    return calibration, curve
