"""The gated check beside the plain forward, frame by frame in turn, on benign footage."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.timing import percentiles
from taintwatch_calibration.benign import read_benign, split_in_blocks
from taintwatch_calibration.gate import calibrate_gate
from taintwatch_models.calibration_file import TightCalibration
from taintwatch_models.gated import GatedRadar, GateScorer, random_check
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["gated_ratio"]

SHARE, RANDOM_SHARE = 0.12, 0.02


def gated_ratio(
    radar: RadarFile, plain: Callable[[NDArray[np.float32]], Any], footage: Path, *, most: int, threads: int
) -> dict[str, Any]:
    """Time the gated check and the plain forward, frame by frame in turn, on benign footage at batch 1.

    The gate's threshold comes from one half of the frames, in blocks of time; the other half is timed. The ratio is
    that of the two sums: what a frame costs on average, the checked ones included.
    """
    frames = read_benign(str(footage), radar.info.preprocessing, most=most)
    gate = calibrate_gate(radar, frames, share=SHARE, tight=TightCalibration(), threads=threads)
    session = SessionSettings(threads=threads, device="cpu")
    check = OnnxRadar(radar, ("tight",), session=session, from_maps=True)
    spot_check = random_check(RANDOM_SHARE, np.random.default_rng(0).random)
    run = GatedRadar(GateScorer(radar, session), check, gate, spot_check)
    run.warm_up(1)
    _, rest = split_in_blocks(frames, 0)
    spent: dict[str, list[float]] = {"plain": [], "gated": []}
    checked = 0
    for index in rest:
        inputs = radar.info.preprocessing.normalise(frames.pixels[index : index + 1])
        for name in ("plain", "gated"):
            start = time.perf_counter()
            outputs = plain(inputs) if name == "plain" else run(inputs)
            spent[name].append((time.perf_counter() - start) * 1e3)
        checked += int(outputs["checked"].sum())
    plain_ms, gated_ms = (np.array(spent[name][5:]) for name in ("plain", "gated"))  # the first ones warm caches
    blocks = [
        float(g.sum() / p.sum())
        for g, p in zip(np.array_split(gated_ms, 10), np.array_split(plain_ms, 10), strict=True)
    ]
    return {
        "gated_ratio": round(float(gated_ms.sum() / plain_ms.sum()), 3),
        "gated_ratio_quartiles": [round(float(q), 3) for q in np.percentile(blocks, (25, 75))],
        "gated_ms": percentiles(gated_ms),
        "plain_ms": percentiles(plain_ms),
        "footage": footage.name,
        "frames_timed": len(gated_ms),
        "target_share": SHARE,
        "random_share": RANDOM_SHARE,
        "share_checked": round(checked / len(spent["gated"]), 4),
    }
