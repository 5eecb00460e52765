"""The gate's threshold from benign frames: so that only the target share of them is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames, batches_of, split_in_blocks
from taintwatch_calibration.rates import threshold_for
from taintwatch_calibration.thresholds import held_out
from taintwatch_models.calibration_file import GateCalibration, TightCalibration
from taintwatch_models.errors import CalibrationError
from taintwatch_models.gated import GateScorer, gate_scores
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["calibrate_gate", "scores_of_pixels"]


def calibrate_gate(
    radar: RadarFile,
    frames: BenignFrames,
    *,
    share: float,
    tight: TightCalibration,
    seed: int = 0,
    threads: int = 0,
    anomaly: NDArray[np.float64] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> GateCalibration:
    """Choose the threshold on one half of the frames and measure the checked share on the other.

    `share` of benign frames may be checked, in (0, 1); the score has `tight`'s weights. `anomaly` (frames,) takes
    the place of the graph's where its reference was fitted on these very frames. Raises `CalibrationError` where the
    frames are too few for that share.
    """
    if not 0 < share < 1:
        raise CalibrationError(f"the share of frames to check must lie between 0 and 1, not {share}")
    needed = int(np.ceil(2 / share))
    if len(frames.pixels) < needed:
        raise CalibrationError(
            f"{frames.description}: {len(frames.pixels)} benign frames are too few to have {share:.1%} of them "
            f"checked; give at least {needed}"
        )
    gate = GateCalibration(
        threshold=0.0,
        target_share=share,
        swing_weight=tight.swing_weight,
        anomaly_weight=tight.anomaly_weight,
        benign=frames.description,
        benign_frames=len(frames.pixels),
    )
    scores = scores_of_pixels(
        GateScorer(radar, SessionSettings(threads=threads)), frames.pixels, gate, progress, anomaly
    )
    choose, check = split_in_blocks(frames, seed)
    threshold = threshold_for(scores[choose], share)
    return replace(gate, threshold=threshold, held_out=held_out(scores[check], threshold))


def scores_of_pixels(
    scorer: GateScorer,
    pixels: NDArray[np.uint8],
    gate: GateCalibration,
    progress: Callable[[int], None] = lambda done: None,
    anomaly: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the gate's score of each of (N, H, W, 3) pixels in the model's channel order, (N,).

    `anomaly` (N,) takes the place of the graph's.
    """
    found = []
    for start, inputs in batches_of(pixels, scorer.info.preprocessing):
        outputs = scorer(inputs)
        if anomaly is not None:
            outputs[ANOMALY] = anomaly[start : start + len(inputs)]
        found.append(gate_scores(outputs, gate))
        progress(start + len(inputs))
    return np.concatenate(found)
