"""One ONNX graph from a batch of inputs to logits, statistics and masks: TaintRadar without autograd.

Source: Li et al., Detecting Localized Adversarial Examples: A Generic Approach using Critical Region Analysis
(TaintRadar), INFOCOM 2021. Two variants share the first forward:

- `paper`: critical region above 0.15 of the maximum, filled, the K labels whose logits rise most, the intersection of
  their masks filled, rank change of the predicted label. Three forwards; a caller that asks for `paper_filled` in place
  of the rank runs the third only where the mask is not empty (ONNX Runtime leaves the convolutions of an `If` branch
  unfused and half as fast, so the early exit is not in the graph).
- `tight` (ours): gradient times activation cell by cell, a high threshold, filled smoothly; rank, margin and margin
  swing of the predicted label from one second forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.cotangent import Cotangent
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.resampling import inpaint, resize
from taintwatch_models.graph.split import Split
from taintwatch_models.graph.transpose import HeadTranspose

__all__ = [
    "PAPER_LABELS",
    "PAPER_SALIENCY_THRESHOLD",
    "TEMPERATURE",
    "TIGHT_SALIENCY_THRESHOLD",
    "RadarWriter",
    "build_radar",
]

PAPER_SALIENCY_THRESHOLD, TIGHT_SALIENCY_THRESHOLD = 0.15, 0.8
PAPER_LABELS, TEMPERATURE = 9, 2.0

_OFF = -1e30  # stands for minus infinity: no product with 0 turns it into NaN


@dataclass(frozen=True)
class _Pass:
    """One forward's logits, (B, classes), and last maps, (B, channels, h, w)."""

    logits: str
    maps: str


class RadarWriter:
    """Writes the radar graph of one model. `build_radar` is the way in."""

    def __init__(self, model: PlainModel, split: Split) -> None:
        self.model, self.split = model, split
        self.b = GraphBuilder(model.opset, "taintwatch")
        self.head = HeadTranspose(model, split, self.b)
        self._passes = 0

    def forward(self, value: str) -> _Pass:
        """Copy the classifier behind `value`; all copies share their weights."""
        self._passes += 1
        first = self._passes == 1
        rename = {self.model.input: value}
        for node in (*self.split.body, *self.split.head):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for index, name in enumerate(copy.input):
                copy.input[index] = rename.get(name, name)
            if not first:
                for index, name in enumerate(copy.output):
                    rename[name] = f"taintwatch/forward{self._passes}/{name}"
                    copy.output[index] = rename[name]
                copy.name = f"taintwatch/forward{self._passes}/{copy.name or copy.output[0]}"
            self.b.nodes.append(copy)
        return _Pass(rename.get(self.model.logits, self.model.logits), rename.get(self.split.maps, self.split.maps))

    def seed(self, first: _Pass, chosen: str) -> Cotangent:
        """The direction of step 1: d/dZ of log softmax(Z / T) at the label, up to its (positive) length.

        The gradient is (onehot - softmax(Z / T)) / T = (1 - p) / T * (onehot - q), with p the label's probability and
        q the softmax over the *other* labels. Thresholds are relative to the maximum, so the length does not matter,
        and (onehot - q) does not underflow to nothing when the classifier is very sure, as the product does.
        """
        b = self.b
        if self.model.output_form.multi_label:  # other labels are no rivals
            return Cotangent(b.unsqueeze(b.cast(chosen), 0))
        scaled = b.add("Div", first.logits, "temperature")
        others = b.add("Softmax", b.add("Where", chosen, b.constant(_OFF), scaled), axis=-1)
        return Cotangent(b.unsqueeze(b.add("Sub", b.cast(chosen), others), 0))  # (1, B, classes)

    def pooled_map(self, gradient: Cotangent, maps: str, *, suppressed: bool = False) -> str:
        """ReLU(sum_k mean(dl/dA_k) A_k), or of its negative: (B, K, h, w)."""
        b, split = self.b, self.split
        if gradient.spread:
            weights = b.reshape(gradient.name, [0, 0, split.channels])
        else:
            weights = b.reduce("ReduceMean", gradient.name, [3, 4], keepdims=False)
        weights = b.add("Transpose", weights, perm=[1, 0, 2])  # (B, K, channels)
        cells = b.reshape(maps, [0, split.channels, split.height * split.width])
        product = b.add("MatMul", weights, cells)  # (B, K, h * w)
        if suppressed:
            product = b.add("Neg", product)
        return b.reshape(b.add("Relu", product), [0, 0, split.height, split.width])

    def cellwise_map(self, gradient: Cotangent, maps: str) -> str:
        """ReLU(sum_k dl/dA_k * A_k) cell by cell, never pooled first: (B, K, h, w)."""
        if gradient.spread:
            return self.pooled_map(gradient, maps)
        b = self.b
        product = b.reduce("ReduceSum", b.add("Mul", gradient.name, maps), [2], keepdims=False)  # (K, B, h, w)
        return b.add("Relu", b.add("Transpose", product, perm=[1, 0, 2, 3]))

    def mask(self, region: str, threshold: str) -> str:
        """Resize (B, K, h, w), threshold at a share of each maximum, intersect over K: (B, 1, H, W) bool.

        A map that is zero everywhere gives an empty mask, since nothing is above zero.
        """
        b = self.b
        large = resize(b, region, (self.split.height, self.split.width), self.model.input_size)
        limit = b.add("Mul", b.reduce("ReduceMax", large, [2, 3], keepdims=True), threshold)
        above = b.reduce("ReduceMin", b.add("Sub", large, limit), [1], keepdims=True)
        return b.add("Greater", above, b.constant(0.0))

    def fill(self, value: str, hole: str, variant: str) -> str:
        """Fill `hole` with the variant's fill, or with what surrounds it where `<variant>_inpaint` is true."""
        b = self.b
        size = self.model.input_size
        around = self.branch(lambda: inpaint(b, value, hole, size))
        given = self.branch(lambda: f"{variant}_fill")
        pattern = b.add("If", f"{variant}_inpaint", then_branch=around, else_branch=given)
        return b.add("Where", hole, pattern, value)

    def branch(self, write: Callable[[], str]) -> onnx.GraphProto:
        """Write the nodes of one branch of an If (it sees all outer values) that gives one float value."""
        b, outer = self.b, self.b.nodes
        b.nodes = []
        result = b.add("Identity", write())
        info = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        graph = helper.make_graph(b.nodes, b.name("branch"), [], [info])
        b.nodes = outer
        return graph

    def chosen(self, label: str) -> str:
        """(B, 1) labels to (B, classes) bool."""
        return self.b.add("Equal", label, self.b.constant(np.arange(self.model.classes)[None]))

    def at_label(self, logits: str, label: str) -> str:
        return self.b.add("GatherElements", logits, label, axis=1)  # (B, 1)

    def margin(self, logits: str, label: str, chosen: str) -> str:
        """Largest other logit minus the label's, (B, 1); of labels that stand for themselves, 0 minus it."""
        b = self.b
        if self.model.output_form.multi_label:
            return b.add("Neg", self.at_label(logits, label))
        others = b.add("Where", chosen, b.constant(_OFF), logits)
        return b.add("Sub", b.reduce("ReduceMax", others, [1], keepdims=True), self.at_label(logits, label))

    def rank(self, logits: str, label: str) -> str:
        """0-based rank of the label: how many logits are larger, (B,) int64."""
        b = self.b
        larger = b.add("Greater", logits, self.at_label(logits, label))
        return b.reduce("ReduceSum", b.cast(larger, TensorProto.INT64), [1], keepdims=False)

    def tight(self, value: str, first: _Pass, region: str, label: str, chosen: str) -> dict[str, str]:
        b = self.b
        hole = self.mask(region, "tight_saliency_threshold")
        second = self.forward(self.fill(value, hole, "tight"))
        after, before = self.margin(second.logits, label, chosen), self.margin(first.logits, label, chosen)
        return {
            "tight_mask": b.squeeze(hole, 1),
            "tight_label": b.add("ArgMax", second.logits, axis=1, keepdims=0),
            "tight_rank": self.rank(second.logits, label),
            "tight_margin": b.squeeze(after, 1),
            "tight_swing": b.squeeze(b.add("Sub", after, before), 1),
        }

    def paper(self, value: str, first: _Pass, region: str, label: str) -> dict[str, str]:
        b = self.b
        second = self.forward(self.fill(value, self.mask(region, "paper_saliency_threshold"), "paper"))
        rise = b.add("Sub", second.logits, first.logits)
        suppressed = b.add_many("TopK", rise, "paper_labels", outputs=2, axis=1)[1]  # (B, K)
        labels = b.add("Transpose", suppressed, perm=[1, 0])
        gradient = self.head(Cotangent(labels, one_hot=True))
        hole = self.mask(self.pooled_map(gradient, first.maps, suppressed=True), "paper_saliency_threshold")
        filled = self.fill(value, hole, "paper")
        third = self.forward(filled)
        return {
            "paper_mask": b.squeeze(hole, 1),
            "paper_filled": b.add("Identity", filled),
            "paper_label": b.add("ArgMax", third.logits, axis=1, keepdims=0),
            "paper_rank": self.rank(third.logits, label),
        }

    def saliency_concentration(self, region: str) -> str:
        """Maximum over mean of the region map, 0 where it is zero everywhere: (B,)."""
        b = self.b
        peak = b.reduce("ReduceMax", region, [1, 2, 3], keepdims=False)
        mean = b.reduce("ReduceMean", region, [1, 2, 3], keepdims=False)
        return b.add("Div", peak, b.add("Max", mean, b.constant(1e-20)))

    def write(self) -> dict[str, str]:
        """Write everything; return the graph's outputs by public name."""
        b, value = self.b, self.model.input
        first = self.forward(value)
        label = b.add("ArgMax", first.logits, axis=1, keepdims=1)  # (B, 1)
        chosen = self.chosen(label)
        gradient = self.head(self.seed(first, chosen))  # (1, B, channels, h, w) or 1 x 1 cells
        pooled = self.pooled_map(gradient, first.maps)
        cellwise = pooled if gradient.spread else self.cellwise_map(gradient, first.maps)
        outputs = {
            "logits": first.logits,
            "features": first.maps,
            "saliency_concentration": self.saliency_concentration(cellwise),
        }
        outputs["label"] = b.squeeze(label, 1)
        outputs |= self.tight(value, first, cellwise, label, chosen)
        outputs |= self.paper(value, first, pooled, label)
        return outputs


_KINDS = {
    "label": (TensorProto.INT64, ["batch"]), "saliency_concentration": (TensorProto.FLOAT, ["batch"]),
    "tight_label": (TensorProto.INT64, ["batch"]), "tight_rank": (TensorProto.INT64, ["batch"]),
    "tight_margin": (TensorProto.FLOAT, ["batch"]), "tight_swing": (TensorProto.FLOAT, ["batch"]),
    "paper_label": (TensorProto.INT64, ["batch"]), "paper_rank": (TensorProto.INT64, ["batch"]),
}  # fmt: skip


def build_radar(model: PlainModel, split: Split, fills: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return the radar graph. `fills` gives the default `tight` and `paper` fills, (1, 3, H, W) float32 inputs.

    Raises `ModelError` where the head has an op without a transpose.
    """
    writer = RadarWriter(model, split)
    b = writer.b
    outputs = writer.write()
    for public, name in outputs.items():
        if public != name:
            b.nodes.append(helper.make_node("Identity", [name], [public], name=f"output/{public}"))
    height, width = model.input_size
    shapes = _KINDS | {
        "logits": (TensorProto.FLOAT, ["batch", model.classes]),
        "features": (TensorProto.FLOAT, ["batch", split.channels, split.height, split.width]),
        "tight_mask": (TensorProto.BOOL, ["batch", height, width]),
        "paper_mask": (TensorProto.BOOL, ["batch", height, width]),
        "paper_filled": (TensorProto.FLOAT, ["batch", 3, height, width]),
    }
    infos = [helper.make_tensor_value_info(public, *shapes[public]) for public in outputs]
    inputs = [helper.make_tensor_value_info(model.input, TensorProto.FLOAT, ["batch", 3, height, width])]
    inputs += _defaults(b, model, fills)
    used = {name for node in model.nodes for name in node.input}
    weights = [t for t in model.proto.graph.initializer if t.name in used]
    graph = helper.make_graph(b.nodes, "taintwatch_radar", inputs, infos, [*weights, *b.initializers.values()])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", model.opset)], producer_name="taintwatch")
    proto.ir_version = max(8, model.proto.ir_version)
    return proto


def _defaults(b: GraphBuilder, model: PlainModel, fills: dict[str, np.ndarray]) -> list[onnx.ValueInfoProto]:
    """Store the overridable inputs' defaults; return their declarations."""
    height, width = model.input_size
    labels = min(PAPER_LABELS, model.classes)
    values: dict[str, tuple[np.ndarray, list[str | int]]] = {
        "temperature": (np.array(TEMPERATURE, np.float32), []),
        "tight_saliency_threshold": (np.array(TIGHT_SALIENCY_THRESHOLD, np.float32), []),
        "tight_fill": (fills["tight"].astype(np.float32), ["tight_fills", 3, height, width]),
        "tight_inpaint": (np.array(False), []),
        "paper_saliency_threshold": (np.array(PAPER_SALIENCY_THRESHOLD, np.float32), []),
        "paper_fill": (fills["paper"].astype(np.float32), ["paper_fills", 3, height, width]),
        "paper_inpaint": (np.array(False), []),
        "paper_labels": (np.array([labels], np.int64), [1]),
    }
    infos = []
    for name, (value, shape) in values.items():
        tensor = b.named(name, value)
        infos.append(helper.make_tensor_value_info(tensor, b.initializers[name].data_type, shape))
    return infos
