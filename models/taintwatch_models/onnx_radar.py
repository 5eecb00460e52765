"""A prepared model on ONNX Runtime: its graphs, what they are given beside the inputs, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.bound import BoundSession, device_of
from taintwatch_models.calibration_file import Calibration
from taintwatch_models.errors import ConfigError, InferenceError, first_line
from taintwatch_models.fills import Fill, is_constant, make_fill
from taintwatch_models.graph.anomaly import ANOMALY, gives_anomaly
from taintwatch_models.graph.transforms import (
    PIXELS,
    choose_branches,
    keep_outputs,
    take_pixels,
    to_float16,
    with_constants,
)
from taintwatch_models.onnx_session import SessionSettings, expects_gpu, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["OnnxRadar", "RadarOutputs"]

RadarOutputs = Mapping[str, NDArray[Any]]
"""A radar's outputs by name, each with the batch first: see docs/radar-graph.md."""

_OUTPUTS = {
    "tight": ("saliency_concentration", "tight_mask", "tight_label", "tight_rank", "tight_margin", "tight_swing"),
    "paper": ("saliency_concentration", "paper_mask", "paper_filled"),
    "features": ("features",),
}


class OnnxRadar:
    """The numeric core: a batch of inputs in, arrays out. Its `paper` skips the third forward where it can."""

    def __init__(
        self,
        radar: RadarFile,
        wanted: Sequence[str] = ("tight",),
        calibration: Calibration | None = None,
        session: SessionSettings | None = None,
        *,
        from_maps: bool = False,
    ) -> None:
        """Raises `DeviceError`, `ModelError`, `ConfigError` (an unreadable fill).

        `wanted`: beside logits and label, which variants' statistics (`tight`, `paper`), and whether the last maps
        (`features`). `from_maps`: the first forward was run elsewhere; every call is given its last maps, as
        `info.maps`.
        """
        graphs = _graphs(radar, wanted, calibration or Calibration(), session or SessionSettings(), from_maps=from_maps)
        self.info, self.outputs, self.takes_pixels = radar.info, graphs.outputs, graphs.takes_pixels
        self._fills, session = graphs.fills, graphs.session
        opened, self.provider = open_session(graphs.checked.SerializeToString(), session)
        self._third = None
        if graphs.third is not None:
            self._third, _ = open_session(graphs.third.SerializeToString(), replace(session, cuda_graph=False))
        self._accepted = {value.name for value in opened.get_overridable_initializers()}
        constants = {name: value for name, value in graphs.constants.items() if name in self._accepted}
        place = device_of(self.provider)
        self._run: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]
        if session.bound or place != "cpu":
            fixed = session.batch if session.cuda_graph else None
            self._run = BoundSession(opened, self.outputs, device=place, constants=constants, fixed_batch=fixed)
        else:
            self._run = lambda feeds: dict(zip(self.outputs, opened.run(self.outputs, constants | feeds), strict=True))

    def __call__(self, inputs: NDArray[Any], **overrides: NDArray[Any]) -> RadarOutputs:
        """Run a batch of inputs, (B, 3, H, W); of pixels, (B, H, W, 3) uint8, where `takes_pixels`.

        `overrides` replaces optional inputs of the graph for this call. Raises `InferenceError` where the runtime
        fails.
        """
        feeds: dict[str, Any] = {PIXELS if self.takes_pixels else self.info.input: inputs}
        for fill in self._fills:
            values = fill(self.info.preprocessing.normalise(inputs) if self.takes_pixels else inputs)
            feeds |= {name: value for name, value in values.items() if name in self._accepted}
        try:
            outputs = self._run(feeds | overrides)
            if self._third is not None:
                self._finish_paper(outputs)
        except Exception as error:  # the runtime raises its own kinds, one for each provider
            raise InferenceError(f"inference failed on {self.provider}: {first_line(error)}") from error
        return outputs

    def _finish_paper(self, outputs: dict[str, NDArray[Any]]) -> None:
        """The third forward, for those whose intersection is not empty; for the others the rank change is 0."""
        label = outputs["label"]
        new_label, rank = label.copy(), np.zeros_like(label)
        rows = np.flatnonzero(outputs["paper_mask"].any(axis=(1, 2)))
        filled = outputs.pop("paper_filled")
        if len(rows) and self._third is not None:
            chosen = filled if len(rows) == len(filled) else filled[rows]
            logits = self._third.run(None, {self.info.input: chosen})[0]
            own = logits[np.arange(len(rows)), label[rows]]
            rank[rows] = (logits > own[:, None]).sum(axis=1)
            new_label[rows] = logits.argmax(axis=1)
        outputs["paper_rank"], outputs["paper_label"] = rank, new_label


@dataclass(frozen=True, slots=True, eq=False)
class _Graphs:
    """What is opened and run."""

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


def _graphs(
    radar: RadarFile, wanted: Sequence[str], calibration: Calibration, session: SessionSettings, *, from_maps: bool
) -> _Graphs:
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
    return _Graphs(graph, third, outputs, constants, tuple(fills), takes_pixels, session)


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
