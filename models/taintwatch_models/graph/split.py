"""Where a classifier is split: its last convolutional maps, and the head behind them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.plain_model import PlainModel, plain_model
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.model_source import ModelSource
from taintwatch_models.radar_file import RadarFile

__all__ = ["Split", "classifier_of", "find_split"]

_POINTWISE_NAMES = """
Add BatchNormalization Cast Clip Concat Div Dropout Elu Erf Gelu HardSigmoid HardSwish Identity LeakyRelu Mish Mul PRelu
Relu Selu Sigmoid Softplus Sub Tanh
"""
POINTWISE = frozenset(_POINTWISE_NAMES.split())
"""Ops that leave a cell of a map where it is: the maps may be taken behind them."""

_MOST_OPS = 16  # of a head, in messages


@dataclass(frozen=True, eq=False)
class Split:
    """A classifier in two parts, joined by one value: the last convolutional maps."""

    maps: str
    channels: int
    height: int
    width: int
    convolution: str
    """Name of the last convolution's output."""
    body: tuple[onnx.NodeProto, ...]
    """From the input to the maps, in topological order."""
    head: tuple[onnx.NodeProto, ...]
    """From the maps to the logits."""

    @property
    def head_ops(self) -> str:
        names = [node.op_type for node in self.head]
        return " > ".join(names if len(names) <= _MOST_OPS else [*names[:_MOST_OPS], f"{len(names) - _MOST_OPS} more"])


def find_split(model: PlainModel) -> Split:
    """Find the last maps that all paths to the logits go through.

    The last convolution is the last one with more than one output cell; a closing 1x1 convolution that itself gives
    the logits' channels (SqueezeNet) belongs to the head. From there the split moves on behind pointwise ops (batch
    norm, activation, residual addition). Raises `ModelError` where there is no convolution or no such value.
    """
    nodes = model.nodes
    convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv" and _cells(model, node.output[0]) > 1]
    if not convolutions:
        raise ModelError("the model has no convolution with a map of more than one cell; TaintRadar needs one")
    if len(convolutions) > 1 and _is_classifier(model, nodes[convolutions[-1]], nodes[convolutions[-1] + 1 :]):
        convolutions.pop()
    last = convolutions[-1]
    position = _last_single_value(model, nodes, last)
    if position is None:
        raise ModelError(
            f"the last convolution '{nodes[last].output[0]}' is not on the only way to the logits (a skip connection "
            "goes around it)"
        )
    maps = nodes[position].output[0]
    _, channels, height, width = (int(d or 0) for d in model.shapes[maps])
    head = _needed(nodes[position + 1 :], model.logits)
    return Split(maps, channels, height, width, nodes[last].output[0], _needed(nodes[: position + 1], maps), head)


def classifier_of(radar: RadarFile) -> tuple[PlainModel, Split]:
    """Return the classifier within a prepared model, split where the radar graph has its maps. Raises `ModelError`."""
    info = radar.info
    plain = plain_model(ModelSource(info.name, keep_outputs(radar.proto, ["logits"]), info.source_sha256, info.name))
    return plain, find_split(plain)


def _cells(model: PlainModel, name: str) -> int:
    shape = model.shapes.get(name, ())
    return (shape[2] or 0) * (shape[3] or 0) if len(shape) == 4 else 0


def _is_classifier(model: PlainModel, node: onnx.NodeProto, after: list[onnx.NodeProto]) -> bool:
    weights = model.shapes.get(node.input[1], ())
    pointwise_kernel = len(weights) == 4 and weights[0] == model.classes and weights[2:] == (1, 1)
    return pointwise_kernel and not any(n.op_type in ("Conv", "Gemm", "MatMul") for n in after)


def _last_single_value(model: PlainModel, nodes: list[onnx.NodeProto], last: int) -> int | None:
    """Return the index of the node whose output is the only live value, as late as pointwise ops lead."""
    best = None
    cells = _cells(model, nodes[last].output[0])
    depends = _depending_on_input(model, nodes)
    for position in range(last, len(nodes)):
        node = nodes[position]
        if position > last and (node.op_type not in POINTWISE or _cells(model, node.output[0]) != cells):
            break
        made = {name for n in nodes[: position + 1] for name in n.output} | {model.input}
        used = {name for n in nodes[position + 1 :] for name in n.input} | {model.logits}
        live = made & used & depends
        if live == {node.output[0]} and _cells(model, node.output[0]) == cells:
            best = position
    return best


def _depending_on_input(model: PlainModel, nodes: list[onnx.NodeProto]) -> set[str]:
    depends = {model.input}
    for node in nodes:
        if depends.intersection(node.input):
            depends.update(node.output)
    return depends


def _needed(nodes: list[onnx.NodeProto], output: str) -> tuple[onnx.NodeProto, ...]:
    """Keep what leads to `output`."""
    wanted = {output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return tuple(reversed(kept))
