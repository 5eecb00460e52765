"""The gate's graph: the classifier and, in its head alone, what dropping a window of the last maps would do.

A printed attack sits in one place: without that place's cells the label falls. The transposed head says how much each
cell adds to each logit (exactly so behind global average pooling or any other linear head, to first order elsewhere),
and sums of it over windows say what is left without them. No further forward is needed, so that it can decide which
frames deserve one.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.anomaly import ANOMALY, gives_anomaly
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.cotangent import Cotangent
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.split import Split, classifier_of
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.graph.transpose import HeadTranspose
from taintwatch_models.radar_file import RadarFile

__all__ = ["GATE_MARGIN", "gate_of", "windows"]

GATE_MARGIN = "gate_margin"

LABELS, LABELS_DEEP = 32, 8
"""How many of the largest logits are followed; fewer where the head has a matrix product for each of them to cross."""
SIDES = (1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7)
"""Windows' sides as shares of the map's: 1 to 5 cells of the usual 7."""
STEPS = 7  # positions along a side, roughly: larger maps are not looked at cell by cell


def gate_of(radar: RadarFile) -> onnx.ModelProto:
    """Return a graph from (B, 3, H, W) to `logits`, `label`, `features`, `gate_margin` (B,); `anomaly` if given.

    `gate_margin` is the largest value over all windows of (largest other logit minus the label's logit) without the
    window's cells, among the labels that are followed. Raises `ModelError` where the head cannot be crossed.
    """
    plain, split = classifier_of(radar)
    b = GraphBuilder(plain.opset, "taintwatch/gate")
    found = _margin(b, plain, split)
    b.nodes.append(helper.make_node("Identity", [found], [GATE_MARGIN], name=f"output/{GATE_MARGIN}"))
    return _joined(radar, plain, b)


def _margin(b: GraphBuilder, model: PlainModel, split: Split) -> str:
    deep = sum(node.op_type in ("Gemm", "MatMul", "Conv") for node in split.head) > 1
    count = min(LABELS_DEEP if deep else LABELS, model.classes)
    largest, labels = b.add_many("TopK", model.logits, b.constant([count]), outputs=2, axis=1)  # (B, K) each
    gradient = HeadTranspose(model, split, b)(Cotangent(b.add("Transpose", labels, perm=[1, 0]), one_hot=True))
    lost = b.add(
        "MatMul", _by_cell(b, gradient, split), b.constant(windows(split.height, split.width))
    )  # (B, K, windows)
    left = b.add("Sub", b.unsqueeze(largest, 2), lost)
    own, others = b.add_many("Split", left, b.constant([1, count - 1]), outputs=2, axis=1)
    margins = b.add("Sub", b.reduce("ReduceMax", others, [1], keepdims=True), own)  # (B, 1, windows)
    return b.reduce("ReduceMax", margins, [1, 2], keepdims=False)


def windows(height: int, width: int) -> NDArray[np.float32]:
    """Return (height * width, windows): 1 where a cell lies in a window."""
    masks = []
    steps = max(1, height // STEPS), max(1, width // STEPS)
    for share in SIDES:
        tall, wide = max(1, round(height * share)), max(1, round(width * share))
        for top in range(0, height - tall + 1, steps[0]):
            for left in range(0, width - wide + 1, steps[1]):
                mask = np.zeros((height, width), np.float32)
                mask[top : top + tall, left : left + wide] = 1
                masks.append(mask.ravel())
    return np.unique(np.array(masks), axis=0).T.copy()


def _by_cell(b: GraphBuilder, gradient: Cotangent, split: Split) -> str:
    """How much each cell adds to each label's logit: (B, K, h * w)."""
    cells = split.height * split.width
    if gradient.spread:
        weights = b.add("Transpose", b.reshape(gradient.name, [0, 0, split.channels]), perm=[1, 0, 2])
        return b.add("MatMul", weights, b.reshape(split.maps, [0, split.channels, cells]))
    product = b.reduce("ReduceSum", b.add("Mul", gradient.name, split.maps), [2], keepdims=False)  # (K, B, h, w)
    return b.reshape(b.add("Transpose", product, perm=[1, 0, 2, 3]), [0, 0, cells])


def _joined(radar: RadarFile, plain: PlainModel, b: GraphBuilder) -> onnx.ModelProto:
    """Add the gate's nodes to the radar graph, whose first forward has the same values, and keep what leads to them."""
    joined = onnx.ModelProto()
    joined.CopyFrom(radar.proto)
    there = {name for node in (*joined.graph.node, *b.nodes) for name in node.output} | set(b.initializers)
    there |= {tensor.name for tensor in joined.graph.initializer} | {value.name for value in joined.graph.input}
    for tensor in plain.proto.graph.initializer:  # made anew while the classifier was read again
        if tensor.name not in there:
            b.initializers[tensor.name] = tensor
            there.add(tensor.name)
    for node in b.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = "logits" if name == plain.logits else name
            if node.input[index] and node.input[index] not in there:
                raise ModelError(f"{radar.info.name}: the gate finds no value '{name}'; prepare the model again")
    joined.graph.node.extend(b.nodes)
    joined.graph.initializer.extend(b.initializers.values())
    joined.graph.output.append(helper.make_tensor_value_info(GATE_MARGIN, TensorProto.FLOAT, ["batch"]))
    wanted = ["logits", "label", "features", GATE_MARGIN]
    return keep_outputs(joined, [*wanted, ANOMALY] if gives_anomaly(radar) else wanted)
