"""What a classifier takes and gives, and how that differs from float32 pictures (B, 3, H, W) and logits (B, classes).

The differences are written into the graph, so that all that follows knows one kind of input and one of output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes

__all__ = ["InputForm", "OutputForm", "adapt_input", "adapt_output", "choose_output"]

GREY = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""
_WHOLE = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64)
_SAME_VALUES = ("Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear")
_SAME_ORDER = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class InputForm:
    """The user's own input."""

    name: str
    size: tuple[int, int]
    """(height, width)."""
    channels_last: bool = False
    grey: tuple[float, ...] = ()
    """Weights of the three channels that become its one channel; empty where it has three."""
    whole: bool = False
    """It takes whole numbers 0..255."""

    def convert(self, inputs: NDArray[np.float32], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        """Turn (B, 3, H, W) inputs into the user's own."""
        values = inputs
        if self.grey:
            values = np.einsum("bchw,c->bhw", values, np.asarray(self.grey, np.float32))[:, None]
        if self.channels_last:
            values = np.moveaxis(values, 1, -1)
        if self.whole:
            values = np.clip(np.round(values), 0, 255)
        return np.ascontiguousarray(values.astype(dtype))


@dataclass(frozen=True, slots=True)
class OutputForm:
    """The user's own output."""

    name: str
    activation: str = ""
    """Left out behind the logits: `Softmax`, `LogSoftmax`, `Sigmoid`, or nothing."""
    binary: bool = False
    """It has one value; the logits have two, of which the first is 0."""

    @property
    def multi_label(self) -> bool:
        """Whether each label stands for itself."""
        return self.activation == "Sigmoid" and not self.binary

    def apply(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Turn logits (B, classes) into the user's own output, (B, values)."""
        values = logits.astype(np.float64)
        if self.binary:
            values = values[:, 1:]
        if self.activation == "Sigmoid":
            return np.asarray(1 / (1 + np.exp(-values)))
        if self.activation:
            shifted = values - values.max(axis=1, keepdims=True)
            logarithm = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            return np.asarray(logarithm if self.activation == "LogSoftmax" else np.exp(logarithm))
        return values


def adapt_input(
    model: onnx.ModelProto, where: str, size: tuple[int, int] | None, order: str, notes: list[str]
) -> tuple[str, InputForm]:
    """Give the graph an input (batch, 3, height, width) float32; return its name and the old one's form.

    Raises `ModelError` where there is not exactly one input of pictures.
    """
    inputs = list(model.graph.input)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(
            f"{where}: the model must have one input, this one has {len(inputs)} ({names}); export it so that it takes "
            "nothing but the pictures"
        )
    value = inputs[0]
    tensor = value.type.tensor_type
    kind = tensor.elem_type
    if kind != TensorProto.FLOAT and kind not in _WHOLE:
        raise ModelError(f"{where}: input '{value.name}' must be float32 or uint8 pictures")
    dims = tensor.shape.dim
    if len(dims) != 4:
        raise ModelError(
            f"{where}: input '{value.name}' must be (batch, 3, height, width), it has {len(dims)} dimensions"
        )
    last, channels = _channels(dims, where, value.name)
    form = InputForm(
        value.name, _size(dims, last, size, where, value.name), last,
        (GREY if order == "rgb" else GREY[::-1]) if channels == 1 else (), kind in _WHOLE,
    )  # fmt: skip
    for place, length in enumerate((None, channels, *form.size) if not last else (None, *form.size, channels)):
        if length is not None:
            dims[place].dim_value = length
    if not (last or form.grey or form.whole):
        return str(value.name), form
    return _written(model, form, dims[0], notes), form


def _channels(dims: list[onnx.TensorShapeProto.Dimension], where: str, name: str) -> tuple[bool, int]:
    """Return whether the channels are last, and how many there are."""
    first, last = dims[1].dim_value, dims[3].dim_value
    if first in (1, 3) or (not first and last not in (1, 3)):
        return False, first or 3
    if last in (1, 3):
        return True, last
    raise ModelError(f"{where}: input '{name}' must have 3 channels (or 1), it has {first or 'an unknown number'}")


def _size(
    dims: list[onnx.TensorShapeProto.Dimension], last: bool, wanted: tuple[int, int] | None, where: str, name: str
) -> tuple[int, int]:
    own = [dims[place].dim_value for place in ((1, 2) if last else (2, 3))]
    if all(own):
        return own[0], own[1]
    if wanted is None:
        raise ModelError(
            f"{where}: input '{name}' has no fixed height and width; give them with --size HEIGHTxWIDTH or as "
            "'size = [height, width]' in its TOML"
        )
    return own[0] or wanted[0], own[1] or wanted[1]


def _written(model: onnx.ModelProto, form: InputForm, batch: onnx.TensorShapeProto.Dimension, notes: list[str]) -> str:
    """Put what makes the old input from (B, 3, H, W) float32 in front of the graph."""
    name, kind = f"{form.name}/pictures", model.graph.input[0].type.tensor_type.elem_type
    nodes: list[onnx.NodeProto] = []
    value = name

    def add(op: str, *others: str, **attrs: object) -> None:
        nonlocal value
        made = f"{form.name}/{op}_{len(nodes)}"
        nodes.append(helper.make_node(op, [value, *others], [made], **attrs))
        value = made

    if form.grey:
        weights = np.asarray(form.grey, np.float32).reshape(1, 3, 1, 1)
        model.graph.initializer.append(numpy_helper.from_array(weights, f"{form.name}/grey"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{form.name}/channels"))
        add("Mul", f"{form.name}/grey")
        add("ReduceSum", f"{form.name}/channels", keepdims=1)
        notes.append("one channel: grey of the three")
    if form.channels_last:
        add("Transpose", perm=[0, 2, 3, 1])
        notes.append("channels last (NHWC): transposed in the graph")
    if form.whole:
        for bound, limit in (("low", 0.0), ("high", 255.0)):
            model.graph.initializer.append(numpy_helper.from_array(np.array(limit, np.float32), f"{form.name}/{bound}"))
        add("Round")
        add("Clip", f"{form.name}/low", f"{form.name}/high")
        add("Cast", to=kind)
        notes.append("whole numbers 0 to 255: rounded in the graph")
    nodes[-1].output[0] = form.name
    picture = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, *form.size])
    if batch.dim_value:
        picture.type.tensor_type.shape.dim[0].dim_value = batch.dim_value
    del model.graph.input[:]
    model.graph.input.append(picture)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return name


def choose_output(model: onnx.ModelProto, where: str, wanted: str | None) -> str:
    """Keep one output: the one that is named, the only one, or the logits beside their own softmax."""
    names = [str(value.name) for value in model.graph.output]
    if wanted is not None and wanted not in names:
        raise ModelError(f"{where}: has no output '{wanted}'; it has {', '.join(names)}")
    if wanted is None and len(names) != 1:
        given = {out: node for node in model.graph.node for out in node.output}
        closing = [n for n in names if n in given and given[n].op_type in ("Softmax", "Sigmoid", "LogSoftmax")]
        if len(names) == 2 and len(closing) == 1 and given[closing[0]].input[0] in names:
            wanted = str(given[closing[0]].input[0])
        else:
            raise ModelError(
                f"{where}: the model has {len(names)} outputs ({', '.join(names)}); name the logits with --output"
            )
    kept = [value for value in model.graph.output if value.name == (wanted or names[0])]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return str(kept[0].name)


def adapt_output(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int | None, ...]], output: str, where: str, notes: list[str]
) -> tuple[str, OutputForm]:
    """Make the logits, (B, classes), the graph's output; return their name and what was left out behind them.

    `shapes`: those of the model's values. Raises `ModelError` where the output is no batch of logits.
    """
    logits, activation = _before_activation(model, output)
    if activation:
        notes.append(f"the closing {activation} is left out: the logits are its input '{logits}'")
    shape = shapes.get(logits, ())
    flat = [size for size in shape[1:] if size != 1]
    labels = model.graph.output[0].type.tensor_type.elem_type in (TensorProto.INT32, TensorProto.INT64)
    single = len(shape) == 1 and shape[0] in (None, 1)  # one value a picture, squeezed
    if labels or not (single or len(shape) > 1) or len(flat) > 1 or None in flat:
        raise ModelError(f"{where}: the output '{output}' {_instead_of_logits(shape, labels=labels)}")
    classes = int(flat[0] or 1) if flat else 1
    extra: list[onnx.NodeProto] = []
    if single:
        model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{logits}/axis"))
        extra.append(helper.make_node("Unsqueeze", [logits, f"{logits}/axis"], [f"{logits}/flat"]))
        logits = f"{logits}/flat"
    elif len(shape) > 2:
        extra.append(helper.make_node("Flatten", [logits], [f"{logits}/flat"], axis=1))
        logits = f"{logits}/flat"
    if classes == 1:
        extra += _two_classes(model, logits)
        logits = f"{logits}/two"
        notes.append("one value: two classes, the first's logit is 0")
    model.graph.node.extend(extra)
    _drop_unused(model, logits)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", max(classes, 2)]))
    return logits, OutputForm(output, activation, classes == 1)


def _instead_of_logits(shape: tuple[int | None, ...], *, labels: bool) -> str:
    """Say what an output is that is no batch of logits, and what helps."""
    if labels:
        return "gives labels, not logits; export the network without its ArgMax or TopK"
    if not shape:
        return "has a shape that cannot be told; it must be (batch, classes)"
    sizes = ", ".join("batch" if not place else str(size or "?") for place, size in enumerate(shape))
    more = "; a segmenter or a detector cannot be watched as a classifier" if len(shape) > 2 else ""
    return f"is ({sizes}), it must be (batch, classes){more}"


def _before_activation(model: onnx.ModelProto, output: str) -> tuple[str, str]:
    """Go back from the output over what keeps the order of labels to a Softmax or Sigmoid, and before it."""
    made = {name: node for node in model.graph.node for name in node.output}
    value = output
    while value in made:
        node = made[value]
        if node.op_type in ("Softmax", "LogSoftmax", "Sigmoid"):
            return str(node.input[0]), str(node.op_type)
        if node.op_type == "Log" and node.input[0] in made and made[node.input[0]].op_type == "Softmax":
            return str(made[node.input[0]].input[0]), "LogSoftmax"
        if node.op_type not in (*_SAME_VALUES, *_SAME_ORDER, "Clip"):
            break
        if node.op_type == "Cast" and attributes(node)["to"] != TensorProto.FLOAT:
            break
        value = node.input[0]
    return output, ""


def _two_classes(model: onnx.ModelProto, logits: str) -> list[onnx.NodeProto]:
    model.graph.initializer.append(numpy_helper.from_array(np.array([[0.0, 1.0]], np.float32), f"{logits}/pair"))
    return [helper.make_node("MatMul", [logits, f"{logits}/pair"], [f"{logits}/two"])]


def _drop_unused(model: onnx.ModelProto, logits: str) -> None:
    wanted, kept = {logits}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
