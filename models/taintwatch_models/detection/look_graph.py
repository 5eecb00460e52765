"""The first look as one graph: the classifier's forward, and the statistics that follow from it for nothing.

All of a frame's statistics come out of one run, as a few numbers: maps that are copied out and small array operations
on a cold cache cost more than the graph's own nodes. What is learnt from needs the maps themselves; the arithmetic
behind them is then `anomaly`'s, in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from taintwatch_models.detection.anomaly import ANOMALY_MAPS, LayerCells, share_nodes, with_anomaly_maps, with_outputs
from taintwatch_models.detection.appearance import APPEARANCE, APPEARANCE_MAP, appearance_nodes
from taintwatch_models.detection.cells import cell_names, with_cells
from taintwatch_models.detection.reference import FREE, LABEL
from taintwatch_models.detection.window_features import Maps, WindowFeatures, distance_nodes, feature_nodes
from taintwatch_models.detection.windows import PLACES, window_cells
from taintwatch_models.graph.anomaly import ANOMALY, gives_anomaly, region_map
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.radar_file import RadarFile

__all__ = ["PLACE", "SALIENCY_SHARES", "STATISTICS", "WINDOW_FEATURES", "first_graph", "free_names", "learning_graph"]

PLACE, STATISTICS = "suspect_place", "free_statistics"
SALIENCY_SHARES, WINDOW_FEATURES = "saliency_shares", "window_features"


def free_names(radar: RadarFile) -> tuple[str, ...]:
    """Return the names of the free statistics, in the order in which `first_graph` gives them."""
    return (*FREE, LABEL) if gives_anomaly(radar) else FREE


def first_graph(radar: RadarFile, layers: Sequence[LayerCells], windows: WindowFeatures) -> onnx.ModelProto:
    """Return the first look's graph: `logits`, `label` (B,), `suspect_place` (B,) int64, `free_statistics` (B, names).

    The place is the one of 14 x 14 where anomaly, saliency and appearance are largest together; the statistics,
    float32, are those of `free_names`.
    """
    graph = with_anomaly_maps(_with_maps(radar), layers)
    b = GraphBuilder(graph.opset_import[0].version, "taintwatch/look")
    sums = b.add("Add", ANOMALY_MAPS, SALIENCY_SHARES)  # (B, 2, 196)
    total = b.add("Add", b.add("Gather", sums, b.constant([0]), axis=1), APPEARANCE_MAP)  # (B, 1, 196)
    b.nodes.append(helper.make_node("ArgMax", [b.squeeze(total, 1)], [PLACE], axis=1, keepdims=0, name=PLACE))
    found = {
        "anomaly": b.reduce("ReduceMax", sums, [2], keepdims=False),  # and the early one: (B, 2)
        "feature_anomaly": distance_nodes(b, WINDOW_FEATURES, windows),
        "appearance": b.unsqueeze(APPEARANCE, 1),
    }
    columns = [*found.values(), *([b.unsqueeze(ANOMALY, 1)] if gives_anomaly(radar) else [])]
    b.nodes.append(helper.make_node("Concat", columns, [STATISTICS], axis=1, name=STATISTICS))
    graph.graph.node.extend(b.nodes)
    graph.graph.initializer.extend(b.initializers.values())
    graph.graph.output.extend([
        helper.make_tensor_value_info(PLACE, TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info(STATISTICS, TensorProto.FLOAT, ["batch", len(free_names(radar))]),
    ])  # fmt: skip
    return keep_outputs(graph, ["logits", "label", PLACE, STATISTICS])


def learning_graph(radar: RadarFile, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return what the statistics are made of, and the layers' cells (`with_cells`) that the maps are learnt from.

    `label` (B,), `window_features` (B, channels), `saliency_shares` and `appearance_map` (B, 1, 196), `appearance`
    (B,), and `anomaly` (B,) where the model's graph gives it.
    """
    wanted = ["label", WINDOW_FEATURES, SALIENCY_SHARES, APPEARANCE, APPEARANCE_MAP, *cell_names(layers)]
    return keep_outputs(with_cells(_with_maps(radar), layers), [*wanted, *([ANOMALY] if gives_anomaly(radar) else [])])


def _with_maps(radar: RadarFile) -> onnx.ModelProto:
    """The model's graph with the appearance, the saliency shares and the salient window's features as outputs."""
    b = GraphBuilder(radar.proto.opset_import[0].version, "taintwatch/saliency")
    looks = appearance_nodes(b.opset, radar.info.input, radar.info.preprocessing)
    b.nodes.extend(looks.nodes)
    b.initializers |= looks.initializers
    maps = _last_maps(radar)
    window = window_cells((maps.height, maps.width))
    averages = b.add("AveragePool", region_map(radar.proto), kernel_shape=window)
    places = (maps.height - window[0] + 1, maps.width - window[1] + 1)
    shares, features = share_nodes(b, averages, places), feature_nodes(b, maps, averages)
    for value, name in ((shares, SALIENCY_SHARES), (features, WINDOW_FEATURES)):
        b.nodes.append(helper.make_node("Identity", [value], [name], name=name))
    return with_outputs(radar.proto, b, {
        SALIENCY_SHARES: ("batch", 1, PLACES), WINDOW_FEATURES: ("batch", maps.channels), APPEARANCE: ("batch",),
        APPEARANCE_MAP: ("batch", 1, PLACES),
    })  # fmt: skip


def _last_maps(radar: RadarFile) -> Maps:
    output = next(value for value in radar.proto.graph.output if value.name == "features")
    _, channels, height, width = (int(dim.dim_value) for dim in output.type.tensor_type.shape.dim)
    return Maps(output.name, channels, height, width)
