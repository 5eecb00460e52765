"""A user's ONNX file made regular: one input, one output of logits, dynamic batch, constants folded, opset >= 17."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference, version_converter

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.model_source import ModelSource

__all__ = ["PlainModel", "plain_model"]

MINIMUM_OPSET = 17
_TIGHT_NAMES = "mask label rank margin swing saliency_threshold fill inpaint"
_PAPER_NAMES = "mask label rank filled saliency_threshold fill inpaint labels"
RESERVED = (
    frozenset({"logits", "label", "features", "saliency_concentration", "temperature"})
    | {f"tight_{name}" for name in _TIGHT_NAMES.split()} | {f"paper_{name}" for name in _PAPER_NAMES.split()}
)  # fmt: skip
"""What a radar graph's outputs and optional inputs are called."""


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A classifier as a regular graph: nodes in topological order, from `input` to `logits`."""

    proto: onnx.ModelProto
    opset: int
    input: str
    logits: str
    input_size: tuple[int, int]
    """(height, width)."""
    classes: int
    constants: Mapping[str, NDArray[np.generic]]
    shapes: Mapping[str, tuple[int | None, ...]]
    """Inferred shape of every value; None stands for the batch or for what inference could not tell."""
    notes: tuple[str, ...] = field(default=())
    """What was changed on the way, for people."""

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.proto.graph.node)


def plain_model(source: ModelSource, *, output: str | None = None) -> PlainModel:
    """Check and regularise an ONNX classifier.

    `output` names the logits where the model has several outputs. Raises `ModelError`: an invalid graph, several
    inputs or outputs, an input that is not (batch, 3, height, width) float32, an output that is not (batch, classes).
    """
    where = source.where
    model = _checked(source)
    notes: list[str] = []
    model = _raise_opset(model, where, notes)
    input_name = _only_input(model, where)
    output_name = _only_output(model, where, output)
    height, width = _input_size(model, where, input_name)
    model = _regular(model, input_name, where, notes)
    _merge_pads(model)
    logits = _skip_softmax(model, output_name, notes)
    renamed = _free_reserved_names(model)
    input_name, logits = renamed.get(input_name, input_name), renamed.get(logits, logits)
    model = shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    shapes = _shapes(model)
    classes = _classes(shapes, logits, where)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = attributes(node).get("value")
            if isinstance(value, onnx.TensorProto):
                constants[node.output[0]] = numpy_helper.to_array(value)
    return PlainModel(
        model, _opset(model), input_name, logits, (height, width), classes, constants, shapes, tuple(notes)
    )


def _checked(source: ModelSource) -> onnx.ModelProto:
    """Return a copy that may be changed."""
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise their own kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{source.where}: not a valid ONNX model ({first})") from None
    return model


def _opset(model: onnx.ModelProto) -> int:
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def _raise_opset(model: onnx.ModelProto, where: str, notes: list[str]) -> onnx.ModelProto:
    opset = _opset(model)
    if opset >= MINIMUM_OPSET:
        return model
    try:
        model = version_converter.convert_version(model, MINIMUM_OPSET)
    except Exception:
        raise ModelError(
            f"{where}: uses opset {opset} and cannot be converted to {MINIMUM_OPSET}; export it again with "
            f"opset_version={MINIMUM_OPSET}"
        ) from None
    notes.append(f"opset {opset} converted to {MINIMUM_OPSET}")
    return model


def _only_input(model: onnx.ModelProto, where: str) -> str:
    stored = {t.name for t in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(f"{where}: the model must have one input, this one has {len(inputs)} ({names})")
    return str(inputs[0].name)


def _only_output(model: onnx.ModelProto, where: str, wanted: str | None) -> str:
    names = [str(value.name) for value in model.graph.output]
    if wanted is not None:
        if wanted not in names:
            raise ModelError(f"{where}: has no output '{wanted}'; it has {', '.join(names)}")
    elif len(names) != 1:
        raise ModelError(
            f"{where}: the model has {len(names)} outputs ({', '.join(names)}); name the logits with --output"
        )
    kept = [value for value in model.graph.output if value.name == (wanted or names[0])]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return str(kept[0].name)


def _input_size(model: onnx.ModelProto, where: str, name: str) -> tuple[int, int]:
    value = next(v for v in model.graph.input if v.name == name)
    dims = value.type.tensor_type.shape.dim
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise ModelError(f"{where}: input '{name}' must be float32")
    if len(dims) != 4:
        raise ModelError(f"{where}: input '{name}' must be (batch, 3, height, width), it has {len(dims)} dimensions")
    channels = dims[1].dim_value
    if channels != 3:
        hint = "; it looks like channels-last (NHWC): export it as NCHW" if dims[3].dim_value == 3 else ""
        raise ModelError(
            f"{where}: input '{name}' must have 3 channels, it has {channels or 'an unknown number'}{hint}"
        )
    height, width = dims[2].dim_value, dims[3].dim_value
    if not height or not width:
        raise ModelError(f"{where}: input '{name}' has no fixed height and width; export it with a fixed image size")
    return int(height), int(width)


def _regular(model: onnx.ModelProto, name: str, where: str, notes: list[str]) -> onnx.ModelProto:
    """Fold constants, with a dynamic batch in the end.

    An exporter that was told of a dynamic batch may compute shapes at run time (ShuffleNet's channel shuffle); nothing
    can be known of the values behind them. With a batch of 1 these fold to constants, which are then freed again.
    """
    batch = next(v for v in model.graph.input if v.name == name).type.tensor_type.shape.dim[0]
    fixed = int(batch.dim_value)
    if not fixed:
        folded = _fold(model, where)
        if not any(node.op_type == "Shape" for node in folded.graph.node):
            return folded
        batch.dim_value = fixed = 1
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        del model.graph.value_info[:]
        notes.append("shapes computed at run time were folded for a batch of 1")
    folded = _fold(model, where)
    changed = _free_batch(folded, name, fixed)
    notes.append(f"fixed batch of {fixed} made dynamic ({changed} reshapes changed)")
    return folded


def _free_batch(model: onnx.ModelProto, name: str, fixed: int) -> int:
    """Make the batch dimension symbolic, and reshapes that wrote the old batch size down keep it; return how many."""
    next(v for v in model.graph.input if v.name == name).type.tensor_type.shape.dim[0].dim_param = "batch"
    for output in model.graph.output:
        if output.type.tensor_type.shape.dim:
            output.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    stored = {t.name: t for t in model.graph.initializer}
    changed = 0
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in stored:
            continue
        shape = numpy_helper.to_array(stored[node.input[1]]).copy()
        if shape.size > 1 and shape[0] == fixed:
            shape[0] = 0
            fresh = f"{node.input[1]}/batch_{changed}"
            model.graph.initializer.append(numpy_helper.from_array(shape, fresh))
            node.input[1] = fresh
            changed += 1
    return changed


def _fold(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Fold constants and batch norms with ONNX Runtime's own basic optimisations (standard ONNX ops only)."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise ModelError(f"{where}: ONNX Runtime cannot load the model ({first})") from None
        folded = onnx.load(str(target))
    keep = [o for o in folded.opset_import if o.domain in ("", "ai.onnx")]
    del folded.opset_import[:]
    folded.opset_import.extend(keep)
    return folded


def _free_reserved_names(model: onnx.ModelProto) -> dict[str, str]:
    """Rename the model's own values that are called as an output or optional input of a radar graph is."""
    graph = model.graph
    renamed = {name: f"model/{name}" for name in RESERVED}
    for output in graph.output:
        if output.name == "logits":  # the radar graph's output of that name is this very value
            del renamed["logits"]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    return renamed


def _merge_pads(model: onnx.ModelProto) -> None:
    """Merge zero padding into the convolution behind it (TensorFlow's asymmetric `same`): saves a copy of the map."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for pad in [node for node in model.graph.node if node.op_type == "Pad"]:
        after = users.get(pad.output[0], [])
        amounts = constants.get(pad.input[1])
        value = constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
        zero = value is not None and not np.any(value) and attributes(pad).get("mode", b"constant") == b"constant"
        if not zero or amounts is None or amounts.size != 8 or len(after) != 1 or after[0].op_type != "Conv":
            continue
        if np.any(amounts < 0) or np.any(amounts[[0, 1, 4, 5]]) or any(len(i) > 0 for i in pad.input[3:]):
            continue
        conv, known = after[0], attributes(after[0])
        if known.get("auto_pad", b"NOTSET") != b"NOTSET":
            continue
        pads = np.array(known.get("pads", [0] * 4)) + amounts[[2, 3, 6, 7]]
        kept = [a for a in conv.attribute if a.name != "pads"]
        del conv.attribute[:]
        conv.attribute.extend([*kept, helper.make_attribute("pads", [int(p) for p in pads])])
        conv.input[0] = pad.input[0]
        model.graph.node.remove(pad)


def _skip_softmax(model: onnx.ModelProto, output: str, notes: list[str]) -> str:
    """Take the input of a closing Softmax: TaintRadar needs logits."""
    node = next((n for n in model.graph.node if output in n.output), None)
    if node is not None and node.op_type in ("Softmax", "LogSoftmax"):
        notes.append(f"the closing {node.op_type} is left out: the logits are its input '{node.input[0]}'")
        name = str(node.input[0])
        model.graph.node.remove(node)
        model.graph.output[0].name = name
        return name
    return output


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    shapes: dict[str, tuple[int | None, ...]] = {}
    for value in values:
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in dims)
    for tensor in model.graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
    return shapes


def _classes(shapes: Mapping[str, tuple[int | None, ...]], logits: str, where: str) -> int:
    shape = shapes.get(logits, ())
    flat = tuple(d for d in shape[1:] if d != 1)
    if len(flat) != 1 or flat[0] is None or len(shape) != 2:
        raise ModelError(f"{where}: the output '{logits}' must be (batch, classes), its shape is {shape or 'unknown'}")
    if flat[0] < 2:
        raise ModelError(f"{where}: the output '{logits}' has {flat[0]} class; a classifier has at least two")
    return int(flat[0])
