"""What a radar graph's forwards were given and gave: for an oracle that judges the head, not the body's rounding.

A body in float32 may blow its rounding up (a network on noise, which it never saw): the same body in another session,
where other ops are fused, then gives other maps. An oracle of the head must be given those that the graph had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from taintwatch_models.graph.logits_parity import open_plainly
from taintwatch_models.graph.prepare import Prepared
from taintwatch_models.graph.split import Split
from taintwatch_models.graph.transforms import choose_branches, keep_outputs
from taintwatch_models.radar_file import RadarFile

__all__ = ["RadarPasses", "passes_of", "picture_key"]

_BATCH = 4
_INPAINT = ("tight_inpaint", "paper_inpaint")
_OUTPUTS = {
    "tight": ("tight_mask", "tight_label", "tight_rank", "tight_margin", "tight_swing"),
    "paper": ("paper_mask", "paper_label", "paper_rank"),
}


@dataclass(frozen=True, eq=False)
class RadarPasses:
    """A radar graph's outputs, and the last maps of every picture that one of its forwards was given."""

    outputs: Mapping[str, NDArray[np.generic]]
    """By name, each with the batch first; `paper_rank` and `paper_label` hold also where the mask is empty."""
    maps: Mapping[bytes, tuple[NDArray[np.float32], ...]]
    """`picture_key` to the maps, (1, channels, h, w), and the split's side values."""


def picture_key(picture: NDArray[np.float32]) -> bytes:
    """Return a digest of a picture's values, (1, 3, H, W): it tells those that differ in a single bit."""
    return hashlib.sha256(picture.tobytes()).digest()


def passes_of(prepared: Prepared, inputs: NDArray[np.float32], variants: tuple[str, ...]) -> RadarPasses:
    """Run a radar graph with its default fills on inputs, (B, 3, H, W), and keep each forward's picture and maps."""
    names = ["logits", "label", "saliency_concentration", *(name for each in variants for name in _OUTPUTS[each])]
    passes = list(_values(prepared.radar, prepared.split))
    between = dict.fromkeys(name for values in passes for name in values if name != prepared.plain.input)
    session = open_plainly(_watched(prepared, names, list(between)), prepared.plain.weights)
    parts: list[dict[str, NDArray[np.generic]]] = []
    maps: dict[bytes, tuple[NDArray[np.float32], ...]] = {}
    for start in range(0, len(inputs), _BATCH):
        given = {prepared.plain.input: inputs[start : start + _BATCH]}
        found = dict(zip([*names, *between], session.run([*names, *between], given), strict=True))
        parts.append({name: found[name] for name in names})
        for values in passes:
            pictures, *rest = ((found | given)[name] for name in values)
            if any(len(value) != len(pictures) for value in rest):
                continue  # rows that are not told apart here: the oracle runs the body itself
            for row in range(len(pictures)):
                one = slice(row, row + 1)
                maps.setdefault(picture_key(pictures[one]), tuple(value[one] for value in rest))
    return RadarPasses({name: np.concatenate([part[name] for part in parts]) for name in names}, maps)


def _watched(prepared: Prepared, names: list[str], between: list[str]) -> onnx.ModelProto:
    """Return the radar graph with these outputs, and values on the way as outputs too."""
    watched = onnx.ModelProto()
    watched.CopyFrom(prepared.radar.proto)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in between)
    return choose_branches(keep_outputs(watched, [*names, *between]), dict.fromkeys(_INPAINT, False))


def _values(radar: RadarFile, split: Split) -> Iterator[tuple[str, ...]]:
    """Yield of each forward the names of its picture, maps and side values."""
    first = next(node for node in split.body if radar.info.input in node.input)
    place, wanted = list(first.input).index(radar.info.input), (split.maps, *split.side)
    yield radar.info.input, *wanted
    made = {name: node for node in radar.proto.graph.node for name in node.output}
    for number in range(2, 5):
        prefix = f"taintwatch/forward{number}/"
        if prefix + first.output[0] in made:
            yield made[prefix + first.output[0]].input[place], *(prefix + name for name in wanted)
