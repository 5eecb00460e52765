"""The graphs that a radar runs, and what they are given beside the inputs: made here, before any session is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.calibration_file import Calibration
from taintwatch_models.errors import ConfigError
from taintwatch_models.fills import Fill, is_constant, make_fill
from taintwatch_models.graph.anomaly import ANOMALY, gives_anomaly
from taintwatch_models.graph.transforms import choose_branches, keep_outputs, take_pixels, to_float16, with_constants
from taintwatch_models.onnx_session import SessionSettings, expects_gpu
from taintwatch_models.radar_file import RadarFile

__all__ = ["RadarGraphs", "radar_graphs"]

_OUTPUTS = {
    "tight": ("saliency_concentration", "tight_mask", "tight_label", "tight_rank", "tight_margin", "tight_swing"),
    "paper": ("saliency_concentration", "paper_mask", "paper_filled"),
    "features": ("features",),
}


@dataclass(frozen=True, slots=True, eq=False)
class RadarGraphs:
    """What `OnnxRadar` opens and runs."""

    checked: onnx.ModelProto
    """From inputs, or pixels, to `outputs`."""
    third: onnx.ModelProto | None
    """`paper`'s third forward, to `logits`; None: it is not wanted."""
    outputs: tuple[str, ...]
    constants: dict[str, NDArray[Any]]
    """Optional inputs that stay the same."""
    fills: tuple[Fill, ...]
    """Those that are made anew for each batch."""
    takes_pixels: bool
    session: SessionSettings
    """How it is to be opened: as asked, less what cannot go elsewhere where it is to be portable."""


def radar_graphs(
    radar: RadarFile, wanted: Sequence[str], calibration: Calibration, session: SessionSettings, *, from_maps: bool
) -> RadarGraphs:
    """Make the graphs; `wanted` and `from_maps` as in `OnnxRadar`. Raises `ModelError`, `ConfigError`."""
    variants = [name for name in wanted if name != "features"]
    if session.portable:
        session = replace(session, pixels=False, bound=False, cuda_graph=False)
    takes_pixels = expects_gpu(session) if session.pixels is None else session.pixels
    outputs = _outputs(radar, wanted, from_maps=from_maps)
    constants, fills = _constants(radar, variants, calibration)
    if session.portable:
        _refuse_fills(fills)
    given = {radar.info.maps: "features"} if from_maps else {}
    choices = {f"{variant}_inpaint": getattr(calibration, variant).fill == "inpaint" for variant in variants}
    graph = choose_branches(keep_outputs(radar.proto, outputs, given), choices)
    third = keep_outputs(radar.proto, ["logits"]) if "paper" in variants else None
    if takes_pixels:
        graph = take_pixels(graph, radar.info.input, radar.info.preprocessing)
    if session.portable:
        graph = with_constants(graph, constants)
    if session.precision == "float16":
        graph, third = to_float16(graph), None if third is None else to_float16(third)
    return RadarGraphs(graph, third, outputs, constants, tuple(fills), takes_pixels, session)


def _outputs(radar: RadarFile, wanted: Sequence[str], *, from_maps: bool) -> tuple[str, ...]:
    names = ["logits", "label", *(name for each in wanted for name in _OUTPUTS[each])]
    if "tight" in wanted and gives_anomaly(radar) and not from_maps:
        names.append(ANOMALY)
    return tuple(dict.fromkeys(names))


def _constants(
    radar: RadarFile, variants: Sequence[str], calibration: Calibration
) -> tuple[dict[str, NDArray[Any]], list[Fill]]:
    """Return what the graph is given besides the inputs: what stays the same, and the fills that do not."""
    constants: dict[str, NDArray[Any]] = {}
    fills: list[Fill] = []
    if "tight" in variants:
        constants["tight_saliency_threshold"] = np.array(calibration.tight.saliency_threshold, np.float32)
    if "paper" in variants:
        paper = calibration.paper
        constants["paper_saliency_threshold"] = np.array(paper.saliency_threshold, np.float32)
        constants["paper_labels"] = np.array([min(paper.labels, radar.info.classes)], np.int64)
    for variant in variants:
        kind = getattr(calibration, variant).fill
        fill = make_fill(kind, variant, radar.info.preprocessing)
        if is_constant(kind):
            constants |= fill(np.empty((1, 3, *radar.info.preprocessing.size), np.float32))
        else:
            fills.append(fill)
    return constants, fills


def _refuse_fills(fills: Sequence[Fill]) -> None:
    if fills:
        raise ConfigError(
            "the fills average, blur and fresh-noise are made anew for each frame and cannot be part of a graph that"
            " runs elsewhere; set detect.fill = mean, noise or inpaint"
        )
