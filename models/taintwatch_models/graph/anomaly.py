"""How anomalous a picture's maps are for the label that it was given: one more output of the radar graph, `anomaly`.

A patch that drives a classifier excites its layers as no benign picture of the label does. For each layer the largest
activation of each channel is taken, its logarithm, and the Mahalanobis distance to the mean of benign pictures with the
predicted label (the nearest mean where the label has several views: near, far, on a card), under one covariance for all
labels (Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks,
NeurIPS 2018). The distance's logarithm is put on its benign scale, (value - median) / (98% quantile - median), and the
mean over the layers is the statistic: about 0 for a usual benign picture, 1 for an anomalous one.

Two more are known, and the largest of the three is given: how anomalous the worst place is (`patch_mahalanobis`), and
how concentrated the label's evidence is. The latter is the largest average of TaintRadar's region map over a window
of a quarter of its side, as a share of the map's mean: a patch covers a part of the picture, and must outdo all the
rest from there. An attacker who makes the patch's activations usual has to do without large ones, or is noticed by
that.

Deviations from Lee et al.: the largest activation instead of the mean (a patch is local), logarithms, equal weights
instead of a regression on attacks, no perturbation of the input, the predicted label instead of the nearest, and
several means of a label.

It costs no further forward: everything is computed from the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.patch_mahalanobis import LEAST_DISTANCE, PatchReference, write_patch_mahalanobis
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.radar_file import RadarFile

__all__ = [
    "ANOMALY",
    "Concentration",
    "LayerReference",
    "attach_anomaly",
    "gives_anomaly",
    "layer_values",
    "maps_graph",
    "pooling_graph",
    "region_map",
]

ANOMALY = "anomaly"
_PREFIX = "taintwatch/anomaly"
_MOST_LAYERS = 16
_MOST_CHANNELS = 512


@dataclass(frozen=True, slots=True, eq=False)
class LayerReference:
    """What benign pictures look like to one layer."""

    value: str
    """Name of the layer's maps in the radar graph."""
    means: NDArray[np.float32]
    """(classes, views, channels): means of log(1 + largest activation) for each predicted label, one for each view of
    it; a label with fewer views repeats one."""
    whitening: NDArray[np.float32]
    """(channels, channels): the squared length of `(x - mean) @ whitening`, over the channels, is the distance; that to
    the nearest mean counts."""
    centre: float
    spread: float
    """Median of the distance's logarithm over benign pictures, and its 98% quantile less that (> 0)."""


@dataclass(frozen=True, slots=True)
class Concentration:
    """The benign scale of the logarithm of how concentrated the label's evidence is."""

    window: int
    """Cells on a side."""
    centre: float
    spread: float


def region_map(proto: onnx.ModelProto) -> str:
    """Return the name of the region map, (B, 1, h, w), in a radar graph.

    `saliency_concentration` is its maximum over its mean.
    """
    made = {name: node for node in proto.graph.node for name in node.output}
    share = made["saliency_concentration"]
    if share.op_type == "Identity":
        share = made[share.input[0]]
    return str(made[share.input[0]].input[0])


def gives_anomaly(radar: RadarFile) -> bool:
    """Say whether a reference was fitted into the graph."""
    return any(output.name == ANOMALY for output in radar.proto.graph.output)


def layer_values(radar: RadarFile) -> tuple[str, ...]:
    """Return the names of the maps that are looked at: what the first forward's convolutions read, and the last maps.

    At most 16 of them, evenly chosen where there are more, the last maps always; others of more than 512 channels are
    left out.
    """
    weights = {tensor.name: tensor for tensor in radar.proto.graph.initializer}
    inputs = {value.name for value in radar.proto.graph.input}
    found: dict[str, None] = {}
    for node in radar.proto.graph.node:
        if node.op_type != "Conv" or node.output[0].startswith("taintwatch/") or node.input[0] in inputs:
            continue
        kernel = weights.get(node.input[1])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if kernel is not None and kernel.dims[1] * groups <= _MOST_CHANNELS:
            found[node.input[0]] = None
    names = [*found, "features"]
    if len(names) > _MOST_LAYERS:
        chosen = np.linspace(0, len(names) - 1, _MOST_LAYERS).round().astype(int)
        names = [names[index] for index in chosen]
    return tuple(names)


def pooling_graph(radar: RadarFile, values: Sequence[str]) -> onnx.ModelProto:
    """Return a graph that gives `label` (B,) and, for each of `values`, `pooled_<i>` (B, channels)."""
    bare = _without(radar.proto)
    builder = GraphBuilder(bare.opset_import[0].version, _PREFIX)
    for index, value in enumerate(values):
        builder.nodes.append(helper.make_node("Identity", [_pooled(builder, value)], [f"pooled_{index}"]))
    extended = _extended(bare, builder, [(f"pooled_{index}", ["batch", None]) for index in range(len(values))])
    return keep_outputs(extended, ["label", *(f"pooled_{index}" for index in range(len(values)))])


def maps_graph(radar: RadarFile, values: Sequence[str]) -> onnx.ModelProto:
    """Return a graph that gives `values`, maps of the first forward, (B, channels, h, w) each."""
    bare = _without(radar.proto)
    given = {output.name for output in bare.graph.output}
    wanted = [(value, ["batch", None, None, None]) for value in dict.fromkeys(values) if value not in given]
    builder = GraphBuilder(bare.opset_import[0].version, _PREFIX)
    return keep_outputs(_extended(bare, builder, wanted), list(dict.fromkeys(values)))


def attach_anomaly(
    radar: RadarFile,
    layers: Sequence[LayerReference],
    local: PatchReference | None = None,
    concentration: Concentration | None = None,
    scale: tuple[float, float] = (0.0, 1.0),
) -> RadarFile:
    """Return the radar with the output `anomaly` (B,), float32; one that it has already is replaced.

    Of `layers`, `local` and `concentration` one must be there. `scale`: centre and spread of the largest of them on
    benign pictures.
    """
    bare = _without(radar.proto)
    b = GraphBuilder(bare.opset_import[0].version, _PREFIX)
    found = [_label_distance(b, layers)] if layers else []
    found += [write_patch_mahalanobis(b, local)] if local is not None else []
    found += [_concentrated(b, bare, concentration)] if concentration is not None else []
    largest = found[0] if len(found) == 1 else b.add("Max", *found)
    if scale != (0.0, 1.0):
        largest = b.add("Div", b.add("Sub", largest, b.constant(scale[0])), b.constant(scale[1]))
    b.nodes.append(helper.make_node("Identity", [largest], [ANOMALY], name=ANOMALY))
    return replace(radar, proto=_extended(bare, b, [(ANOMALY, ["batch"])]))


def _concentrated(builder: GraphBuilder, proto: onnx.ModelProto, scale: Concentration) -> str:
    b, region = builder, region_map(proto)
    average = b.add("AveragePool", region, kernel_shape=[scale.window, scale.window])
    peak = b.reduce("ReduceMax", average, [1, 2, 3], keepdims=False)
    mean = b.reduce("ReduceMean", region, [1, 2, 3], keepdims=False)
    share = b.add("Div", peak, b.add("Max", mean, b.constant(1e-20)))
    logarithm = b.add("Log", b.add("Max", share, b.constant(1e-3)))
    return b.add("Div", b.add("Sub", logarithm, b.constant(scale.centre)), b.constant(scale.spread))


def _pooled(builder: GraphBuilder, *values: str) -> str:
    """Log of one plus each channel's largest activation, with its sign: (B, channels of all values)."""
    b = builder
    peaks = [b.add("GlobalMaxPool", value) for value in values]
    largest = b.add("Flatten", peaks[0] if len(peaks) == 1 else b.add("Concat", *peaks, axis=1), axis=1)
    size = b.add("Log", b.add("Add", b.add("Abs", largest), b.constant(1.0)))
    return b.add("Mul", b.add("Sign", largest), size)


def _label_distance(builder: GraphBuilder, layers: Sequence[LayerReference]) -> str:
    """The mean over the layers of their log distances, each on its benign scale: (B,).

    All layers go through each operation together but for the whitening: an operation costs more than its numbers.
    """
    b, count = builder, len(layers)
    sizes = [layer.means.shape[2] for layer in layers]
    views = max(layer.means.shape[1] for layer in layers)
    means = [np.pad(m, ((0, 0), (0, views - m.shape[1]), (0, 0)), "edge") for m in (layer.means for layer in layers)]
    expected = b.add("Gather", _stored(b, np.concatenate(means, axis=2)), "label", axis=0)  # (B, views, channels)
    rest = b.add("Sub", b.unsqueeze(_pooled(b, *(layer.value for layer in layers)), 1), expected)
    parts = [rest] if count == 1 else b.add_many("Split", rest, b.constant(sizes), outputs=count, axis=2)
    white = [b.add("MatMul", part, _stored(b, layer.whitening)) for part, layer in zip(parts, layers, strict=True)]
    joined = white[0] if count == 1 else b.add("Concat", *white, axis=2)
    own = np.repeat(np.eye(count, dtype=np.float32), sizes, axis=0)  # (channels of all layers, layers)
    lengths = b.add("MatMul", b.add("Mul", joined, joined), _stored(b, own))
    nearest = b.reduce("ReduceMin", lengths, [1], keepdims=False)  # (B, layers)
    distances = b.add("Mul", nearest, b.constant(1.0 / np.array(sizes)))
    logarithms = b.add("Log", b.add("Max", distances, b.constant(LEAST_DISTANCE)))
    scales = np.array([1.0 / (count * layer.spread) for layer in layers])
    level = float(scales @ [layer.centre for layer in layers])
    return b.add("Sub", b.add("MatMul", logarithms, b.constant(scales)), b.constant(level))


def _stored(builder: GraphBuilder, values: NDArray[np.float32]) -> str:
    """Keep values as float16: half the bytes, and an error of one part in 2,000 where one in ten is noise."""
    return builder.cast(builder.constant(values, np.float16))


def _extended(
    proto: onnx.ModelProto, builder: GraphBuilder, outputs: Sequence[tuple[str, Sequence[str | None]]]
) -> onnx.ModelProto:
    extended = onnx.ModelProto()
    extended.CopyFrom(proto)
    extended.graph.node.extend(builder.nodes)
    extended.graph.initializer.extend(builder.initializers.values())
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
    extended.graph.output.extend(infos)
    return extended


def _without(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the output and what only it needs."""
    names = [output.name for output in proto.graph.output if output.name != ANOMALY]
    return keep_outputs(proto, names) if len(names) < len(proto.graph.output) else proto
