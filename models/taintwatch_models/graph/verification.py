"""Is a prepared graph right? Against autograd, and in half precision, on inputs that look like pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import Calibration
from taintwatch_models.errors import ModelError
from taintwatch_models.graph.passes import passes_of
from taintwatch_models.graph.prepare import Prepared
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile

__all__ = [
    "autograd_difference",
    "check_half_precision",
    "check_inputs",
    "check_parity",
    "check_pixels",
    "stray_pixels",
    "with_autograd",
]

TOLERANCE = 1e-3
HALF_TOLERANCE = 0.01
"""Of the logits' range."""
STRAY_PIXELS = 2e-3
"""Share of mask pixels that may differ: those where float32 rounding decides between the two sides of the threshold."""


def check_inputs(preprocessing: Preprocessing, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return (count, 3, H, W) inputs: `check_pixels`."""
    return preprocessing.normalise(check_pixels(preprocessing, count, seed))


def check_pixels(preprocessing: Preprocessing, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return (count, H, W, 3) smooth random pictures, blurred to ever larger blobs."""
    rng = np.random.default_rng(seed)
    height, width = preprocessing.size
    pictures = []
    for index in range(count):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        blurred = cv2.GaussianBlur(noise, (0, 0), 0.5 + index % 8)
        pictures.append(cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX))
    return np.stack(pictures).astype(np.uint8)


def autograd_difference(prepared: Prepared, inputs: NDArray[np.float32]) -> float:
    """Compare both variants' outputs with autograd's, in float64; return the largest difference of the statistics.

    Raises `ModelError` where they differ: the graph would not be TaintRadar.
    """
    ours, expected = with_autograd(prepared, inputs)
    scale = float(np.abs(expected["logits"]).max())
    worst = 0.0
    for name in ("tight_margin", "tight_swing"):
        agreeing = (ours["tight_mask"] == expected["tight_mask"]).all(axis=(1, 2))
        worst = max(worst, float(np.abs(ours[name] - expected[name])[agreeing].max(initial=0.0)) / scale)
    stray = stray_pixels(ours, expected)
    if worst > TOLERANCE or stray > STRAY_PIXELS:
        raise ModelError(
            f"the transposed head does not agree with autograd (statistics differ by {worst:.1e}, {stray:.1%} of mask "
            "pixels); please report it"
        )
    return worst


def with_autograd(
    prepared: Prepared, inputs: NDArray[np.float32], variants: tuple[str, ...] = ("tight", "paper")
) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]:
    """Return the radar graph's outputs and the oracle's: the head and its gradient by Torch in float64.

    The oracle has the last maps that each of the graph's own forwards had: only the head has a transpose to be checked,
    and in float32 the same body gives other maps wherever it is fused otherwise.
    """
    import torch

    from taintwatch_models.torch_graph import TorchGraph
    from taintwatch_models.torch_radar import SessionSplit, TorchRadar

    passes = passes_of(prepared, inputs, variants)
    head = TorchGraph(prepared.plain, prepared.split, head_only=True, dtype=torch.float64)
    split = SessionSplit(prepared.plain, prepared.split, head, passes.maps)
    return passes.outputs, TorchRadar(split, prepared.radar.info, variants)(inputs)


def stray_pixels(ours: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> float:
    """Return the share of mask pixels that differ from the oracle's, of both variants the larger.

    Of `paper` those pictures count on which some label's logit rises: see `TorchRadar`.
    """
    tight = ours["tight_mask"] != expected["tight_mask"]
    paper = (ours["paper_mask"] != expected["paper_mask"])[expected["paper_rises"]]
    return max(float(differs.mean()) if differs.size else 0.0 for differs in (tight, paper))


def check_half_precision(radar: OnnxRadar, file: RadarFile, calibration: Calibration, session: SessionSettings) -> None:
    """Compare a radar in float16 with the same in float32. Raises `ModelError` where they differ."""
    pixels = check_pixels(file.info.preprocessing, 16)
    full = OnnxRadar(
        file, ("tight",), calibration, replace(session, precision="float32", cuda_graph=False, pixels=True)
    )(pixels)
    given = pixels if radar.takes_pixels else file.info.preprocessing.normalise(pixels)
    rows = [radar(given[start : start + 1]) for start in range(len(given))]
    half = {name: np.concatenate([row[name] for row in rows]) for name in ("label", "logits")}
    check_parity(half, full)


def check_parity(half: Mapping[str, NDArray[Any]], full: Mapping[str, NDArray[Any]]) -> None:
    """Compare `label` and `logits` of the same inputs. Raises `ModelError` where they differ.

    A label may differ where the two largest logits are closer than the tolerance: either is right then.
    """
    logits = np.asarray(full["logits"], np.float64)
    tolerance = HALF_TOLERANCE * float(np.ptp(logits))
    difference = float(np.abs(np.asarray(half["logits"], np.float64) - logits).max())
    if not difference <= tolerance:  # not a number, too
        share = difference / max(float(np.ptp(logits)), 1e-12)
        raise ModelError(f"in float16 the model's logits differ by {share:.1%} of their range; use float32")
    rows = np.arange(len(logits))
    lost = logits.max(axis=1) - logits[rows, np.asarray(half["label"])]
    if (lost > 2 * tolerance).any():
        raise ModelError(f"in float16 the model gives another label for {int((lost > 0).sum())} inputs; use float32")
