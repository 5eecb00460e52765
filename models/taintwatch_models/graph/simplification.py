"""A graph made regular: opset 17 or later, constants and batch norms folded, a dynamic batch, no stray padding."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper, shape_inference, version_converter
from onnx.external_data_helper import uses_external_data

from taintwatch_models.errors import ModelError, first_line
from taintwatch_models.graph.batch import free_batch
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.weight_file import WeightFile

__all__ = [
    "MINIMUM_OPSET",
    "fold_regular",
    "inferred",
    "merge_pads",
    "opset_of",
    "raise_opset",
    "shapes_of",
    "without_weights",
]

MINIMUM_OPSET = 17
_LEAST_IR = 8
_LARGE = 4096  # values: no list of sizes or axes is as long


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard ops."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def raise_opset(model: onnx.ModelProto, where: str, notes: list[str]) -> onnx.ModelProto:
    """Convert to opset 17 at least; weights, and what no node reads, are no inputs any more. Raises `ModelError`."""
    stored = {t.name for t in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) > 1:  # Keras leaves some that it has merged into weights
        read = {name for node in model.graph.node for name in node.input}
        unread = [value.name for value in inputs if value.name not in read]
        inputs = [value for value in inputs if value.name in read]
        notes.extend(f"the input '{name}' is left out: nothing reads it" for name in unread)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, _LEAST_IR)
    opset = opset_of(model)
    if opset >= MINIMUM_OPSET:
        return model
    try:
        raised = version_converter.convert_version(without_weights(model), MINIMUM_OPSET)
    except Exception:
        raise ModelError(
            f"{where}: uses opset {opset} and cannot be converted to {MINIMUM_OPSET}; export it again with "
            f"opset_version={MINIMUM_OPSET}"
        ) from None
    notes.append(f"opset {opset} converted to {MINIMUM_OPSET}")
    still = {tensor.name for tensor in raised.graph.initializer}
    raised.graph.initializer.extend(t for t in model.graph.initializer if t.name in stored - still)
    del raised.graph.input[:]
    raised.graph.input.extend(inputs)
    return raised


def fold_regular(
    model: onnx.ModelProto, name: str, where: str, notes: list[str], weights: WeightFile | None = None
) -> onnx.ModelProto:
    """Fold constants, with a dynamic batch in the end.

    An exporter that was told of a dynamic batch may compute shapes at run time (ShuffleNet's channel shuffle); nothing
    can be known of the values behind them. With a batch of 1 these fold to constants, which are then freed again.
    """
    batch = next(v for v in model.graph.input if v.name == name).type.tensor_type.shape.dim[0]
    fixed = int(batch.dim_value)
    if not fixed:
        folded = _fold(model, where, weights)
        if not any(node.op_type in ("Shape", "Size") for node in folded.graph.node):
            return folded
        batch.dim_value = 1
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        del model.graph.value_info[:]
        notes.append("shapes computed at run time were folded for a batch of 1")
    folded = _fold(model, where, weights)
    shapes = shapes_of(inferred(folded))
    _reshape_gathers(folded, shapes)
    changed = free_batch(folded, name, shapes)
    if fixed:
        notes.append(f"fixed batch of {fixed} made dynamic ({changed} reshapes changed)")
    return folded


def _reshape_gathers(model: onnx.ModelProto, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Make reshapes of tables that read all of a flat value in its order.

    torch's default export writes its `as_strided` so, behind the mean over cells of a network with channels last.
    """
    stored = {t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT64}
    for node in model.graph.node:
        if node.op_type != "Gather" or node.input[1] not in stored or len(shapes.get(node.input[0], (0, 0))) != 1:
            continue
        table = numpy_helper.to_array(stored[node.input[1]])
        if np.array_equal(table.reshape(-1), np.arange(shapes[node.input[0]][0] or 0)):
            sizes = numpy_helper.from_array(np.array(table.shape, np.int64), f"{node.output[0]}/sizes")
            model.graph.initializer.append(sizes)
            node.CopyFrom(helper.make_node("Reshape", [node.input[0], sizes.name], list(node.output)))


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Return the inferred shape of every value; None stands for what is not a number."""
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    shapes: dict[str, tuple[int | None, ...]] = {}
    for value in values:
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in dims)
    for tensor in model.graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
    return shapes


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write the shapes of its values into the graph, and return it."""
    known = shape_inference.infer_shapes(without_weights(model), strict_mode=False, data_prop=True)
    for values, found in (
        (model.graph.value_info, known.graph.value_info),
        (model.graph.output, known.graph.output),
    ):
        del values[:]
        values.extend(found)
    return model


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large weights are inputs instead: as good for the checker and for shapes, and small."""
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, own = light.graph, model.graph
    graph.name = own.name
    graph.node.extend(own.node)
    graph.input.extend(own.input)
    graph.output.extend(own.output)
    graph.value_info.extend(own.value_info)
    graph.sparse_initializer.extend(own.sparse_initializer)
    there = {value.name for value in own.input}
    for tensor in own.initializer:
        if int(np.prod(tensor.dims, initial=1)) < _LARGE and not uses_external_data(tensor):
            graph.initializer.append(tensor)
        elif tensor.name not in there:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def _fold(model: onnx.ModelProto, where: str, weights: WeightFile | None) -> onnx.ModelProto:
    """Fold constants and batch norms with ONNX Runtime's own basic optimisations (standard ONNX ops only)."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder if weights is None else weights.folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        if weights is not None:
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "folded.bin")
            options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "65536")
        given = model.SerializeToString() if weights is None else weights.saved(model)
        try:
            ort.InferenceSession(
                given, options, providers=["CPUExecutionProvider"],
                disabled_optimizers=["MatMulAddFusion"],  # it flattens tokens into rows
            )  # fmt: skip
        except Exception as error:
            raise ModelError(f"{where}: ONNX Runtime cannot load the model ({first_line(error)})") from None
        folded = onnx.load(str(target), load_external_data=weights is None)
    keep = [o for o in folded.opset_import if o.domain in ("", "ai.onnx")]
    del folded.opset_import[:]
    folded.opset_import.extend(keep)
    return folded


def merge_pads(model: onnx.ModelProto) -> None:
    """Merge zero padding into the convolution behind it (TensorFlow's asymmetric `same`): saves a copy of the map."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) < 2}
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
