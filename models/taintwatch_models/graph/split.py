"""Where a classifier is split: its last maps, and the head behind them.

Whatever the maps' layout was, they become (B, C, h, w) by nodes that are written into the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from taintwatch_models.graph.grid import Grid, GridFinder, depending_on_input
from taintwatch_models.graph.plain_model import PlainModel, plain_model
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.model_source import ModelSource
from taintwatch_models.radar_file import RadarFile

__all__ = ["Split", "classifier_of", "find_split", "split_at"]

_MOST_OPS = 16  # of a head, in messages


@dataclass(frozen=True, eq=False)
class Split:
    """A classifier in two parts, joined by the last maps (and, behind a class token's norm, by `side` values)."""

    maps: str
    channels: int
    height: int
    width: int
    layer: str
    """Name of the value, in the user's graph, that the maps are."""
    body: tuple[onnx.NodeProto, ...]
    """From the input to the maps and the side values, in topological order."""
    head: tuple[onnx.NodeProto, ...]
    """From the maps and the side values to the logits."""
    side: tuple[str, ...] = ()
    """Other values that the head reads: no gradient leads through them."""

    @property
    def head_ops(self) -> str:
        names = [node.op_type for node in self.head]
        return " > ".join(names if len(names) <= _MOST_OPS else [*names[:_MOST_OPS], f"{len(names) - _MOST_OPS} more"])


def find_split(model: PlainModel, maps: str | None = None) -> tuple[PlainModel, Split]:
    """Find the last maps; return the model with them as (B, C, h, w), and the split.

    `maps` names maps of that form that were found before. Raises `ModelError` where no such value is.
    """
    if maps is not None and maps in model.shapes:
        _, channels, height, width = (int(size or 0) for size in model.shapes[maps])
        return model, _split(model, maps, maps, (channels, height, width))
    finder = GridFinder(model)
    grid = finder.last_grid()
    if finder.reads_one_token(grid):
        grid = finder.before_attention(grid)
    return split_at(model, grid)


def split_at(model: PlainModel, grid: Grid) -> tuple[PlainModel, Split]:
    """Split a classifier at a value whose cells lie as `grid` says; the model is returned with (B, C, h, w) maps."""
    if grid.layout == "channels first":
        return model, _split(model, grid.value, grid.value, (grid.channels, grid.height, grid.width))
    model, name = _as_maps(model, grid)
    return model, _split(model, name, grid.value, (grid.channels, grid.height, grid.width))


def classifier_of(radar: RadarFile) -> tuple[PlainModel, Split]:
    """Return the classifier within a prepared model, split where the radar graph has its maps. Raises `ModelError`."""
    info = radar.info
    plain = plain_model(ModelSource(info.name, keep_outputs(radar.proto, ["logits"]), info.source_sha256, info.name))
    return find_split(plain, info.maps)


def _as_maps(model: PlainModel, grid: Grid) -> tuple[PlainModel, str]:
    """Write (B, C, h, w) maps behind a value with another layout, and that value again from them."""
    value, maps = grid.value, f"{grid.value}/maps"
    cells = grid.height * grid.width
    stored: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int | None, ...]] = {}
    nodes: list[onnx.NodeProto] = []

    def add(op: str, inputs: Sequence[str], output: str, shape: tuple[int | None, ...], **attrs: object) -> str:
        nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attrs))
        shapes[output] = shape
        return output

    def constant(hint: str, numbers: list[int]) -> str:
        stored[f"{value}/{hint}"] = np.array(numbers, np.int64)
        return f"{value}/{hint}"

    planes: tuple[int | None, ...] = (None, grid.channels, grid.height, grid.width)
    if grid.layout == "channels last":
        add("Transpose", [value], maps, planes, perm=[0, 3, 1, 2])
        again = add("Transpose", [maps], f"{value}/again", model.shapes[value], perm=[0, 2, 3, 1])
    else:
        patches, one = value, (None, cells, grid.channels)
        if grid.extra:
            bounds = [constant("start", [grid.extra]), constant("end", [grid.extra + cells]), constant("axis", [1])]
            patches = add("Slice", [value, *bounds], f"{value}/patches", one)
        turned = add("Transpose", [patches], f"{value}/turned", (None, grid.channels, cells), perm=[0, 2, 1])
        add("Reshape", [turned, constant("planes", [0, grid.channels, grid.height, grid.width])], maps, planes)
        flat = [maps, constant("flat", [0, grid.channels, cells])]
        back = add("Reshape", flat, f"{value}/flattened", (None, grid.channels, cells))
        again = add("Transpose", [back], f"{value}/again", one, perm=[0, 2, 1])
        if grid.extra:
            bounds = [constant("zero", [0]), constant("start", [grid.extra]), constant("axis", [1])]
            first = add("Slice", [value, *bounds], f"{value}/first", (None, grid.extra, grid.channels))
            again = add("Concat", [first, again], f"{value}/whole", model.shapes[value], axis=1)
    return _with(model, value, again, nodes, stored, shapes), maps


def _with(
    model: PlainModel, value: str, again: str, nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray],
    shapes: dict[str, tuple[int | None, ...]],
) -> PlainModel:  # fmt: skip
    """Insert nodes behind a value and let all that read it read `again`."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.node[:]
    for node in model.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [again if name == value else name for name in node.input]
        proto.graph.node.append(copy)
        if value in node.output:
            proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items())
    constants, known = model.constants.joined(stored), dict(model.shapes) | shapes
    return replace(model, proto=proto, constants=constants, shapes=known)


def _split(model: PlainModel, maps: str, layer: str, sizes: tuple[int, int, int]) -> Split:
    """Divide the nodes: the head is what depends on the maps, the body all that the rest needs."""
    nodes = model.nodes
    active, behind = {maps}, []
    for node in nodes:
        if active.intersection(node.input):
            active.update(node.output)
            behind.append(node)
    head = _needed(behind, [model.logits])
    depends = depending_on_input(model)
    made = {name for node in head for name in node.output}
    read = {name for node in head for name in node.input} - made - {maps}
    rest = [node for node in nodes if not made.intersection(node.output)]
    body, side = _needed(rest, [maps, *read]), sorted(read & depends)
    return Split(maps, *sizes, layer, tuple(body), tuple(head), tuple(side))


def _needed(nodes: list[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Keep what leads to these values."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return list(reversed(kept))
